"""One accepted telemetry request, and what is kept about how it was received and counted (SIG-7)."""

from enum import StrEnum
from hashlib import blake2b

import msgspec

from andoncord.kernel.canon import canonical_json
from andoncord.telemetry.event import CLOCK_SKEW, Event, EventKind

SPAN_KINDS = frozenset(
    (
        EventKind.AGENT_INVOKED,
        EventKind.MODEL_COMPLETED,
        EventKind.MODEL_FAILED,
        EventKind.TOOL_COMPLETED,
        EventKind.TOOL_FAILED,
        EventKind.OTHER,
    )
)
"""Kinds that are spans, which their ids make unique. Log records are told apart by what they say."""


class Signal(StrEnum):
    """Which OTLP request a batch came as."""

    TRACES = "traces"
    LOGS = "logs"


class Encoding(StrEnum):
    """How the body of a batch is written."""

    PROTOBUF = "application/x-protobuf"
    JSON = "application/json"


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """The body of one accepted request, masked, as it stands in the ingest log."""

    seq: int = 0
    """Place in the log, 1 first; 0 before it is appended."""
    received_ns: int
    signal: Signal
    encoding: Encoding
    trusted_agents: tuple[str, ...] = ()
    """Agent-name globs of the token it came with; empty without a token."""
    body_gz: bytes
    sha256: str
    """Of the masked body, before compression."""


class Beat(msgspec.Struct, frozen=True, kw_only=True):
    """The last that was heard of one process of an agent."""

    agent: str
    instance: str
    trusted: bool
    """A forged sign of life is kept apart from a real one."""
    last_seen_ns: int
    heartbeat_ns: int = 0
    """When its last heartbeat was sent; the fields below are from that one."""
    environment: str = ""
    rung: str = ""
    epoch: str = ""
    in_flight: int = 0
    runs_active: int = 0
    steps_started: int = 0
    steps_ended: int = 0


class LedgerLine(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the loss ledger: accepted = stored + duplicate + the sum of rejected, per signal."""

    signal: Signal
    outcome: str
    """accepted, stored, duplicate or rejected."""
    reason: str = ""
    """Why, where it was rejected."""
    count: int


def event_key(event: Event) -> bytes:
    """What makes an event that event: sent twice, it has the same key.

    >>> span = Event(kind=EventKind.TOOL_COMPLETED, trace_id="ab" * 16, span_id="cd" * 8)
    >>> event_key(span) == event_key(msgspec.structs.replace(span, received_ns=7))
    True
    """
    if event.kind in SPAN_KINDS and event.trace_id and event.span_id:
        return f"{event.trace_id}{event.span_id}".encode()
    attributes = event.attributes
    if CLOCK_SKEW in attributes:
        # It depends on when the event was received, as `received_ns` does.
        attributes = {name: value for name, value in attributes.items() if name != CLOCK_SKEW}
    content = msgspec.structs.replace(event, received_ns=0, trusted=False, attributes=attributes)
    return blake2b(canonical_json(content), digest_size=16).digest()


def beat_of(event: Event) -> Beat | None:
    """What an event says about the process that sent it; None when it names no process."""
    if not event.agent or not event.instance:
        return None
    attributes = event.attributes
    is_heartbeat = event.kind is EventKind.HEARTBEAT
    # A clock that is ahead must not make a process look alive after its end.
    at_ns = min(event.at_ns, event.received_ns) if event.at_ns and event.received_ns else event.at_ns or event.received_ns
    return Beat(
        agent=event.agent,
        instance=event.instance,
        trusted=event.trusted,
        last_seen_ns=at_ns,
        heartbeat_ns=at_ns if is_heartbeat else 0,
        environment=event.environment,
        rung=str(attributes.get("rung", "")),
        epoch=str(attributes.get("epoch", "")),
        in_flight=_whole(attributes.get("in_flight", 0)),
        runs_active=_whole(attributes.get("runs_active", 0)),
        steps_started=_whole(attributes.get("steps_started", 0)),
        steps_ended=_whole(attributes.get("steps_ended", 0)),
    )


def _whole(value: str | int | float | bool) -> int:
    """A count as it may arrive: whatever is not a number counts as 0."""
    try:
        return int(value)
    except (ValueError, OverflowError):
        return 0
