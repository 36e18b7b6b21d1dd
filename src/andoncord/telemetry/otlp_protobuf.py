"""The protobuf encoding of OTLP."""

from collections.abc import Callable, Sequence
from typing import Any

from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from andoncord.telemetry.otlp_attributes import attribute, plain_value
from andoncord.telemetry.otlp_messages import Logs, Traces
from andoncord.telemetry.raw import (
    BAD_TIMESTAMP,
    DROPPED,
    LATEST_NS,
    MALFORMED,
    MAX_ATTRIBUTES,
    NOT_IDS,
    Attributes,
    Bad,
    Batches,
    RawLog,
    RawSpan,
    Read,
    Unreadable,
    wrong_times,
)

_NO_TRACE, _NO_SPAN = b"\0" * 16, b"\0" * 8


ReadPairs = Callable[[Sequence[bytes]], Read]


def traces(body: bytes, read: ReadPairs) -> Batches:
    """The resources and spans of a trace export.

    Args:
        read: what becomes of the attributes of a span, as they were written.

    Raises:
        Unreadable: the body is not this message.
    """
    request = _parse(Traces, body, "ExportTraceServiceRequest")
    for r, resource in enumerate(request.resource_spans):
        yield (
            _of_resource(resource.resource.attributes, f"$.resourceSpans[{r}].resource"),
            (
                _span(span, read, (r, s, i))
                for s, scope in enumerate(resource.scope_spans)
                for i, span in enumerate(scope.spans)
            ),
        )


def logs(body: bytes, received_ns: int) -> Batches:
    """The resources and records of a log export; a record without a time gets the time of receipt.

    Raises:
        Unreadable: the body is not this message.
    """
    request = _parse(Logs, body, "ExportLogsServiceRequest")
    for r, resource in enumerate(request.resource_logs):
        yield (
            _of_resource(resource.resource.attributes, f"$.resourceLogs[{r}].resource"),
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
    return _parse(message_type, body, message_type.DESCRIPTOR.name)


def _parse(message_type: Any, body: bytes, name: str) -> Any:
    try:
        return message_type.FromString(body)
    except DecodeError as wrong:
        raise Unreadable(f"not an {name}: {wrong}") from None


def _of_resource(pairs: Sequence[bytes], place: str) -> Attributes:
    try:
        return _plain_pairs(pairs)
    except DecodeError as wrong:
        raise Unreadable(f"{place}: {wrong}") from None


def _span(span: Any, read: ReadPairs, place: tuple[int, int, int]) -> RawSpan | Bad:
    trace_id, span_id = span.trace_id, span.span_id
    # A log export posted to the address for traces decodes without error, into spans without ids.
    if len(trace_id) != 16 or trace_id == _NO_TRACE:
        return Bad(NOT_IDS, f"{_written(place)}.traceId: expected 16 bytes, not all zero")
    if len(span_id) != 8 or span_id == _NO_SPAN:
        return Bad(NOT_IDS, f"{_written(place)}.spanId: expected 8 bytes, not all zero")
    start_ns, end_ns = span.start_time_unix_nano, span.end_time_unix_nano
    if not 0 < start_ns <= end_ns <= LATEST_NS and (complaint := wrong_times(start_ns, end_ns)):
        return Bad(BAD_TIMESTAMP, _written(place) + complaint)
    parent, status = span.parent_span_id, span.status
    code, message, exception_type = 0, "", ""
    try:
        attributes = read(span.attributes)
        if status:
            told = Status.FromString(status)
            code, message = told.code, told.message
            exception_type = _exception_type(span.events) if code else ""
    except DecodeError as wrong:
        return Bad(MALFORMED, f"{_written(place)}: {wrong}")
    return RawSpan(
        trace_id.hex(),
        span_id.hex(),
        parent.hex() if len(parent) == 8 and parent != _NO_SPAN else "",
        span.name.decode("utf-8", "replace"),
        start_ns,
        end_ns,
        code,
        message,
        attributes,
        exception_type,
    )


def _written(place: tuple[int, int, int]) -> str:
    return "$.resourceSpans[{}].scopeSpans[{}].spans[{}]".format(*place)


def _log(log: Any, place: str, received_ns: int) -> RawLog | Bad:
    at_ns = log.time_unix_nano or log.observed_time_unix_nano or received_ns
    if not 0 < at_ns <= LATEST_NS:
        return Bad(BAD_TIMESTAMP, f"{place}.timeUnixNano: expected nanoseconds since 1970, got {at_ns}")
    trace_id, span_id = log.trace_id, log.span_id
    try:
        attributes = _plain_pairs(log.attributes)
        body = plain_value(AnyValue.FromString(log.body), 0) if log.body else None
    except DecodeError as wrong:
        return Bad(MALFORMED, f"{place}: {wrong}")
    return RawLog(
        trace_id.hex() if len(trace_id) == 16 and trace_id != _NO_TRACE else "",
        span_id.hex() if len(span_id) == 8 and span_id != _NO_SPAN else "",
        log.event_name.decode("utf-8", "replace"),
        at_ns,
        attributes,
        body,
    )


def _plain_pairs(pairs: Sequence[bytes]) -> Attributes:
    """Attributes as plain values.

    Raises:
        DecodeError: one of them is no attribute.
    """
    plain: Attributes = dict(map(attribute, pairs[:MAX_ATTRIBUTES]))
    if len(pairs) > MAX_ATTRIBUTES:
        plain[DROPPED] = len(pairs) - MAX_ATTRIBUTES
    return plain


def plain_of_pairs(pairs: Sequence[KeyValue]) -> Attributes:
    """Attributes of the generated classes as plain values."""
    return {pair.key: plain_value(pair.value, 0) for pair in pairs[:MAX_ATTRIBUTES]}


def _exception_type(events: Sequence[bytes]) -> str:
    for event in map(Span.Event.FromString, events[:MAX_ATTRIBUTES]):
        if event.name == "exception":
            for pair in event.attributes:
                if pair.key == "exception.type":
                    return str(plain_value(pair.value, 0) or "")
    return ""
