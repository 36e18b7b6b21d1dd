"""Who may ask for what: accounts, tokens and sessions, their roles and scopes (SIG-2)."""

from enum import StrEnum
from fnmatch import fnmatchcase

import msgspec

from andoncord.kernel.canon import digest


class Scope(StrEnum):
    """What somebody may do. `agent` and `ingest` are of machines and stand apart, also from each other.

    `agent` sends signals and fetches the agent's own orders; `ingest`, for a collector, only sends signals.
    """

    AGENT = "agent"
    INGEST = "ingest"
    READ = "read"
    RESPOND = "respond"
    """Contain, release, note: whatever people do about incidents."""
    APPROVE = "approve"
    """Answer for calls of agents that need a person's word."""
    ADMIN = "admin"


class Role(StrEnum):
    """What the account of a person is good for."""

    VIEWER = "viewer"
    RESPONDER = "responder"
    COMMANDER = "commander"
    ADMIN = "admin"


SENDERS = frozenset((Scope.AGENT, Scope.INGEST))
"""Scopes of machines that send telemetry. Their tokens are bound to agents."""
BREADTH = (Scope.ADMIN, Scope.RESPOND, Scope.APPROVE, Scope.READ, Scope.AGENT, Scope.INGEST)
"""The broadest first, where one has to stand for several."""
COVERED: dict[Scope, frozenset[Scope]] = {
    Scope.AGENT: frozenset((Scope.AGENT,)),
    Scope.INGEST: frozenset((Scope.INGEST,)),
    Scope.READ: frozenset((Scope.READ,)),
    Scope.RESPOND: frozenset((Scope.READ, Scope.RESPOND)),
    Scope.APPROVE: frozenset((Scope.READ, Scope.APPROVE)),
    Scope.ADMIN: frozenset((Scope.READ, Scope.RESPOND, Scope.APPROVE, Scope.ADMIN)),
}
"""What each scope is enough for."""
SCOPES_OF: dict[Role, tuple[Scope, ...]] = {
    Role.VIEWER: (Scope.READ,),
    Role.RESPONDER: (Scope.RESPOND,),
    Role.COMMANDER: (Scope.RESPOND, Scope.APPROVE),
    Role.ADMIN: (Scope.ADMIN,),
}
AGENT_PREFIX = "andon_sdk_"
PERSON_PREFIX = "andon_pat_"


def covered(scopes: tuple[Scope, ...]) -> frozenset[Scope]:
    """Everything that these scopes together are enough for.

    >>> sorted(covered(SCOPES_OF[Role.COMMANDER]))
    [<Scope.APPROVE: 'approve'>, <Scope.READ: 'read'>, <Scope.RESPOND: 'respond'>]
    >>> covered((Scope.AGENT,)) & covered((Scope.ADMIN,))
    frozenset()
    """
    return frozenset(each for scope in scopes for each in COVERED[scope])


def broadest(scopes: frozenset[Scope] | tuple[Scope, ...]) -> Scope:
    """The one that says most about who has these.

    >>> broadest((Scope.READ, Scope.RESPOND))
    <Scope.RESPOND: 'respond'>
    """
    return next(each for each in BREADTH if each in scopes)


def scopes_text(scopes: tuple[Scope, ...]) -> str:
    """Scopes as they are kept and shown."""
    return ",".join(scope.value for scope in scopes)


def scopes_from(text: str) -> tuple[Scope, ...]:
    """The inverse of `scopes_text`.

    >>> scopes_from("respond,approve")
    (<Scope.RESPOND: 'respond'>, <Scope.APPROVE: 'approve'>)
    """
    return tuple(Scope(word) for word in text.split(","))


class Actor(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who was recognized, and wants something."""

    name: str
    may: frozenset[Scope]
    """What they may do just now."""
    via: str = ""
    """How they came: `token tok_…`, `console`, `slack`."""
    address: str = ""
    """From where."""

    @property
    def by(self) -> str:
        """How the journal names them."""
        return f"person:{self.name}"


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """A person, as the server knows them."""

    name: str
    role: Role
    password: str = ""
    """As `server/passwords.py` hashes it; empty for who signs in elsewhere."""
    subject: str = ""
    """Issuer and subject of who signs in elsewhere."""
    created_ns: int
    disabled_ns: int = 0
    seen_ns: int = 0
    """When they last signed in."""


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """A bearer token as it is kept: never the secret, only its SHA-256."""

    id: str
    name: str
    """Whose it is, where it has no owner; what a person does with it is journaled as `person:<name>`."""
    scopes: tuple[Scope, ...]
    agent: str = ""
    """The agent-name glob a token of scope `agent` or `ingest` is bound to; empty for people."""
    secret_digest: str
    created_ns: int
    revoked_ns: int = 0
    owner: str = ""
    """The account that answers for it. It is never good for more than that account, and ends with it."""
    expires_ns: int = 0
    """0 for no end."""
    used_ns: int = 0
    """When it was last seen, give or take a few minutes."""

    @property
    def scope(self) -> Scope:
        """The broadest of its scopes."""
        return broadest(self.scopes)

    def covers(self, agent: str) -> bool:
        """Whether a signal that names `agent` may be trusted when sent with this token.

        >>> token = Token(id="tok_1", name="fleet", scopes=(Scope.AGENT,), agent="support-*", secret_digest="", created_ns=0)
        >>> token.covers("support-eu"), token.covers("billing")
        (True, False)
        """
        return self.scope in SENDERS and bool(agent) and fnmatchcase(agent, self.agent)


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """A person's browser session as it is kept."""

    secret_digest: str
    name: str
    scopes: tuple[Scope, ...]
    """Of a session that was opened by a login link; that of an account has what the account's role has at the time."""
    account: bool = False
    created_ns: int
    expires_ns: int
    """It ends then, however busy it is."""
    used_ns: int
    """When it was last used, give or take a minute."""


class AccessEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One decision about access, as it is kept."""

    at_ns: int
    kind: str
    """`change` that was allowed, `login` that succeeded or failed, or `denied`."""
    who: str
    """The name that was proven; for a failed login and where nothing was proven, empty."""
    via: str
    address: str
    what: str
    """The route or command that was asked for."""
    about: str
    """Its target."""
    allowed: bool
    why: str
    times: int = 1
    """Refusals that repeat are written down the first time and at every power of two."""


def secret_digest(secret: str) -> str:
    """What is stored in place of a secret. Secrets are 256 random bits, so a plain digest cannot be searched."""
    return digest(secret.encode("utf-8", "surrogatepass"))
