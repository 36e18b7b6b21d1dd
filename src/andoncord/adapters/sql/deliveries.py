"""What became of every notice on its way to every target, in a control database."""

from collections.abc import Sequence

import msgspec
import sqlalchemy as sa

from andoncord.adapters.sql.database import Database
from andoncord.adapters.sql.tables import DELIVERIES
from andoncord.kernel.time import DAY_NS
from andoncord.respond.notice import Delivery

KEEP_NS = 365 * DAY_NS


class SqlDeliveries:
    """A `DeliveryStore`: rows by key."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def queue(self, deliveries: Sequence[Delivery]) -> None:
        """Keep them together or not at all; those that are there stay as they are. Forgets what is a year old."""
        if not deliveries:
            return
        keep = self._database.insert(DELIVERIES).on_conflict_do_nothing()
        with self._database.writing() as connection:
            connection.execute(sa.delete(DELIVERIES).where(DELIVERIES.c.at_ns < deliveries[0].at_ns - KEEP_NS))
            for delivery in deliveries:
                connection.execute(keep.values(**msgspec.to_builtins(delivery)))

    def save(self, delivery: Delivery) -> None:
        change = sa.update(DELIVERIES).where(DELIVERIES.c.key == delivery.key).values(**msgspec.to_builtins(delivery))
        with self._database.writing() as connection:
            connection.execute(change)

    def of_intent(self, intent: str) -> tuple[Delivery, ...]:
        return self._read(DELIVERIES.c.intent == intent)

    def of_incident(self, incident: str) -> tuple[Delivery, ...]:
        return self._read(DELIVERIES.c.incident == incident)

    def _read(self, wanted: sa.ColumnElement[bool]) -> tuple[Delivery, ...]:
        rows = sa.select(DELIVERIES).where(wanted).order_by(DELIVERIES.c.key)
        with self._database.reading() as connection:
            return tuple(Delivery(**row._mapping) for row in connection.execute(rows))
