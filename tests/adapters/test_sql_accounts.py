"""Accounts and access events, on both databases."""

from collections.abc import Iterator

import msgspec
import pytest

from andoncord.adapters.sql.accounts import TRIM_EVERY, SqlAccounts
from andoncord.adapters.sql.database import Database
from andoncord.adapters.sql.migrate import migrate
from andoncord.kernel.access import AccessEvent, Account, Role


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = Database(database_url)
    migrate(opened)
    yield opened
    opened.close()


def an_event(kind: str, number: int, *, who: str = "ada") -> AccessEvent:
    return AccessEvent(
        at_ns=number, kind=kind, who=who, via="console", address="::1", what="w", about="a", allowed=kind != "denied", why=""
    )


def test_an_account_is_kept_and_changed(database: Database) -> None:
    """Saving again changes the one of this name, and no other."""
    people = SqlAccounts(database)
    ada, bob = (Account(name=name, role=Role.VIEWER, created_ns=1) for name in ("ada", "bob"))
    for account in (bob, ada):
        people.save_account(account)
    changed = msgspec.structs.replace(ada, role=Role.COMMANDER, disabled_ns=5)
    people.save_account(changed)
    assert people.accounts() == (changed, bob)


def test_events_are_read_from_the_newest_and_each_kind_has_its_bound(database: Database) -> None:
    """A flood of refusals takes the place of older refusals, and of nothing else; pages go on where the last one ended."""
    people = SqlAccounts(database, kept={"change": 5, "denied": 10})
    people.add_event(an_event("change", 0, who="bob"))
    for number in range(1, TRIM_EVERY):
        people.add_event(an_event("denied", number))

    found = people.events(before=0, limit=100)
    assert [event.at_ns for _, event in found] == [*range(TRIM_EVERY - 1, TRIM_EVERY - 11, -1), 0]
    (position, event), *_ = people.events(before=0, limit=1, kind="denied")
    assert people.events(before=position, limit=1, who="ada")[0][1].at_ns == event.at_ns - 1
    assert [event.who for _, event in people.events(before=0, limit=9, who="bob")] == ["bob"]
