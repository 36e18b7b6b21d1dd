"""What performers that cannot be asked twice have begun: written before the act, and completed after it."""

import msgspec
import sqlalchemy as sa

from andoncord.adapters.sql.database import Database
from andoncord.adapters.sql.tables import PERFORMED
from andoncord.kernel.effect import Receipt
from andoncord.kernel.time import SECOND_NS

KEEP_NS = 90 * 24 * 3_600 * SECOND_NS


class SqlEffectLedger:
    """An `EffectLedger` in a control database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, key: str, *, now_ns: int) -> bool:
        """Write down that the effect with this key begins; False when it was begun before. Forgets what is 90 days old."""
        keep = self._database.insert(PERFORMED).values(key=key, started_ns=now_ns).on_conflict_do_nothing()
        with self._database.writing() as connection:
            connection.execute(sa.delete(PERFORMED).where(PERFORMED.c.started_ns < now_ns - KEEP_NS, PERFORMED.c.key != key))
            return connection.execute(keep.returning(PERFORMED.c.key)).scalar() is not None

    def complete(self, key: str, receipt: Receipt) -> None:
        """Keep what came of it."""
        change = sa.update(PERFORMED).where(PERFORMED.c.key == key).values(receipt=msgspec.json.encode(receipt))
        with self._database.writing() as connection:
            connection.execute(change)

    def receipt(self, key: str) -> Receipt | None:
        """What came of it; None when it was not begun or did not come to its end."""
        with self._database.reading() as connection:
            kept = connection.execute(sa.select(PERFORMED.c.receipt).where(PERFORMED.c.key == key)).scalar()
        return msgspec.json.decode(kept, type=Receipt) if kept else None
