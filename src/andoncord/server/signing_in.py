"""Signing in to the console: by one-time code or by password. Every way ends in a new session and a line in the record."""

import hmac
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from andoncord.kernel.canon import short_digest
from andoncord.server.access_log import AccessLog
from andoncord.server.accounts import Accounts
from andoncord.server.auth import SECURE_COOKIE, Auth, address_of
from andoncord.server.ports import Entropy

DEVICE_COOKIE = "andon_device"
DEVICE_LIFE_S = 90 * 24 * 3_600
STATE_COOKIE = "andon_state"
STATE_LIFE_S = 600
MAX_TYPED = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedIn:
    """A session that has just begun."""

    name: str
    secret: str
    device: str = ""
    """What the browser is known by from now on, so that failures of others do not keep it out; empty to leave it as it is."""


class SigningIn:
    """The ways in.

    Args:
        device_key: signs what browsers are known by.
    """

    def __init__(self, *, auth: Auth, accounts: Accounts, log: AccessLog, entropy: Entropy, device_key: bytes) -> None:
        self._auth = auth
        self._accounts = accounts
        self._log = log
        self._entropy = entropy
        self._device_key = device_key

    @property
    def has_passwords(self) -> bool:
        """Whether anybody could sign in with one. It says nothing about any name."""
        return any(account.password and not account.disabled_ns for account in self._accounts.all())

    def with_code(self, request: Request, code: str) -> SignedIn | None:
        """Use up a one-time code; None when it is not valid."""
        opened = self._auth.exchange(code[:MAX_TYPED])
        if opened is None:
            self._log.sign_in_failed("", via="code", address=address_of(request), why="no such code, or it is used or too old")
            return None
        return self._begun(request, opened[0], opened[1], via="code")

    async def with_password(self, request: Request, name: str, password: str) -> SignedIn | None:
        """Sign in to an account; None when name and password do not belong together, whichever of them is wrong.

        Raises:
            TooManyError: too many failed before.
        """
        name, password, address = name.strip()[:MAX_TYPED], password[:MAX_TYPED], address_of(request)
        account = await self._accounts.sign_in(name, password, address=address, device=self._device(request, name))
        if account is None:
            known = name if self._accounts.find(name) else ""
            self._log.sign_in_failed(known, via="password", address=address, why="name and password do not belong together")
            return None
        nonce = self._entropy.secret()[-32:]
        device = f"{nonce}.{self._seal(nonce, account.name)}"
        secret = self._auth.open_session(account.name)
        return self._begun(request, account.name, secret, via="password", device=device)

    def elsewhere(self, request: Request, name: str, *, via: str) -> SignedIn:
        """Begin a session for the account of somebody who was recognized by a provider."""
        return self._begun(request, name, self._auth.open_session(name), via=via)

    def out(self, request: Request) -> None:
        """End the session of a request."""
        principal = self._auth.session(request)
        if principal is not None:
            self._log.signed_out(principal.name, address=address_of(request))
            self._auth.end_session(request)

    def put_cookies(self, request: Request, response: Response, begun: SignedIn) -> None:
        """Give the browser its session."""
        secure = self._auth.is_secure(request)
        # Lax, so that a link in a page at 3 am opens the incident; what changes anything carries the session's proof besides.
        response.set_cookie(
            self._auth.cookie_name(request), begun.secret, httponly=True, samesite="lax", path="/", secure=secure
        )
        if begun.device:
            response.set_cookie(
                DEVICE_COOKIE,
                begun.device,
                max_age=DEVICE_LIFE_S,
                httponly=True,
                samesite="strict",
                path="/login",
                secure=secure,
            )

    def put_state(self, request: Request, response: Response, sealed: str) -> None:
        """Let the browser keep what it has to bring back from the provider."""
        secure = self._auth.is_secure(request)
        # Lax: the way back is a link on the provider's page.
        response.set_cookie(
            STATE_COOKIE, sealed, max_age=STATE_LIFE_S, httponly=True, samesite="lax", path="/login", secure=secure
        )

    def drop_cookies(self, request: Request, response: Response) -> None:
        """Take the session's cookie back."""
        name = self._auth.cookie_name(request)
        response.delete_cookie(name, path="/", secure=name == SECURE_COOKIE)

    def _begun(self, request: Request, name: str, secret: str, *, via: str, device: str = "") -> SignedIn:
        # Whatever session the browser had is over: one that somebody planted must not become this person's.
        self._auth.end_session(request)
        if self._accounts.find(name) is not None:
            self._accounts.note_seen(name)
        self._log.signed_in(name, via=via, address=address_of(request))
        return SignedIn(name=name, secret=secret, device=device)

    def _device(self, request: Request, name: str) -> str:
        """What names the browser, if it signed in to this account before."""
        nonce, _, seal = request.cookies.get(DEVICE_COOKIE, "").partition(".")
        is_ours = bool(nonce) and hmac.compare_digest(seal.encode(), self._seal(nonce, name).encode())
        return nonce if is_ours else ""

    def _seal(self, nonce: str, name: str) -> str:
        made = hmac.new(self._device_key, f"device\0{name}\0{nonce}".encode("utf-8", "surrogatepass"), "sha256").hexdigest()
        return short_digest("device", made, length=43)
