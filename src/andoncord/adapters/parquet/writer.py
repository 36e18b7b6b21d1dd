"""The telemetry store on one machine, the ingest worker's side: the log and the tail in SQLite, everything older in segments.

The worker is the only writer. The log is appended to durably, because a sender is told so. What `record` stores is written
without waiting for the disk, since it can be read out of the log again; until it is in a segment it stands in the tail.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import takewhile
from pathlib import Path
from threading import Condition, Lock

import msgspec

from andoncord.adapters.parquet import manifest
from andoncord.adapters.parquet.index import KeyIndex
from andoncord.adapters.parquet.reader import ParquetTelemetryReader
from andoncord.adapters.parquet.rows import LOG_COLUMNS, batch_of, beats_of, fleet_of
from andoncord.adapters.parquet.schema import (
    LAST_ID,
    READ_OUT,
    add_block,
    bring_forward,
    progress,
    put_progress,
    replace_events,
    still_there,
)
from andoncord.adapters.parquet.upkeep import SEGMENT_RAW_BYTES, Upkeep
from andoncord.adapters.sqlite.connection import connect, transaction
from andoncord.detect.finding import Finding
from andoncord.kernel.time import DAY_NS
from andoncord.telemetry.batch import Batch, Beat, LedgerLine
from andoncord.telemetry.block import Block, digests_in, fields_of, pack
from andoncord.telemetry.event import Event
from andoncord.telemetry.holding import Hold

MAX_TAIL_RAW_BYTES = 8 * SEGMENT_RAW_BYTES
"""A tail as large as this (512 MiB) is not moved as fast as it grows: then `record` waits, and senders are told to wait."""
BLOCK_ROWS = 512
"""Events that are packed into one block: whoever looks for one of them unpacks them all."""
TRIMMED_AT_ONCE = 64
TAIL_WAIT_S = 1.0
"""How long `record` waits at most. Where nothing can be moved, for want of room on the disk, telemetry still goes on."""
FOLDER_MODE = 0o700


class ParquetTelemetryWriter:
    """Three threads may use it at once: one calls `append`, one `unknown` and `record`, one does the upkeep.

    Args:
        path: of `telemetry.db`; the segments are in a folder beside it. An older file is brought forward.
        on_step: called between the steps of the upkeep with their names; for tests that kill the process there.

    Raises:
        CallerError: a newer version wrote the file.
    """

    def __init__(self, path: Path, *, on_step: Callable[[str], None] = lambda _: None) -> None:
        self._path = path
        self._log = connect(path, durable=True)
        bring_forward(self._log, place=str(path))
        self._store = connect(path, durable=False)
        self._turn = Lock()
        folder = path.parent / manifest.FOLDER
        folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
        tail = self._store.execute("SELECT keys, raw_bytes FROM tail").fetchall()
        self._tail_raw_bytes = sum(raw for _, raw in tail)
        self._tail_shrank = Condition()
        self._index = KeyIndex(
            folder,
            runs=[number for (number,) in self._store.execute("SELECT number FROM key_runs ORDER BY last_id").fetchall()],
            tail=[digest for keys, _ in tail for digest in digests_in(keys)],
        )
        self._upkeep = Upkeep(folder, connect(path, durable=True), turn=self._turn, index=self._index, on_step=on_step)
        self._upkeep.remove_unnamed()
        self._reader: ParquetTelemetryReader | None = None

    def append(self, batches: Sequence[Batch]) -> tuple[int, ...]:
        """Append to the ingest log in one durable transaction, and return the places they got."""
        with self._turn, transaction(self._log):
            return tuple(self._append_one(batch) for batch in batches)

    def _append_one(self, batch: Batch) -> int:
        cursor = self._log.execute(
            "INSERT INTO ingest_log (received_ns, signal, encoding, trusted_agents, body_gz, sha256) VALUES (?, ?, ?, ?, ?, ?)",
            (
                batch.received_ns,
                batch.signal,
                batch.encoding,
                msgspec.json.encode(batch.trusted_agents).decode(),
                batch.body_gz,
                batch.sha256,
            ),
        )
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def unread(self, *, limit: int) -> tuple[Batch, ...]:
        """The oldest batches that were appended but not yet recorded."""
        rows = self._store.execute(
            f"SELECT {LOG_COLUMNS} FROM ingest_log WHERE seq > ? ORDER BY seq LIMIT ?", (self.read_out(), limit)
        ).fetchall()
        return tuple(batch_of(row) for row in rows)

    def read_out(self) -> int:
        """The place in the log up to which everything is recorded."""
        return progress(self._store, READ_OUT)

    def appended(self) -> int:
        """The last place in the log; 0 when nothing was ever appended."""
        row = self._store.execute("SELECT seq FROM sqlite_sequence WHERE name = 'ingest_log'").fetchone()
        return int(row[0]) if row else 0

    def unknown(self, keyed: Sequence[tuple[bytes, Event]]) -> list[tuple[bytes, Event]]:
        """Those that are not stored yet, each key once: the first of its kind."""
        fresh: dict[bytes, tuple[bytes, Event]] = {}
        for pair in keyed:
            fresh.setdefault(pair[0], pair)
        for known in self._index.known(list(fresh)):
            del fresh[known]
        return list(fresh.values())

    def record(
        self,
        *,
        seq: int | None,
        events: Sequence[tuple[bytes, Event]],
        blocks: Sequence[Block] = (),
        findings: Sequence[Finding],
        beats: Sequence[Beat],
        ledger: Sequence[LedgerLine],
        now_ns: int,
        fleet: Sequence[tuple[str, bytes]] = (),
        corrected: Sequence[tuple[int, bytes, Event]] = (),
        unheard: Sequence[str] = (),
    ) -> int:
        """Store what a group of batches held, in one transaction, and return how many findings were new.

        Args:
            seq: the place in the log of the last of them, which is done with after this; None for what
                came with the clock.
            events: keyed, not stored yet (see `unknown`).
            blocks: events that are packed already, not stored yet.
            fleet: replaces what is kept of these agents; nothing behind a name forgets it.
            corrected: events that take the place of stored ones, which are named by their ids, under the same keys.
            unheard: agents that were only guessed; their processes are forgotten.
        """
        self._wait_for_room()
        encode = msgspec.json.encode
        places = [place for place, _, _ in corrected]
        still = still_there(self._store, places)
        # What retention has deleted meanwhile does not come back.
        stored = [*events, *((key, event) for place, key, event in corrected if place in still)]
        placed: list[Block] = []
        first_id = progress(self._store, LAST_ID) + 1
        for block in blocks:
            placed.append(msgspec.structs.replace(block, first_id=first_id))
            first_id += block.rows
        for start in range(0, len(stored), BLOCK_ROWS):
            part = stored[start : start + BLOCK_ROWS]
            fields = [fields_of(event) for _, event in part]
            placed.append(pack(fields, keys=b"".join(key for key, _ in part), first_id=first_id + start))
        with self._turn, transaction(self._store):
            for block in placed:
                add_block(self._store, block)
            replace_events(self._store, still)
            before = self._store.total_changes
            self._store.executemany(
                "INSERT OR IGNORE INTO findings (id, stored_ns, json) VALUES (?, ?, ?)",
                [(finding.id, now_ns, encode(finding)) for finding in findings],
            )
            new_findings = self._store.total_changes - before
            self._store.executemany(
                "INSERT OR REPLACE INTO beats (agent, instance, trusted, json) VALUES (?, ?, ?, ?)",
                [(beat.agent, beat.instance, int(beat.trusted), encode(beat)) for beat in beats],
            )
            self._store.executemany("DELETE FROM beats WHERE agent = ?", [(agent,) for agent in unheard])
            self._store.executemany(
                "INSERT OR REPLACE INTO fleet (agent, json) VALUES (?, ?)", [row for row in fleet if row[1]]
            )
            self._store.executemany("DELETE FROM fleet WHERE agent = ?", [(agent,) for agent, body in fleet if not body])
            self._store.executemany(
                "INSERT INTO ledger (signal, outcome, reason, count) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (signal, outcome, reason) DO UPDATE SET count = count + excluded.count",
                [(line.signal, line.outcome, line.reason, line.count) for line in ledger],
            )
            if seq is not None:
                put_progress(self._store, READ_OUT, seq)
        if placed:
            for block in placed:
                self._index.add(digests_in(block.keys))
            with self._tail_shrank:
                self._tail_raw_bytes += sum(block.raw_bytes for block in placed)
        return new_findings

    def _wait_for_room(self) -> None:
        with self._tail_shrank:
            self._tail_shrank.wait_for(lambda: self._tail_raw_bytes < MAX_TAIL_RAW_BYTES, TAIL_WAIT_S)

    def beats(self) -> tuple[Beat, ...]:
        return beats_of(self._store)

    def fleet(self) -> tuple[tuple[str, bytes], ...]:
        return fleet_of(self._store)

    def of_traces(self, traces: Sequence[str], *, limit: int) -> tuple[tuple[int, Event], ...]:
        """The last `limit` events of some traces by time, each with its place."""
        if self._reader is None:
            self._reader = ParquetTelemetryReader(self._path)
        return self._reader.of_traces(traces, limit=limit)

    def recent_events(self, *, after_ns: int, limit: int) -> Iterator[Event]:
        """The last `limit` events received after `after_ns`, in the order in which they were recorded."""
        reader = ParquetTelemetryReader(self._path)
        try:
            yield from reader.recent(after_ns=after_ns, limit=limit)
        finally:
            reader.close()

    def trim(self, *, log_before_ns: int) -> None:
        """Forget what of the log is older than this and was read out; a few batches at a time, so that none waits for long."""
        while True:
            batches = self._upkeep.connection.execute(
                "SELECT seq, received_ns FROM ingest_log WHERE seq <= ? ORDER BY seq LIMIT ?",
                # Read beside the connection that records: what a group under way has read out may still be taken back.
                (progress(self._upkeep.connection, READ_OUT), TRIMMED_AT_ONCE),
            ).fetchall()
            # Places rise with time: the first that is young enough ends it.
            old = list(takewhile(lambda batch: batch[1] < log_before_ns, batches))
            if not old:
                return
            with self._turn, transaction(self._upkeep.connection):
                self._upkeep.connection.execute("DELETE FROM ingest_log WHERE seq <= ?", (old[-1][0],))

    # The upkeep. Each is one step, to be called again while it returns true.

    def settle(self, *, now_ns: int, everything: bool = False) -> bool:
        """Move the oldest part of the tail into a segment, if it is time or `everything` must go; whether any was."""
        moved = self._upkeep.settle(now_ns=now_ns, everything=everything)
        if moved:
            (raw,) = self._upkeep.connection.execute("SELECT coalesce(sum(raw_bytes), 0) FROM tail").fetchone()
            with self._tail_shrank:
                self._tail_raw_bytes = raw
                self._tail_shrank.notify_all()
        return moved

    def compact(self, *, now_ns: int) -> bool:
        """Merge a group of small segments, or of key runs; whether there was one."""
        return self._upkeep.compact(now_ns=now_ns)

    def retain(self, *, now_ns: int, before_ns: int, keep_bytes: int, holds: Sequence[Hold]) -> int:
        """Delete the oldest segments, except what a hold names; how many events were deleted.

        Forgets processes too that others of their agent came after: a day later, and of agents without a token with the events.
        """
        self._forget_processes(superseded_ns=now_ns - DAY_NS, untrusted_ns=before_ns)
        return self._upkeep.retain(now_ns=now_ns, before_ns=before_ns, keep_bytes=keep_bytes, holds=holds)

    def _forget_processes(self, *, superseded_ns: int, untrusted_ns: int) -> None:
        rows = self._upkeep.connection.execute("SELECT json FROM beats").fetchall()
        beats = [(json, msgspec.json.decode(json, type=Beat)) for (json,) in rows]
        newest: dict[tuple[str, bool], int] = {}
        for _, beat in beats:
            key = (beat.agent, beat.trusted)
            newest[key] = max(newest.get(key, 0), beat.last_seen_ns)
        gone = [
            (beat.agent, beat.instance, int(beat.trusted), json)
            for json, beat in beats
            if (beat.last_seen_ns < superseded_ns and beat.last_seen_ns < newest[beat.agent, beat.trusted])
            or (beat.last_seen_ns < untrusted_ns and not beat.trusted)
        ]
        if gone:
            with self._turn, transaction(self._upkeep.connection):
                # One that was heard of meanwhile is another row, and stays.
                self._upkeep.connection.executemany(
                    "DELETE FROM beats WHERE agent = ? AND instance = ? AND trusted = ? AND json = ?", gone
                )

    def sweep(self, *, now_ns: int) -> None:
        """Remove files that nobody reads any more."""
        self._upkeep.sweep(now_ns=now_ns)

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()
        self._upkeep.close()
        self._store.close()
        self._log.close()
