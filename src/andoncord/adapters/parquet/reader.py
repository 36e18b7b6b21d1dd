"""The telemetry store on one machine, the reading side, safe in any other process and from any thread.

One look at the store is one read transaction of SQLite: the blocks of the tail and the segments that the manifest names at that
moment, so that no event is seen twice or missed while it moves from one to the other. What is recent is answered from the tail
alone, within a millisecond; DuckDB is loaded at the first question about older events.
"""

import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from heapq import heappush, heappushpop
from operator import itemgetter
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import msgspec

from andoncord.adapters.parquet import manifest
from andoncord.adapters.parquet.manifest import Segment
from andoncord.adapters.parquet.query import Found, Query, Read, bare, whole
from andoncord.adapters.parquet.rows import LOG_COLUMNS, batch_of, beats_of, fleet_of
from andoncord.adapters.parquet.schema import EXPIRED, LAST_ID, READ_OUT, check_version, progress, replaced
from andoncord.adapters.sqlite.connection import connect
from andoncord.detect.finding import Finding
from andoncord.detect.ports import SeriesPoint, Storage
from andoncord.telemetry.batch import Batch, Beat, LedgerLine, Signal
from andoncord.telemetry.block import ANY, columns_of, index_of, lines_at, without
from andoncord.telemetry.event import Event

if TYPE_CHECKING:
    from andoncord.adapters.parquet.scan import SegmentScan

PAGE = 20_000
"""Events read at once where many are walked through."""


