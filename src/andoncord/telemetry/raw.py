"""Spans and log records as both encodings of OTLP deliver them, checked but not yet interpreted."""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from andoncord.telemetry.aliases import SpanKind
from andoncord.telemetry.event import Scalar

Attributes = dict[str, Any]
Read = tuple[Attributes, dict[str, Scalar], SpanKind]
"""What attributes came to: fields of an event, what is kept beside them, and the kind of span they speak of."""

MAX_ATTRIBUTES = 256
"""Attributes read of one record; the count of the rest is kept as `DROPPED`."""
DROPPED = "andoncord.dropped_attributes"
MAX_DEPTH = 24
"""Nesting read of an attribute's value."""
LATEST_NS = 2**63 - 1

NOT_IDS = "no_ids"
BAD_TIMESTAMP = "bad_timestamp"
WRONG_TYPE = "wrong_type"
TOO_MANY = "too_many"
MALFORMED = "malformed"
NOT_GENAI = "not_genai"
"""A metric that says nothing about models, tools or agents."""


class Unreadable(Exception):
    """The body as a whole is not what it claims to be."""


class Bad(msgspec.Struct, frozen=True):
    """A record, or `count` of them, that cannot be taken."""

    reason: str
    detail: str
    count: int = 1


class RawSpan(msgspec.Struct, frozen=True, gc=False):
    """A span with valid ids and times, its attributes as plain values or already read."""

    trace_id: str
    span_id: str
    parent_span_id: str
    name: str
    start_ns: int
    end_ns: int
    status_code: int
    status_message: str
    attributes: Attributes | Read
    exception_type: str

    @property
    def at_ns(self) -> int:
        return self.end_ns or self.start_ns


class RawLog(msgspec.Struct, frozen=True, gc=False):
    """A log record with a time, its attributes as plain values."""

    trace_id: str
    span_id: str
    event_name: str
    at_ns: int
    attributes: Attributes
    body: Any


Batch = tuple[Attributes, Iterable[RawSpan | RawLog | Bad]]
"""The attributes of a resource, and its records."""
Batches = Iterator[Batch]


def wrong_times(start_ns: int, end_ns: int) -> str:
    """What is wrong with a span's times, as `.<field>: <complaint>`, or ''.

    >>> wrong_times(0, 5), wrong_times(7, 5), wrong_times(5, 7)
    ('.startTimeUnixNano: expected nanoseconds since 1970, got 0', '.endTimeUnixNano: expected a time after the start', '')
    """
    if not 0 < start_ns <= LATEST_NS:
        return f".startTimeUnixNano: expected nanoseconds since 1970, got {start_ns}"
    if end_ns and not start_ns <= end_ns <= LATEST_NS:
        return ".endTimeUnixNano: expected a time after the start"
    return ""
