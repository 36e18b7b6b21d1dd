"""Looking into segments with DuckDB."""

import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import duckdb

from andoncord.adapters.parquet.files import (
    FORMAT,
    PARTIAL,
    READER_MEMORY_MB,
    READER_THREADS,
    TraceList,
    connect,
    events_table,
    publish,
    quoted,
    series_table,
    trace_hash,
)
from andoncord.adapters.parquet.manifest import Segment
from andoncord.adapters.parquet.query import UNNESTED, Found, Query, Read, whole
from andoncord.detect.ports import SeriesPoint
from andoncord.telemetry.block import Columns, columns_of, lines_of
from andoncord.telemetry.event import EventKind

STEP_KINDS = (EventKind.MODEL_COMPLETED, EventKind.MODEL_FAILED, EventKind.TOOL_COMPLETED, EventKind.TOOL_FAILED)
_SERIES_COLUMNS = "agent, kind, at_ns, ok, duration_ns, input_tokens, output_tokens, cost_micro_usd, passed"
_STEPS = ", ".join(f"'{kind}'" for kind in STEP_KINDS)
_SERIES = f"""
SELECT agent, {{from_ns}} + (at_ns - {{from_ns}}) // {{step_ns}} * {{step_ns}} AS begin, count(*),
    count(*) FILTER (kind IN ({_STEPS})), count(*) FILTER (kind IN ({_STEPS}) AND NOT ok),
    sum(input_tokens)::BIGINT, sum(output_tokens)::BIGINT, sum(cost_micro_usd)::BIGINT,
    coalesce(quantile_disc(duration_ns, 0.5) FILTER (kind IN ({_STEPS})), 0) / 1e6,
    coalesce(quantile_disc(duration_ns, 0.95) FILTER (kind IN ({_STEPS})), 0) / 1e6,
    count(*) FILTER (passed >= 0), count(*) FILTER (passed = 1)
FROM ({{rows}}) GROUP BY agent, begin ORDER BY agent, begin
"""

Question = tuple[str, list[Any]]
"""SQL and its parameters."""

logger = logging.getLogger(__name__)

ROWS_AT_ONCE = 1_024
MAX_TRACE_LIST_BYTES = 64 * 1024 * 1024
"""Lists of traces that are kept in memory, as much as 64 million spans have; beyond that the oldest go, and are read again."""


