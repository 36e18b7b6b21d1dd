"""The JSON encoding of OTLP: typed decoding of a whole body at once, and record by record where that fails.

The careful way also takes snake_case names, which some emitters send against the standard.
"""

import re
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from andoncord.telemetry.raw import (
    BAD_TIMESTAMP,
    DROPPED,
    LATEST_NS,
    MAX_ATTRIBUTES,
    MAX_DEPTH,
    NOT_IDS,
    WRONG_TYPE,
    Attributes,
    Bad,
    Batches,
    RawLog,
    RawSpan,
    Unreadable,
    wrong_times,
)

_Integer = int | str
_SNAKE_MARKS = (b'"resource_spans"', b'"resource_logs"', b'"scope_spans"', b'"trace_id"', b'"span_id"', b'"string_value"')
_LONE_SURROGATE = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2}"
)
_NO_ID = {32: "0" * 32, 16: "0" * 16}
_HEX = frozenset("0123456789abcdef")


class _Value(msgspec.Struct, rename="camel", gc=False):
    string_value: str | None = None
    int_value: _Integer | None = None
    double_value: float | str | None = None
    bool_value: bool | None = None
    bytes_value: str | None = None
    array_value: "_Array | None" = None
    kvlist_value: "_Map | None" = None


class _Array(msgspec.Struct, gc=False):
    values: list[_Value] = []


class Pair(msgspec.Struct, gc=False):
    """An attribute."""

    key: str
    value: _Value | None = None


class _Map(msgspec.Struct, gc=False):
    values: list[Pair] = []


class _Status(msgspec.Struct, gc=False):
    code: int | str = 0
    message: str = ""


class _SpanEvent(msgspec.Struct, gc=False):
    name: str = ""
    attributes: list[Pair] = []


class _Span(msgspec.Struct, rename="camel", gc=False):
    trace_id: str = ""
    span_id: str = ""
    parent_span_id: str = ""
    name: str = ""
    start_time_unix_nano: _Integer = 0
    end_time_unix_nano: _Integer = 0
    attributes: list[Pair] = []
    status: _Status | None = None
    events: list[_SpanEvent] = []


class _Log(msgspec.Struct, rename="camel", gc=False):
    trace_id: str = ""
    span_id: str = ""
    event_name: str = ""
    time_unix_nano: _Integer = 0
    observed_time_unix_nano: _Integer = 0
    attributes: list[Pair] = []
    body: _Value | None = None


class Resource(msgspec.Struct, gc=False):
    """What stands for all records of one process."""

    attributes: list[Pair] = []


class _ScopeSpans(msgspec.Struct, gc=False):
    spans: list[_Span] = []


class _ResourceSpans(msgspec.Struct, rename="camel", gc=False):
    resource: Resource | None = None
    scope_spans: list[_ScopeSpans] = []


class _Traces(msgspec.Struct, rename="camel", gc=False):
    resource_spans: list[_ResourceSpans] = []


class _ScopeLogs(msgspec.Struct, rename="camel", gc=False):
    log_records: list[_Log] = []


class _ResourceLogs(msgspec.Struct, rename="camel", gc=False):
    resource: Resource | None = None
    scope_logs: list[_ScopeLogs] = []


class _Logs(msgspec.Struct, rename="camel", gc=False):
    resource_logs: list[_ResourceLogs] = []


Record = TypeVar("Record", _Span, _Log)
_traces = msgspec.json.Decoder(_Traces)
_logs = msgspec.json.Decoder(_Logs)


def traces(body: bytes) -> Batches:
    """The resources and spans of a trace export.

    Raises:
        Unreadable: the body is not JSON, or no object.
    """
    whole = _whole(body, _traces)
    if whole is None:
        yield from _carefully(body, ("resourceSpans", "scopeSpans", "spans"), _Span, _span)
        return
    for r, resource in enumerate(whole.resource_spans):
        yield (
            resource_attributes(resource.resource),
            (
                _span(span, f"$.resourceSpans[{r}].scopeSpans[{s}].spans[{i}]")
                for s, scope in enumerate(resource.scope_spans)
                for i, span in enumerate(scope.spans)
            ),
        )


