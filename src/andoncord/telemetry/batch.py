"""One accepted telemetry request, and what is kept about how it was received and counted (SIG-7)."""

import zlib
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any

import msgspec
import zstandard

from andoncord.kernel.canon import canonical_json
from andoncord.telemetry.block import digest_of
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
    METRICS = "metrics"


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
    """Compressed, see `unpack_body`; as it came where nothing was masked."""
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


_ZSTD = b"\x28\xb5\x2f\xfd"
_ZSTD_LEVEL = 1
MAX_BODY = 1 << 30
"""Larger bodies are not taken in (see `server.max_body_mib`), so none is unpacked."""


def pack_body(body: bytes) -> bytes:
    """A masked body, compressed for the log with zstd: four times as fast as gzip here, and smaller.

    >>> unpack_body(pack_body(b"spans"))
    b'spans'
    """
    return zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress(body)


def unpack_body(packed: bytes) -> bytes:
    """The body of a batch in the log: zstd, or gzip where it was kept as its sender had packed it.

    Raises:
        ValueError: it is neither.
    """
    try:
        if packed.startswith(_ZSTD):
            return zstandard.ZstdDecompressor().decompress(packed, max_output_size=MAX_BODY)
        return zlib.decompress(packed, wbits=31)
    except (zlib.error, zstandard.ZstdError) as wrong:
        raise ValueError(f"the body of a batch cannot be unpacked: {wrong}") from None


def event_key(event: Event) -> bytes:
    """What makes an event that event, as a digest of 16 bytes: sent twice, it has the same key.

    >>> span = Event(kind=EventKind.TOOL_COMPLETED, trace_id="ab" * 16, span_id="cd" * 8)
    >>> event_key(span) == event_key(msgspec.structs.replace(span, received_ns=7))
    True
    """
    if event.kind in SPAN_KINDS and event.trace_id and event.span_id:
        return digest_of(f"{event.trace_id}{event.span_id}".encode())
    attributes = event.attributes
    if CLOCK_SKEW in attributes:
        # It depends on when the event was received, as `received_ns` does.
        attributes = {name: value for name, value in attributes.items() if name != CLOCK_SKEW}
    content = msgspec.structs.replace(event, received_ns=0, trusted=False, attributes=attributes)
    return digest_of(digest_of(canonical_json(content)))


def keys_of(events: Sequence[Mapping[str, Any]]) -> list[bytes]:
    """The keys of events that are given by their fields."""
    return [
        digest_of(f"{event['trace_id']}{event['span_id']}".encode())
        if event["kind"] in SPAN_KINDS and event.get("trace_id") and event.get("span_id")
        else event_key(Event(**event))
        for event in events
    ]


def beat_of(event: Event) -> Beat | None:
    """What an event says about the process that sent it; None when it names no process."""
    if not event.agent or not event.instance:
        return None
    attributes = event.attributes
    is_heartbeat = event.kind is EventKind.HEARTBEAT
    at_ns = _heard_ns(event)
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


def beats_of(events: Iterable[Event]) -> list[Beat]:
    """What events say about the processes that sent them: each heartbeat, and of everything else the last of each process."""
    beats: list[Beat] = []
    last: dict[tuple[str, str, bool], tuple[int, Event]] = {}
    for event in events:
        agent, instance = event.agent, event.instance
        if not instance or not agent:
            continue
        if event.kind is EventKind.HEARTBEAT:
            if (beat := beat_of(event)) is not None:
                beats.append(beat)
            continue
        key = (agent, instance, event.trusted)
        heard_ns = _heard_ns(event)
        known = last.get(key)
        if known is None or heard_ns >= known[0]:
            last[key] = heard_ns, event
    return [*beats, *(beat for _, event in last.values() if (beat := beat_of(event)) is not None)]


def _heard_ns(event: Event) -> int:
    """When the process was alive for sure: a clock that is ahead must not make it look alive after its end."""
    at_ns, received_ns = event.end_ns or event.start_ns, event.received_ns
    if at_ns and received_ns:
        return min(received_ns, at_ns)
    return at_ns or received_ns


def _whole(value: str | int | float | bool) -> int:
    """A count as it may arrive: whatever is not a number counts as 0."""
    try:
        return int(value)
    except (ValueError, OverflowError):
        return 0
