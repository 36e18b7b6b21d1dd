"""Tokens, for who reads the control database and writes nothing: no more than the standard library."""

import sqlite3
from pathlib import Path
from threading import Lock

from andoncord.adapters.sqlite.connection import connect
from andoncord.kernel.access import Token, scopes_from

_WANTED = """
    SELECT id, name, scope, agent, secret_digest, created_ns, revoked_ns, owner, expires_ns FROM tokens
    WHERE secret_digest = ? AND revoked_ns = 0
"""


class SqliteTokens:
    """The tokens in a control database that is a file; another process writes it.

    Args:
        path: the database, which must exist.
    """

    def __init__(self, path: Path) -> None:
        self._connection: sqlite3.Connection = connect(path, read_only=True)
        self._turn = Lock()

    def token(self, secret_digest: str) -> Token | None:
        """The token with this digest, unless it is unknown or revoked."""
        with self._turn:
            row = self._connection.execute(_WANTED, (secret_digest,)).fetchone()
        if row is None:
            return None
        id_, name, scope, agent, digest, created_ns, revoked_ns, owner, expires_ns = row
        return Token(
            id=id_,
            name=name,
            scopes=scopes_from(scope),
            agent=agent,
            secret_digest=digest,
            created_ns=created_ns,
            revoked_ns=revoked_ns,
            owner=owner,
            expires_ns=expires_ns,
        )

    def close(self) -> None:
        """Let go of the file."""
        with self._turn:
            self._connection.close()
