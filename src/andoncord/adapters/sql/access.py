"""Tokens, browser sessions, remembered answers and readers' places. Secrets are stored as digests only."""

from typing import Any

import msgspec
import sqlalchemy as sa

from andoncord.adapters.sql.database import Database
from andoncord.adapters.sql.tables import ANSWERS, POSITIONS, SESSIONS, TOKENS
from andoncord.kernel.access import Session, Token, scopes_from, scopes_text

MAX_REMEMBERED_ANSWERS = 10_000


class SqlAccess:
    """Who may come in. The control process writes; other processes open the database read-only to check tokens."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add_token(self, token: Token) -> None:
        with self._database.writing() as connection:
            connection.execute(TOKENS.insert(), _token_row(token))

    def token(self, secret_digest: str) -> Token | None:
        """The token with this digest, unless it is unknown or revoked."""
        wanted = sa.select(TOKENS).where(TOKENS.c.secret_digest == secret_digest, TOKENS.c.revoked_ns == 0)
        with self._database.reading() as connection:
            row = connection.execute(wanted).first()
        return _token(row) if row else None

    def tokens(self) -> tuple[Token, ...]:
        """Every token ever made, oldest first, revoked ones included."""
        with self._database.reading() as connection:
            rows = connection.execute(sa.select(TOKENS).order_by(TOKENS.c.created_ns, TOKENS.c.id)).all()
        return tuple(_token(row) for row in rows)

    def revoke_token(self, token_id: str, *, now_ns: int) -> bool:
        """End a token for good; False when there is none of this id that still held."""
        change = sa.update(TOKENS).where(TOKENS.c.id == token_id, TOKENS.c.revoked_ns == 0).values(revoked_ns=now_ns)
        with self._database.writing() as connection:
            return connection.execute(change).rowcount > 0

    def forget_revoked(self, name: str) -> None:
        """Delete the tokens of this name that were revoked: those that a program renews, and nobody asks about."""
        with self._database.writing() as connection:
            connection.execute(sa.delete(TOKENS).where(TOKENS.c.name == name, TOKENS.c.revoked_ns != 0))

    def note_tokens_used(self, used_ns: dict[str, int]) -> None:
        """When tokens were last seen, by id."""
        with self._database.writing() as connection:
            for token_id, at_ns in used_ns.items():
                connection.execute(sa.update(TOKENS).where(TOKENS.c.id == token_id).values(used_ns=at_ns))

    def add_session(self, session: Session) -> None:
        """Keep a session, and forget those that had run out by the time it began."""
        with self._database.writing() as connection:
            connection.execute(sa.delete(SESSIONS).where(SESSIONS.c.expires_ns <= session.created_ns))
            connection.execute(SESSIONS.insert(), _session_row(session))

    def session(self, secret_digest: str, *, now_ns: int) -> Session | None:
        wanted = sa.select(SESSIONS).where(SESSIONS.c.secret_digest == secret_digest, SESSIONS.c.expires_ns > now_ns)
        with self._database.reading() as connection:
            row = connection.execute(wanted).first()
        return _session(row) if row else None

    def end_session(self, secret_digest: str) -> None:
        with self._database.writing() as connection:
            connection.execute(sa.delete(SESSIONS).where(SESSIONS.c.secret_digest == secret_digest))

    def end_sessions_of(self, account: str) -> None:
        """End every session of an account."""
        with self._database.writing() as connection:
            connection.execute(sa.delete(SESSIONS).where(SESSIONS.c.name == account, SESSIONS.c.account == 1))

    def note_session_used(self, secret_digest: str, *, now_ns: int) -> None:
        change = sa.update(SESSIONS).where(SESSIONS.c.secret_digest == secret_digest).values(used_ns=now_ns)
        with self._database.writing() as connection:
            connection.execute(change)

    def remembered_answer(self, key: str) -> tuple[str, int, bytes] | None:
        """What a request with this idempotency key was answered: digest of the request, status, body."""
        wanted = sa.select(ANSWERS.c.request_digest, ANSWERS.c.status, ANSWERS.c.body).where(ANSWERS.c.key == key)
        with self._database.reading() as connection:
            row = connection.execute(wanted).first()
        return (row.request_digest, row.status, row.body) if row else None

    def remember_answer(self, key: str, request_digest: str, status: int, body: bytes) -> None:
        """Keep an answer; the oldest beyond `MAX_REMEMBERED_ANSWERS` are forgotten."""
        keep = (
            self._database.insert(ANSWERS)
            .values(key=key, request_digest=request_digest, status=status, body=body)
            .on_conflict_do_nothing()
            .returning(ANSWERS.c.position)
        )
        with self._database.writing() as connection:
            position = connection.execute(keep).scalar()
            if position is not None:
                connection.execute(sa.delete(ANSWERS).where(ANSWERS.c.position <= position - MAX_REMEMBERED_ANSWERS))

    def position(self, name: str) -> int:
        """How far a reader of this name has come; 0 before its first."""
        with self._database.reading() as connection:
            found = connection.execute(sa.select(POSITIONS.c.position).where(POSITIONS.c.name == name)).scalar()
        return int(found) if found is not None else 0

    def set_position(self, name: str, position: int) -> None:
        keep = self._database.insert(POSITIONS).values(name=name, position=position)
        with self._database.writing() as connection:
            connection.execute(keep.on_conflict_do_update(index_elements=["name"], set_={"position": position}))


def _token(row: sa.Row[Any]) -> Token:
    named = dict(row._mapping)
    return Token(scopes=scopes_from(named.pop("scope")), **named)


def _token_row(token: Token) -> dict[str, Any]:
    named = msgspec.structs.asdict(token)
    return {**named, "scope": scopes_text(named.pop("scopes"))}


def _session(row: sa.Row[Any]) -> Session:
    named = dict(row._mapping)
    return Session(scopes=scopes_from(named.pop("scope")), account=bool(named.pop("account")), **named)


def _session_row(session: Session) -> dict[str, Any]:
    named = msgspec.structs.asdict(session)
    return {**named, "scope": scopes_text(named.pop("scopes")), "account": int(session.account)}
