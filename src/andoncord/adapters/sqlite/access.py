"""Tokens, browser sessions and remembered answers in SQLite. Secrets are stored as digests only."""

from pathlib import Path

import msgspec

from andoncord.adapters.sqlite.connection import connect
from andoncord.kernel.access import Scope, Session, Token

MAX_REMEMBERED_ANSWERS = 10_000

SCHEMA = """
CREATE TABLE IF NOT EXISTS tokens (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    scope TEXT NOT NULL,
    agent TEXT NOT NULL,
    secret_digest TEXT NOT NULL UNIQUE,
    created_ns INTEGER NOT NULL,
    revoked_ns INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS sessions (
    secret_digest TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    scope TEXT NOT NULL,
    created_ns INTEGER NOT NULL,
    expires_ns INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS answers (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL UNIQUE,
    request_digest TEXT NOT NULL,
    status INTEGER NOT NULL,
    body BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS positions (
    name TEXT PRIMARY KEY,
    position INTEGER NOT NULL
) STRICT;
"""

_TOKEN_COLUMNS = "id, name, scope, agent, secret_digest, created_ns, revoked_ns"


class SqliteAccess:
    """Who may come in, in the control process's file. Other processes open it read-only to check tokens."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self._connection = connect(path, read_only=read_only)
        if not read_only:
            self._connection.executescript(SCHEMA)

    def add_token(self, token: Token) -> None:
        self._connection.execute(
            f"INSERT INTO tokens ({_TOKEN_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (token.id, token.name, token.scope, token.agent, token.secret_digest, token.created_ns, token.revoked_ns),
        )

    def token(self, secret_digest: str) -> Token | None:
        """The token with this digest, unless it is unknown or revoked."""
        row = self._connection.execute(
            f"SELECT {_TOKEN_COLUMNS} FROM tokens WHERE secret_digest = ? AND revoked_ns = 0", (secret_digest,)
        ).fetchone()
        return _token(row) if row else None

    def tokens(self) -> tuple[Token, ...]:
        """Every token ever made, oldest first, revoked ones included."""
        rows = self._connection.execute(f"SELECT {_TOKEN_COLUMNS} FROM tokens ORDER BY created_ns, id").fetchall()
        return tuple(_token(row) for row in rows)

    def revoke_token(self, token_id: str, *, now_ns: int) -> bool:
        """End a token for good; False when there is none of this id that still held."""
        cursor = self._connection.execute(
            "UPDATE tokens SET revoked_ns = ? WHERE id = ? AND revoked_ns = 0", (now_ns, token_id)
        )
        return cursor.rowcount > 0

    def add_session(self, session: Session) -> None:
        """Keep a session, and forget those that had run out by the time it began."""
        self._connection.execute("DELETE FROM sessions WHERE expires_ns <= ?", (session.created_ns,))
        self._connection.execute(
            "INSERT INTO sessions (secret_digest, name, scope, created_ns, expires_ns) VALUES (?, ?, ?, ?, ?)",
            (session.secret_digest, session.name, session.scope, session.created_ns, session.expires_ns),
        )

    def session(self, secret_digest: str, *, now_ns: int) -> Session | None:
        row = self._connection.execute(
            "SELECT name, scope, created_ns, expires_ns FROM sessions WHERE secret_digest = ? AND expires_ns > ?",
            (secret_digest, now_ns),
        ).fetchone()
        if row is None:
            return None
        name, scope, created_ns, expires_ns = row
        return Session(secret_digest=secret_digest, name=name, scope=Scope(scope), created_ns=created_ns, expires_ns=expires_ns)

    def end_session(self, secret_digest: str) -> None:
        self._connection.execute("DELETE FROM sessions WHERE secret_digest = ?", (secret_digest,))

    def remembered_answer(self, key: str) -> tuple[str, int, bytes] | None:
        """What a request with this idempotency key was answered: digest of the request, status, body."""
        row = self._connection.execute("SELECT request_digest, status, body FROM answers WHERE key = ?", (key,)).fetchone()
        return (row[0], row[1], row[2]) if row else None

    def remember_answer(self, key: str, request_digest: str, status: int, body: bytes) -> None:
        """Keep an answer; the oldest beyond `MAX_REMEMBERED_ANSWERS` are forgotten."""
        cursor = self._connection.execute(
            "INSERT OR IGNORE INTO answers (key, request_digest, status, body) VALUES (?, ?, ?, ?)",
            (key, request_digest, status, body),
        )
        self._connection.execute("DELETE FROM answers WHERE position <= ?", ((cursor.lastrowid or 0) - MAX_REMEMBERED_ANSWERS,))

    def position(self, name: str) -> int:
        """How far a reader of this name has come; 0 before its first."""
        row = self._connection.execute("SELECT position FROM positions WHERE name = ?", (name,)).fetchone()
        return int(row[0]) if row else 0

    def set_position(self, name: str, position: int) -> None:
        self._connection.execute("INSERT OR REPLACE INTO positions (name, position) VALUES (?, ?)", (name, position))

    def close(self) -> None:
        self._connection.close()


def _token(row: tuple[str, str, str, str, str, int, int]) -> Token:
    names = ("id", "name", "scope", "agent", "secret_digest", "created_ns", "revoked_ns")
    return msgspec.convert(dict(zip(names, row, strict=True)), Token)
