"""The journal in a control database, SQLite and PostgreSQL alike."""

from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa

from andoncord.adapters.sql.database import Database
from andoncord.adapters.sql.journal import SqlJournal
from andoncord.adapters.sql.migrate import migrate
from andoncord.kernel.errors import ConflictError
from andoncord.kernel.journal import check
from andoncord.kernel.ports import JournalStore
from andoncord.testing.journal import MemoryJournal
from andoncord.testing.journal_contract import JournalStoreContract, some_entries


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = Database(database_url)
    migrate(opened)
    yield opened
    opened.close()


class TestMemoryJournal(JournalStoreContract):
    """The fake passes the contract it is used in place of."""

    @pytest.fixture
    def open_store(self) -> Callable[[], JournalStore]:
        store = MemoryJournal()
        return lambda: store


class TestSqlJournal(JournalStoreContract):
    """The real one does too, on both databases."""

    @pytest.fixture
    def open_store(self, database: Database) -> Callable[[], JournalStore]:
        return lambda: SqlJournal(database)


def test_entries_survive_closing(database: Database) -> None:
    """What was appended is there when the database is opened again, read-only as well."""
    entries = some_entries(3)
    SqlJournal(database).append(entries)
    database.close()

    again = Database(database.url, read_only=True)
    assert tuple(SqlJournal(again).read()) == entries
    with pytest.raises(sa.exc.DBAPIError), again.writing() as connection:
        connection.execute(sa.text("INSERT INTO positions (name, position) VALUES ('x', 1)"))
    again.close()


@pytest.mark.parametrize(
    "statement", ["UPDATE journal SET by = 'person:mallory' WHERE seq = 2", "DELETE FROM journal WHERE seq = 3"]
)
def test_entries_cannot_be_changed_through_sql(database: Database, statement: str) -> None:
    """The database itself refuses to change or remove an entry."""
    journal = SqlJournal(database)
    journal.append(some_entries(3))

    with pytest.raises(sa.exc.DBAPIError, match="append-only"), database.writing() as connection:
        connection.exec_driver_sql(statement)
    assert check(journal.read()) is None


def test_an_unreadable_body_is_a_break_and_not_a_crash(database: Database) -> None:
    """A body that is no longer JSON is reported as the break it is."""
    journal = SqlJournal(database)
    journal.append(some_entries(3))
    on = "" if database.is_sqlite else " ON journal"
    with database.writing() as connection:
        connection.exec_driver_sql(f"DROP TRIGGER journal_is_never_changed{on}")
        connection.exec_driver_sql("UPDATE journal SET body = '{' WHERE seq = 2")

    broken = check(journal.read())
    assert broken is not None
    assert broken.seq == 2


def test_two_writers_cannot_fork_the_journal(database: Database) -> None:
    """A second process that continues from an old head is refused."""
    other = Database(database.url)
    first, second = SqlJournal(database), SqlJournal(other)
    entries = some_entries(2)
    first.append(entries[:1])
    first.append(entries[1:])

    with pytest.raises(ConflictError, match="does not continue"):
        second.append(entries[1:])
    other.close()
