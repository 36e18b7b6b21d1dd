"""Tokens, login codes and sessions."""

import asyncio
from pathlib import Path

import pytest
from starlette.requests import Request

from andoncord.adapters.sql.access import SqlAccess
from andoncord.adapters.sql.accounts import SqlAccounts
from andoncord.adapters.sql.database import Database
from andoncord.adapters.sql.migrate import migrate
from andoncord.kernel.access import Role, Scope
from andoncord.kernel.errors import CallerError, NotFoundError
from andoncord.kernel.time import HOUR_NS
from andoncord.server.access_settings import AccessSettings
from andoncord.server.auth import CODE_LIFE_NS, COOKIE, SECURE_COOKIE, ForbiddenError, UnauthenticatedError
from andoncord.server.figures import Misuse
from andoncord.server.identity import identity
from andoncord.testing.system import CountedEntropy, HandClock


class Door:
    """An `Auth` with everything around it."""

    def __init__(self, folder: Path) -> None:
        self.clock = HandClock()
        self.revoked: list[str] = []
        self.misused: list[Misuse] = []
        database = Database.in_file(folder / "control.db")
        migrate(database)
        people = SqlAccounts(database)
        self.known = identity(
            store=SqlAccess(database),
            people=people,
            record=people,
            settings=AccessSettings(),
            clock=self.clock,
            entropy=CountedEntropy(),
            device_key=b"device key",
            hash_log_n=4,
            on_revoked=self.revoked.append,
            on_misuse=self.misused.append,
        )
        self.auth, self.store = self.known.auth, SqlAccess(database)

    def bearer(self, secret: str) -> Request:
        return _request({"authorization": f"Bearer {secret}"})


def _request(headers: dict[str, str], method: str = "GET", scheme: str = "http") -> Request:
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": method, "path": "/", "scheme": scheme, "headers": raw, "query_string": b""})


def session_of(door: Door, scope: Scope) -> str:
    opened = door.auth.exchange(door.auth.login_code(name="ana", scopes=(scope,)))
    assert opened is not None
    return opened[1]


@pytest.fixture
def door(tmp_path: Path) -> Door:
    return Door(tmp_path)


def test_a_revoked_token_is_refused(door: Door) -> None:
    """Revoking ends a token at once and tells whoever keeps connections open."""
    token, secret = door.auth.create_token(name="fleet", scopes=(Scope.AGENT,), agent="a-*")
    assert door.auth.require_agent(door.bearer(secret)).id == token.id

    door.auth.revoke_token(token.id)
    assert door.revoked == [token.id]
    with pytest.raises(UnauthenticatedError):
        door.auth.require_agent(door.bearer(secret))
    with pytest.raises(NotFoundError):
        door.auth.revoke_token(token.id)


@pytest.mark.parametrize(("scope", "agent"), [(Scope.AGENT, ""), (Scope.INGEST, ""), (Scope.READ, "a-*")])
def test_scope_and_agent_belong_together(door: Door, scope: Scope, agent: str) -> None:
    """An agent token names its agents; a person's token does not."""
    with pytest.raises(CallerError):
        door.auth.create_token(name="x", scopes=(scope,), agent=agent)


def test_a_persons_token_is_no_guards_token(door: Door) -> None:
    """Even an admin cannot pose as a guard, nor can a collector that may only send."""
    _, secret = door.auth.create_token(name="ana", scopes=(Scope.ADMIN,))
    _, sending = door.auth.create_token(name="collector", scopes=(Scope.INGEST,), agent="*")

    for each in (secret, sending):
        with pytest.raises(ForbiddenError):
            door.auth.require_agent(door.bearer(each))


def test_a_login_code_works_once(door: Door) -> None:
    """The second exchange of a code gives nothing."""
    code = door.auth.login_code(name="ana", scopes=(Scope.ADMIN,))

    assert door.auth.exchange(code)
    assert door.auth.exchange(code) is None


def test_a_login_code_runs_out(door: Door) -> None:
    """After five minutes a code gives nothing."""
    code = door.auth.login_code(name="ana", scopes=(Scope.ADMIN,))
    door.clock.move_by(CODE_LIFE_NS + 1)

    assert door.auth.exchange(code) is None


