"""Decoding OTLP: what arrives, what is refused, and that nothing of it raises."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from andoncord.telemetry.batch import event_key
from andoncord.telemetry.event import EventKind
from andoncord.telemetry.otlp import (
    Decoded,
    decode_logs_json,
    decode_logs_protobuf,
    decode_traces_json,
    decode_traces_protobuf,
)

TRACE, ROOT, CHILD = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", "00f067aa0ba902b7"
START = "1767225600000000000"
END = "1767225601500000000"


def value(plain: Any) -> dict[str, Any]:
    if isinstance(plain, bool):
        return {"boolValue": plain}
    if isinstance(plain, int):
        return {"intValue": str(plain)}
    return {"doubleValue": plain} if isinstance(plain, float) else {"stringValue": plain}


def attributes(plain: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": value(item)} for key, item in plain.items()]


def span(name: Any = "execute_tool refund", **over: Any) -> dict[str, Any]:
    plain = over.pop("attributes", {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "refund"})
    base = {
        "traceId": TRACE,
        "spanId": CHILD,
        "parentSpanId": ROOT,
        "name": name,
        "startTimeUnixNano": START,
        "endTimeUnixNano": END,
        "attributes": attributes(plain),
    }
    return {**base, **over}


def request(*spans: Any, resource: dict[str, Any] | None = None) -> bytes:
    held = {"attributes": attributes(resource or {"service.name": "shop"})}
    return json.dumps({"resourceSpans": [{"resource": held, "scopeSpans": [{"spans": list(spans)}]}]}).encode()


def decode(*spans: Any, **options: Any) -> Decoded:
    resource = options.pop("resource", None)
    return decode_traces_json(request(*spans, resource=resource), received_ns=options.pop("received_ns", 0), **options)


def logs(*records: dict[str, Any]) -> bytes:
    held = {"attributes": attributes({"service.name": "shop", "gen_ai.agent.name": "refunds", "service.instance.id": "i-1"})}
    return json.dumps({"resourceLogs": [{"resource": held, "scopeLogs": [{"logRecords": list(records)}]}]}).encode()


def test_a_tool_span_becomes_a_tool_event() -> None:
    """A tool span carries its call, result, times and outcome into the event."""
    given = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "refund",
        "gen_ai.agent.name": "refunds",
        "gen_ai.tool.call.arguments": '{"order":7}',
        "gen_ai.tool.call.result": "no such order",
        "error.type": "not_found",
        "andoncord.run.id": "run-1",
        "andoncord.task": "refund order 7",
    }
    (event,) = decode(span(attributes=given, status={"code": 2, "message": "nope"})).events

    assert event.kind is EventKind.TOOL_FAILED
    assert (event.agent, event.name, event.run_id, event.task) == ("refunds", "refund", "run-1", "refund order 7")
    assert (event.arguments, event.result, event.error_type) == ('{"order":7}', "no such order", "not_found")
    assert (event.trace_id, event.span_id, event.parent_span_id) == (TRACE, CHILD, ROOT)
    assert (event.start_ns, event.end_ns) == (int(START), int(END))
    assert event.system == "shop"


def test_a_model_span_carries_tokens_money_and_words() -> None:
    """Tokens, cost in micro-USD, and the words of a model call are read from the newest conventions."""
    given = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "m-1",
        "gen_ai.usage.input_tokens": 1692,
        "gen_ai.usage.output_tokens": 153,
        "gen_ai.usage.cost": 0.00522,
        "gen_ai.system_instructions": '[{"type":"text","content":"Be kind."}]',
        "gen_ai.input.messages": '[{"role":"user","parts":[{"type":"text","content":"Where is my order?"}]}]',
        "gen_ai.output.messages": '[{"role":"assistant","parts":[{"type":"text","content":"On its way."}]}]',
    }
    (event,) = decode(span("chat m-1", attributes=given)).events

    assert event.kind is EventKind.MODEL_COMPLETED
    assert (event.input_tokens, event.output_tokens, event.cost_micro_usd) == (1692, 153, 5220)
    assert (event.instructions, event.input_text, event.output_text) == ("Be kind.", "Where is my order?", "On its way.")


def test_families_agree() -> None:
    """OpenInference, Traceloop, the old and the new OpenTelemetry names give the same event fields."""
    families: list[dict[str, Any]] = [
        {
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": "m",
            "gen_ai.usage.input_tokens": 9,
            "gen_ai.usage.output_tokens": 2,
        },
        {
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": "m",
            "gen_ai.usage.prompt_tokens": 9,
            "gen_ai.usage.completion_tokens": 2,
        },
        {"openinference.span.kind": "LLM", "llm.model_name": "m", "llm.token_count.prompt": 9, "llm.token_count.completion": 2},
        {
            "llm.request.type": "chat",
            "gen_ai.request.model": "m",
            "gen_ai.usage.prompt_tokens": 9,
            "gen_ai.usage.completion_tokens": 2,
        },
    ]
    for family in families:
        (event,) = decode(span("call", attributes=family)).events
        assert (event.kind, event.name, event.input_tokens, event.output_tokens) == (EventKind.MODEL_COMPLETED, "m", 9, 2)
    tools: list[dict[str, Any]] = [
        {"openinference.span.kind": "TOOL", "tool.name": "t", "input.value": "{}", "output.value": "done"},
        {
            "traceloop.span.kind": "tool",
            "traceloop.entity.name": "t",
            "traceloop.entity.input": "{}",
            "traceloop.entity.output": "done",
        },
    ]
    for family in tools:
        (event,) = decode(span("call", attributes=family)).events
        assert (event.kind, event.name, event.arguments, event.result) == (EventKind.TOOL_COMPLETED, "t", "{}", "done")


def test_numbered_messages_are_joined() -> None:
    """Messages spread over numbered attributes come back in order, the system's apart."""
    given = {
        "openinference.span.kind": "LLM",
        "llm.input_messages.0.message.role": "system",
        "llm.input_messages.0.message.content": "Be kind.",
        "llm.input_messages.1.message.role": "user",
        "llm.input_messages.1.message.content": "Hello",
        "llm.output_messages.0.message.content": "Hi",
    }
    (event,) = decode(span("call", attributes=given)).events

    assert (event.instructions, event.input_text, event.output_text) == ("Be kind.", "Hello", "Hi")


