"""What keeps the store in shape, on a thread of its own: the tail to segments, small segments to larger ones, old ones away.

Each step writes its files first and then changes the manifest in one durable transaction. A crash before that leaves files that
the manifest does not name (`sweep` removes them), a crash after it leaves nothing to do.
"""

import logging
import sqlite3
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Sequence
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import msgspec

from andoncord.adapters.parquet import manifest
from andoncord.adapters.parquet.index import KeyIndex
from andoncord.adapters.parquet.manifest import Segment
from andoncord.adapters.parquet.query import UNNESTED
from andoncord.adapters.parquet.schema import EXPIRED, drop_replaced, progress, put_progress, replaced
from andoncord.adapters.sqlite.connection import transaction
from andoncord.kernel.time import MINUTE_NS
from andoncord.telemetry.block import ANY, columns_of, digests_in, lines_of, mark, marks_of, without
from andoncord.telemetry.holding import Hold

if TYPE_CHECKING:
    from andoncord.adapters.parquet.files import SegmentWriter

logger = logging.getLogger(__name__)

SEGMENT_ROWS = 100_000
SEGMENT_RAW_BYTES = 64 * 1024 * 1024
"""What a segment made of the tail holds at most; the tail is moved when it holds half as much again."""
TAIL_AGE_NS = 15 * MINUTE_NS
"""When the oldest event of the tail came so long ago, the tail is moved too, however little it is."""
KEPT_AGE_NS = 5 * MINUTE_NS
"""What came within this time stays in the tail then: it is what containments are verified with, and is read most."""
MAX_REPLACED = 5_000
"""Events in segments that others took the place of; each is left out of every answer. Beyond it segments are written anew."""
MERGED_RAW_BYTES = 128 * 1024 * 1024
MERGED_KEYS = 8_000_000
"""Runs of keys of this size (128 MB) are not merged further: every 8 million events cost one more search."""
GRACE_NS = 5 * MINUTE_NS
"""How long the files of a dropped segment stay for readers that began before."""


