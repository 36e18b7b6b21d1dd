"""The contract of a `JournalStore`, as a test class (needs pytest).

A store's own test makes a class that inherits `JournalStoreContract` and says how to open a store; pytest runs the cases.
"""

from collections.abc import Callable
from typing import Any

import pytest

from andoncord.kernel.errors import ConflictError
from andoncord.kernel.journal import Draft, Entry, check, extend
from andoncord.kernel.ports import JournalStore


def some_entries(count: int, *, head: Entry | None = None) -> tuple[Entry, ...]:
    """`count` entries that follow `head`, with bodies that a store could get wrong."""
    bodies: tuple[dict[str, Any], ...] = (
        {},
        {"n": 1, "share": 0.1, "none": None},
        {"text": "ü 🚦 \u0000 \"'", "list": [1, [2, {"a": True}]]},
    )
    drafts = [Draft(kind="note.added", incident=f"inc_{i % 2}", by="person:ana", body=bodies[i % 3]) for i in range(count)]
    return extend(head, drafts, now=1_767_225_600_000_000_000)


class JournalStoreContract:
    """What every `JournalStore` must do."""

    @pytest.fixture
    def open_store(self) -> Callable[[], JournalStore]:
        """Opens a store on the same storage each time it is called, where the store has any."""
        raise NotImplementedError("say how to open the store under test")

    def test_empty_journal_has_no_head(self, open_store: Callable[[], JournalStore]) -> None:
        """A new journal is empty."""
        store = open_store()

        assert store.head() is None
        assert list(store.read()) == []

    def test_what_was_appended_is_read_back(self, open_store: Callable[[], JournalStore]) -> None:
        """Entries come back equal, in order, with a chain that holds."""
        store = open_store()
        entries = some_entries(7)
        store.append(entries[:3])
        store.append(entries[3:])

        assert tuple(store.read()) == entries
        assert store.head() == entries[-1]
        assert check(store.read()) is None

    def test_reading_starts_after_a_place(self, open_store: Callable[[], JournalStore]) -> None:
        """`after` leaves out the entries up to and including it."""
        store = open_store()
        entries = some_entries(5)
        store.append(entries)

        assert [entry.seq for entry in store.read(after=3)] == [4, 5]
        assert list(store.read(after=5)) == []

    def test_appending_nothing_changes_nothing(self, open_store: Callable[[], JournalStore]) -> None:
        """An empty append is allowed."""
        store = open_store()
        store.append(())

        assert store.head() is None

    def test_a_gap_is_refused(self, open_store: Callable[[], JournalStore]) -> None:
        """Entries that skip a place are refused, and none of them is kept."""
        store = open_store()
        entries = some_entries(4)
        store.append(entries[:1])

        with pytest.raises(ConflictError):
            store.append(entries[2:])
        assert tuple(store.read()) == entries[:1]

    def test_a_repetition_is_refused(self, open_store: Callable[[], JournalStore]) -> None:
        """Appending the same entry twice is refused."""
        store = open_store()
        entries = some_entries(2)
        store.append(entries)

        with pytest.raises(ConflictError):
            store.append(entries[1:])
        assert tuple(store.read()) == entries

    def test_another_branch_is_refused(self, open_store: Callable[[], JournalStore]) -> None:
        """An entry with the right place but another past is refused."""
        store = open_store()
        entries = some_entries(2)
        store.append(entries[:1])
        stranger = extend(None, [Draft(kind="a.b"), Draft(kind="c.d")], now=1)

        with pytest.raises(ConflictError):
            store.append(stranger[1:])

    def test_a_break_in_the_middle_keeps_nothing(self, open_store: Callable[[], JournalStore]) -> None:
        """An append is all or nothing."""
        store = open_store()
        entries = some_entries(4)

        with pytest.raises(ConflictError):
            store.append((entries[0], entries[1], entries[3]))
        assert store.head() is None
