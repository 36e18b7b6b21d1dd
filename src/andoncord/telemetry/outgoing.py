"""Stored events as OTLP/JSON again, in the words of the GenAI conventions, so that this and other tools can read them.

What is written is read back as the same events, but for when they were received and whether they are trusted: both are for
whoever receives them to say.
"""

from collections.abc import Iterable
from itertools import groupby
from typing import Any

import msgspec

from andoncord.kernel.money import MICRO_PER_USD
from andoncord.telemetry.aliases import default_table
from andoncord.telemetry.batch import SPAN_KINDS, Signal
from andoncord.telemetry.event import CLOCK_SKEW, Event, EventKind, Scalar

_OPERATIONS = {
    EventKind.MODEL_COMPLETED: "chat",
    EventKind.MODEL_FAILED: "chat",
    EventKind.TOOL_COMPLETED: "execute_tool",
    EventKind.TOOL_FAILED: "execute_tool",
    EventKind.AGENT_INVOKED: "invoke_agent",
}
_NAMED_AS = {
    EventKind.QUALITY_SCORED: "gen_ai.evaluation.name",
    EventKind.CHANGE_MADE: "andoncord.change.kind",
    EventKind.MODEL_COMPLETED: "gen_ai.request.model",
    EventKind.MODEL_FAILED: "gen_ai.request.model",
}
"""The attribute that carries an event's name; a tool's where nothing else is said."""
_CLIENT = 3
_FAILED = 2

Record = dict[str, Any]


def requests_of(events: Iterable[Event]) -> list[tuple[Signal, bytes]]:
    """Export requests that hold these events: one of spans, one of log records, as far as there are any.

    >>> span = Event(kind=EventKind.TOOL_COMPLETED, trace_id="ab" * 16, span_id="cd" * 8, agent="a", start_ns=1, end_ns=2)
    >>> [(signal.value, len(body) > 100) for signal, body in requests_of([span])]
    [('traces', True)]
    """
    listed = list(events)
    spans = [event for event in listed if event.kind in SPAN_KINDS and event.span_id and event.trace_id]
    known = set(map(id, spans))
    records = [event for event in listed if id(event) not in known]
    found: list[tuple[Signal, bytes]] = []
    if spans:
        parts = [{**resource, "scopeSpans": [{"spans": list(map(_span, group))}]} for resource, group in _by_resource(spans)]
        found.append((Signal.TRACES, msgspec.json.encode({"resourceSpans": parts})))
    if records:
        parts = [
            {**resource, "scopeLogs": [{"logRecords": list(map(_log, group))}]} for resource, group in _by_resource(records)
        ]
        found.append((Signal.LOGS, msgspec.json.encode({"resourceLogs": parts})))
    return found


def _by_resource(events: list[Event]) -> Iterable[tuple[Record, list[Event]]]:
    def resource(event: Event) -> tuple[str, str, str, str]:
        return event.system, event.instance, event.environment, event.agent if _is_named_apart(event) else ""

    for (system, instance, environment, agent), group in groupby(sorted(events, key=resource), key=resource):
        said = {
            "service.name": system,
            "service.instance.id": instance,
            "deployment.environment.name": environment,
            "gen_ai.agent.name": agent,
        }
        yield {"resource": {"attributes": _attributes({name: value for name, value in said.items() if value})}}, list(group)


def _is_named_apart(event: Event) -> bool:
    """An agent's own span that goes by another name than its agent: a reader would take its name from the agent."""
    return event.kind is EventKind.AGENT_INVOKED and event.name != event.agent


