"""Who is asking: bearer tokens, one-time login codes, browser sessions, and proof that a form is ours."""

import hmac
from collections.abc import Callable
from dataclasses import dataclass

from starlette.requests import Request

from andoncord.kernel.access import (
    AGENT_PREFIX,
    PERSON_PREFIX,
    SENDERS,
    Actor,
    Scope,
    Session,
    Token,
    broadest,
    covered,
    secret_digest,
)
from andoncord.kernel.canon import short_digest
from andoncord.kernel.errors import CallerError, ConflictError, NotFoundError
from andoncord.kernel.time import DAY_NS, HOUR_NS, MINUTE_NS
from andoncord.server.access_settings import AccessSettings
from andoncord.server.accounts import Accounts
from andoncord.server.figures import Misuse
from andoncord.server.ports import AccessStore, Entropy, ServerClock

COOKIE = "andon_session"
SECURE_COOKIE = "__Host-andon_session"
"""Over https: browsers take it from this host alone, and send it over https alone."""
CODE_LIFE_NS = 5 * MINUTE_NS
MAX_CODES = 20
"""Login codes that may be open at once; the oldest is dropped first."""
MAX_KNOWN = 1_000
"""Tokens that are remembered between requests: guards send theirs all the time, and it is this process that revokes them."""
MAX_NAME = 64
MAX_DAYS = 3_650
MAX_USED_FOR = 200
USED_EVERY_NS = 5 * MINUTE_NS
"""How exactly it is known when a token was last used."""
SEEN_EVERY_NS = MINUTE_NS
"""Likewise of a session."""
CSRF_HEADER = "x-csrf-token"
CSRF_FIELD = "csrf"
SAFE_METHODS = frozenset(("GET", "HEAD", "OPTIONS"))


class UnauthenticatedError(CallerError):
    """Nobody we know is asking."""


class ForbiddenError(CallerError):
    """Somebody is asking who may not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who asks, and how far that goes."""

    name: str
    may: frozenset[Scope]
    token: Token | None = None
    session_secret: str = ""
    address: str = ""

    @property
    def scope(self) -> Scope:
        """The broadest that they have."""
        return broadest(self.may)

    @property
    def via(self) -> str:
        """How they came."""
        return f"token {self.token.id}" if self.token else "console"

    @property
    def actor(self) -> Actor:
        """Who the engine is told of."""
        return Actor(name=self.name, may=self.may, via=self.via, address=self.address)

    @property
    def by(self) -> str:
        """How the journal names them."""
        return f"person:{self.name}"

    @property
    def csrf(self) -> str:
        """What a form of this session must carry; made from the session's secret, which only its browser has."""
        return short_digest("csrf", self.session_secret, length=43) if self.session_secret else ""