def test_a_session_is_somebody_until_it_runs_out(door: Door) -> None:
    """The cookie stands for the person who was given the code."""
    secret = session_of(door, Scope.RESPOND)
    request = _request({"cookie": f"{COOKIE}={secret}"})
    principal = door.auth.session(request)

    assert principal is not None
    assert (principal.by, principal.scope) == ("person:ana", Scope.RESPOND)
    for _ in range(24):
        assert door.auth.session(request) is not None
        door.clock.move_by(HOUR_NS // 2)
    assert door.auth.session(request) is None


def test_a_session_that_is_not_used_ends(door: Door) -> None:
    """After an hour without a request it is over, although its twelve hours are not."""
    request = _request({"cookie": f"{COOKIE}={session_of(door, Scope.RESPOND)}"})
    door.clock.move_by(HOUR_NS)
    assert door.auth.session(request) is None


def test_over_https_only_the_cookie_that_stays_there_counts(door: Door) -> None:
    """What was set without encryption, by whomever, is nobody's session there; and the other way round."""
    secret = session_of(door, Scope.RESPOND)
    for scheme, name, is_known in (
        ("https", SECURE_COOKIE, True),
        ("https", COOKIE, False),
        ("http", COOKIE, True),
        ("http", SECURE_COOKIE, False),
    ):
        request = _request({"cookie": f"{name}={secret}", "host": "andon.example"}, scheme=scheme)
        assert (door.auth.session(request) is not None) is is_known


def test_whoever_is_connected_for_long_is_looked_at_again(door: Door) -> None:
    """A stream that was opened with a session or token ends with it, and does not keep a session from growing idle."""
    asyncio.run(door.known.accounts.add("ada", Role.VIEWER))
    token, secret = door.auth.create_token(name="script", scopes=(Scope.READ,))
    by_token = door.bearer(secret)
    by_session = _request({"cookie": f"{COOKIE}={door.auth.open_session('ada')}"})
    assert (door.auth.still(by_token), door.auth.still(by_session)) == (True, True)
    door.auth.revoke_token(token.id)
    door.clock.move_by(HOUR_NS // 2)
    assert (door.auth.still(by_token), door.auth.still(by_session)) == (False, True)
    door.clock.move_by(HOUR_NS // 2)
    assert not door.auth.still(by_session)


async def _required(door: Door, request: Request, scope: Scope) -> str:
    return (await door.auth.require(request, scope)).name


def test_changes_from_a_session_need_its_proof(door: Door) -> None:
    """A cookie alone reads; to change something the page must know the session's own proof."""
    secret = session_of(door, Scope.ADMIN)
    cookie = {"cookie": f"{COOKIE}={secret}"}
    principal = door.auth.session(_request(cookie))
    assert principal is not None

    assert asyncio.run(_required(door, _request(cookie), Scope.READ)) == "ana"
    with pytest.raises(ForbiddenError):
        asyncio.run(_required(door, _request(cookie, "POST"), Scope.READ))
    with pytest.raises(ForbiddenError):
        asyncio.run(_required(door, _request({**cookie, "x-csrf-token": "guess"}, "POST"), Scope.READ))
    proven = _request({**cookie, "x-csrf-token": principal.csrf}, "POST")
    assert asyncio.run(_required(door, proven, Scope.READ)) == "ana"


def test_a_reader_cannot_respond(door: Door) -> None:
    """A scope goes so far and no further."""
    _, secret = door.auth.create_token(name="eve", scopes=(Scope.READ,))

    assert asyncio.run(_required(door, door.bearer(secret), Scope.READ)) == "eve"
    with pytest.raises(ForbiddenError):
        asyncio.run(_required(door, door.bearer(secret), Scope.RESPOND))
    with pytest.raises(UnauthenticatedError):
        asyncio.run(_required(door, _request({}), Scope.READ))


def test_a_token_used_for_what_it_is_not_good_for_is_told(door: Door) -> None:
    """Each way to be refused for the scope counts; told the first time and at every power of two; the secret is not in it."""
    token, secret = door.auth.create_token(name="reader", scopes=(Scope.READ,))
    for _ in range(3):
        with pytest.raises(ForbiddenError):
            asyncio.run(door.auth.require(door.bearer(secret), Scope.ADMIN))
    with pytest.raises(ForbiddenError):
        door.auth.require_agent(door.bearer(secret))
    asyncio.run(door.auth.require(door.bearer(secret), Scope.READ))

    assert [(each.token, each.times, each.used_for) for each in door.misused] == [(token.id, n, "GET /") for n in (1, 2, 4)]
    assert secret not in repr(door.misused)


def test_a_token_that_was_there_before_the_account_of_its_name_is_the_accounts_too(door: Door) -> None:
    """It is good for no more than the account is, and ends with it; otherwise a person who left would go on by its name."""

    async def story() -> None:
        token, secret = door.auth.create_token(name="ana", scopes=(Scope.ADMIN,))
        await door.known.accounts.add("ana", Role.VIEWER)
        found = door.auth.bearer(door.bearer(secret))
        assert found is not None
        assert (found.name, found.may) == ("ana", frozenset((Scope.READ,)))

        door.known.accounts.disable("ana")
        assert door.revoked == [token.id]
        with pytest.raises(UnauthenticatedError):
            door.auth.bearer(door.bearer(secret))

    asyncio.run(story())
