"""One record for everything an agent was seen to do (SIG-1)."""

from enum import StrEnum

import msgspec

from andoncord.kernel.time import MINUTE_NS

CLOCK_TOLERANCE_NS = MINUTE_NS
"""How far ahead of its receipt an event may be: the ordinary difference of two clocks."""
CLOCK_SKEW = "clock_skew_s"
"""Attribute of an event that claims to be from the future: by how many seconds, when it was received."""


class EventKind(StrEnum):
    """What happened. Rules name these words in `on:`."""

    RUN_STARTED = "run.started"
    RUN_ENDED = "run.ended"
    AGENT_INVOKED = "agent.invoked"
    MODEL_COMPLETED = "model.completed"
    MODEL_FAILED = "model.failed"
    TOOL_COMPLETED = "tool.completed"
    TOOL_FAILED = "tool.failed"
    STEP_STARTED = "step.started"
    """A step began; its end comes as a span, or never."""
    GUARD_DENIED = "guard.denied"
    """The guard refused a call: `attributes['code']` is scope, policy, loop, budget, order, breaker or lease."""
    GUARD_DEGRADED = "guard.degraded"
    """The guard goes without its control plane: it let a reading call through (`attributes['code']` is lease_ended), or it was
    offered a lease that proves nothing (lease_refused), or a supervisor started its command without an answer
    (started_unheard). Or without a dependency: a circuit breaker of it has changed
    (breaker_open, breaker_half_open, breaker_closed)."""
    HEARTBEAT = "heartbeat"
    QUALITY_SCORED = "quality.scored"
    CHANGE_MADE = "change.made"
    """A prompt, configuration, tool, model or deployment changed: `name` says which."""
    OTHER = "other"


Scalar = str | int | float | bool


class Event(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One canonical event. Text fields hold hostile text: never rendered as markup, never executed.

    Times are nanoseconds UTC as the emitter gave them; `received_ns` is ours.
    """

    kind: EventKind
    trace_id: str = ""
    span_id: str = ""
    parent_span_id: str = ""
    run_id: str = ""
    """One task of one agent; the trace id where the emitter gives nothing better."""
    session_id: str = ""
    agent: str = ""
    instance: str = ""
    """One process of the agent."""
    system: str = ""
    """`service.name` of the emitter."""
    environment: str = ""
    name: str = ""
    """The tool, model, evaluator or changed thing."""
    task: str = ""
    start_ns: int = 0
    end_ns: int = 0
    received_ns: int = 0
    ok: bool = True
    error_type: str = ""
    arguments: str = ""
    """A tool call's arguments as the emitter wrote them, usually JSON."""
    result: str = ""
    instructions: str = ""
    input_text: str = ""
    output_text: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    cost_micro_usd: int = 0
    score: float | None = None
    passed: bool | None = None
    trusted: bool = False
    """Sent with a token that is bound to this agent (SIG-2). Only trusted signals may trigger an action by themselves."""
    attributes: dict[str, Scalar] = {}

    @property
    def at_ns(self) -> int:
        """When it was over: the time detectors work in."""
        return self.end_ns or self.start_ns


def bounded(event: Event) -> Event:
    """The event as detectors see it: no further ahead of its receipt than clocks differ, and as long as it was.

    Otherwise an emitter whose clock is an hour ahead would move its own windows, and what it does in that hour would fall
    behind them.

    >>> late = bounded(Event(kind=EventKind.OTHER, start_ns=10**13, end_ns=10**13 + 5, received_ns=10**9))
    >>> late.start_ns, late.end_ns
    (60999999995, 61000000000)
    """
    ahead_ns = event.at_ns - event.received_ns - CLOCK_TOLERANCE_NS
    if ahead_ns <= 0 or not event.received_ns:
        return event
    end_ns = event.end_ns and event.end_ns - ahead_ns
    return msgspec.structs.replace(event, start_ns=max(1, event.start_ns - ahead_ns), end_ns=end_ns)
