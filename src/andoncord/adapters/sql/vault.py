"""What is sealed until a person is done with it, in a control database."""

from collections.abc import Collection

import sqlalchemy as sa

from andoncord.adapters.sql.database import Database
from andoncord.adapters.sql.tables import VAULT


class SqlVault:
    """A `VaultStore`: sealed bytes by name."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, name: str, sealed: bytes, *, now_ns: int) -> None:
        keep = self._database.insert(VAULT).values(name=name, sealed=sealed, at_ns=now_ns)
        changes = {"sealed": sealed, "at_ns": now_ns}
        with self._database.writing() as connection:
            connection.execute(keep.on_conflict_do_update(index_elements=[VAULT.c.name], set_=changes))

    def get(self, name: str) -> bytes | None:
        with self._database.reading() as connection:
            found = connection.execute(sa.select(VAULT.c.sealed).where(VAULT.c.name == name)).scalar_one_or_none()
        return None if found is None else bytes(found)

    def kept(self) -> dict[str, int]:
        """When each was put there."""
        with self._database.reading() as connection:
            return {row.name: row.at_ns for row in connection.execute(sa.select(VAULT.c.name, VAULT.c.at_ns))}

    def remove(self, names: Collection[str]) -> None:
        with self._database.writing() as connection:
            for name in names:
                connection.execute(sa.delete(VAULT).where(VAULT.c.name == name))