def logs(body: bytes, received_ns: int) -> Batches:
    """The resources and records of a log export; a record without a time gets the time of receipt.

    Raises:
        Unreadable: the body is not JSON, or no object.
    """

    def record(log: _Log, place: str) -> RawLog | Bad:
        return _log(log, place, received_ns)

    whole = _whole(body, _logs)
    if whole is None:
        yield from _carefully(body, ("resourceLogs", "scopeLogs", "logRecords"), _Log, record)
        return
    for r, resource in enumerate(whole.resource_logs):
        yield (
            resource_attributes(resource.resource),
            (
                record(log, f"$.resourceLogs[{r}].scopeLogs[{s}].logRecords[{i}]")
                for s, scope in enumerate(resource.scope_logs)
                for i, log in enumerate(scope.log_records)
            ),
        )


Whole = TypeVar("Whole", _Traces, _Logs)


def _whole(body: bytes, decoder: "msgspec.json.Decoder[Whole]") -> Whole | None:
    """The body decoded in one go, or None where it needs care."""
    if any(mark in body for mark in _SNAKE_MARKS):
        return None
    try:
        return decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _carefully(
    body: bytes,
    levels: tuple[str, str, str],
    record_type: type[Record],
    record: Callable[[Record, str], RawSpan | RawLog | Bad],
) -> Batches:
    request = _camel(parse_any(body))
    if not isinstance(request, dict):
        raise Unreadable("$: expected an object")
    resources, scopes, records = levels
    outer: list[RawSpan | RawLog | Bad] = []
    entries = _items(request, resources, "$", outer)
    yield {}, outer
    for r, entry in enumerate(entries):
        place = f"$.{resources}[{r}]"
        found: list[RawSpan | RawLog | Bad] = []
        try:
            resource = msgspec.convert(entry.get("resource") or {} if isinstance(entry, dict) else {}, Resource)
        except msgspec.ValidationError as wrong:
            # The records may still be read; whom they belong to is then for each of them to say.
            resource = Resource()
            found.append(Bad(WRONG_TYPE, _complaint(f"{place}.resource", wrong), 0))
        for s, scope in enumerate(_items(entry, scopes, place, found)):
            within = f"{place}.{scopes}[{s}]"
            for i, item in enumerate(_items(scope, records, within, found)):
                found.append(_one(item, f"{within}.{records}[{i}]", record_type, record))
        yield resource_attributes(resource), found


def _items(entry: Any, name: str, place: str, bad: list[RawSpan | RawLog | Bad]) -> list[Any]:
    """The list under `name`; whatever stands in its place is added to `bad`."""
    if not isinstance(entry, dict):
        bad.append(Bad(WRONG_TYPE, f"{place}: expected an object"))
        return []
    items = entry.get(name)
    if items is None:
        return []
    if not isinstance(items, list):
        bad.append(Bad(WRONG_TYPE, f"{place}.{name}: expected an array"))
        return []
    return items


def _one(
    item: Any, place: str, record_type: type[Record], record: Callable[[Record, str], RawSpan | RawLog | Bad]
) -> RawSpan | RawLog | Bad:
    try:
        return record(msgspec.convert(item, record_type), place)
    except msgspec.ValidationError as wrong:
        return Bad(WRONG_TYPE, _complaint(place, wrong))


def _complaint(place: str, wrong: msgspec.ValidationError) -> str:
    what, _, where = str(wrong).partition(" - at `$")
    return f"{place}{where.rstrip('`')}: {what[:1].lower()}{what[1:].replace('`', '')}"


def parse_any(body: bytes) -> Any:
    """Any JSON, with broken characters replaced: emitters cut text in the middle of them.

    Raises:
        Unreadable: it is no JSON even so.
    """
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass
    except RecursionError:
        raise Unreadable("$: nested too deeply") from None
    mended = body.decode("utf-8", "replace").encode()
    mended = _LONE_SURROGATE.sub(rb"\\ufffd", mended)
    try:
        return msgspec.json.decode(mended)
    except RecursionError:
        raise Unreadable("$: nested too deeply") from None
    except msgspec.DecodeError as wrong:
        raise Unreadable(f"$: not JSON: {wrong}") from None


