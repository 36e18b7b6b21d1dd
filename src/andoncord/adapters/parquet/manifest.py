"""The manifest: which segments there are, what each holds, and which files nobody needs any more."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path

import msgspec

FOLDER = "segments"
"""Beside `telemetry.db`."""
MERGE_AT = 8
"""Neighbours of like size that become one."""


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """One segment, as the manifest knows it."""

    number: int
    """Never given twice."""
    rows: int
    first_id: int
    last_id: int
    min_at_ns: int
    max_at_ns: int
    max_received_ns: int
    raw_bytes: int
    """Of its events as JSON."""
    bytes: int
    """Of the file."""
    marks: str

    @property
    def name(self) -> str:
        return f"{self.number:08d}"

    def files(self, folder: Path) -> tuple[Path, Path]:
        """The events, and the list of traces."""
        return folder / f"{self.name}.parquet", folder / f"{self.name}.traces"


SEGMENT_COLUMNS = ", ".join(Segment.__struct_fields__)


def segments(connection: sqlite3.Connection, *, where: str = "1", parameters: Sequence[object] = ()) -> list[Segment]:
    """The segments in the order of their events."""
    rows = connection.execute(f"SELECT {SEGMENT_COLUMNS} FROM segments WHERE {where} ORDER BY first_id, number", parameters)
    return [Segment(**dict(zip(Segment.__struct_fields__, row, strict=True))) for row in rows.fetchall()]


def next_number(connection: sqlite3.Connection, table: str) -> int:
    """The number that the next row of `segments` or `key_runs` gets."""
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,)).fetchone()
    return int(row[0]) + 1 if row else 1


def add_segment(connection: sqlite3.Connection, segment: Segment) -> None:
    """Name a segment whose files are on disk."""
    values = msgspec.structs.astuple(segment)
    connection.execute(f"INSERT INTO segments ({SEGMENT_COLUMNS}) VALUES ({','.join('?' * len(values))})", values)


def drop_segments(connection: sqlite3.Connection, dropped: Sequence[Segment], *, now_ns: int) -> None:
    """Forget segments. Their files stay a while for whoever is reading them."""
    for segment in dropped:
        connection.execute("DELETE FROM segments WHERE number = ?", (segment.number,))
        add_garbage(connection, *(path.name for path in segment.files(Path())), now_ns=now_ns)


def add_garbage(connection: sqlite3.Connection, *names: str, now_ns: int) -> None:
    """Note files that nobody needs any more."""
    connection.executemany("INSERT OR IGNORE INTO garbage VALUES (?, ?)", [(name, now_ns) for name in names])


def key_file(number: int) -> str:
    """The name of a run of keys."""
    return f"{number:08d}.keys"


def named_files(connection: sqlite3.Connection) -> set[str]:
    """Every file that the manifest knows of, needed or not."""
    names = {path.name for segment in segments(connection) for path in segment.files(Path())}
    names |= {key_file(number) for (number,) in connection.execute("SELECT number FROM key_runs")}
    return names | {name for (name,) in connection.execute("SELECT file FROM garbage")}


def to_merge(sizes: Sequence[int], *, limit: int) -> range:
    """Which neighbours to merge, oldest first: `MERGE_AT` of like size whose sum stays within `limit`; empty for none.

    >>> to_merge([100] * 7, limit=10_000), to_merge([9_000, *[100] * 8], limit=10_000)
    (range(0, 0), range(1, 9))
    """
    for first in range(len(sizes) - MERGE_AT + 1):
        part = sizes[first : first + MERGE_AT]
        if sum(part) <= limit and max(part) <= MERGE_AT * max(1, min(part)):
            return range(first, first + MERGE_AT)
    return range(0)
