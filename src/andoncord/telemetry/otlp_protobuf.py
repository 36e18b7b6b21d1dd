"""The protobuf encoding of OTLP, through the generated classes of opentelemetry-proto."""

import math
from typing import Any

from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from andoncord.telemetry.raw import (
    BAD_TIMESTAMP,
    DROPPED,
    LATEST_NS,
    MAX_ATTRIBUTES,
    MAX_DEPTH,
    NOT_IDS,
    Attributes,
    Bad,
    Batches,
    RawLog,
    RawSpan,
    Unreadable,
    wrong_times,
)

_NO_TRACE, _NO_SPAN = b"\0" * 16, b"\0" * 8


def traces(body: bytes) -> Batches:
    """The resources and spans of a trace export.

    Raises:
        Unreadable: the body is not this message.
    """
    request = parse(ExportTraceServiceRequest, body)
    for r, resource in enumerate(request.resource_spans):
        yield (
            _plain_pairs(resource.resource.attributes),
            (
                _span(span, f"$.resourceSpans[{r}].scopeSpans[{s}].spans[{i}]")
                for s, scope in enumerate(resource.scope_spans)
                for i, span in enumerate(scope.spans)
            ),
        )


def logs(body: bytes, received_ns: int) -> Batches:
    """The resources and records of a log export; a record without a time gets the time of receipt.

    Raises:
        Unreadable: the body is not this message.
    """
    request = parse(ExportLogsServiceRequest, body)
    for r, resource in enumerate(request.resource_logs):
        yield (
            _plain_pairs(resource.resource.attributes),
            (
                _log(log, f"$.resourceLogs[{r}].scopeLogs[{s}].logRecords[{i}]", received_ns)
                for s, scope in enumerate(resource.scope_logs)
                for i, log in enumerate(scope.log_records)
            ),
        )


def parse(message_type: type[Message], body: bytes) -> Any:
    """Parse `body` as `message_type`.

    Raises:
        Unreadable: it is not that message.
    """
    try:
        return message_type.FromString(body)
    except DecodeError as wrong:
        raise Unreadable(f"not an {message_type.DESCRIPTOR.name}: {wrong}") from None


def _span(span: Any, place: str) -> RawSpan | Bad:
    trace_id, span_id = span.trace_id, span.span_id
    # A log export posted to the address for traces decodes without error, into spans without ids.
    if len(trace_id) != 16 or trace_id == _NO_TRACE:
        return Bad(NOT_IDS, f"{place}.traceId: expected 16 bytes, not all zero")
    if len(span_id) != 8 or span_id == _NO_SPAN:
        return Bad(NOT_IDS, f"{place}.spanId: expected 8 bytes, not all zero")
    start_ns, end_ns = span.start_time_unix_nano, span.end_time_unix_nano
    complaint = wrong_times(start_ns, end_ns)
    if complaint:
        return Bad(BAD_TIMESTAMP, place + complaint)
    parent = span.parent_span_id
    status = span.status
    return RawSpan(
        trace_id.hex(),
        span_id.hex(),
        parent.hex() if len(parent) == 8 and parent != _NO_SPAN else "",
        span.name,
        start_ns,
        end_ns,
        status.code,
        status.message,
        _plain_pairs(span.attributes),
        _exception_type(span.events) if status.code and span.events else "",
    )


def _log(log: Any, place: str, received_ns: int) -> RawLog | Bad:
    at_ns = log.time_unix_nano or log.observed_time_unix_nano or received_ns
    if not 0 < at_ns <= LATEST_NS:
        return Bad(BAD_TIMESTAMP, f"{place}.timeUnixNano: expected nanoseconds since 1970, got {at_ns}")
    trace_id, span_id = log.trace_id, log.span_id
    return RawLog(
        trace_id.hex() if len(trace_id) == 16 and trace_id != _NO_TRACE else "",
        span_id.hex() if len(span_id) == 8 and span_id != _NO_SPAN else "",
        log.event_name,
        at_ns,
        _plain_pairs(log.attributes),
        _plain(log.body, 0) if log.HasField("body") else None,
    )


def _plain_pairs(pairs: Any) -> Attributes:
    plain: Attributes = {}
    for pair in pairs[:MAX_ATTRIBUTES]:
        value = pair.value
        # Text first, then integers: asking for the set member of the oneof is the slow part, and most values are text.
        plain[pair.key] = value.string_value or value.int_value or _plain(value, 0)
    if len(pairs) > MAX_ATTRIBUTES:
        plain[DROPPED] = len(pairs) - MAX_ATTRIBUTES
    return plain


def _plain(value: Any, depth: int) -> Any:
    which = value.WhichOneof("value")
    if which is None:
        return None
    if which == "array_value":
        return "…" if depth >= MAX_DEPTH else [_plain(item, depth + 1) for item in value.array_value.values]
    if which == "kvlist_value":
        pairs = value.kvlist_value.values
        return "…" if depth >= MAX_DEPTH else {pair.key: _plain(pair.value, depth + 1) for pair in pairs}
    plain = getattr(value, which)
    if which == "bytes_value":
        return plain.hex()
    return str(plain) if which == "double_value" and not math.isfinite(plain) else plain


def _exception_type(events: Any) -> str:
    for event in events:
        if event.name == "exception":
            return str(_plain_pairs(event.attributes).get("exception.type", ""))
    return ""
