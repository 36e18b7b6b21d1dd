"""Which export a body really is: traces, logs and metrics share their field numbers, so one often decodes as the other.

A log export read as traces becomes spans without ids; spans read as log records can become records that say nothing. Both would
be accepted, and lost. On the wire the fields of the first record tell them apart; in JSON the name of the outermost list does.
"""

from collections.abc import Iterator

import msgspec

from andoncord.telemetry.batch import Encoding

METRICS = "metrics"

_KEYS = {
    "resourceSpans": "traces",
    "resource_spans": "traces",
    "resourceLogs": "logs",
    "resource_logs": "logs",
    "resourceMetrics": METRICS,
    "resource_metrics": METRICS,
}
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED_SIZES = {_FIXED64: 8, _FIXED32: 4}
_WAY = (1, 2, 2)
"""The fields that lead from an export to its first resource, its first scope, its first record."""
_TRACE_ID, _SPAN_ID = (1, _BYTES, 16), (2, _BYTES, 8)
_LOG_TIMES = ((1, _FIXED64, 8), (11, _FIXED64, 8))
_POINTS = frozenset((5, 7, 9, 10, 11))
"""Where a metric keeps its data points, by type."""


def export_of(body: bytes, encoding: Encoding) -> str | None:
    """Which export a decompressed body is: traces, logs or metrics; None where it does not say, as an empty one.

    >>> export_of(b'{"resourceLogs": []}', Encoding.JSON), export_of(b"{}", Encoding.JSON)
    ('logs', None)
    """
    return _in_json(body) if encoding is Encoding.JSON else export_of_protobuf(body)


def _in_json(body: bytes) -> str | None:
    try:
        # The lists themselves stay unread.
        whole = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return next((_KEYS[key] for key in whole if key in _KEYS), None)


def export_of_protobuf(body: bytes) -> str | None:
    """Which export a decompressed protobuf body is, by its first record; None where that does not say."""
    record = memoryview(body)
    for number in _WAY:
        found = next((value for field, kind, value in _fields(record) if (field, kind) == (number, _BYTES)), None)
        if found is None:
            return None
        record = found
    shape = [(field, kind, len(value)) for field, kind, value in _fields(record)]
    if _TRACE_ID in shape and _SPAN_ID in shape:
        return "traces"
    if any(time in shape for time in _LOG_TIMES):
        return "logs"
    named = any((field, kind) == (1, _BYTES) for field, kind, _ in shape)
    # Everything in a metric is a text or a message; spans and log records also have times and numbers.
    is_metric = named and all(kind == _BYTES for _, kind, _ in shape) and any(field in _POINTS for field, _, _ in shape)
    return METRICS if is_metric else None


def _fields(message: memoryview) -> Iterator[tuple[int, int, memoryview]]:
    """Number, wire type and content of each field; ends where the message cannot be read."""
    place = 0
    while place < len(message):
        tag, place = _varint(message, place)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            start = place
            _, place = _varint(message, place)
        else:
            size = _FIXED_SIZES.get(kind, -1)
            if kind == _BYTES:
                size, place = _varint(message, place)
            if size < 0:
                return
            start, place = place, place + size
        if place > len(message):
            return
        yield number, kind, message[start:place]


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    """The number at a place and the place after it; past the end where the message is cut."""
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(message):
            break
        byte = message[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    return value, len(message) + 1
