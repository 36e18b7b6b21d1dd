"""Segments on disk: events in Parquet, written once, and a list of their traces beside them.

DuckDB writes and reads them from memory; it never has a file of its own. A file has its name only when it is whole and on disk.
"""

import os
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from andoncord.telemetry.block import Columns

ROW_GROUP = 2_048
"""Rows that are read or skipped together. With 10 240 one trace took six times as long, and files were 2 % smaller."""
ZSTD_LEVEL = 1
WRITER_MEMORY_MB = 512
READER_MEMORY_MB = 512
READER_THREADS = 2
PARTIAL = ".partial"

FORMAT = f"FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL {ZSTD_LEVEL}, ROW_GROUP_SIZE {ROW_GROUP}, PARQUET_VERSION v2"
_ORDER = "ORDER BY agent, at_ns, id"


def connect(*, threads: int, memory_mb: int, spill: Path) -> duckdb.DuckDBPyConnection:
    """DuckDB in memory; what does not fit spills into the folder `spill`. It loads nothing from the network."""
    connection = duckdb.connect(
        ":memory:",
        config={
            "threads": threads,
            "memory_limit": f"{memory_mb}MB",
            "temp_directory": str(spill),
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        },
    )
    # Cursors take over what is set globally and nothing else.
    connection.execute("SET GLOBAL parquet_metadata_cache = true")
    # Every text column holds texts alone. Looking at more of them costs a search for absent libraries for each.
    connection.execute("SET GLOBAL pandas_analyze_sample = 1")
    return connection


