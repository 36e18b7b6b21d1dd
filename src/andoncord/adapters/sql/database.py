"""One control database, SQLite or PostgreSQL, opened and brought up to date.

SQLite is the default: one file in the data directory, write-ahead log, every commit on disk. PostgreSQL is for more than one
machine; there a session-level advisory lock decides who writes, and it is held by the very connection that writes, so that a
server which lost the lock cannot write either.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any, Self

import sqlalchemy as sa
import sqlalchemy.orm  # whole before threads begin: DBOS imports it in one while others make statements
from sqlalchemy import event
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import URL, Connection, Engine
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, OperationalError
from sqlalchemy.pool import QueuePool

from andoncord.adapters.sqlite.connection import connect
from andoncord.kernel.errors import CallerError

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql

WRITER_LOCK = 0x616E646F6E
"""The advisory lock of whoever may write, in this database."""
MIGRATION_LOCK = WRITER_LOCK + 1
POOL_SIZE = 4
CONNECT_TIMEOUT_S = 5
KEEPALIVE = {"keepalives": 1, "keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3, "tcp_user_timeout": 10_000}
"""A dead host is noticed within about ten seconds; a dead process at once, by its closed connection."""


class LeaseLostError(Exception):
    """This server may not write any more: the connection that held the lock is gone."""


class Database:
    """A control database.

    Args:
        url: `sqlite:///<path>` or `postgresql://user:password@host/name`.
        read_only: refuse every write; the database must exist.

    Raises:
        CallerError: it cannot be reached or is not what it should be.
    """

    def __init__(self, url: str | URL, *, read_only: bool = False) -> None:
        self.url = parse_url(url)
        self._read_only = read_only
        self._turn = RLock()
        self._lease: Connection | None = None
        if self.is_sqlite:
            self._engine = _sqlite_engine(Path(self.url.database or ""), read_only=read_only)
        else:
            self._engine = _postgres_engine(self.url, read_only=read_only)

    @classmethod
    def in_file(cls, path: Path, *, read_only: bool = False) -> Self:
        """The SQLite database at `path`."""
        return cls(URL.create("sqlite", database=str(path)), read_only=read_only)

    @property
    def is_sqlite(self) -> bool:
        """Whether it is one file on this machine."""
        return self.url.get_backend_name() == "sqlite"

    @property
    def name(self) -> str:
        """How to name it in messages: without its password."""
        return self.url.render_as_string(hide_password=True)

    @property
    def location(self) -> str:
        """Its whole address, with the password: for who connects, never for messages."""
        return self.url.render_as_string(hide_password=False)

    def insert(self, table: sa.Table) -> "sqlite.Insert | postgresql.Insert":
        """An INSERT that knows `on_conflict_do_nothing` and `on_conflict_do_update`."""
        if self.is_sqlite:
            return sqlite.insert(table)
        # Optional, and five drivers long to import.
        from sqlalchemy.dialects import postgresql  # noqa: PLC0415

        return postgresql.insert(table)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection that sees what is committed, statement by statement."""
        with self._engine.connect() as connection:
            yield connection.execution_options(isolation_level="AUTOCOMMIT")

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction: everything inside happens, or nothing does.

        Raises:
            LeaseLostError: the lock that allowed writing is gone.
        """
        if self._lease is None:
            with self._engine.begin() as connection:
                yield connection
            return
        with self._turn:
            lease = self._lease
            if lease.closed or lease.invalidated:
                raise LeaseLostError(f"the connection to {self.name} that held the writer's lock is gone")
            try:
                with lease.begin():
                    yield lease
            except DBAPIError as error:
                if error.connection_invalidated:
                    raise LeaseLostError(f"the connection to {self.name} that held the writer's lock is gone") from error
                raise

    def take_lease(self) -> bool:
        """Become the one that writes; False when another server is. In SQLite the data directory's lock decides instead."""
        if self.is_sqlite or self._lease is not None:
            return True
        connection = self._connected()
        taken = connection.execute(sa.select(sa.func.pg_try_advisory_lock(WRITER_LOCK))).scalar_one()
        connection.commit()
        if not taken:
            connection.close()
            return False
        self._lease = connection
        return True

    def check_lease(self) -> None:
        """Make sure that the lock is still held.

        Raises:
            LeaseLostError: it is not.
        """
        if self._lease is not None:
            with self.writing() as connection:
                connection.execute(sa.select(1))

    def backend_pid(self) -> int:
        """PostgreSQL's process behind the lease; 0 without one."""
        if self._lease is None:
            return 0
        with self.writing() as connection:
            return int(connection.execute(sa.select(sa.func.pg_backend_pid())).scalar_one())

    def _connected(self) -> Connection:
        try:
            return self._engine.connect()
        except OperationalError as error:
            raise unreachable(self.name, error) from None

    @property
    def engine(self) -> Engine:
        """For the migrations."""
        return self._engine

    def close(self) -> None:
        """Let go of every connection, and of the lease with them."""
        if self._lease is not None:
            self._lease.close()
            self._lease = None
        self._engine.dispose()


def parse_url(url: str | URL) -> URL:
    """A database's address, checked.

    Raises:
        CallerError: it is not one, or of a database that is not supported; never with the password in it.

    >>> parse_url("postgresql://andon:secret@db/andon").drivername
    'postgresql+psycopg'
    """
    remedy = "write sqlite:////path/control.db or postgresql://user:password@host:5432/name"
    try:
        parsed = sa.make_url(url)
    except (ArgumentError, ValueError):
        raise CallerError("is not the address of a database", place="database.url", remedy=remedy) from None
    if parsed.drivername in ("postgres", "postgresql"):
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername == "sqlite" and parsed.database and parsed.database != ":memory:":
        return parsed
    if parsed.drivername != "postgresql+psycopg":
        raise CallerError(f"{parsed.drivername!r} is not a supported database", place="database.url", remedy=remedy)
    return parsed


def unreachable(name: str, error: Exception) -> CallerError:
    """What to say when a database does not answer."""
    said = str(getattr(error, "orig", None) or error).strip().splitlines()
    why = said[0] if said else type(error).__name__
    return CallerError(
        f"{name} cannot be reached: {why}", place="database.url", remedy="see that it runs and that the address is right"
    )


def _sqlite_engine(path: Path, *, read_only: bool) -> Engine:
    engine = sa.create_engine(
        "sqlite://", creator=lambda: _sqlite_connection(path, read_only=read_only), poolclass=QueuePool, pool_size=POOL_SIZE
    )

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        if connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
            # The write lock is taken at the start: what was read inside is still true when it is written.
            connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    return engine


def _sqlite_connection(path: Path, *, read_only: bool) -> Any:
    connection = connect(path, read_only=read_only)
    # A damaged text must still be readable, so that the check of the chain can say where the damage is.
    connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
    return connection


def _postgres_engine(url: URL, *, read_only: bool) -> Engine:
    options = "-c default_transaction_read_only=on" if read_only else ""
    arguments = {"connect_timeout": CONNECT_TIMEOUT_S, "application_name": "andoncord", **KEEPALIVE}
    try:
        return sa.create_engine(
            url,
            pool_size=POOL_SIZE,
            pool_pre_ping=True,
            connect_args={**arguments, **({"options": options} if options else {})},
        )
    except (ModuleNotFoundError, NoSuchModuleError) as error:
        raise CallerError(
            f"the driver for PostgreSQL is not installed ({error})",
            place="database.url",
            remedy="pip install 'andoncord[cluster]'",
        ) from None