class Auth:
    """Checks who is asking.

    Args:
        on_revoked: told the id of every token that is revoked, to close what it opened.
        on_misuse: told of tokens that are used for what they are not good for: the first time, and at every power of two.
    """

    def __init__(
        self,
        *,
        store: AccessStore,
        accounts: Accounts,
        settings: AccessSettings,
        clock: ServerClock,
        entropy: Entropy,
        on_revoked: Callable[[str], None],
        on_misuse: Callable[[Misuse], None] = lambda misuse: None,
    ) -> None:
        self._on_misuse = on_misuse
        self._misused: dict[str, int] = {}
        self._store = store
        self._accounts = accounts
        self._settings = settings
        self._clock = clock
        self._entropy = entropy
        self._on_revoked = on_revoked
        self._codes: dict[str, tuple[int, str, tuple[Scope, ...]]] = {}
        self._known: dict[str, Token] = {}
        self._used: dict[str, int] = {}
        """Token id → when its use was last written down."""

    # Tokens.

    def create_token(
        self, *, name: str, scopes: tuple[Scope, ...], agent: str = "", owner: str = "", days: float = 0.0
    ) -> tuple[Token, str]:
        """A new token and its secret, which is shown this once.

        Args:
            owner: the account that answers for it. A person's token of an account's name belongs to that account anyway.
            days: after how many it ends; 0 for never.

        Raises:
            CallerError: the name is empty or odd, or what is asked for does not fit together.
        """
        if not name or len(name) > MAX_NAME or not name.isprintable():
            raise CallerError(f"a token needs a name of 1 to {MAX_NAME} printable characters", place="name")
        if not 0 <= days <= MAX_DAYS:
            raise CallerError(f"is 0 to {MAX_DAYS}", place="days")
        is_sender = bool(SENDERS & set(scopes))
        if not scopes or (is_sender and len(scopes) > 1):
            raise CallerError("a token has a scope, and agent or ingest stand alone", place="scope")
        if is_sender != bool(agent):
            raise CallerError(
                "a token of scope agent or ingest names the agents it is bound to, and no other does",
                place="agent",
                remedy='for example "refund-*" with scope agent',
            )
        if not owner and not is_sender and self._accounts.find(name) is not None:
            owner = name
        if owner and self._accounts.get(owner).disabled_ns:
            raise ConflictError(f"{owner} is disabled")
        secret = (AGENT_PREFIX if is_sender else PERSON_PREFIX) + self._entropy.secret()
        now = self._clock.now()
        token = Token(
            id=self._entropy.identifier("tok"),
            name=name,
            scopes=scopes,
            agent=agent,
            secret_digest=secret_digest(secret),
            created_ns=now,
            owner=owner,
            expires_ns=now + int(days * DAY_NS) if days else 0,
        )
        self._store.add_token(token)
        return token, secret

    def revoke_token(self, token_id: str) -> None:
        """End a token for good.

        Raises:
            NotFoundError: there is none that still holds.
        """
        self._known = {secret: token for secret, token in self._known.items() if token.id != token_id}
        if not self._store.revoke_token(token_id, now_ns=self._clock.now()):
            raise NotFoundError(f"there is no token {token_id!r} in force")
        self._on_revoked(token_id)

    def end_account(self, name: str) -> None:
        """End everything that an account opened: its sessions, and, when it is disabled, its tokens."""
        self._store.end_sessions_of(name)
        account = self._accounts.find(name)
        if account is None or not account.disabled_ns:
            return
        for token in self._store.tokens():
            if self._owner_of(token) == name and not token.revoked_ns:
                self.revoke_token(token.id)

    # Logging in.

    def login_code(self, *, name: str, scopes: tuple[Scope, ...]) -> str:
        """A code that opens one session, once, within five minutes; without scopes, one of the account of this name."""
        code = self._entropy.secret()
        self._codes[secret_digest(code)] = (self._clock.monotonic_ns() + CODE_LIFE_NS, name, scopes)
        while len(self._codes) > MAX_CODES:
            del self._codes[next(iter(self._codes))]
        return code

    def exchange(self, code: str) -> tuple[str, str] | None:
        """The name and the secret of a new session for a code; None when the code is unknown, used or too old."""
        opened = self._codes.pop(secret_digest(code.strip()), None)
        if opened is None or opened[0] < self._clock.monotonic_ns():
            return None
        _, name, scopes = opened
        if not scopes and self._accounts.actor(name, via="") is None:
            return None
        return name, self.open_session(name, scopes=scopes)

    def open_session(self, name: str, *, scopes: tuple[Scope, ...] = ()) -> str:
        """The secret of a new session; without scopes, one that may do what the account may at the time."""
        secret = self._entropy.secret()
        now = self._clock.now()
        self._store.add_session(
            Session(
                secret_digest=secret_digest(secret),
                name=name,
                scopes=scopes or (Scope.READ,),
                account=not scopes,
                created_ns=now,
                expires_ns=now + int(self._settings.session_hours * HOUR_NS),
                used_ns=now,
            )
        )
        return secret

    def end_session(self, request: Request) -> None:
        """Log out."""
        self._store.end_session(secret_digest(request.cookies.get(self.cookie_name(request), "")))

    def is_secure(self, request: Request) -> bool:
        """Whether the browser's way to us is https, perhaps through a proxy."""
        return request.url.scheme == "https" or self._settings.url.startswith("https://")

    def cookie_name(self, request: Request) -> str:
        """The cookie of sessions on this way."""
        return SECURE_COOKIE if self.is_secure(request) else COOKIE

    # Requests.

    def still(self, request: Request) -> bool:
        """Whether somebody who is connected for long would still be let in to read. It does not count as use."""
        try:
            principal = self.bearer(request) or self.session(request, is_use=False)
        except UnauthenticatedError:
            return False
        return principal is not None and Scope.READ in principal.may

    def session(self, request: Request, *, is_use: bool = True) -> Principal | None:
        """Who the request's cookie belongs to."""
        secret = request.cookies.get(self.cookie_name(request), "")
        now = self._clock.now()
        session = self._store.session(secret_digest(secret), now_ns=now) if secret else None
        if session is None:
            return None
        if now - session.used_ns >= self._settings.idle_minutes * MINUTE_NS:
            self._store.end_session(session.secret_digest)
            return None
        if is_use and now - session.used_ns >= SEEN_EVERY_NS:
            self._store.note_session_used(session.secret_digest, now_ns=now)
        may = covered(session.scopes)
        if session.account:
            actor = self._accounts.actor(session.name, via="console")
            if actor is None:
                return None
            may = actor.may
        return Principal(name=session.name, may=may, session_secret=secret, address=address_of(request))

    def bearer(self, request: Request) -> Principal | None:
        """Who the request's bearer token belongs to; None when it carries none.

        Raises:
            UnauthenticatedError: it carries one that does not hold.
        """
        header = request.headers.get("authorization", "")
        if not header:
            return None
        scheme, _, secret = header.partition(" ")
        token = self._token(secret_digest(secret.strip())) if scheme.lower() == "bearer" else None
        may = covered(token.scopes) if token else frozenset()
        owner = self._owner_of(token) if token else ""
        if token is not None and owner:
            actor = self._accounts.actor(owner, via="")
            # An agent's token ends with its owner's account; a person's is never good for more than the account is.
            may = frozenset() if actor is None else may if token.agent else may & actor.may
        if token is None or not may:
            raise UnauthenticatedError("the token is unknown or was revoked, or its time is over")
        name = owner if owner and not token.agent else token.name
        return Principal(name=name, may=may, token=token, address=address_of(request))

    def actor_named(self, name: str, *, via: str) -> Actor:
        """A person who was recognized elsewhere, such as in chat, with what their account may do just now.

        Raises:
            ForbiddenError: there is no account of this name in force.
        """
        actor = self._accounts.actor(name, via=via)
        if actor is None:
            raise ForbiddenError(f"there is no account {name[:MAX_NAME]!r} in force", remedy="andon user add")
        return actor

    def _owner_of(self, token: Token) -> str:
        """The account that a token belongs to: also a person's token of an account that was made after it."""
        is_of_account = not token.owner and not token.agent and self._accounts.find(token.name) is not None
        return token.name if is_of_account else token.owner

    def _token(self, digest: str) -> Token | None:
        """The token, from memory if it is there: guards send theirs many times a second."""
        now = self._clock.now()
        token = self._known.get(digest)
        if token is None and (token := self._store.token(digest)) is not None:
            while len(self._known) >= MAX_KNOWN:
                del self._known[next(iter(self._known))]
            self._known[digest] = token
        if token is None or (token.expires_ns and token.expires_ns <= now):
            return None
        if now - self._used.get(token.id, 0) >= USED_EVERY_NS:
            while len(self._used) >= MAX_KNOWN:
                del self._used[next(iter(self._used))]
            self._used[token.id] = now
            self._store.note_tokens_used({token.id: now})
        return token

    def recognized(self, request: Request) -> Principal | None:
        """Who is asking, by token or session; None when that is nobody we know.

        Raises:
            UnauthenticatedError: a token that does not hold.
        """
        return self.bearer(request) or self.session(request)

    async def check(self, request: Request, principal: Principal | None, scope: Scope) -> None:
        """See that somebody may.

        A browser that wants to change something must also send the session's proof, as a header or a form field.

        Raises:
            UnauthenticatedError: nobody we know.
            ForbiddenError: not far-reaching enough, or without the proof.
        """
        if principal is None:
            raise UnauthenticatedError("this needs a token or a login", remedy="send `Authorization: Bearer …` or log in")
        if scope not in principal.may:
            self.note_misuse(principal, request)
            raise ForbiddenError(f"this needs scope {scope.value}; {principal.name!r} has {principal.scope.value}")
        if principal.session_secret and request.method not in SAFE_METHODS:
            await require_proof(request, principal)

    async def require(self, request: Request, scope: Scope) -> Principal:
        """Who is asking, if that is somebody who may.

        Raises:
            UnauthenticatedError: nobody we know.
            ForbiddenError: not far-reaching enough, or without the proof.
        """
        principal = self.recognized(request)
        await self.check(request, principal, scope)
        assert principal is not None
        return principal

    def note_misuse(self, principal: Principal, request: Request) -> None:
        """See that a refusal is recorded; not every time, or one broken client would fill the journal."""
        if principal.token is None:
            return
        token = principal.token
        times = self._misused[token.id] = self._misused.get(token.id, 0) + 1
        if times & (times - 1) == 0:
            used_for = f"{request.method} {request.url.path}"[:MAX_USED_FOR]
            self._on_misuse(Misuse(token=token.id, name=token.name, scope=token.scope, times=times, used_for=used_for))

    def require_agent(self, request: Request) -> Token:
        """The agent token of the request.

        Raises:
            UnauthenticatedError: there is none that holds.
            ForbiddenError: the token is not of scope agent.
        """
        principal = self.bearer(request)
        if principal is None or principal.token is None:
            raise UnauthenticatedError("guards need a token", remedy="create one with `andon token create NAME --agent GLOB`")
        if Scope.AGENT not in principal.may:
            self.note_misuse(principal, request)
            raise ForbiddenError("guards need a token of scope agent")
        return principal.token


def address_of(request: Request) -> str:
    """Where a request comes from, as far as the socket says."""
    return request.client.host if request.client else ""


async def require_proof(request: Request, principal: Principal) -> None:
    """Check that a changing request of a browser session comes from one of our own pages.

    Raises:
        ForbiddenError: it does not carry the session's proof.
    """
    sent = request.headers.get(CSRF_HEADER, "")
    if not sent and request.headers.get("content-type", "").startswith(("application/x-www-form-urlencoded", "multipart/")):
        field = (await request.form()).get(CSRF_FIELD)
        sent = field if isinstance(field, str) else ""
    if not hmac.compare_digest(sent.encode(), principal.csrf.encode()):
        raise ForbiddenError("the form was not sent from this login", remedy="load the page again and repeat")
