"""Opening, migrating and leasing a control database."""

import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from andoncord.adapters.sql import migrate as migrations
from andoncord.adapters.sql.access import SqlAccess
from andoncord.adapters.sql.database import Database, LeaseLostError
from andoncord.adapters.sql.journal import SqlJournal
from andoncord.adapters.sql.migrate import HEAD, migrate
from andoncord.adapters.sql.tables import METADATA
from andoncord.adapters.system.postgres_process import PostgresProcess
from andoncord.kernel.errors import CallerError
from andoncord.testing.journal_contract import some_entries

BEFORE_MIGRATIONS = Path(__file__).parent / "control_before_migrations.sql"
"""A control database as the version before migrations left it: three entries, a token and a place."""


def test_the_newest_revision_is_the_one_that_is_asked_for() -> None:
    """`HEAD` saves loading Alembic at every start, so it must be right."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent / "migrations"))
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD


def test_migrations_lead_to_the_tables_that_the_code_uses(database_url: str) -> None:
    """The migrations and the definitions beside them say the same, and migrating again changes nothing."""
    database = Database(database_url)
    migrate(database)
    migrate(database)
    with database.reading() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
    database.close()


def test_a_home_from_before_migrations_goes_along(tmp_path: Path) -> None:
    """What an older version wrote is read as before, and what came later is there."""
    path = tmp_path / "control.db"
    with sqlite3.connect(path) as old:
        old.executescript(BEFORE_MIGRATIONS.read_text(encoding="utf-8"))
    old.close()

    database = Database.in_file(path)
    migrate(database)
    assert tuple(SqlJournal(database).read()) == some_entries(3)
    assert [token.name for token in SqlAccess(database).tokens()] == ["ana"]
    assert SqlAccess(database).position("findings") == 7
    assert "performed" in sa.inspect(database.engine).get_table_names()
    database.close()


def test_a_database_of_a_newer_version_is_refused(database_url: str) -> None:
    """An older program does not write into what it does not understand."""
    database = Database(database_url)
    migrate(database)
    with database.writing() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(CallerError, match="newer version"):
        migrate(database)
    database.close()


@pytest.mark.parametrize("url", ["mysql://u:secret@h/d", "nonsense:secret", "sqlite://", ""])
def test_what_is_no_supported_database_is_refused_without_its_password(url: str) -> None:
    """The message says what to write, and tells no secret."""
    with pytest.raises(CallerError, match="database") as refused:
        Database(url)
    assert "secret" not in str(refused.value)


def test_a_server_that_does_not_answer_is_named_without_its_password() -> None:
    """Wrong address: one line that says so."""
    database = Database("postgresql://u:s3cret@127.0.0.1:1/none")
    with pytest.raises(CallerError, match="cannot be reached") as refused:
        database.take_lease()
    assert "s3cret" not in str(refused.value)


def test_one_server_writes_and_the_next_takes_over_when_its_connection_is_gone(postgres: PostgresProcess) -> None:
    """The lock goes with the connection that writes: whoever lost it cannot write, whatever it believes."""
    url = postgres.new_database()
    first, second = Database(url), Database(url)
    assert first.take_lease()
    migrate(first)
    entries = some_entries(3)
    SqlJournal(first).append(entries[:1])
    assert not second.take_lease()

    with second.writing() as connection:
        connection.execute(sa.select(sa.func.pg_terminate_backend(first.backend_pid())))
    with pytest.raises(LeaseLostError):
        SqlJournal(first).append(entries[1:2])
    with pytest.raises(LeaseLostError):
        first.check_lease()
    assert second.take_lease()
    SqlJournal(second).append(entries[1:])
    assert tuple(SqlJournal(second).read()) == entries
    first.close()
    second.close()
