"""Who is asking: bearer tokens, one-time login codes, browser sessions, and proof that a form is ours."""

import hmac
from collections.abc import Callable
from dataclasses import dataclass

from starlette.requests import Request

from andoncord.kernel.access import AGENT_PREFIX, PERSON_PREFIX, SENDERS, Scope, Session, Token, secret_digest
from andoncord.kernel.canon import short_digest
from andoncord.kernel.errors import CallerError, NotFoundError
from andoncord.kernel.time import HOUR_NS, MINUTE_NS
from andoncord.server.figures import Misuse
from andoncord.server.ports import AccessStore, Entropy, ServerClock

COOKIE = "andon_session"
CODE_LIFE_NS = 5 * MINUTE_NS
SESSION_LIFE_NS = 12 * HOUR_NS
MAX_CODES = 20
"""Login codes that may be open at once; the oldest is dropped first."""
MAX_KNOWN = 1_000
"""Tokens that are remembered between requests: guards send theirs all the time, and it is this process that revokes them."""
MAX_NAME = 64
MAX_USED_FOR = 200
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
    scope: Scope
    token: Token | None = None
    session_secret: str = ""

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
        clock: ServerClock,
        entropy: Entropy,
        on_revoked: Callable[[str], None],
        on_misuse: Callable[[Misuse], None] = lambda misuse: None,
    ) -> None:
        self._on_misuse = on_misuse
        self._misused: dict[str, int] = {}
        self._store = store
        self._clock = clock
        self._entropy = entropy
        self._on_revoked = on_revoked
        self._codes: dict[str, tuple[int, str, Scope]] = {}
        self._known: dict[str, Token] = {}

    # Tokens.

    def create_token(self, *, name: str, scope: Scope, agent: str = "") -> tuple[Token, str]:
        """A new token and its secret, which is shown this once.

        Raises:
            CallerError: the name is empty or odd, or the scope and the agent do not fit together.
        """
        if not name or len(name) > MAX_NAME or not name.isprintable():
            raise CallerError(f"a token needs a name of 1 to {MAX_NAME} printable characters", place="name")
        if (scope in SENDERS) != bool(agent):
            raise CallerError(
                "a token of scope agent or ingest names the agents it is bound to, and no other does",
                place="agent",
                remedy='for example "refund-*" with scope agent',
            )
        secret = (AGENT_PREFIX if scope in SENDERS else PERSON_PREFIX) + self._entropy.secret()
        token = Token(
            id=self._entropy.identifier("tok"),
            name=name,
            scope=scope,
            agent=agent,
            secret_digest=secret_digest(secret),
            created_ns=self._clock.now(),
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

    # Logging in.

    def login_code(self, *, name: str, scope: Scope) -> str:
        """A code that opens one session, once, within five minutes."""
        code = self._entropy.secret()
        self._codes[secret_digest(code)] = (self._clock.monotonic_ns() + CODE_LIFE_NS, name, scope)
        while len(self._codes) > MAX_CODES:
            del self._codes[next(iter(self._codes))]
        return code

    def exchange(self, code: str) -> str | None:
        """The secret of a new session for a code; None when the code is unknown, used or too old."""
        opened = self._codes.pop(secret_digest(code.strip()), None)
        if opened is None or opened[0] < self._clock.monotonic_ns():
            return None
        _, name, scope = opened
        secret = self._entropy.secret()
        now = self._clock.now()
        self._store.add_session(
            Session(
                secret_digest=secret_digest(secret), name=name, scope=scope, created_ns=now, expires_ns=now + SESSION_LIFE_NS
            )
        )
        return secret

    def end_session(self, request: Request) -> None:
        """Log out."""
        self._store.end_session(secret_digest(request.cookies.get(COOKIE, "")))

    # Requests.

    def session(self, request: Request) -> Principal | None:
        """Who the request's cookie belongs to."""
        secret = request.cookies.get(COOKIE, "")
        session = self._store.session(secret_digest(secret), now_ns=self._clock.now()) if secret else None
        return Principal(name=session.name, scope=session.scope, session_secret=secret) if session else None

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
        if token is None:
            raise UnauthenticatedError("the token is unknown or was revoked")
        return Principal(name=token.name, scope=token.scope, token=token)

    def _token(self, digest: str) -> Token | None:
        token = self._known.get(digest)
        if token is None and (token := self._store.token(digest)) is not None:
            while len(self._known) >= MAX_KNOWN:
                del self._known[next(iter(self._known))]
            self._known[digest] = token
        return token

    async def require(self, request: Request, scope: Scope) -> Principal:
        """Who is asking, if that is somebody who may.

        A browser that wants to change something must also send the session's proof, as a header or a form field.

        Raises:
            UnauthenticatedError: nobody we know.
            ForbiddenError: not far-reaching enough, or without the proof.
        """
        principal = self.bearer(request) or self.session(request)
        if principal is None:
            raise UnauthenticatedError("this needs a token or a login", remedy="send `Authorization: Bearer …` or log in")
        if not principal.scope.includes(scope):
            self.note_misuse(principal, request)
            raise ForbiddenError(f"this needs scope {scope.value}; {principal.name!r} has {principal.scope.value}")
        if principal.session_secret and request.method not in SAFE_METHODS:
            await require_proof(request, principal)
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
        if principal.scope is not Scope.AGENT:
            self.note_misuse(principal, request)
            raise ForbiddenError("guards need a token of scope agent")
        return principal.token


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
