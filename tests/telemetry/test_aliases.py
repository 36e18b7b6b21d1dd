"""Families that are in the alias table by their conventions: spans as their documents write them."""

import json
from typing import Any

import pytest

from andoncord.telemetry.event import Event, EventKind
from andoncord.telemetry.otlp import decode_traces_json

MODEL: dict[str, dict[str, Any]] = {
    "langfuse": {
        "langfuse.observation.type": "generation",
        "langfuse.observation.model.name": "m-1",
        "langfuse.observation.input": '[{"role": "user", "content": "Hi"}]',
        "langfuse.observation.output": "Hello",
        "langfuse.observation.usage_details": '{"input": 30, "output": 5, "total": 35}',
        "langfuse.observation.cost_details": '{"total": 0.002}',
    },
    "mlflow": {
        "mlflow.spanType": '"CHAT_MODEL"',
        "mlflow.llm.model": "m-1",
        "mlflow.spanInputs": '{"messages": [{"role": "user", "content": "Hi"}]}',
        "mlflow.spanOutputs": "Hello",
        "mlflow.chat.tokenUsage": '{"input_tokens": 30, "output_tokens": 5}',
        "mlflow.llm.cost": '{"total_cost": 0.002}',
    },
    "agentops": {
        "agentops.span.kind": "llm",
        "gen_ai.request.model": "m-1",
        "gen_ai.prompt.0.role": "user",
        "gen_ai.prompt.0.content": "Hi",
        "gen_ai.completion.0.content": "Hello",
        "gen_ai.usage.prompt_tokens": 30,
        "gen_ai.usage.completion_tokens": 5,
        "gen_ai.usage.cost": 0.002,
    },
    "vercel": {
        "ai.operationId": "ai.generateText.doGenerate",
        "ai.response.model": "m-1",
        "ai.prompt.messages": '[{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]',
        "ai.response.text": "Hello",
        "ai.usage.inputTokens": 30,
        "ai.usage.outputTokens": 5,
        "gen_ai.usage.cost": 0.002,
    },
}
TOOL: dict[str, dict[str, Any]] = {
    "vercel": {
        "ai.operationId": "ai.toolCall",
        "ai.toolCall.name": "pay",
        "ai.toolCall.args": "{}",
        "ai.toolCall.result": "done",
    },
    "traceloop": {
        "traceloop.span.kind": "tool",
        "traceloop.entity.name": "pay",
        "traceloop.entity.input": "{}",
        "traceloop.entity.output": "done",
    },
    "openinference, with the schema of the tool": {
        "openinference.span.kind": "TOOL",
        "tool.name": "pay",
        "tool.parameters": '{"type": "object"}',
        "input.value": "{}",
        "output.value": "done",
    },
    "openinference, with nothing but parameters": {
        "openinference.span.kind": "TOOL",
        "tool.name": "pay",
        "tool.parameters": "{}",
        "output.value": "done",
    },
}


def request(*spans: tuple[str, str, dict[str, Any]]) -> bytes:
    """A request with spans given as id, parent and attributes."""
    listed = [
        {
            "traceId": "a" * 32,
            "spanId": key * 16,
            "parentSpanId": above * 16,
            "name": "step",
            "startTimeUnixNano": "1",
            "endTimeUnixNano": "2",
            "attributes": [
                {"key": name, "value": {"stringValue": value} if isinstance(value, str) else {"doubleValue": value}}
                for name, value in attributes.items()
            ],
        }
        for key, above, attributes in spans
    ]
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]}
    body = {"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": listed}]}]}
    return json.dumps(body).encode()


def decoded(*spans: tuple[str, str, dict[str, Any]]) -> dict[str, Event]:
    """Events by their span's id, of spans given as id, parent and attributes."""
    return {event.span_id[0]: event for event in decode_traces_json(request(*spans), received_ns=0).events}


@pytest.mark.parametrize("family", MODEL)
def test_a_model_call(family: str) -> None:
    """Model, texts, tokens and cost of one call, whichever way the family writes them."""
    call = decoded(("1", "", MODEL[family]))["1"]

    assert (call.kind, call.name, call.input_text, call.output_text) == (EventKind.MODEL_COMPLETED, "m-1", "Hi", "Hello")
    assert (call.input_tokens, call.output_tokens, call.cost_micro_usd) == (30, 5, 2_000)