class SegmentWriter:
    """Writes segment files. Used from one thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._duckdb = connect(threads=1, memory_mb=WRITER_MEMORY_MB, spill=folder / "spill")

    def write(
        self,
        name: str,
        *,
        first_ids: Sequence[int],
        columns: Sequence[Columns],
        lines: Sequence[str],
        gone: Collection[int] = (),
    ) -> int:
        """Write the events of some blocks as a segment, and return its size in bytes.

        Args:
            name: of the file, without ending.
            first_ids: the id of each block's first event.
            columns: of each block.
            lines: of all blocks, the events as JSON.
            gone: ids of events that are left out.
        """
        table = events_table(first_ids, columns, lines)
        if gone:
            kept = ~np.isin(table["id"], np.array(list(gone), dtype=np.int64))
            table = {column: values[kept] for column, values in table.items()}
        self._duckdb.register("rows", table)
        try:
            size = self._copy(name, "SELECT * FROM rows")
        finally:
            self._duckdb.unregister("rows")
        self._write_traces(name, set(table["trace_id"]))
        return size

    def rewrite(self, name: str, sources: Sequence[Path], *, where: str = "true", parameters: Sequence[Any] = ()) -> int:
        """Write what some segments hold, or the part of it that `where` names, as one segment; its size in bytes."""
        files = [str(path) for path in sources]
        size = self._copy(name, f"SELECT * FROM read_parquet(?) WHERE {where} {_ORDER}", [files, *parameters])
        path = str(self._folder / f"{name}.parquet")
        traces = self._duckdb.execute("SELECT DISTINCT trace_id FROM read_parquet(?)", [path]).fetchall()
        self._write_traces(name, {trace for (trace,) in traces})
        return size

    def summary(self, name: str) -> tuple[int, int, int, int, int, int, set[tuple[str, str]]]:
        """Rows, first and last id, first and last time, last receipt, and the agents with their kinds, of a written segment."""
        path = str(self._folder / f"{name}.parquet")
        row = self._duckdb.execute(
            "SELECT count(*), coalesce(min(id), 0), coalesce(max(id), 0), coalesce(min(at_ns), 0), coalesce(max(at_ns), 0),"
            " coalesce(max(received_ns), 0) FROM read_parquet(?)",
            [path],
        ).fetchone()
        assert row is not None
        pairs = self._duckdb.execute("SELECT DISTINCT agent, kind FROM read_parquet(?)", [path]).fetchall()
        return (*row, set(pairs))

    def count(self, path: Path, *, where: str, parameters: Sequence[Any]) -> int:
        """How many events of a segment `where` names."""
        row = self._duckdb.execute(f"SELECT count(*) FROM read_parquet(?) WHERE {where}", [[str(path)], *parameters]).fetchone()
        assert row is not None
        return int(row[0])

    def _copy(self, name: str, query: str, parameters: Sequence[Any] = ()) -> int:
        final = self._folder / f"{name}.parquet"
        partial = final.with_name(final.name + PARTIAL)
        self._duckdb.execute(f"COPY ({query}) TO {quoted(partial)} ({FORMAT})", list(parameters))
        return publish(partial, final)

    def _write_traces(self, name: str, traces: set[str]) -> None:
        hashes = np.sort(np.array([trace_hash(trace) for trace in traces if trace], dtype="<u8"))
        write_file(self._folder / f"{name}.traces", hashes.tobytes())

    def close(self) -> None:
        self._duckdb.close()


class TraceList:
    """The traces that a segment holds, as sorted hashes: 8 bytes for each."""

    def __init__(self, path: Path) -> None:
        self._hashes = memoryview(path.read_bytes()).cast("Q")

    @property
    def bytes(self) -> int:
        """How much memory it takes."""
        return self._hashes.nbytes

    def may_hold(self, wanted: int) -> bool:
        """Whether a trace with this hash is in the segment; by chance one in a trillion is found that is not."""
        place = bisect_left(self._hashes, wanted)
        return place < len(self._hashes) and self._hashes[place] == wanted


def trace_hash(trace_id: str) -> int:
    """What a trace is found by in a `TraceList`."""
    return int.from_bytes(blake2b(trace_id.encode(), digest_size=8).digest(), "little")


def write_file(path: Path, content: bytes) -> int:
    """Write a file that is there whole or not at all."""
    partial = path.with_name(path.name + PARTIAL)
    partial.write_bytes(content)
    return publish(partial, path)


def publish(partial: Path, final: Path) -> int:
    """Give a written file its name once it is on disk; its size in bytes."""
    with partial.open("rb") as file:
        os.fsync(file.fileno())
        size = os.fstat(file.fileno()).st_size
    partial.replace(final)
    folder = os.open(final.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return size


def events_table(first_ids: Sequence[int], columns: Sequence[Columns], lines: Sequence[str]) -> dict[str, Any]:
    """The blocks as one table of numpy columns, in the order in which they are written."""
    ids = np.concatenate(
        [np.arange(first, first + len(block.at_ns), dtype=np.int64) for first, block in zip(first_ids, columns, strict=True)]
    )
    table = {"id": ids, **columns_table(columns), "json": np.array(lines, dtype=object)}
    places = {agent: place for place, agent in enumerate(sorted(set(table["agent"])))}
    order = np.lexsort((table["id"], table["at_ns"], [places[agent] for agent in table["agent"]]))
    return {name: values[order] for name, values in table.items()}


def series_table(columns: Iterable[Columns]) -> dict[str, Any]:
    """What of the columns series are made of; no more than one block is held as Python objects at a time."""
    names = [name for name in Columns.__struct_fields__ if name not in ("trace_id", "run_id", "name")]
    texts: dict[str, str] = {}
    parts: dict[str, list[Any]] = {name: [] for name in names}
    for block in columns:
        table = columns_table([block])
        for name in names:
            values = table[name]
            if values.dtype == object:
                # Few texts, many times.
                values = np.array([texts.setdefault(value, value) for value in values], dtype=object)
            parts[name].append(values)
    empty = columns_table([])
    return {name: np.concatenate(found) if found else empty[name] for name, found in parts.items()}


def columns_table(columns: Sequence[Columns]) -> dict[str, Any]:
    """The columns of blocks as numpy arrays, one after the other."""

    def joined(read: Callable[[Columns], Iterable[Any]], kind: Any) -> Any:
        return np.array([value for block in columns for value in read(block)], dtype=kind)

    return {
        "received_ns": joined(lambda block: block.received_ns, np.int64),
        "at_ns": joined(lambda block: block.at_ns, np.int64),
        "duration_ns": joined(lambda block: block.duration_ns, np.int64),
        "trace_id": joined(lambda block: block.trace_id, object),
        "run_id": joined(lambda block: block.run_id, object),
        "agent": joined(lambda block: block.agent, object),
        "kind": joined(lambda block: block.kind, object),
        "name": joined(lambda block: block.name, object),
        "ok": joined(lambda block: block.ok, np.bool_),
        "input_tokens": joined(lambda block: block.input_tokens, np.int64),
        "output_tokens": joined(lambda block: block.output_tokens, np.int64),
        "cost_micro_usd": joined(lambda block: block.cost_micro_usd, np.int64),
        "passed": joined(lambda block: block.passed, np.int8),
    }


def quoted(path: Path) -> str:
    """A path as SQL, where no parameter may stand."""
    return "'" + str(path).replace("'", "''") + "'"
