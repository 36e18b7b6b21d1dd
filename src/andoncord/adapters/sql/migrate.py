"""Bringing a control database up to the schema of this version. Data written by older versions goes along."""

from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError, OperationalError

from andoncord.adapters.sql.database import MIGRATION_LOCK, Database, unreachable
from andoncord.kernel.errors import CallerError

BASELINE = "0001"
"""The schema of the time before there were migrations; a database that has it and does not say so is at this revision."""
HEAD = "0006"
"""The newest revision; a test compares it with the files."""


def migrate(database: Database) -> None:
    """Create what is missing and change what is old.

    Raises:
        CallerError: the database cannot be reached, or was written by a newer version.
    """
    try:
        with database.engine.begin() as connection:
            if not database.is_sqlite:
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(MIGRATION_LOCK)))
            _upgrade(connection, database.name)
    except OperationalError as error:
        raise unreachable(database.name, error) from None
    except DBAPIError as error:
        raise CallerError(f"{database.name} cannot be brought up to date: {error.orig}", place="database.url") from None


def revision(connection: Connection) -> str | None:
    """The revision that a database says it has."""
    tables = sa.inspect(connection).get_table_names()
    if "alembic_version" not in tables:
        return BASELINE if "journal" in tables else None
    return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()


def _upgrade(connection: Connection, name: str) -> None:
    found = revision(connection)
    if found == HEAD:
        return
    if found is not None and found > HEAD:
        raise CallerError(
            f"{name} was written by a newer version (its schema is {found}, this version knows {HEAD})",
            place="database.url",
            remedy="install that version, or give this one a database of its own",
        )
    # Half a second of every start, and only needed where something is to be changed.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    if found == BASELINE and "alembic_version" not in sa.inspect(connection).get_table_names():
        command.stamp(config, BASELINE)
    command.upgrade(config, "head")