def _camel(value: Any) -> Any:
    """`value` with the names of the protocol in camelCase. Attribute names are values in OTLP, so they stay what they are."""
    if isinstance(value, dict):
        return {_camel_name(name): _camel(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_camel(item) for item in value]
    return value


def _camel_name(name: str) -> str:
    if "_" not in name:
        return name
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _span(span: _Span, place: str) -> RawSpan | Bad:
    trace_id, span_id = span.trace_id.lower(), span.span_id.lower()
    if not _is_id(trace_id, 32):
        return Bad(NOT_IDS, f"{place}.traceId: expected 32 hexadecimal digits, not all zero")
    if not _is_id(span_id, 16):
        return Bad(NOT_IDS, f"{place}.spanId: expected 16 hexadecimal digits, not all zero")
    start_ns, end_ns = nanoseconds(span.start_time_unix_nano), nanoseconds(span.end_time_unix_nano)
    if start_ns is None or end_ns is None:
        name = "startTimeUnixNano" if start_ns is None else "endTimeUnixNano"
        return Bad(BAD_TIMESTAMP, f"{place}.{name}: expected nanoseconds since 1970 as a decimal string")
    complaint = wrong_times(start_ns, end_ns)
    if complaint:
        return Bad(BAD_TIMESTAMP, place + complaint)
    parent = span.parent_span_id.lower()
    code = span.status.code if span.status else 0
    return RawSpan(
        trace_id,
        span_id,
        parent if _is_id(parent, 16) else "",
        span.name,
        start_ns,
        end_ns,
        code if isinstance(code, int) else (2 if code == "STATUS_CODE_ERROR" else 0),
        span.status.message if span.status else "",
        plain_pairs(span.attributes),
        _exception_type(span.events) if span.events else "",
    )


def _log(log: _Log, place: str, received_ns: int) -> RawLog | Bad:
    at_ns = nanoseconds(log.time_unix_nano)
    observed_ns = nanoseconds(log.observed_time_unix_nano)
    if at_ns is None or observed_ns is None:
        name = "timeUnixNano" if at_ns is None else "observedTimeUnixNano"
        return Bad(BAD_TIMESTAMP, f"{place}.{name}: expected nanoseconds since 1970 as a decimal string")
    at_ns = at_ns or observed_ns or received_ns
    if not 0 < at_ns <= LATEST_NS:
        return Bad(BAD_TIMESTAMP, f"{place}.timeUnixNano: expected nanoseconds since 1970, got {at_ns}")
    trace_id, span_id = log.trace_id.lower(), log.span_id.lower()
    return RawLog(
        trace_id if _is_id(trace_id, 32) else "",
        span_id if _is_id(span_id, 16) else "",
        log.event_name,
        at_ns,
        plain_pairs(log.attributes),
        None if log.body is None else _plain(log.body, 0),
    )


def _is_id(text: str, length: int) -> bool:
    return len(text) == length and _HEX.issuperset(text) and text != _NO_ID[length]


def nanoseconds(value: _Integer) -> int | None:
    """A time that may come as text; None where it is none."""
    if isinstance(value, int):
        return value
    if not value:
        return 0
    return int(value) if len(value) <= 20 and value.isascii() and value.isdigit() else None


def resource_attributes(resource: Resource | None) -> Attributes:
    """The attributes of a resource as plain values."""
    return plain_pairs(resource.attributes) if resource else {}


def plain_pairs(pairs: list[Pair]) -> Attributes:
    """Attributes as plain values."""
    plain: Attributes = {}
    for pair in pairs[:MAX_ATTRIBUTES]:
        value = pair.value
        if value is not None:
            text = value.string_value
            plain[pair.key] = text if text is not None else _plain(value, 0)
    if len(pairs) > MAX_ATTRIBUTES:
        plain[DROPPED] = len(pairs) - MAX_ATTRIBUTES
    return plain


def _plain(value: _Value, depth: int) -> Any:
    for plain in (value.string_value, value.bool_value, value.double_value, value.bytes_value):
        if plain is not None:
            return plain
    if value.int_value is not None:
        return _integer(value.int_value)
    if depth >= MAX_DEPTH:
        return "…"
    if value.array_value is not None:
        return [_plain(item, depth + 1) for item in value.array_value.values]
    if value.kvlist_value is not None:
        pairs = value.kvlist_value.values
        return {pair.key: _plain(pair.value, depth + 1) if pair.value is not None else None for pair in pairs}
    return None


def _integer(value: _Integer) -> int | str:
    """The number, or the text where it is none: what to make of it is for the field to say."""
    if isinstance(value, str) and len(value) <= 20 and value.isascii() and value.removeprefix("-").isdigit():
        return int(value)
    return value


def _exception_type(events: list[_SpanEvent]) -> str:
    for event in events:
        if event.name == "exception":
            return str(plain_pairs(event.attributes).get("exception.type", ""))
    return ""
