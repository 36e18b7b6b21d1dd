"""The tables of `telemetry.db`, and the steps that bring an older file forward."""

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec

from andoncord.adapters.sqlite.connection import connect, transaction
from andoncord.kernel.errors import CallerError
from andoncord.telemetry.block import Block, digest_of, events_of, fields_of, pack

VERSION = 3
"""1: every event a row of the table `events`. 2: segments and their tail. 3: events that others took the place of."""
LAST_POSSIBLE_ID = 2**63 - 1
MOVED_AT_ONCE = 2_000
"""Events that one transaction of a migration moves; when it is cut off it goes on from there."""

TABLES = """
CREATE TABLE IF NOT EXISTS ingest_log (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    received_ns INTEGER NOT NULL,
    signal TEXT NOT NULL,
    encoding TEXT NOT NULL,
    trusted_agents TEXT NOT NULL,
    body_gz BLOB NOT NULL,
    sha256 TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS findings (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    stored_ns INTEGER NOT NULL,
    json BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS beats (
    agent TEXT NOT NULL,
    instance TEXT NOT NULL,
    trusted INTEGER NOT NULL,
    json BLOB NOT NULL,
    PRIMARY KEY (agent, instance, trusted)
) STRICT;
CREATE TABLE IF NOT EXISTS ledger (
    signal TEXT NOT NULL,
    outcome TEXT NOT NULL,
    reason TEXT NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (signal, outcome, reason)
) STRICT;
CREATE TABLE IF NOT EXISTS progress (
    name TEXT PRIMARY KEY,
    seq INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS fleet (
    agent TEXT PRIMARY KEY,
    json BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS tail (
    first_id INTEGER PRIMARY KEY,
    rows INTEGER NOT NULL,
    min_at_ns INTEGER NOT NULL,
    max_at_ns INTEGER NOT NULL,
    max_received_ns INTEGER NOT NULL,
    raw_bytes INTEGER NOT NULL,
    marks TEXT NOT NULL,
    traces TEXT NOT NULL,
    keys BLOB NOT NULL,
    columns BLOB NOT NULL,
    body BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS segments (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    rows INTEGER NOT NULL,
    first_id INTEGER NOT NULL,
    last_id INTEGER NOT NULL,
    min_at_ns INTEGER NOT NULL,
    max_at_ns INTEGER NOT NULL,
    max_received_ns INTEGER NOT NULL,
    raw_bytes INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    marks TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS key_runs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    keys INTEGER NOT NULL,
    last_id INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS replaced (
    id INTEGER PRIMARY KEY
) STRICT;
CREATE TABLE IF NOT EXISTS garbage (
    file TEXT PRIMARY KEY,
    since_ns INTEGER NOT NULL
) STRICT;
"""

READ_OUT = "read_out"
"""Name in `progress`: the place in the log up to which everything is recorded."""
LAST_ID = "last_id"
"""Name in `progress`: the id of the newest event."""
EXPIRED = "expired"
"""Name in `progress`: how many events retention has deleted."""


def prepare(path: Path) -> None:
    """Make `telemetry.db`, or bring an older one forward, so that it can be read.

    Raises:
        CallerError: a newer version wrote it.
    """
    connection = connect(path, durable=True)
    try:
        bring_forward(connection, place=str(path))
    finally:
        connection.close()


def bring_forward(connection: sqlite3.Connection, *, place: str) -> None:
    """Make the tables, or bring those of an older version to this one, step by step. May be cut off anywhere and run again.

    Raises:
        CallerError: a newer version wrote the file.
    """
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > VERSION:
        raise CallerError(
            f"was written by a newer version (schema {version}, this one knows {VERSION})",
            place=place,
            remedy="update andoncord",
        )
    if version == VERSION:
        return
    old = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'events'").fetchone()
    connection.executescript(TABLES)
    if old:
        for target in range(version + 1, VERSION + 1):
            if target in _STEPS:
                _STEPS[target](connection)
    connection.execute(f"PRAGMA user_version = {VERSION}")