def test_sums_on_an_agent_span_are_not_counted_again() -> None:
    """Usage on invoke_agent repeats what its children spent, so it stays an attribute."""
    given = {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": "a",
        "gen_ai.usage.input_tokens": 900,
        "gen_ai.usage.cost": 0.5,
    }
    (event,) = decode(span("invoke_agent a", attributes=given)).events

    assert (event.kind, event.input_tokens, event.cost_micro_usd) == (EventKind.AGENT_INVOKED, 0, 0)
    assert event.attributes["total_input_tokens"] == 900
    assert event.attributes["total_cost_micro_usd"] == 500_000


def test_a_child_takes_the_agent_of_its_ancestor() -> None:
    """A span that does not name its agent belongs to the nearest ancestor that does, wherever that stands in the batch."""
    root = span(
        "invoke_agent refunds",
        spanId=ROOT,
        parentSpanId="",
        attributes={"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "refunds", "andoncord.run.id": "run-1"},
    )
    child, _ = decode(span(), root).events

    assert (child.agent, child.run_id) == ("refunds", "run-1")


def test_without_any_agent_the_service_stands_in_and_says_so() -> None:
    """Where no ancestor is known the service's name is used, marked as inferred; the trace stands in for the run."""
    (event,) = decode(span()).events

    assert (event.agent, event.run_id) == ("shop", TRACE)
    assert event.attributes["agent_inferred"] is True


def test_only_agents_that_the_token_covers_are_trusted() -> None:
    """A token bound to one agent vouches for no other, whatever the span claims."""
    own = span(attributes={"gen_ai.tool.name": "t", "gen_ai.agent.name": "refund-eu"})
    foreign = span(spanId=ROOT, attributes={"gen_ai.tool.name": "t", "gen_ai.agent.name": "billing"})
    decoded = decode(own, foreign, trusted_agents=("refund-*",))

    assert [event.trusted for event in decoded.events] == [True, False]
    assert not any(event.trusted for event in decode(own).events)


def test_snake_case_is_understood() -> None:
    """Emitters that send snake_case names are read like everybody else."""
    body = {
        "resource_spans": [
            {
                "resource": {"attributes": [{"key": "service.name", "value": {"string_value": "shop"}}]},
                "scope_spans": [
                    {
                        "spans": [
                            {
                                "trace_id": TRACE,
                                "span_id": CHILD,
                                "name": "execute_tool x",
                                "start_time_unix_nano": int(START),
                                "end_time_unix_nano": int(END),
                                "attributes": [{"key": "gen_ai.tool.name", "value": {"string_value": "x"}}],
                            }
                        ]
                    }
                ],
            }
        ]
    }
    (event,) = decode_traces_json(json.dumps(body).encode(), received_ns=0).events

    assert (event.kind, event.name, event.system) == (EventKind.TOOL_COMPLETED, "x", "shop")


def test_a_bad_span_is_refused_with_its_place_and_the_rest_goes_on() -> None:
    """Each record is judged alone; the place is the path inside the body; seen = taken + refused."""
    decoded = decode(
        span(),
        span(traceId=""),
        span(startTimeUnixNano="yesterday"),
        span(startTimeUnixNano=1.5),
        span(endTimeUnixNano="1"),
        span(attributes={}, name=7),
    )

    assert len(decoded.events) == 1
    details = {rejection.reason: (rejection.detail, rejection.count) for rejection in decoded.rejected}
    prefix = "$.resourceSpans[0].scopeSpans[0].spans"
    assert details["no_ids"] == (f"{prefix}[1].traceId: expected 32 hexadecimal digits, not all zero", 1)
    assert details["bad_timestamp"] == (
        f"{prefix}[2].startTimeUnixNano: expected nanoseconds since 1970 as a decimal string",
        2,
    )
    assert details["wrong_type"] == (f"{prefix}[3].startTimeUnixNano: expected int | str, got float", 2)
    assert decoded.seen == 6 == len(decoded.events) + sum(rejection.count for rejection in decoded.rejected)


def test_a_clock_far_ahead_is_refused() -> None:
    """A record from the far future would drag every time window along; a file has no time of receipt to compare with."""
    assert decode(span(), received_ns=1_000).rejected[0].reason == "bad_timestamp"
    assert decode(span(), received_ns=0).rejected == ()


def test_a_body_that_is_no_json_is_one_rejection() -> None:
    """A truncated body is counted and explained, not raised."""
    decoded = decode_traces_json(request(span())[:-20], received_ns=0)

    assert decoded.events == ()
    assert [(rejection.reason, rejection.count) for rejection in decoded.rejected] == [("malformed", 1)]
    assert "not JSON" in decoded.rejected[0].detail


def test_half_a_character_does_not_lose_the_batch() -> None:
    """Text cut in the middle of a character pair is common; the character is replaced and the span kept."""
    body = request(span(attributes={"gen_ai.tool.name": "t", "gen_ai.tool.call.result": "MARK"})).replace(
        b"MARK", rb"ok \ud83d"
    )
    (event,) = decode_traces_json(body, received_ns=0).events

    assert event.result == "ok \ufffd"


def test_long_text_is_cut_and_says_so() -> None:
    """A text beyond its bound is cut, and the event says which and how much."""
    (event,) = decode(span(attributes={"gen_ai.tool.name": "t", "gen_ai.tool.call.result": "x" * 50_000})).events

    assert len(event.result) == 32_768
    assert event.attributes["cut"] == "result: 50000 → 32768 characters"


def test_nonsense_numbers_are_named_not_believed() -> None:
    """A negative or infinite count is left out and named."""
    given = {"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": -5, "gen_ai.usage.cost": 1e300}
    (event,) = decode(span("chat", attributes=given)).events

    assert (event.input_tokens, event.cost_micro_usd) == (0, 0)
    assert event.attributes["malformed"] == "input_tokens, cost_usd"


def test_log_records_become_events() -> None:
    """The records of the guard and the evaluation event map to their kinds, with short attribute names."""
    records: list[dict[str, Any]] = [
        {
            "timeUnixNano": START,
            "eventName": "andoncord.run.ended",
            "attributes": attributes({"andoncord.run.id": "r", "andoncord.run.ok": False}),
        },
        {
            "timeUnixNano": START,
            "traceId": TRACE,
            "spanId": CHILD,
            "attributes": attributes(
                {
                    "event.name": "andoncord.guard.denied",
                    "gen_ai.tool.name": "wire",
                    "gen_ai.tool.call.arguments": "{}",
                    "andoncord.decision.code": "scope",
                }
            ),
        },
        {"timeUnixNano": START, "eventName": "andoncord.heartbeat", "attributes": attributes({"andoncord.guard.in_flight": 1})},
        {
            "timeUnixNano": START,
            "eventName": "gen_ai.evaluation.result",
            "attributes": attributes(
                {
                    "gen_ai.evaluation.name": "helpful",
                    "gen_ai.evaluation.score.value": 0.2,
                    "gen_ai.evaluation.score.label": "fail",
                }
            ),
        },
        {
            "observedTimeUnixNano": START,
            "eventName": "andoncord.change",
            "attributes": attributes({"andoncord.change.kind": "prompt", "andoncord.change.to": "v2"}),
        },
        {"timeUnixNano": START, "body": {"stringValue": "just a line"}},
    ]
    ended, denied, beat, scored, change, line = decode_logs_json(logs(*records), received_ns=int(START)).events

    assert (ended.kind, ended.ok, ended.run_id, ended.agent, ended.instance) == (
        EventKind.RUN_ENDED,
        False,
        "r",
        "refunds",
        "i-1",
    )
    assert (denied.kind, denied.name, denied.arguments, denied.span_id) == (EventKind.GUARD_DENIED, "wire", "{}", CHILD)
    assert denied.attributes["code"] == "scope"
    assert (beat.kind, beat.attributes["in_flight"]) == (EventKind.HEARTBEAT, 1)
    assert (scored.kind, scored.name, scored.score, scored.passed) == (EventKind.QUALITY_SCORED, "helpful", 0.2, False)
    assert (change.kind, change.name, change.attributes["to"]) == (EventKind.CHANGE_MADE, "prompt", "v2")
    assert (line.kind, line.output_text) == (EventKind.OTHER, "just a line")


def test_the_real_exporter_is_understood() -> None:
    """What the OpenTelemetry SDK's own encoder produces decodes to the same run."""
    memory = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource.create({"service.name": "shop"}))
    provider.add_span_processor(SimpleSpanProcessor(memory))
    tracer = provider.get_tracer("test")
    with tracer.start_as_current_span("invoke_agent refunds") as root:
        root.set_attributes({"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "refunds"})
        with tracer.start_as_current_span("execute_tool refund") as child:
            child.set_attributes(
                {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "refund", "retries": 0, "dry": False}
            )
            child.set_attributes({"gen_ai.tool.call.arguments": '{"order":7}'})
    decoded = decode_traces_protobuf(encode_spans(memory.get_finished_spans()).SerializeToString(), received_ns=0)

    tool, agent = decoded.events
    assert decoded.rejected == ()
    assert (tool.kind, tool.agent, tool.name, tool.arguments) == (EventKind.TOOL_COMPLETED, "refunds", "refund", '{"order":7}')
    assert (tool.attributes["retries"], tool.attributes["dry"]) == (0, False)
    assert tool.parent_span_id == agent.span_id


def test_logs_at_the_address_for_traces_are_refused() -> None:
    """A log export posted to the traces address decodes into spans without ids, which are refused."""
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
    from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs

    record = LogRecord(time_unix_nano=int(START), event_name="andoncord.heartbeat")
    body = ExportLogsServiceRequest(
        resource_logs=[ResourceLogs(scope_logs=[ScopeLogs(log_records=[record])])]
    ).SerializeToString()

    assert [rejection.reason for rejection in decode_traces_protobuf(body, received_ns=0).rejected] == ["no_ids"]
    assert [event.kind for event in decode_logs_protobuf(body, received_ns=0).events] == [EventKind.HEARTBEAT]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(sorted(span())) | st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.binary(max_size=200))
def test_garbage_never_raises(body: bytes) -> None:
    """No byte sequence makes a decoder raise, and every record is accounted for."""
    for decode_body in (decode_traces_json, decode_traces_protobuf, decode_logs_json, decode_logs_protobuf):
        decoded = decode_body(body, received_ns=1)
        assert decoded.seen == len(decoded.events) + sum(rejection.count for rejection in decoded.rejected)


@given(st.dictionaries(st.sampled_from(sorted(span())), json_values), json_values, json_values)
def test_wrong_types_never_raise(over: dict[str, Any], scope: Any, resource: Any) -> None:
    """Whatever JSON stands where a field should be, the sound span beside it survives."""
    body = {"resourceSpans": [{"resource": resource, "scopeSpans": [scope, {"spans": [{**span(), **over}, span()]}]}]}
    decoded = decode_traces_json(json.dumps(body).encode(), received_ns=0)

    assert decoded.seen == len(decoded.events) + sum(rejection.count for rejection in decoded.rejected)
    assert any(event.span_id == CHILD for event in decoded.events)


def test_plain_log_records_of_one_span_are_events_of_their_own() -> None:
    """They hang on the span they were written in, and none is taken for the span or for another of its records."""
    records = [
        {"timeUnixNano": START, "traceId": TRACE, "spanId": ROOT, "body": {"stringValue": text}} for text in ("one", "two")
    ]
    spans = decode(span(spanId=ROOT, parentSpanId="")).events
    written = decode_logs_json(logs(*records), received_ns=int(START)).events

    assert [(event.span_id, event.parent_span_id, event.trace_id) for event in written] == [("", ROOT, TRACE)] * 2
    assert len({event_key(event) for event in (*spans, *written)}) == 3
