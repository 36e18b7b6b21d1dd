"""Opening the SQLite files: write-ahead log, one writer, any number of readers in other processes."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BUSY_TIMEOUT_MS = 5_000
CACHE_KIB = 32_768


def connect(path: Path, *, durable: bool = True, read_only: bool = False) -> sqlite3.Connection:
    """A connection in autocommit mode; transactions are opened by name where they matter.

    Args:
        path: the database file, created when missing unless `read_only`.
        durable: a commit is on disk when it returns (`synchronous=FULL`). Without it a power cut may lose the last commits; a
            crash of the process may not.
        read_only: refuse every write; the file must exist.
    """
    uri = f"file:{_quoted(path)}?mode={'ro' if read_only else 'rwc'}"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
    connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    if not read_only:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        connection.execute("PRAGMA foreign_keys = ON")
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Everything inside happens, or nothing does."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _quoted(path: Path) -> str:
    return str(path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
