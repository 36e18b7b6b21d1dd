"""Signing in elsewhere: people are sent to a provider, come back, and get the account and role that its word gives them."""

import hashlib
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
from starlette.requests import Request

from andoncord.kernel.access import Account, Role
from andoncord.kernel.canon import canonical_json
from andoncord.kernel.errors import CallerError
from andoncord.kernel.time import MINUTE_NS
from andoncord.server.access_log import AccessLog
from andoncord.server.access_settings import AccessSettings, OidcSettings
from andoncord.server.accounts import Accounts
from andoncord.server.auth import ForbiddenError, address_of
from andoncord.server.ports import Entropy, ServerClock
from andoncord.server.signing_in import SignedIn, SigningIn

CALLBACK = "/login/provider/callback"
UNDER_WAY_NS = 10 * MINUTE_NS
"""How long somebody may take at the provider."""
MAX_BACK = 10_000
"""Sign-ins that came back lately and cannot come back again."""
MAX_WORD = 2_000


class Provider(Protocol):
    """Who says who people are."""

    async def address(self, *, redirect_uri: str, state: str, nonce: str, challenge: str) -> str: ...

    async def claims(self, code: str, *, redirect_uri: str, verifier: str, nonce: str) -> Mapping[str, Any]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """Somebody is on the way to the provider; the browser keeps `cookie`, so that nobody's way takes up room here."""

    address: str
    cookie: str


class UnderWay(msgspec.Struct, frozen=True, kw_only=True):
    """What the browser brings back, under our seal."""

    state: str
    nonce: str
    verifier: str
    after: str
    """Where they wanted to go."""
    until_ns: int


class Elsewhere:
    """Takes people to the provider and back.

    Args:
        key: seals what browsers keep on the way.
        is_token: whether a person's token in force goes by a name.
    """

    def __init__(
        self,
        *,
        provider: Provider,
        settings: AccessSettings,
        accounts: Accounts,
        signing_in: SigningIn,
        log: AccessLog,
        clock: ServerClock,
        entropy: Entropy,
        key: bytes,
        is_token: Callable[[str], bool],
    ) -> None:
        assert settings.oidc is not None
        self._key = key
        self._is_token = is_token
        self._provider = provider
        self._oidc: OidcSettings = settings.oidc
        self._url = settings.url.rstrip("/")
        self._accounts = accounts
        self._signing_in = signing_in
        self._log = log
        self._clock = clock
        self._entropy = entropy
        self._back_already: dict[str, None] = {}
        """States that were used."""

    async def begin(self, request: Request, *, after: str) -> Sent:
        """Send somebody on the way.

        Raises:
            CallerError: the provider does not answer.
        """
        state, nonce, verifier = (self._entropy.secret() for _ in range(3))
        challenge = urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        address = await self._provider.address(
            redirect_uri=self._redirect_uri(request), state=state, nonce=nonce, challenge=challenge
        )
        until_ns = self._clock.now() + UNDER_WAY_NS
        way = UnderWay(state=state, nonce=nonce, verifier=verifier, after=after[:MAX_WORD], until_ns=until_ns)
        body = urlsafe_b64encode(msgspec.json.encode(way)).decode()
        return Sent(address=address, cookie=f"{body}.{self._seal(body)}")

    async def back(self, request: Request, *, cookie: str) -> tuple[SignedIn, str]:
        """Take somebody back in; where they wanted to go comes with it.

        Args:
            cookie: what the browser was sent away with.

        Raises:
            CallerError: they cannot come in, with the reason.
        """
        try:
            return await self._back(request, cookie)
        except CallerError as error:
            self._log.sign_in_failed("", via="provider", address=address_of(request), why=error.message)
            raise

    async def _back(self, request: Request, cookie: str) -> tuple[SignedIn, str]:
        query = request.query_params
        way = self._opened(cookie, query.get("state", "")[:MAX_WORD])
        if query.get("iss", self._oidc.issuer) != self._oidc.issuer:
            raise ForbiddenError("another provider answered", remedy="sign in again")
        if query.get("error"):
            raise ForbiddenError("the provider did not let you in", remedy="sign in again")
        claims = await self._provider.claims(
            query.get("code", "")[:MAX_WORD], redirect_uri=self._redirect_uri(request), verifier=way.verifier, nonce=way.nonce
        )
        account = await self._account(claims)
        return self._signing_in.elsewhere(request, account.name, via="provider"), way.after

    def _opened(self, cookie: str, state: str) -> UnderWay:
        """What the browser brought back, once.

        Raises:
            ForbiddenError: it is not ours, of another sign-in, too old, or was brought before.
        """
        body, _, seal = cookie.partition(".")
        way = None
        if hmac.compare_digest(seal.encode("utf-8", "replace"), self._seal(body).encode()):
            way = msgspec.json.decode(urlsafe_b64decode(body), type=UnderWay)
        is_good = way is not None and hmac.compare_digest(way.state.encode(), state.encode("utf-8", "replace"))
        if way is None or not is_good or way.until_ns < self._clock.now() or state in self._back_already:
            raise ForbiddenError("this sign-in was not begun in this browser, or took too long", remedy="sign in again")
        while len(self._back_already) >= MAX_BACK:
            del self._back_already[next(iter(self._back_already))]
        self._back_already[state] = None
        return way

    def _seal(self, body: str) -> str:
        return hmac.new(self._key, b"sign-in under way\0" + body.encode("utf-8", "replace"), "sha256").hexdigest()

    async def _account(self, claims: Mapping[str, Any]) -> Account:
        """The account of who the provider speaks of, with the role that it gives now; made when they come for the first time.

        Raises:
            ForbiddenError: there is none for them.
        """
        subject = canonical_json([claims["iss"], claims["sub"]]).decode()
        role = role_of(claims, self._oidc)
        known = next((each for each in self._accounts.all() if each.subject == subject), None)
        if role is None or (known is not None and known.disabled_ns):
            raise ForbiddenError("you have no role here", remedy="ask an administrator")
        if known is not None:
            return known if known.role is role else self._accounts.set_role(known.name, role)
        name = name_of(claims, self._oidc)
        if self._accounts.find(name) is not None or self._is_token(name):
            # Whoever may choose a name at the provider must not become somebody who is known here by another way.
            why = "there is an account or a token of your name that is not the provider's"
            raise ForbiddenError(why, remedy="ask an administrator")
        return await self._accounts.add(name, role, subject=subject)

    def _redirect_uri(self, request: Request) -> str:
        return (self._url or str(request.base_url).rstrip("/")) + CALLBACK