def check_version(connection: sqlite3.Connection, *, place: str) -> None:
    """Refuse a file that is not of this version, for those who only read.

    Raises:
        CallerError: another version wrote it; says what to do.
    """
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version < VERSION:
        raise CallerError(
            "was written by an older version", place=place, remedy="start `andon serve` once: it brings it forward"
        )
    if version > VERSION:
        raise CallerError("was written by a newer version", place=place, remedy="update andoncord")


def add_block(connection: sqlite3.Connection, block: Block) -> None:
    """Put a block at the end of the tail."""
    values = msgspec.structs.astuple(block)
    connection.execute(f"INSERT INTO tail VALUES ({','.join('?' * len(values))})", values)
    put_progress(connection, LAST_ID, block.last_id)


def progress(connection: sqlite3.Connection, name: str) -> int:
    """A number that is kept under a name; 0 before it was."""
    row = connection.execute("SELECT seq FROM progress WHERE name = ?", (name,)).fetchone()
    return int(row[0]) if row else 0


def still_there(connection: sqlite3.Connection, ids: Sequence[int]) -> set[int]:
    """Which of these events are stored: neither deleted by retention nor replaced before."""
    within = (
        "SELECT EXISTS (SELECT 1 FROM tail WHERE first_id <= ?1 AND first_id + rows > ?1)"
        " OR EXISTS (SELECT 1 FROM segments WHERE first_id <= ?1 AND last_id >= ?1)"
    )
    found = {each for each in ids if connection.execute(within, (each,)).fetchone()[0]}
    return found - replaced(connection, first=min(ids), last=max(ids)) if found else found


def replace_events(connection: sqlite3.Connection, ids: Iterable[int]) -> None:
    """Note that others take the place of these events.

    They are left out from now on, and their rows go when the block or the segment with them is next written anew.
    """
    connection.executemany("INSERT INTO replaced VALUES (?)", [(each,) for each in ids])


def replaced(connection: sqlite3.Connection, *, first: int = 0, last: int = LAST_POSSIBLE_ID) -> set[int]:
    """The events from id `first` to `last` that others took the place of, and whose rows are still there."""
    rows = connection.execute("SELECT id FROM replaced WHERE id BETWEEN ? AND ?", (first, last)).fetchall()
    return {row[0] for row in rows}


def drop_replaced(connection: sqlite3.Connection, ids: Iterable[int]) -> None:
    """Their rows are gone."""
    connection.executemany("DELETE FROM replaced WHERE id = ?", [(each,) for each in ids])


def put_progress(connection: sqlite3.Connection, name: str, value: int) -> None:
    """Keep a number under a name."""
    connection.execute("INSERT OR REPLACE INTO progress (name, seq) VALUES (?, ?)", (name, value))


def _events_to_tail(connection: sqlite3.Connection) -> None:
    """Version 1 to 2: rows of `events` become blocks of the tail, and what was deleted before counts as expired."""
    while rows := connection.execute("SELECT id, key, json FROM events ORDER BY id LIMIT ?", (MOVED_AT_ONCE,)).fetchall():
        with transaction(connection):
            events = events_of([json for _, _, json in rows])
            keys = b"".join(digest_of(key) for _, key, _ in rows)
            add_block(connection, pack(list(map(fields_of, events)), keys=keys, first_id=progress(connection, LAST_ID) + 1))
            connection.execute("DELETE FROM events WHERE id <= ?", (rows[-1][0],))
    with transaction(connection):
        stored = connection.execute("SELECT coalesce(sum(count), 0) FROM ledger WHERE outcome = 'stored'").fetchone()[0]
        kept = connection.execute("SELECT coalesce(sum(rows), 0) FROM tail").fetchone()[0]
        put_progress(connection, EXPIRED, max(0, stored - kept))
        connection.execute("DROP TABLE events")


_STEPS: dict[int, Callable[[sqlite3.Connection], None]] = {2: _events_to_tail}
"""What brings the version before to this one. A file of version 1 says 0: no number was written then."""
