"""Who may ask for what: bearer tokens, sessions of people, and the scopes both carry (SIG-2)."""

from enum import StrEnum
from fnmatch import fnmatchcase

import msgspec

from andoncord.kernel.canon import digest


class Scope(StrEnum):
    """What a token is good for. `agent` and `ingest` stand apart, also from each other.

    `agent` sends signals and fetches the agent's own orders; `ingest`, for a collector, only sends signals.
    """

    AGENT = "agent"
    INGEST = "ingest"
    READ = "read"
    RESPOND = "respond"
    ADMIN = "admin"

    def includes(self, wanted: "Scope") -> bool:
        """Whether this scope is enough where `wanted` is needed.

        >>> Scope.ADMIN.includes(Scope.READ), Scope.READ.includes(Scope.RESPOND), Scope.ADMIN.includes(Scope.AGENT)
        (True, False, False)
        >>> Scope.AGENT.includes(Scope.INGEST), Scope.INGEST.includes(Scope.AGENT)
        (False, False)
        """
        if self in SENDERS or wanted in SENDERS:
            return self is wanted
        order = (Scope.READ, Scope.RESPOND, Scope.ADMIN)
        return order.index(self) >= order.index(wanted)


SENDERS = frozenset((Scope.AGENT, Scope.INGEST))
"""Scopes of machines that send telemetry. Their tokens are bound to agents."""
AGENT_PREFIX = "andon_sdk_"
PERSON_PREFIX = "andon_pat_"


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """A bearer token as it is kept: never the secret, only its SHA-256."""

    id: str
    name: str
    """Whose it is; what a person does with it is journaled as `person:<name>`."""
    scope: Scope
    agent: str = ""
    """The agent-name glob a token of scope `agent` or `ingest` is bound to; empty for people."""
    secret_digest: str
    created_ns: int
    revoked_ns: int = 0

    def covers(self, agent: str) -> bool:
        """Whether a signal that names `agent` may be trusted when sent with this token.

        >>> token = Token(id="tok_1", name="fleet", scope=Scope.AGENT, agent="support-*", secret_digest="", created_ns=0)
        >>> token.covers("support-eu"), token.covers("billing")
        (True, False)
        """
        return self.scope in SENDERS and bool(agent) and fnmatchcase(agent, self.agent)


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """A person's browser session as it is kept."""

    secret_digest: str
    name: str
    scope: Scope
    created_ns: int
    expires_ns: int


def secret_digest(secret: str) -> str:
    """What is stored in place of a secret. Secrets are 256 random bits, so a plain digest cannot be searched."""
    return digest(secret.encode("utf-8", "surrogatepass"))