def name_of(claims: Mapping[str, Any], settings: OidcSettings) -> str:
    """What the provider calls a person. An address that it says it has not verified may be anybody's.

    Raises:
        ForbiddenError: it does not say, or says something that somebody only claims.

    >>> settings = OidcSettings(issuer="https://id", client_id="andon", name_claim="email")
    >>> name_of({"email": "ada@example.org"}, settings)
    'ada@example.org'
    >>> name_of({"email": "ada@example.org", "email_verified": False}, settings)
    Traceback (most recent call last):
    andoncord.server.auth.ForbiddenError: the provider has not verified that the address is yours, verify it there
    """
    name = claims.get(settings.name_claim)
    if not isinstance(name, str):
        raise ForbiddenError(f"the provider does not say your {settings.name_claim}", remedy="ask an administrator")
    if settings.name_claim == "email" and claims.get("email_verified") is False:
        raise ForbiddenError("the provider has not verified that the address is yours", remedy="verify it there")
    return name


def role_of(claims: Mapping[str, Any], settings: OidcSettings) -> Role | None:
    """The furthest-reaching role that the claim gives; None where somebody without one is refused.

    >>> settings = OidcSettings(issuer="https://id", client_id="andon", roles={"sre": Role.RESPONDER, "leads": Role.COMMANDER})
    >>> role_of({"groups": ["sre", "leads", "chess"]}, settings), role_of({"groups": "sre"}, settings), role_of({}, settings)
    (<Role.COMMANDER: 'commander'>, <Role.RESPONDER: 'responder'>, None)
    >>> role_of({}, OidcSettings(issuer="https://id", client_id="andon", otherwise="viewer"))
    <Role.VIEWER: 'viewer'>
    """
    said = claims.get(settings.role_claim)
    words = said if isinstance(said, list) else [said]
    order = list(Role)
    found = [settings.roles[word] for word in words if isinstance(word, str) and word in settings.roles]
    if found:
        return max(found, key=order.index)
    return Role.VIEWER if settings.otherwise == "viewer" else None