def _span(event: Event) -> Record:
    operation = _OPERATIONS.get(event.kind)
    attributes = {**({"gen_ai.operation.name": operation} if operation else {}), **_shared(event)}
    if event.kind is not EventKind.AGENT_INVOKED and event.name and operation:
        attributes[_NAMED_AS.get(event.kind, "gen_ai.tool.name")] = event.name
    if operation == "execute_tool":
        _put(attributes, "gen_ai.tool.call.arguments", event.arguments)
        _put(attributes, "gen_ai.tool.call.result", event.result)
    else:
        _words(attributes, event)
    span: Record = {
        "traceId": event.trace_id,
        "spanId": event.span_id,
        "name": event.name or operation or "span",
        "kind": _CLIENT,
        "startTimeUnixNano": str(event.start_ns),
        "endTimeUnixNano": str(event.end_ns),
    }
    if event.parent_span_id:
        span["parentSpanId"] = event.parent_span_id
    if not event.ok:
        span["status"] = {"code": _FAILED, "message": str(attributes.pop("status_message", ""))}
        attributes["error.type"] = event.error_type
    return {**span, "attributes": _attributes(attributes)}


def _log(event: Event) -> Record:
    name = event.name if event.kind is EventKind.OTHER else _event_names()[event.kind]
    attributes = _shared(event)
    if event.kind is not EventKind.OTHER:
        _put(attributes, _NAMED_AS.get(event.kind, "gen_ai.tool.name"), event.name)
    if event.kind is EventKind.RUN_ENDED:
        attributes["andoncord.run.ok"] = event.ok
    if event.score is not None:
        attributes["gen_ai.evaluation.score.value"] = event.score
    if event.passed is not None:
        attributes["gen_ai.evaluation.score.label"] = "pass" if event.passed else "fail"
    if event.arguments or event.result:
        _put(attributes, "gen_ai.tool.call.arguments", event.arguments)
        _put(attributes, "gen_ai.tool.call.result", event.result)
    else:
        _words(attributes, event)
    record: Record = {"timeUnixNano": str(event.start_ns), "eventName": name, "attributes": _attributes(attributes)}
    if event.trace_id:
        record["traceId"] = event.trace_id
    if span_id := event.span_id or event.parent_span_id:
        record["spanId"] = span_id
    return record


def _shared(event: Event) -> dict[str, Scalar]:
    """What spans and log records both say."""
    attributes: dict[str, Scalar] = {name: value for name, value in event.attributes.items() if name != CLOCK_SKEW}
    _put(attributes, "gen_ai.agent.name", "" if _is_named_apart(event) else event.agent)
    _put(attributes, "andoncord.run.id", event.run_id)
    _put(attributes, "gen_ai.conversation.id", event.session_id)
    _put(attributes, "andoncord.task", event.task)
    if event.input_tokens:
        attributes["gen_ai.usage.input_tokens"] = event.input_tokens
    if event.output_tokens:
        attributes["gen_ai.usage.output_tokens"] = event.output_tokens
    if event.cost_micro_usd:
        attributes["gen_ai.usage.cost"] = event.cost_micro_usd / MICRO_PER_USD
    return attributes


def _words(attributes: dict[str, Scalar], event: Event) -> None:
    for name, role, text in (
        ("gen_ai.input.messages", "user", event.input_text),
        ("gen_ai.output.messages", "assistant", event.output_text),
    ):
        if text:
            attributes[name] = _json([{"role": role, "parts": [{"type": "text", "content": text}]}])
    if event.instructions:
        attributes["gen_ai.system_instructions"] = _json([{"type": "text", "content": event.instructions}])


def _put(attributes: dict[str, Scalar], name: str, value: str) -> None:
    if value:
        attributes[name] = value


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _attributes(plain: dict[str, Scalar]) -> list[Record]:
    return [{"key": key, "value": _value(value)} for key, value in plain.items()]


def _value(plain: Scalar) -> Record:
    if isinstance(plain, bool):
        return {"boolValue": plain}
    if isinstance(plain, int):
        return {"intValue": str(plain)}
    return {"doubleValue": plain} if isinstance(plain, float) else {"stringValue": plain}


def _event_names() -> dict[EventKind, str]:
    return {EventKind(kind): name for name, kind in default_table().events.items()}
