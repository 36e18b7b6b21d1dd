"""Accounts: what is kept of a password, who stays an administrator, and what ends with an account."""

import asyncio
from pathlib import Path

import pytest
from tests.server.test_auth import Door

from andoncord.app_home import renew_token
from andoncord.kernel.access import Role, Scope
from andoncord.kernel.errors import CallerError, ConflictError
from andoncord.server.passwords import hashed, matches
from andoncord.server.source_settings import SourceSettings
from andoncord.server.sources import Source
from andoncord.server.throttle import FREE_FAILURES, TooManyError

PASSWORD = "correct horse battery staple"


@pytest.fixture
def door(tmp_path: Path) -> Door:
    return Door(tmp_path)


def test_a_password_is_kept_as_what_cannot_be_turned_back() -> None:
    """The same password twice is kept as two things; another is not taken for it."""
    kept = [hashed(PASSWORD, salt=salt, log_n=4) for salt in (b"0123456789abcdef", b"fedcba9876543210")]
    assert kept[0] != kept[1]
    assert not any("horse" in each for each in kept)
    assert (matches(PASSWORD, kept[0]), matches(f"{PASSWORD} ", kept[0])) == (True, False)


@pytest.mark.parametrize("password", ["short", "a" * 40, "ada and her password", "x" * 201])
def test_a_password_that_is_soon_guessed_is_refused(door: Door, password: str) -> None:
    """Too short, too simple, with the name in it, or absurdly long; nothing is made."""
    with pytest.raises(CallerError, match="password"):
        asyncio.run(door.known.accounts.add("ada", Role.VIEWER, password=password))
    assert door.known.accounts.all() == []


def test_signing_in_tells_nothing_but_yes(door: Door) -> None:
    """A wrong password, an unknown name, a disabled account and one without a password give the same, at the same cost."""

    async def trial() -> None:
        accounts = door.known.accounts
        await accounts.add("ada", Role.RESPONDER, password=PASSWORD)
        await accounts.add("bob", Role.VIEWER)
        assert await accounts.sign_in("ada", PASSWORD, address="::1") is not None
        assert await accounts.sign_in("bob", "", address="::1") is None
        accounts.disable("ada")
        for name in ("ada", "bob", "nobody"):
            assert await accounts.sign_in(name, PASSWORD, address="::1") is None
        for _ in range(FREE_FAILURES):
            await accounts.sign_in("nobody", "wrong", address="::2")
        with pytest.raises(TooManyError):
            await accounts.sign_in("nobody", "wrong", address="::2")

    asyncio.run(trial())


def test_the_last_administrator_stays(door: Door) -> None:
    """Nobody can leave a server without one, by disabling or by another role."""
    accounts = door.known.accounts
    asyncio.run(accounts.add("ada", Role.ADMIN))
    with pytest.raises(ConflictError, match="last"):
        accounts.disable("ada")
    with pytest.raises(ConflictError, match="last"):
        accounts.set_role("ada", Role.COMMANDER)
    asyncio.run(accounts.add("bob", Role.ADMIN))
    accounts.disable("ada")


def test_a_token_ends_at_its_time_and_with_its_owner(door: Door) -> None:
    """After its days a token is nobody's; an agent's token of a disabled owner is neither."""
    asyncio.run(door.known.accounts.add("ada", Role.RESPONDER))
    _, short = door.auth.create_token(name="script", scopes=(Scope.READ,), days=1)
    _, owned = door.auth.create_token(name="fleet", scopes=(Scope.AGENT,), agent="a-*", owner="ada")
    assert door.auth.bearer(door.bearer(short)) is not None
    assert door.auth.require_agent(door.bearer(owned)).owner == "ada"
    door.known.accounts.disable("ada")
    door.clock.move_by(25 * 3_600 * 10**9)
    for secret in (short, owned):
        with pytest.raises(CallerError):
            door.auth.bearer(door.bearer(secret))
    with pytest.raises(ConflictError, match="disabled"):
        door.auth.create_token(name="again", scopes=(Scope.READ,), owner="ada")


def test_a_sources_token_leaves_nothing_behind_at_the_next_start(door: Door) -> None:
    """However often the server starts, there is one token for each source, and it is the one that holds."""
    settings = SourceSettings(kind="alertmanager", secret_file="x", agents="a-*")
    source = Source(name="ci", settings=settings, secret="s" * 32)
    secrets = [renew_token(door.auth, door.store, source) for _ in range(3)]
    assert len(door.store.tokens()) == 1
    for old in secrets[:2]:
        with pytest.raises(CallerError):
            door.auth.bearer(door.bearer(old))
    assert door.auth.bearer(door.bearer(secrets[2])) is not None


def test_a_flood_of_refusals_washes_nothing_away(door: Door) -> None:
    """A refusal that repeats is written at powers of two; what was done stays, whoever knocks."""
    log = door.known.log
    log.signed_in("ada", via="code", address="::1")
    for _ in range(1_000):
        log.refused(who="", via="", address="::6", what="GET /api/v1/tokens", about="/api/v1/tokens", why="nobody we know")
    found = [event for _, event in log.events(limit=500)]
    assert [event.times for event in found if event.kind == "denied"] == [512, 256, 128, 64, 32, 16, 8, 4, 2, 1]
    assert found[-1].who == "ada"


def test_guesses_at_the_same_time_count_like_guesses_one_after_the_other(door: Door) -> None:
    """Of a crowd of wrong passwords that come at once only a few more are compared than may fail before the first wait."""

    async def trial() -> list[object]:
        accounts = door.known.accounts
        tries = [accounts.sign_in("nobody", f"guess {number}", address="::1") for number in range(18)]
        return await asyncio.gather(*tries, return_exceptions=True)

    outcomes = asyncio.run(trial())
    assert sum(outcome is None for outcome in outcomes) <= FREE_FAILURES + 1
    assert all(outcome is None or isinstance(outcome, TooManyError) for outcome in outcomes)
