"""The accounts of people, and the record of who was let in."""

from collections.abc import Mapping
from typing import Any

import msgspec
import sqlalchemy as sa

from andoncord.adapters.sql.database import Database
from andoncord.adapters.sql.tables import ACCESS_EVENTS, ACCOUNTS
from andoncord.kernel.access import AccessEvent, Account, Role

KEPT = {"change": 200_000, "login": 50_000, "denied": 50_000}
"""Events of each kind that are kept, so that a flood of refusals cannot wash away what was done. Chosen: about 100 MB."""
TRIM_EVERY = 64


class SqlAccounts:
    """Accounts and access events in the control database.

    Args:
        kept: how many events of each kind stay.
    """

    def __init__(self, database: Database, *, kept: Mapping[str, int] = KEPT) -> None:
        self._database = database
        self._kept = dict(kept)
        self._written = 0

    def accounts(self) -> tuple[Account, ...]:
        """Every account, by name; disabled ones included."""
        with self._database.reading() as connection:
            rows = connection.execute(sa.select(ACCOUNTS).order_by(ACCOUNTS.c.name)).all()
        return tuple(Account(**{**row._mapping, "role": Role(row.role)}) for row in rows)

    def save_account(self, account: Account) -> None:
        """Add an account, or put it in the place of the one of its name."""
        values: dict[str, Any] = {**msgspec.structs.asdict(account), "role": account.role.value}
        keep = self._database.insert(ACCOUNTS).values(**values)
        with self._database.writing() as connection:
            connection.execute(keep.on_conflict_do_update(index_elements=["name"], set_=values))

    def add_event(self, event: AccessEvent) -> None:
        """Append one decision. Beyond what is kept the oldest of the same kind go, not at once but soon."""
        values = {**msgspec.structs.asdict(event), "allowed": int(event.allowed)}
        with self._database.writing() as connection:
            connection.execute(ACCESS_EVENTS.insert(), values)
            self._written += 1
            if self._written % TRIM_EVERY == 0:
                for kind, kept in self._kept.items():
                    _trim(connection, kind, kept)

    def events(self, *, before: int, limit: int, kind: str = "", who: str = "") -> list[tuple[int, AccessEvent]]:
        """Decisions with their positions, the newest first; those before a position, where one is given."""
        wanted = sa.select(ACCESS_EVENTS).order_by(ACCESS_EVENTS.c.position.desc()).limit(limit)
        if before:
            wanted = wanted.where(ACCESS_EVENTS.c.position < before)
        if kind:
            wanted = wanted.where(ACCESS_EVENTS.c.kind == kind)
        if who:
            wanted = wanted.where(ACCESS_EVENTS.c.who == who)
        with self._database.reading() as connection:
            rows = connection.execute(wanted).all()
        return [(row.position, _event(row)) for row in rows]


def _event(row: sa.Row[Any]) -> AccessEvent:
    named = dict(row._mapping)
    del named["position"]
    return AccessEvent(**{**named, "allowed": bool(row.allowed)})


def _trim(connection: sa.Connection, kind: str, kept: int) -> None:
    """Delete what is older than the newest `kept` events of a kind. Cost: one look along the index."""
    newest = sa.select(ACCESS_EVENTS.c.position).where(ACCESS_EVENTS.c.kind == kind)
    edge = newest.order_by(ACCESS_EVENTS.c.position.desc()).offset(kept).limit(1).scalar_subquery()
    connection.execute(sa.delete(ACCESS_EVENTS).where(ACCESS_EVENTS.c.kind == kind, ACCESS_EVENTS.c.position <= edge))