class SegmentScan:
    """Answers questions from segment files. Safe from several threads; each question has a cursor of its own.

    A file that cannot be read is left out of the answer, which is better than none. It is said in the log and by `damaged`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._duckdb = connect(threads=READER_THREADS, memory_mb=READER_MEMORY_MB, spill=folder / "spill")
        self._lists: dict[int, TraceList] = {}
        self._turn = Lock()
        self.damaged: set[str] = set()
        """Files that could not be read when they were asked for."""

    def find(
        self,
        query: Query,
        segments: Sequence[Segment],
        gone: Collection[int],
        *,
        first: int | None,
        last: int | None,
        read: Read = whole,
    ) -> list[Found]:
        """The events that fit, by time; or the `first` by place; or the `last` by time, in any order; without those gone."""
        if query.traces:
            wanted = [trace_hash(trace) for trace in query.traces]
            segments = [segment for segment in segments if self._may_hold(segment, wanted)]
        if first is not None:
            return self._first(query, segments, gone, first)
        if last is not None:
            order, limit = "at_ns DESC, id DESC", last
        else:
            order, limit = "at_ns, id", None
        return self._rows(query, segments, gone, order, limit, read)

    def _first(self, query: Query, segments: Sequence[Segment], gone: Collection[int], first: int) -> list[Found]:
        """Segment by segment: what is in one was stored before what is in the next, and seldom more than one is needed."""
        found: list[Found] = []
        for segment in sorted(segments, key=lambda each: each.first_id):
            if len(found) < first:
                found += self._rows(query, [segment], gone, "id", first - len(found), whole)
        return found

    def _rows(
        self,
        query: Query,
        segments: Sequence[Segment],
        gone: Collection[int],
        order: str,
        limit: int | None,
        read: Read,
    ) -> list[Found]:
        where, parameters = condition(query, gone)
        if not segments:
            return []
        sql = f"SELECT at_ns, id, json FROM read_parquet(?) WHERE {where} ORDER BY {order}" + (" LIMIT ?" if limit else "")

        def question(files: list[str]) -> Question | None:
            return (sql, [files, *parameters, *([limit] if limit else [])]) if files else None

        return self._ask(segments, question, read=lambda row: Found(row[0], row[1], read(row[2])))

    def series(
        self, query: Query, segments: Sequence[Segment], gone: Collection[int], blocks: Iterable[Columns], *, step_ns: int
    ) -> tuple[SeriesPoint, ...]:
        """Sums and quantiles over segments and the tail together; `blocks` are without what is gone, as is the answer."""
        where, parameters = condition(query)
        stored, stored_parameters = condition(query, gone)
        tail = f"SELECT {_SERIES_COLUMNS} FROM tail WHERE {where}"

        def question(files: list[str]) -> Question:
            rows = f"{tail} UNION ALL SELECT {_SERIES_COLUMNS} FROM read_parquet(?) WHERE {stored}" if files else tail
            sql = _SERIES.format(rows=rows, from_ns=query.from_ns, step_ns=step_ns)
            return sql, [*parameters, files, *stored_parameters] if files else parameters

        names = SeriesPoint.__struct_fields__
        found = self._ask(segments, question, tail=series_table(blocks))
        return tuple(SeriesPoint(**dict(zip(names, row, strict=True))) for row in found)

    def export(
        self,
        path: Path,
        query: Query,
        segments: Sequence[Segment],
        gone: Collection[int],
        blocks: Sequence[tuple[int, bytes, bytes]],
    ) -> int:
        """Copy what fits from segments and the tail into one file, which appears when it is whole; without what is gone."""
        where, parameters = condition(query, gone)
        columns = [columns_of(packed) for _, packed, _ in blocks]
        lines = [line.decode() for _, _, body in blocks for line in lines_of(body)]
        sources = [f"SELECT * FROM tail WHERE {where}"] if blocks else []
        values = list(parameters) if blocks else []
        files = [str(segment.files(self._folder)[0]) for segment in segments]
        if files:
            sources.append(f"SELECT * FROM read_parquet(?) WHERE {where}")
            values += [files, *parameters]
        if not sources:
            return 0
        partial = path.with_name(path.name + PARTIAL)
        cursor = self._duckdb.cursor()
        try:
            if blocks:
                cursor.register("tail", events_table([first_id for first_id, _, _ in blocks], columns, lines))
            copied = cursor.execute(f"COPY ({' UNION ALL BY NAME '.join(sources)}) TO {quoted(partial)} ({FORMAT})", values)
            row = copied.fetchone()
        finally:
            cursor.close()
        publish(partial, path)
        return int(row[0]) if row else 0

    def _ask(
        self,
        segments: Sequence[Segment],
        question: Callable[[list[str]], Question | None],
        *,
        tail: dict[str, Any] | None = None,
        read: Callable[[tuple[Any, ...]], Any] = tuple,
    ) -> list[Any]:
        """The rows that answer a question about files, each read; `tail` is a table of that name.

        What cannot be read is left out.
        """
        files = [str(segment.files(self._folder)[0]) for segment in segments]
        while (asked := question(files)) is not None:
            cursor = self._duckdb.cursor()
            try:
                if tail is not None:
                    cursor.register("tail", tail)
                cursor.execute(*asked)
                found: list[Any] = []
                while rows := cursor.fetchmany(ROWS_AT_ONCE):
                    found += map(read, rows)
                return found
            except duckdb.Error as error:
                bad = [file for file in files if not self._is_readable(file)]
                if not bad:
                    raise
                logger.error("segments cannot be read and are left out: %s: %s", ", ".join(bad), error)
                self.damaged.update(Path(file).name for file in bad)
                files = [file for file in files if file not in bad]
            finally:
                cursor.close()
        return []

    def _is_readable(self, file: str) -> bool:
        try:
            self._duckdb.cursor().execute("SELECT sum(id), sum(length(json)) FROM read_parquet(?)", [[file]]).fetchall()
        except duckdb.Error:
            return False
        return True

    def _may_hold(self, segment: Segment, wanted: Iterable[int]) -> bool:
        with self._turn:
            known = self._lists.get(segment.number)
        if known is None:
            try:
                known = TraceList(segment.files(self._folder)[1])
            except (OSError, TypeError):
                # Without its list, or with half of one, the segment itself is looked into.
                return True
            with self._turn:
                self._lists[segment.number] = known
                while len(self._lists) > 1 and sum(each.bytes for each in self._lists.values()) > MAX_TRACE_LIST_BYTES:
                    del self._lists[next(iter(self._lists))]
        return any(map(known.may_hold, wanted))

    def close(self) -> None:
        self._duckdb.close()


def condition(query: Query, gone: Collection[int] = ()) -> tuple[str, list[Any]]:
    """What a query asks for, without the ids that are gone, as SQL over the columns of a segment, and its parameters."""
    parts = ["at_ns BETWEEN ? AND ?"]
    parameters: list[Any] = [query.from_ns, query.until_ns]
    for column, values in (("agent", query.agents), ("kind", query.kinds), ("trace_id", query.traces)):
        if values:
            parts.append(f"{column} IN ({','.join('?' * len(values))})")
            parameters += values
    if query.after_id:
        parts.append("id > ?")
        parameters.append(query.after_id)
    parts.append("received_ns >= ?")
    parameters.append(query.received_ns)
    if gone:
        parts.append(f"id NOT IN ({UNNESTED})")
        parameters.append(list(gone))
    return " AND ".join(parts), parameters