class Upkeep:
    """The writer's background work. Used from one thread.

    Args:
        folder: where the segments are.
        connection: a durable connection of its own to `telemetry.db`.
        turn: held while a transaction is open.
        on_step: called between the steps with their names; for tests that kill the process there.
    """

    def __init__(
        self,
        folder: Path,
        connection: sqlite3.Connection,
        *,
        turn: Lock,
        index: KeyIndex,
        on_step: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._folder = folder
        self.connection = connection
        self._turn = turn
        self._index = index
        self._on_step = on_step
        self._kept: dict[int, bytes] = {}
        """Segments past their time that are evidence through and through, with the holds that said so."""
        self.has_files = False

    @cached_property
    def _files(self) -> "SegmentWriter":
        # DuckDB is loaded when the first segment is written, not when the worker starts.
        from andoncord.adapters.parquet.files import SegmentWriter

        self.has_files = True
        return SegmentWriter(self._folder)

    def settle(self, *, now_ns: int, everything: bool = False) -> bool:
        """Move the oldest part of the tail into a segment, if it is time; whether anything was moved, or written anew.

        Events that others took the place of stay behind.
        """
        due = self._due(now_ns, everything=everything)
        if due is None:
            return self._drop_replaced(now_ns)
        first, last = due
        rows = self.connection.execute(
            "SELECT first_id, keys, columns, body, max_received_ns, raw_bytes FROM tail"
            " WHERE first_id BETWEEN ? AND ? ORDER BY first_id",
            (first, last),
        ).fetchall()
        columns = [columns_of(packed) for _, _, packed, *_ in rows]
        last_id = rows[-1][0] + len(columns[-1].at_ns) - 1
        gone = replaced(self.connection, first=first, last=last_id)
        kept = [without(block, row[0], gone) for row, block in zip(rows, columns, strict=True)]
        if not any(block.at_ns for block in kept):
            # Their keys are those of the events that took their place.
            with self._turn, transaction(self.connection):
                self.connection.execute("DELETE FROM tail WHERE first_id BETWEEN ? AND ?", (first, last))
                drop_replaced(self.connection, gone)
            return True
        number = manifest.next_number(self.connection, "segments")
        run = manifest.next_number(self.connection, "key_runs")
        times = [at_ns for block in kept for at_ns in block.at_ns]
        keys = b"".join(keys for _, keys, *_ in rows)
        segment = Segment(
            number=number,
            rows=len(times),
            first_id=rows[0][0],
            last_id=last_id,
            min_at_ns=min(times),
            max_at_ns=max(times),
            max_received_ns=max(row[4] for row in rows),
            raw_bytes=sum(row[5] for row in rows),
            bytes=self._files.write(
                f"{number:08d}",
                first_ids=[row[0] for row in rows],
                columns=columns,
                lines=[line.decode() for row in rows for line in lines_of(row[3])],
                gone=gone,
            ),
            marks=marks_of(pair for block in kept for pair in zip(block.agent, block.kind, strict=True)),
        )
        self._on_step("segment written")
        self._write_run(run, [keys])
        self._on_step("keys written")
        with self._turn, transaction(self.connection):
            manifest.add_segment(self.connection, segment)
            self.connection.execute("INSERT INTO key_runs VALUES (?, ?, ?)", (run, segment.rows, segment.last_id))
            self.connection.execute("DELETE FROM tail WHERE first_id BETWEEN ? AND ?", (first, last))
            drop_replaced(self.connection, gone)
            self._on_step("manifest open")
        self._on_step("manifest changed")
        self._index.moved(digests_in(keys), run=run)
        return True

    def _due(self, now_ns: int, *, everything: bool) -> tuple[int, int] | None:
        """The first and the last block to move."""
        blocks = self.connection.execute(
            "SELECT first_id, rows, raw_bytes, max_received_ns FROM tail ORDER BY first_id"
        ).fetchall()
        if not blocks:
            return None
        rows, raw = sum(block[1] for block in blocks), sum(block[2] for block in blocks)
        is_large = rows > SEGMENT_ROWS * 3 // 2 or raw > SEGMENT_RAW_BYTES * 3 // 2
        is_old = blocks[0][3] < now_ns - TAIL_AGE_NS
        if not (is_large or is_old or everything):
            return None
        last, rows, raw = None, 0, 0
        for first_id, block_rows, block_raw, received_ns in blocks:
            if last is not None and (rows + block_rows > SEGMENT_ROWS or raw + block_raw > SEGMENT_RAW_BYTES):
                break
            if not (is_large or everything) and received_ns >= now_ns - KEPT_AGE_NS:
                break
            last, rows, raw = first_id, rows + block_rows, raw + block_raw
        return (blocks[0][0], last) if last is not None else None

    def compact(self, *, now_ns: int) -> bool:
        """Merge one group of small neighbours, of segments or of key runs; whether there was one."""
        return self._merge_segments(now_ns) or self._merge_runs(now_ns)

    def _merge_segments(self, now_ns: int) -> bool:
        known = manifest.segments(self.connection)
        group = manifest.to_merge([segment.raw_bytes for segment in known], limit=MERGED_RAW_BYTES)
        if not group:
            return False
        self._replace([known[place] for place in group], now_ns=now_ns)
        return True

    def _replace(self, old: Sequence[Segment], *, now_ns: int, where: str = "true", parameters: Sequence[Any] = ()) -> Segment:
        """Write what `where` names of some segments as one, and drop them."""
        number = manifest.next_number(self.connection, "segments")
        name = f"{number:08d}"
        sources = [segment.files(self._folder)[0] for segment in old]
        gone = self._replaced_in(old)
        where, parameters = _but(where, parameters, gone)
        size = self._files.rewrite(name, sources, where=where, parameters=parameters)
        rows, first_id, last_id, min_at_ns, max_at_ns, received_ns, pairs = self._files.summary(name)
        before = sum(segment.rows for segment in old)
        new = Segment(
            number=number,
            rows=rows,
            first_id=first_id,
            last_id=last_id,
            min_at_ns=min_at_ns,
            max_at_ns=max_at_ns,
            max_received_ns=received_ns,
            raw_bytes=sum(segment.raw_bytes for segment in old) * rows // before,
            bytes=size,
            marks=marks_of(pairs),
        )
        self._on_step("merged segment written")
        with self._turn, transaction(self.connection):
            if rows:
                manifest.add_segment(self.connection, new)
            else:
                manifest.add_garbage(self.connection, *(path.name for path in new.files(Path())), now_ns=now_ns)
            manifest.drop_segments(self.connection, old, now_ns=now_ns)
            drop_replaced(self.connection, gone)
            put_progress(self.connection, EXPIRED, progress(self.connection, EXPIRED) + before - len(gone) - rows)
        self._on_step("merged segment named")
        return new

    def _merge_runs(self, now_ns: int) -> bool:
        runs = self.connection.execute("SELECT number, keys, last_id FROM key_runs ORDER BY last_id").fetchall()
        group = manifest.to_merge([keys for _, keys, _ in runs], limit=MERGED_KEYS)
        if not group:
            return False
        from andoncord.adapters.parquet.keys import KeyRun

        old = [runs[place] for place in group]
        number = manifest.next_number(self.connection, "key_runs")
        self._write_run(number, [KeyRun(self._folder / manifest.key_file(run)).joined() for run, _, _ in old])
        self._on_step("merged keys written")
        with self._turn, transaction(self.connection):
            self.connection.execute(
                "INSERT INTO key_runs VALUES (?, ?, ?)", (number, sum(keys for _, keys, _ in old), old[-1][2])
            )
            self._drop_runs([run for run, _, _ in old], now_ns=now_ns)
        self._index.merged([run for run, _, _ in old], number)
        return True

    def _write_run(self, number: int, keys: Sequence[bytes]) -> None:
        from andoncord.adapters.parquet.files import write_file
        from andoncord.adapters.parquet.keys import as_pairs, run_content

        write_file(self._folder / manifest.key_file(number), run_content(as_pairs(b"".join(keys))))

    def _drop_runs(self, numbers: Sequence[int], *, now_ns: int) -> None:
        self.connection.executemany("DELETE FROM key_runs WHERE number = ?", [(number,) for number in numbers])
        manifest.add_garbage(self.connection, *map(manifest.key_file, numbers), now_ns=now_ns)

    def retain(self, *, now_ns: int, before_ns: int, keep_bytes: int, holds: Sequence[Hold]) -> int:
        """Delete the segments whose events all came before an instant, and the oldest while there are too many bytes.

        What a hold names stays. Returns how many events were deleted.
        """
        before = progress(self.connection, EXPIRED)
        known = sorted(manifest.segments(self.connection), key=lambda segment: segment.max_received_ns)
        excess = sum(segment.bytes for segment in known) - keep_bytes
        for segment in known:
            if segment.max_received_ns >= before_ns and excess <= 0:
                break
            excess -= segment.bytes - self._expire(segment, holds, now_ns=now_ns)
        with self._turn, transaction(self.connection):
            oldest = self.connection.execute(
                "SELECT min(first_id) FROM (SELECT first_id FROM segments UNION ALL SELECT first_id FROM tail)"
            ).fetchone()[0]
            gone = [
                number
                for number, last_id in self.connection.execute("SELECT number, last_id FROM key_runs").fetchall()
                if oldest is not None and last_id < oldest
            ]
            self._drop_runs(gone, now_ns=now_ns)
        if gone:
            self._index.merged(gone, None)
        return progress(self.connection, EXPIRED) - before

    def _expire(self, segment: Segment, holds: Sequence[Hold], *, now_ns: int) -> int:
        """Delete what nobody holds of a segment; the bytes that stay."""
        concerned = [hold for hold in holds if _concerns(hold, segment)]
        if not concerned:
            self._drop(segment, now_ns=now_ns)
            return 0
        said = msgspec.json.encode(concerned)
        if self._kept.get(segment.number) == said:
            return segment.bytes
        gone = self._replaced_in([segment])
        where, parameters = _but(*_held(concerned), gone)
        held = self._files.count(segment.files(self._folder)[0], where=where, parameters=parameters)
        if held == 0:
            return self._expire(segment, (), now_ns=now_ns)
        if held == segment.rows - len(gone):
            self._kept[segment.number] = said
            return segment.bytes
        kept = self._replace([segment], now_ns=now_ns, where=where, parameters=parameters)
        self._kept.pop(segment.number, None)
        self._kept[kept.number] = said
        return kept.bytes

    def _drop(self, segment: Segment, *, now_ns: int) -> None:
        """Forget a segment with all that is in it."""
        with self._turn, transaction(self.connection):
            gone = self._replaced_in([segment])
            manifest.drop_segments(self.connection, [segment], now_ns=now_ns)
            drop_replaced(self.connection, gone)
            put_progress(self.connection, EXPIRED, progress(self.connection, EXPIRED) + segment.rows - len(gone))

    def _drop_replaced(self, now_ns: int) -> bool:
        """Write the segment anew in which most events were replaced, once there are many; whether that was done."""
        (last_id,) = self.connection.execute("SELECT coalesce(max(last_id), 0) FROM segments").fetchone()
        gone = sorted(replaced(self.connection, last=last_id))
        if len(gone) <= MAX_REPLACED:
            return False
        segment = max(
            manifest.segments(self.connection),
            key=lambda each: bisect_right(gone, each.last_id) - bisect_left(gone, each.first_id),
        )
        within = self._replaced_in([segment])
        if not within:
            return False
        if len(within) < segment.rows:
            self._replace([segment], now_ns=now_ns)
        else:
            self._drop(segment, now_ns=now_ns)
        return True

    def _replaced_in(self, segments: Sequence[Segment]) -> set[int]:
        """The events of some segments that others took the place of."""
        return set().union(*(replaced(self.connection, first=each.first_id, last=each.last_id) for each in segments))

    def sweep(self, *, now_ns: int) -> None:
        """Remove the files of segments that were dropped a while ago."""
        old = [
            file
            for (file,) in self.connection.execute(
                "SELECT file FROM garbage WHERE since_ns < ?", (now_ns - GRACE_NS,)
            ).fetchall()
        ]
        for file in old:
            (self._folder / file).unlink(missing_ok=True)
        if old:
            with self._turn, transaction(self.connection):
                self.connection.executemany("DELETE FROM garbage WHERE file = ?", [(file,) for file in old])

    def remove_unnamed(self) -> int:
        """Remove what a crash left half done: files that the manifest does not name. How many there were."""
        named = manifest.named_files(self.connection)
        unnamed = [path for path in self._folder.iterdir() if path.is_file() and path.name not in named]
        for path in unnamed:
            path.unlink()
        return len(unnamed)

    def close(self) -> None:
        if self.has_files:
            self._files.close()


def _but(where: str, parameters: Sequence[Any], gone: Collection[int]) -> tuple[str, list[Any]]:
    """A condition that leaves out what others took the place of."""
    if not gone:
        return where, list(parameters)
    return f"({where}) AND id NOT IN ({UNNESTED})", [*parameters, list(gone)]


def _concerns(hold: Hold, segment: Segment) -> bool:
    """Whether a segment can hold what is held. Traces are looked for in the events themselves."""
    if hold.traces:
        return True
    if segment.max_at_ns < hold.from_ns or segment.min_at_ns > hold.until_ns:
        return False
    return segment.marks == ANY or any(mark(agent) in segment.marks for agent in hold.agents)


def _held(holds: Sequence[Hold]) -> tuple[str, list[Any]]:
    """The condition that says what is held, and its parameters."""
    parts: list[str] = []
    parameters: list[Any] = []
    for hold in holds:
        if hold.agents:
            parts.append(f"(agent IN ({','.join('?' * len(hold.agents))}) AND at_ns BETWEEN ? AND ?)")
            parameters += [*hold.agents, hold.from_ns, hold.until_ns]
        if hold.traces:
            parts.append(f"trace_id IN ({','.join('?' * len(hold.traces))})")
            parameters += hold.traces
    return " OR ".join(parts) or "false", parameters
