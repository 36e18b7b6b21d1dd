"""What the SDK reports, and its form on the wire: OTLP/JSON."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Scalar = str | int | float | bool
Attributes = dict[str, Scalar | None]
"""Attributes of a record; None and "" are left out on the wire."""

TEXT_MAX_CHARS = 32_768
"""Longest argument, result or message text that is sent; the rest is cut, with a mark."""
CUT_MARK = "…[cut]"

STATUS_ERROR = 2
KIND_INTERNAL, KIND_CLIENT = 1, 3
SEVERITY_INFO, SEVERITY_WARN = 9, 13

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=str).encode


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanRecord:
    """Something that began and ended."""

    name: str
    trace_id: str
    span_id: str
    parent_span_id: str = ""
    kind: int = KIND_INTERNAL
    start_ns: int
    end_ns: int
    error_type: str = ""
    """Failed, and how; "" is success."""
    attributes: Attributes = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRecord:
    """Something that happened at one instant."""

    event_name: str
    at_ns: int
    trace_id: str = ""
    span_id: str = ""
    severity: int = SEVERITY_INFO
    attributes: Attributes = field(default_factory=dict)


Record = SpanRecord | LogRecord


def text_of(value: object) -> str:
    """Any value as bounded text: a string as it is, everything else as JSON. Never raises.

    >>> text_of({"id": 17}), text_of("as is"), text_of(None)
    ('{"id":17}', 'as is', '')
    """
    if value is None:
        return ""
    try:
        text = value if isinstance(value, str) else _encode(value)
    except (TypeError, ValueError, RecursionError):
        text = _text_of_the_unencodable(value)
    return text if len(text) <= TEXT_MAX_CHARS else text[:TEXT_MAX_CHARS] + CUT_MARK


def spans_request(resource: Attributes, spans: Iterable[SpanRecord]) -> dict[str, Any]:
    """An ExportTraceServiceRequest."""
    encoded = [_span(span) for span in spans]
    return {"resourceSpans": [{"resource": _resource(resource), "scopeSpans": [{"scope": _SCOPE, "spans": encoded}]}]}


def logs_request(resource: Attributes, logs: Iterable[LogRecord]) -> dict[str, Any]:
    """An ExportLogsServiceRequest."""
    encoded = [_log(log) for log in logs]
    return {"resourceLogs": [{"resource": _resource(resource), "scopeLogs": [{"scope": _SCOPE, "logRecords": encoded}]}]}


_SCOPE = {"name": "andoncord_sdk"}


def _resource(attributes: Attributes) -> dict[str, Any]:
    return {"attributes": _attributes(attributes)}


def _span(span: SpanRecord) -> dict[str, Any]:
    encoded: dict[str, Any] = {
        "traceId": span.trace_id,
        "spanId": span.span_id,
        "name": span.name,
        "kind": span.kind,
        "startTimeUnixNano": str(span.start_ns),
        "endTimeUnixNano": str(span.end_ns),
        "attributes": _attributes(span.attributes),
    }
    if span.parent_span_id:
        encoded["parentSpanId"] = span.parent_span_id
    if span.error_type:
        encoded["status"] = {"code": STATUS_ERROR, "message": span.error_type}
        encoded["attributes"].append(_attribute("error.type", span.error_type))
    return encoded


def _log(log: LogRecord) -> dict[str, Any]:
    encoded: dict[str, Any] = {
        "eventName": log.event_name,
        "timeUnixNano": str(log.at_ns),
        "observedTimeUnixNano": str(log.at_ns),
        "severityNumber": log.severity,
        "body": {"stringValue": log.event_name},
        "attributes": [_attribute("event.name", log.event_name), *_attributes(log.attributes)],
    }
    if log.trace_id:
        encoded["traceId"] = log.trace_id
    if log.span_id:
        encoded["spanId"] = log.span_id
    return encoded


def _attributes(attributes: Mapping[str, Scalar | None]) -> list[dict[str, Any]]:
    return [_attribute(key, value) for key, value in attributes.items() if value is not None and value != ""]


def _attribute(key: str, value: Scalar) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"key": key, "value": {"boolValue": value}}
    if isinstance(value, int):
        return {"key": key, "value": {"intValue": str(value)}}
    if isinstance(value, float):
        # OTLP/JSON names the three floats that JSON has no number for.
        plain = value if abs(value) < float("inf") else {"inf": "Infinity", "-inf": "-Infinity"}.get(str(value), "NaN")
        return {"key": key, "value": {"doubleValue": plain}}
    # Half a surrogate pair, which model output does contain, is not UTF-8 and would cost the whole batch.
    return {"key": key, "value": {"stringValue": value.encode("utf-8", "replace").decode()}}


def _text_of_the_unencodable(value: object) -> str:
    try:
        return repr(value)
    except Exception:  # A foreign __repr__ may raise anything.
        return f"<{type(value).__name__} that cannot be shown>"
