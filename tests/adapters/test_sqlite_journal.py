"""The journal in SQLite."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from andoncord.adapters.sqlite.journal import SqliteJournal
from andoncord.kernel.journal import check
from andoncord.kernel.ports import JournalStore
from andoncord.testing.journal import MemoryJournal
from andoncord.testing.journal_contract import JournalStoreContract, some_entries


class TestMemoryJournal(JournalStoreContract):
    """The fake passes the contract it is used in place of."""

    @pytest.fixture
    def open_store(self) -> Callable[[], JournalStore]:
        store = MemoryJournal()
        return lambda: store


class TestSqliteJournal(JournalStoreContract):
    """The real one does too."""

    @pytest.fixture
    def open_store(self, tmp_path: Path) -> Callable[[], JournalStore]:
        return lambda: SqliteJournal(tmp_path / "control.db")


def test_entries_survive_closing(tmp_path: Path) -> None:
    """What was appended is there when the file is opened again."""
    entries = some_entries(3)
    first = SqliteJournal(tmp_path / "control.db")
    first.append(entries)
    first.close()

    assert tuple(SqliteJournal(tmp_path / "control.db").read()) == entries


@pytest.mark.parametrize(
    "statement", ["UPDATE journal SET by = 'person:mallory' WHERE seq = 2", "DELETE FROM journal WHERE seq = 3"]
)
def test_entries_cannot_be_changed_through_sql(tmp_path: Path, statement: str) -> None:
    """The database itself refuses to change or remove an entry."""
    journal = SqliteJournal(tmp_path / "control.db")
    journal.append(some_entries(3))

    with sqlite3.connect(tmp_path / "control.db") as connection, pytest.raises(sqlite3.IntegrityError, match="append-only"):
        connection.execute(statement)
    assert check(journal.read()) is None


def test_an_unreadable_body_is_a_break_and_not_a_crash(tmp_path: Path) -> None:
    """A body that is no longer JSON is reported as the break it is."""
    journal = SqliteJournal(tmp_path / "control.db")
    journal.append(some_entries(3))
    with sqlite3.connect(tmp_path / "control.db") as connection:
        connection.execute("DROP TRIGGER journal_is_never_changed")
        connection.execute("UPDATE journal SET body = '{' WHERE seq = 2")

    broken = check(journal.read())
    assert broken is not None
    assert broken.seq == 2


def test_two_writers_cannot_fork_the_journal(tmp_path: Path) -> None:
    """A second process that continues from an old head is refused."""
    first, second = SqliteJournal(tmp_path / "control.db"), SqliteJournal(tmp_path / "control.db")
    entries = some_entries(2)
    first.append(entries[:1])
    first.append(entries[1:])

    with pytest.raises(Exception, match="does not continue"):
        second.append(entries[1:])
