"""Tokens, sessions and remembered answers, on both databases."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from andoncord.adapters.sql.access import MAX_REMEMBERED_ANSWERS, SqlAccess
from andoncord.adapters.sql.database import Database
from andoncord.adapters.sql.ledger import KEEP_NS, SqlEffectLedger
from andoncord.adapters.sql.migrate import migrate
from andoncord.adapters.sqlite.tokens import SqliteTokens
from andoncord.kernel.access import Scope, Session, Token, secret_digest
from andoncord.kernel.effect import Outcome, Receipt


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = Database(database_url)
    migrate(opened)
    yield opened
    opened.close()


@pytest.fixture
def access(database: Database) -> SqlAccess:
    return SqlAccess(database)


def a_token(name: str, secret: str) -> Token:
    return Token(
        id=f"tok_{name}", name=name, scopes=(Scope.AGENT,), agent="a-*", secret_digest=secret_digest(secret), created_ns=1
    )


def test_a_token_is_found_by_its_digest_until_revoked(access: SqlAccess) -> None:
    """A revoked token is as good as an unknown one, and revoking it again does nothing."""
    access.add_token(a_token("one", "s3cret"))
    assert access.token(secret_digest("s3cret")) == a_token("one", "s3cret")
    assert access.token(secret_digest("other")) is None

    assert access.revoke_token("tok_one", now_ns=9)
    assert access.token(secret_digest("s3cret")) is None
    assert not access.revoke_token("tok_one", now_ns=10)
    assert [token.revoked_ns for token in access.tokens()] == [9]


def test_no_secret_is_on_disk(tmp_path: Path) -> None:
    """Whoever reads the files learns no token."""
    database = Database.in_file(tmp_path / "control.db")
    migrate(database)
    SqlAccess(database).add_token(a_token("one", "a-very-secret-token"))
    database.close()

    assert not any(b"a-very-secret-token" in path.read_bytes() for path in tmp_path.iterdir())


def test_a_session_runs_out(access: SqlAccess) -> None:
    """A session is found before it expires, not after, and not once it was ended."""
    session = Session(secret_digest="d", name="ana", scopes=(Scope.ADMIN,), created_ns=1, expires_ns=10, used_ns=1)
    access.add_session(session)

    assert access.session("d", now_ns=9) == session
    assert access.session("d", now_ns=10) is None
    access.end_session("d")
    assert access.session("d", now_ns=9) is None


def test_the_first_answer_is_the_one_remembered(access: SqlAccess) -> None:
    """An idempotency key keeps its first answer."""
    access.remember_answer("k", "d1", 202, b"first")
    access.remember_answer("k", "d2", 500, b"second")

    assert access.remembered_answer("k") == ("d1", 202, b"first")
    assert access.remembered_answer("other") is None
    assert MAX_REMEMBERED_ANSWERS > 0


def test_positions_are_kept_by_name(access: SqlAccess) -> None:
    """Each reader has its own place."""
    access.set_position("findings", 3)
    access.set_position("findings", 4)

    assert (access.position("findings"), access.position("other")) == (4, 0)


def test_an_effect_begins_once_and_keeps_its_receipt(database: Database) -> None:
    """What was begun is known, what came of it is returned, and what is older than 90 days is forgotten."""
    ledger = SqlEffectLedger(database)
    receipt = Receipt(intent="i", outcome=Outcome.DONE, at_ns=2, detail={"exit_code": 0})

    assert ledger.begin("i", now_ns=1)
    assert ledger.receipt("i") is None
    assert not ledger.begin("i", now_ns=2)
    ledger.complete("i", receipt)
    assert ledger.receipt("i") == receipt
    assert ledger.begin("j", now_ns=KEEP_NS + 2)
    assert ledger.receipt("i") is None


def test_the_worker_reads_tokens_without_sqlalchemy(tmp_path: Path) -> None:
    """The reader that knows the file alone finds the same tokens, and sees at once that one was revoked."""
    database = Database.in_file(tmp_path / "control.db")
    migrate(database)
    access, reader = SqlAccess(database), SqliteTokens(tmp_path / "control.db")
    access.add_token(a_token("one", "s3cret"))
    assert reader.token(secret_digest("s3cret")) == access.token(secret_digest("s3cret")) == a_token("one", "s3cret")

    access.revoke_token("tok_one", now_ns=9)
    assert reader.token(secret_digest("s3cret")) is None
    reader.close()
    database.close()
