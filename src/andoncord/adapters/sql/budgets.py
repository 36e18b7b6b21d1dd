"""What was spent of shared budgets, and what guards hold of them, in a control database."""

from collections.abc import Mapping

import sqlalchemy as sa

from andoncord.adapters.sql.database import Database
from andoncord.adapters.sql.tables import BUDGETS


class SqlBudgets:
    """A `BudgetStore`: records by key, written together or not at all."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def load(self) -> dict[str, bytes]:
        with self._database.reading() as connection:
            return {row.key: row.body for row in connection.execute(sa.select(BUDGETS))}

    def save(self, changes: Mapping[str, bytes | None]) -> None:
        """Keep each record in place of the one before; None deletes it."""
        with self._database.writing() as connection:
            for key, body in changes.items():
                if body is None:
                    connection.execute(sa.delete(BUDGETS).where(BUDGETS.c.key == key))
                    continue
                keep = self._database.insert(BUDGETS).values(key=key, body=body)
                connection.execute(keep.on_conflict_do_update(index_elements=[BUDGETS.c.key], set_={"body": body}))