class ParquetTelemetryReader:
    """Reads what a `ParquetTelemetryWriter` wrote. Of an older file it reads the log alone, as `andon verify` does.

    Args:
        path: of `telemetry.db`.
    """

    def __init__(self, path: Path) -> None:
        self._connection = connect(path, read_only=True)
        self._path = path
        self._folder = path.parent / manifest.FOLDER
        self._look = Lock()
        self._short = connect(path, read_only=True)
        """For what takes a moment and is asked on the way to an order: it must not wait for the walk through a whole tail."""
        self._short_look = Lock()
        self._scan: SegmentScan | None = None

    # Events.

    def trace(self, trace_id: str, *, limit: int | None = None) -> tuple[Event, ...]:
        """Every event of one trace, or the last `limit`, by start time."""
        found = self._find(Query(traces=(trace_id,)), last=limit)
        return tuple(sorted((each.event for each in found), key=lambda event: event.start_ns))

    def of_traces(self, traces: Sequence[str], *, limit: int) -> tuple[tuple[int, Event], ...]:
        """The last `limit` events of some traces by time, each with its place."""
        found = self._find(Query(traces=tuple(traces)), last=limit) if traces else []
        return tuple((each.id, each.event) for each in found)

    def of_agents(
        self,
        agents: Iterable[str],
        *,
        since_ns: int,
        until_ns: int,
        limit: int,
        kinds: Sequence[str] = (),
        with_texts: bool = True,
    ) -> tuple[Event, ...]:
        """The last `limit` events of these agents, and kinds if any are named, that were over between the instants, by time."""
        names = tuple(sorted(set(agents)))
        if not names:
            return ()
        query = Query(agents=names, kinds=tuple(map(str, kinds)), from_ns=since_ns, until_ns=until_ns)
        return tuple(each.event for each in self._find(query, last=limit, read=whole if with_texts else bare))

    def of_kind_since(self, agent: str, *, kinds: Sequence[str], after_ns: int, limit: int) -> tuple[Event, ...]:
        """The last `limit` events of one agent and these kinds after an instant, by time."""
        query = Query(agents=(agent,), kinds=tuple(map(str, kinds)), from_ns=after_ns + 1)
        return tuple(each.event for each in self._find(query, last=limit, is_short=True))

    def series(self, agents: Sequence[str], *, since_ns: int, until_ns: int, step_ns: int) -> tuple[SeriesPoint, ...]:
        """What happened per agent and stretch of time, by agent and time; of every agent where none is named."""
        query = Query(agents=tuple(agents), from_ns=since_ns, until_ns=until_ns)
        with self._look:
            blocks, segments, gone = self._blocks(query, "columns")
        kept = (without(columns_of(packed), first_id, gone) for first_id, packed in blocks)
        return self._segments().series(query, segments, gone, kept, step_ns=step_ns)

    def export(self, path: Path, *, agents: Sequence[str] = (), since_ns: int, until_ns: int) -> int:
        """Write the events of these agents, or of all, that were over between the instants, as one Parquet file; how many."""
        query = Query(agents=tuple(agents), from_ns=since_ns, until_ns=until_ns)
        with self._look:
            blocks, segments, gone = self._blocks(query, "columns, body")
        return self._segments().export(path, query, segments, gone, blocks)

    def storage(self) -> Storage:
        """What is kept, and how much room it takes. Looks at the files, not into them."""
        with self._look:
            check_version(self._connection, place=str(self._path))
            self._connection.execute("BEGIN")
            try:
                segments = manifest.segments(self._connection)
                tail = self._connection.execute(
                    "SELECT coalesce(sum(rows), 0), coalesce(sum(raw_bytes), 0), min(min_at_ns) FROM tail"
                ).fetchone()
                # Counting them would read every page of a log that can be many GiB.
                (batches,) = self._connection.execute(
                    "SELECT coalesce((SELECT max(seq) FROM ingest_log) - (SELECT min(seq) FROM ingest_log) + 1, 0)"
                ).fetchone()
                expired = progress(self._connection, EXPIRED)
                gone = len(replaced(self._connection))
                (stored,) = self._connection.execute(
                    "SELECT coalesce(sum(count), 0) FROM ledger WHERE outcome = 'stored'"
                ).fetchone()
            finally:
                self._connection.execute("COMMIT")
        found = self._scan.damaged if self._scan else set()
        times = [segment.min_at_ns for segment in segments] + ([tail[2]] if tail[2] is not None else [])
        return Storage(
            stored=stored,
            events=tail[0] + sum(segment.rows for segment in segments) - gone,
            expired=expired,
            tail_events=tail[0],
            tail_raw_bytes=tail[1],
            segments=len(segments),
            segment_bytes=sum(segment.bytes for segment in segments),
            log_batches=batches,
            database_bytes=sum(path.stat().st_size for path in self._path.parent.glob(f"{self._path.name}*")),
            oldest_ns=min(times, default=0),
            damaged=tuple(sorted(found | {name for segment in segments for name in self._missing(segment)})),
        )

    def _missing(self, segment: Segment) -> Iterator[str]:
        events, traces = segment.files(self._folder)
        if not events.is_file() or events.stat().st_size != segment.bytes:
            yield events.name
        if not traces.is_file():
            yield traces.name

    def tail(self, *, after: int, agent: str = "", kinds: Sequence[str] = (), limit: int) -> tuple[tuple[int, Event], ...]:
        """The first `limit` events stored after place `after`, in that order, each with its place."""
        query = Query(agents=(agent,) if agent else (), kinds=tuple(map(str, kinds)), after_id=after)
        found = self._first(query, limit)
        return tuple((each.id, each.event) for each in found)

    def stored(self) -> int:
        """The place of the newest event."""
        with self._short_look:
            return progress(self._short, LAST_ID)

    def recent(self, *, after_ns: int, limit: int) -> Iterator[Event]:
        """The last `limit` events received after `after_ns`, in the order in which they were stored."""
        after = max(0, self.stored() - limit)
        while found := self._first(Query(after_id=after, received_ns=after_ns), PAGE):
            yield from (each.event for each in found)
            after = found[-1].id

    def _find(self, query: Query, *, last: int | None = None, is_short: bool = False, read: Read = whole) -> list[Found]:
        """Everything that fits, or the `last` by time; by time."""
        look, connection = (self._short_look, self._short) if is_short else (self._look, self._connection)
        with look, self._moment(connection):
            segments, gone = self._known(connection, query)
            found = self._in_tail(connection, query, gone, last=last, read=read)
        if segments:
            found += self._segments().find(query, segments, gone, first=None, last=last, read=read)
        found.sort(key=itemgetter(0, 1))
        return found[-last:] if last is not None else found

    def _first(self, query: Query, first: int) -> list[Found]:
        """The `first` that fit by place. What is in segments was stored before what is in the tail."""
        found: list[Found] = []
        while True:
            with self._look, self._moment(self._connection):
                segments, gone = self._known(self._connection, query)
                if not segments:
                    return found + self._in_tail(self._connection, query, gone, first=first - len(found))
            found += self._segments().find(query, segments, gone, first=first - len(found), last=None)
            if len(found) >= first:
                return found
            # What moved from the tail meanwhile is in a segment that comes after these.
            query = msgspec.structs.replace(query, after_id=max(segment.last_id for segment in segments))

    @contextmanager
    def _moment(self, connection: sqlite3.Connection) -> Iterator[None]:
        """The store as it is at one moment, for as long as this lasts."""
        check_version(connection, place=str(self._path))
        connection.execute("BEGIN")
        try:
            yield
        finally:
            connection.execute("COMMIT")

    def _known(self, connection: sqlite3.Connection, query: Query) -> tuple[list[Segment], set[int]]:
        """The segments that may hold what is looked for, and the ids that are left out because others took their place."""
        segments = [segment for segment in manifest.segments(connection) if query.may_hold(segment)]
        return segments, replaced(connection)

    def _in_tail(
        self,
        connection: sqlite3.Connection,
        query: Query,
        gone: Collection[int],
        *,
        first: int | None = None,
        last: int | None = None,
        read: Read = whole,
    ) -> list[Found]:
        """What fits of the tail, one block at a time in memory; the bodies only of blocks that hold what was chosen."""
        where, parameters = _holding(query)
        order = "max_at_ns DESC" if last is not None else "first_id"
        named = "traces" if query.traces else "''"
        heads = connection.execute(f"SELECT first_id, max_at_ns, {named} FROM tail WHERE {where} ORDER BY {order}", parameters)
        chosen: list[tuple[int, int, int, int]] = []
        for first_id, max_at_ns, traces in heads:
            if query.traces and set(query.traces).isdisjoint(traces.split("\n")):
                continue
            if last is not None and len(chosen) >= last and max_at_ns < chosen[0][0]:
                break
            (packed,) = connection.execute("SELECT columns FROM tail WHERE first_id = ?", (first_id,)).fetchone()
            for at_ns, event_id, place in query.fitting(first_id, index_of(packed), gone):
                if last is None or len(chosen) < last:
                    (chosen.append if last is None else partial(heappush, chosen))((at_ns, event_id, first_id, place))
                else:
                    heappushpop(chosen, (at_ns, event_id, first_id, place))
            if first is not None and len(chosen) >= first:
                break
        return self._read(connection, chosen[:first] if first is not None else chosen, read)

    def _read(self, connection: sqlite3.Connection, chosen: Sequence[tuple[int, int, int, int]], read: Read) -> list[Found]:
        by_block: dict[int, list[tuple[int, int, int]]] = {}
        for at_ns, event_id, first_id, place in sorted(chosen, key=itemgetter(1)):
            by_block.setdefault(first_id, []).append((at_ns, event_id, place))
        found: list[Found] = []
        for first_id, wanted in by_block.items():
            (body,) = connection.execute("SELECT body FROM tail WHERE first_id = ?", (first_id,)).fetchone()
            lines = lines_at(body, [place for _, _, place in wanted])
            found += [Found(at_ns, event_id, read(line)) for (at_ns, event_id, _), line in zip(wanted, lines, strict=True)]
        return found

    def _blocks(self, query: Query, wanted: str) -> tuple[list[Any], list[Segment], set[int]]:
        """Of all blocks that may hold what is looked for the id of the first event and what is wanted; segments; ids gone."""
        where, parameters = _holding(query)
        with self._moment(self._connection):
            segments, gone = self._known(self._connection, query)
            sql = f"SELECT first_id, {wanted} FROM tail WHERE {where} ORDER BY first_id"
            return self._connection.execute(sql, parameters).fetchall(), segments, gone

    def _segments(self) -> "SegmentScan":
        with self._look:
            if self._scan is None:
                # DuckDB is loaded by the first question that needs it, not when the process starts.
                from andoncord.adapters.parquet.scan import SegmentScan

                self._scan = SegmentScan(self._folder)
            return self._scan

    # Everything else.

    def findings(self, *, after: int, limit: int) -> tuple[tuple[int, Finding], ...]:
        """Findings stored after place `after`, each with its place."""
        rows = self._rows("SELECT seq, json FROM findings WHERE seq > ? ORDER BY seq LIMIT ?", after, limit)
        return tuple((row[0], msgspec.json.decode(row[1], type=Finding)) for row in rows)

    def beats(self) -> tuple[Beat, ...]:
        """The last sign of life of every process that was ever heard of."""
        with self._short_look:
            return beats_of(self._short)

    def fleet(self) -> tuple[tuple[str, bytes], ...]:
        """What is kept about every agent."""
        with self._short_look:
            return fleet_of(self._short)

    def ledger(self) -> tuple[LedgerLine, ...]:
        """What became of everything that was accepted."""
        return tuple(
            LedgerLine(signal=Signal(signal), outcome=outcome, reason=reason, count=count)
            for signal, outcome, reason, count in self._rows(
                "SELECT signal, outcome, reason, count FROM ledger ORDER BY 1, 2, 3"
            )
        )

    def batch_digests(self, *, after: int, limit: int) -> tuple[tuple[int, str], ...]:
        """Place and digest of the batches after place `after`."""
        rows = self._rows("SELECT seq, sha256 FROM ingest_log WHERE seq > ? ORDER BY seq LIMIT ?", after, limit)
        return tuple((row[0], row[1]) for row in rows)

    def batches(self, *, first: int, last: int) -> Iterator[Batch]:
        """The batches from place `first` to `last` that are still kept, one at a time."""
        query = f"SELECT {LOG_COLUMNS} FROM ingest_log WHERE seq BETWEEN ? AND ? ORDER BY seq LIMIT 1"
        while rows := self._rows(query, first, last):
            batch = batch_of(rows[0])
            yield batch
            first = batch.seq + 1

    def read_out(self) -> int:
        """The place in the log up to which everything is recorded."""
        with self._short_look:
            return progress(self._short, READ_OUT)

    def lag(self) -> int:
        """Batches that were accepted but not yet read out."""
        (row,) = self._rows(
            "SELECT (SELECT coalesce(max(seq), 0) FROM ingest_log)"
            " - (SELECT coalesce(max(seq), 0) FROM progress WHERE name = ?)",
            READ_OUT,
        )
        return max(0, int(row[0]))

    def _rows(self, query: str, *parameters: Any) -> list[Any]:
        with self._short_look:
            return self._short.execute(query, parameters).fetchall()

    def close(self) -> None:
        if self._scan is not None:
            self._scan.close()
        self._short.close()
        self._connection.close()


def _holding(query: Query) -> tuple[str, list[Any]]:
    """The blocks that may hold what is looked for, as SQL, and its parameters. Their traces are not looked at."""
    where = ["first_id + rows > ?", "max_at_ns >= ?", "min_at_ns <= ?", "max_received_ns >= ?"]
    parameters: list[Any] = [query.after_id + 1, query.from_ns, query.until_ns, query.received_ns]
    if marks := query.marks():
        where.append(f"(marks = '{ANY}' OR {' OR '.join(['instr(marks, ?)'] * len(marks))})")
        parameters += marks
    return " AND ".join(where), parameters
