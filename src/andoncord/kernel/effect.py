"""Effects: what the core wants done in the world, and what came of it."""

from enum import StrEnum
from typing import Any

import msgspec


class EffectKind(StrEnum):
    """Everything the engine can do to the world. To add one: a word here, a performer in `app.py`."""

    ORDER = "order"
    """Send a rung of the ladder to every enforcement point of an agent and collect acknowledgements."""
    CAPTURE = "capture"
    """Seal evidence while the agent is fenced."""
    TERMINATE = "terminate"
    """Have the supervisor end the agent's process tree."""
    REVOKE = "revoke"
    """Have a credential of an agent revoked, and try it to see that it is refused."""
    VERIFY = "verify"
    """Judge from acknowledgements and later telemetry whether the agent has stopped."""
    INVESTIGATE = "investigate"
    """Read the record and rank agents, steps and causes."""
    CONFIGURE = "configure"
    """Make one registry version of an agent the active one, and have its guards confirm it."""
    RESTART = "restart"
    """Have the supervisor start the agent's process anew, still fenced."""
    PROBE = "probe"
    """Have a fenced agent work on tasks with known answers, side effects denied."""
    POLICIES = "policies"
    """Have every guard in scope load the policies in force."""
    REVIEW = "review"
    """Draft the post-incident review."""
    HOOK = "hook"
    """Run a command that the settings name."""
    WAIT = "wait"
    """Let time pass."""
    NOTIFY = "notify"
    """Tell people, and say whom it reached."""
    DRAFT = "draft"
    """Write a notice to somebody outside the response from its template; a person reads it before it goes anywhere."""
    ASK = "ask"
    """Have a person say yes or no; what is said by default once the time is over."""
    RELEASE = "release"
    """Have an agent carry out side effects that were held, byte for byte, each once."""
    TICKET = "ticket"
    """Open a ticket in a tracker, or say in it that the incident is over."""


class Effect(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to do, written down before it is done.

    `key` makes the performing idempotent; `deadline_ms` bounds it; `reversal` names the way back, or is `irreversible`.
    """

    kind: EffectKind
    target: str
    """The agent the effect is about."""
    incident: str
    key: str
    deadline_ms: int
    reversal: str
    parameters: dict[str, Any] = {}


class Outcome(StrEnum):
    """What came of an effect. `PARTIAL` is never rounded up to `DONE`."""

    DONE = "done"
    PARTIAL = "partial"
    FAILED = "failed"


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """What the world answered to the effect with this `intent`."""

    intent: str
    outcome: Outcome
    at_ns: int
    detail: dict[str, Any] = {}
