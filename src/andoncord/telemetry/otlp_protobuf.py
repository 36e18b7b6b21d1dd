"""The protobuf encoding of OTLP."""

import math
from collections.abc import Sequence
from typing import Any

from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from andoncord.telemetry.otlp_messages import Logs, Traces
from andoncord.telemetry.raw import (
    BAD_TIMESTAMP,
    DROPPED,
    LATEST_NS,
    MALFORMED,
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

MAX_REMEMBERED = 8_192
"""Attributes remembered by their bytes; with more, all are forgotten."""
MAX_REMEMBERED_BYTES = 128
"""Longer ones are texts, which do not come again."""

_NO_TRACE, _NO_SPAN = b"\0" * 16, b"\0" * 8
_KEY, _VALUE, _TEXT, _INTEGER = 0x0A, 0x12, 0x0A, 0x18
"""First bytes: of the key and the value of an attribute, of a text and a whole number in a value."""
_remembered: dict[bytes, tuple[str, Any]] = {}


def traces(body: bytes) -> Batches:
    """The resources and spans of a trace export.

    Raises:
        Unreadable: the body is not this message.
    """
    request = _parse(Traces, body, "ExportTraceServiceRequest")
    for r, resource in enumerate(request.resource_spans):
        yield (
            _of_resource(resource.resource.attributes, f"$.resourceSpans[{r}].resource"),
            (_span(span, r, s, i) for s, scope in enumerate(resource.scope_spans) for i, span in enumerate(scope.spans)),
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


def _span(span: Any, r: int, s: int, i: int) -> RawSpan | Bad:
    trace_id, span_id = span.trace_id, span.span_id
    # A log export posted to the address for traces decodes without error, into spans without ids.
    if len(trace_id) != 16 or trace_id == _NO_TRACE:
        return Bad(NOT_IDS, f"{_place(r, s, i)}.traceId: expected 16 bytes, not all zero")
    if len(span_id) != 8 or span_id == _NO_SPAN:
        return Bad(NOT_IDS, f"{_place(r, s, i)}.spanId: expected 8 bytes, not all zero")
    start_ns, end_ns = span.start_time_unix_nano, span.end_time_unix_nano
    complaint = wrong_times(start_ns, end_ns)
    if complaint:
        return Bad(BAD_TIMESTAMP, _place(r, s, i) + complaint)
    parent, status = span.parent_span_id, span.status
    code, message, exception_type = 0, "", ""
    try:
        attributes = _plain_pairs(span.attributes)
        if status:
            told = Status.FromString(status)
            code, message = told.code, told.message
            exception_type = _exception_type(span.events) if code else ""
    except DecodeError as wrong:
        return Bad(MALFORMED, f"{_place(r, s, i)}: {wrong}")
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


def _place(r: int, s: int, i: int) -> str:
    return f"$.resourceSpans[{r}].scopeSpans[{s}].spans[{i}]"


def _log(log: Any, place: str, received_ns: int) -> RawLog | Bad:
    at_ns = log.time_unix_nano or log.observed_time_unix_nano or received_ns
    if not 0 < at_ns <= LATEST_NS:
        return Bad(BAD_TIMESTAMP, f"{place}.timeUnixNano: expected nanoseconds since 1970, got {at_ns}")
    trace_id, span_id = log.trace_id, log.span_id
    try:
        attributes = _plain_pairs(log.attributes)
        body = _plain(AnyValue.FromString(log.body), 0) if log.body else None
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
    plain: Attributes = {}
    recall = _remembered.get
    for pair in pairs if len(pairs) <= MAX_ATTRIBUTES else pairs[:MAX_ATTRIBUTES]:
        known = recall(pair)
        if known is None:
            known = _pair(pair)
        plain[known[0]] = known[1]
    if len(pairs) > MAX_ATTRIBUTES:
        plain[DROPPED] = len(pairs) - MAX_ATTRIBUTES
    return plain


def plain_of_pairs(pairs: Sequence[KeyValue]) -> Attributes:
    """Attributes of the generated classes as plain values."""
    return {pair.key: _plain(pair.value, 0) for pair in pairs[:MAX_ATTRIBUTES]}


def _pair(pair: bytes) -> tuple[str, Any]:
    size = len(pair)
    read = _short_pair(pair, size)
    if read is None:
        whole = KeyValue.FromString(pair)
        read = whole.key, _plain(whole.value, 0)
    # Lists and maps, too: nobody changes the values of attributes.
    if size <= MAX_REMEMBERED_BYTES:
        if len(_remembered) >= MAX_REMEMBERED:
            _remembered.clear()
        _remembered[pair] = read
    return read


def _short_pair(pair: bytes, size: int) -> tuple[str, Any] | None:
    """An attribute in its usual form, key first, then one text or small number and nothing else; None for any other form."""
    if size < 6 or pair[0] != _KEY:
        return None
    end = pair[1] + 2
    if pair[1] >= 0x80 or end + 4 > size or pair[end] != _VALUE:
        return None
    # The length of the value takes one byte, or two or three where the text is long; so does that of the text in it.
    length, start = _varint(pair, end + 1)
    if start + length != size or length < 2:
        return None
    kind = pair[start]
    number, start = _varint(pair, start + 1)
    try:
        if kind == _TEXT and start + number == size:
            return pair[2:end].decode(), pair[start:].decode()
        if kind == _INTEGER and start == size:
            return pair[2:end].decode(), number
    except UnicodeDecodeError as wrong:
        raise DecodeError(f"text is not UTF-8: {wrong.reason}") from None
    return None


def _varint(message: bytes, place: int) -> tuple[int, int]:
    """The number at `place`, where it takes three bytes at most, and the place after it; else a place that fits nowhere."""
    last = len(message) - 1
    if place > last:
        return 0, -1
    byte = message[place]
    if byte < 0x80:
        return byte, place + 1
    if place + 2 > last:
        return (0, -1) if place + 1 > last or message[place + 1] >= 0x80 else (byte & 0x7F | message[place + 1] << 7, place + 2)
    second, third = message[place + 1], message[place + 2]
    if second < 0x80:
        return byte & 0x7F | second << 7, place + 2
    return (byte & 0x7F | (second & 0x7F) << 7 | third << 14, place + 3) if third < 0x80 else (0, -1)


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


def _exception_type(events: Sequence[bytes]) -> str:
    for event in map(Span.Event.FromString, events[:MAX_ATTRIBUTES]):
        if event.name == "exception":
            for pair in event.attributes:
                if pair.key == "exception.type":
                    return str(_plain(pair.value, 0) or "")
    return ""