@pytest.mark.parametrize("family", TOOL)
def test_a_tool_call(family: str) -> None:
    """Name, arguments and result of one call; the schema of a tool is not what it was called with."""
    call = decoded(("1", "", TOOL[family]))["1"]

    assert (call.kind, call.name, call.arguments, call.result) == (EventKind.TOOL_COMPLETED, "pay", "{}", "done")


def test_a_wrapper_of_one_agent_is_its_own_and_of_two_is_the_services() -> None:
    """A span above the only agent below it belongs to that agent; above two agents it is nobody's, hence the service's."""
    first, second = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "a"}, {"gen_ai.agent.name": "b"}

    assert decoded(("1", "", {}), ("2", "1", first))["1"].agent == "a"
    assert decoded(("1", "", {}), ("2", "1", first), ("3", "1", second))["1"].agent == "shop"


def test_of_a_model_call_inside_of_another_the_inner_counts() -> None:
    """Two layers of a framework show one call; an inner one without usage leaves the count where it is."""
    outer = {"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": 30, "gen_ai.output.messages": "Hello"}
    inner = {"gen_ai.operation.name": "generate_content", "gen_ai.usage.input_tokens": 30}

    events = decoded(("1", "", outer), ("2", "1", inner))
    assert (events["1"].input_tokens, events["1"].attributes["total_input_tokens"], events["2"].input_tokens) == (0, 30, 30)
    assert events["2"].output_text == "Hello"
    silent = decoded(("1", "", outer), ("2", "1", {"gen_ai.operation.name": "generate_content"}))
    assert silent["1"].input_tokens == 30


KEPT = {
    "finish_reason": ("gen_ai.response.finish_reasons", "llm.finish_reason", "gen_ai.finishReason", "ai.response.finishReason"),
    "reasoning_tokens": ("gen_ai.usage.reasoning.output_tokens", "ai.usage.reasoningTokens"),
    "call_id": ("gen_ai.tool.call.id", "tool_call.id", "message.tool_call_id", "jsonrpc.request.id"),
    "prompt_name": ("gen_ai.prompt.name", "traceloop.prompt.key", "langfuse.observation.prompt.name"),
    "agent_version": ("gen_ai.agent.version", "traceloop.entity.version", "langfuse.release"),
}


@pytest.mark.parametrize(("short", "names"), KEPT.items())
def test_what_is_kept_beside_the_fields_has_one_name(short: str, names: tuple[str, ...]) -> None:
    """Whichever way a family writes it, rules and pages find it under one name."""
    for name in names:
        call = decoded(("1", "", {"gen_ai.operation.name": "chat", name: "x-1"}))["1"]
        assert (name, call.attributes.get(short)) == (name, "x-1")


def test_a_message_to_another_agent_is_a_call() -> None:
    """What the A2A protocol sends is a step; asking how it stands is none."""
    sent = decoded(("1", "", {"a2a.method.name": "SendMessage", "a2a.task.id": "t"}))["1"]
    asked = decoded(("1", "", {"a2a.method.name": "GetTask"}))["1"]

    assert (sent.kind, sent.name, asked.kind) == (EventKind.TOOL_COMPLETED, "SendMessage", EventKind.OTHER)


def test_scores_in_the_attributes_of_a_span_are_scores() -> None:
    """What evaluators wrote into the span they judged is an event each, of the span's agent, and counted as accepted."""
    said = {
        "openinference.span.kind": "LLM",
        "evaluations.0.evaluation.name": "grounded",
        "evaluations.0.evaluation.score": 0.25,
        "evaluations.0.evaluation.label": "fail",
        "evaluations.1.evaluation.name": "polite",
        "evaluations.1.evaluation.label": "pass",
        "evaluations.1.evaluation.explanation": "it says please",
        "evaluations.x": "no number",
    }
    body = request(("1", "", {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "bot"}), ("2", "1", said))
    found = decode_traces_json(body, received_ns=0)
    scores = [event for event in found.events if event.kind is EventKind.QUALITY_SCORED]

    assert [(each.name, each.score, each.passed) for each in scores] == [("grounded", 0.25, False), ("polite", None, True)]
    assert {(each.agent, each.span_id[0], each.end_ns) for each in scores} == {("bot", "2", 2)}
    assert (found.seen, len(found.events)) == (4, 4)
