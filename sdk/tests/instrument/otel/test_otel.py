"""The span processor: starts are known while the call still runs."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from sdk.tests.wire_server import DEADLINE_S, WireServer

from andoncord_sdk.instrument.otel import StartReporter

Made = tuple[TracerProvider, StartReporter]


@pytest.fixture
def made(wire: WireServer) -> Iterator[Made]:
    """A provider with the reporter and nothing else."""
    reporter = StartReporter(wire.url, token="andon_sdk_x", heartbeat_s=0.05)
    provider = TracerProvider(resource=Resource.create({"service.name": "desk"}), shutdown_on_exit=False)
    provider.add_span_processor(reporter)
    yield provider, reporter
    provider.shutdown()


def of(wire: WireServer, name: str) -> list[dict[str, Any]]:
    return [log for log in list(wire.logs) if log["eventName"] == name]


def said(log: dict[str, Any]) -> dict[str, Any]:
    return {pair["key"]: next(iter(pair["value"].values())) for pair in log["attributes"]}


def eventually(wire: WireServer, holds: Callable[[], object]) -> None:
    wire.wait(holds)


def test_a_start_is_reported_while_the_call_runs(wire: WireServer, made: Made) -> None:
    """With the ids of the span that will end, the agent of the span around it, and what is called."""
    provider, reporter = made
    tracer = provider.get_tracer("t")
    with (
        tracer.start_as_current_span("invoke_agent refunds", attributes={"gen_ai.agent.name": "refunds"}),
        tracer.start_as_current_span("GET /"),
        tracer.start_as_current_span("execute_tool pay", attributes={"gen_ai.tool.name": "pay"}) as call,
    ):
        assert reporter.force_flush(int(DEADLINE_S * 1_000))
        (log,) = of(wire, "andoncord.step.started")
        context = call.get_span_context()
        assert (log["traceId"], log["spanId"]) == (f"{context.trace_id:032x}", f"{context.span_id:016x}")
        # The span between them names no agent, so that the one around both is found through it.
        assert (said(log)["gen_ai.tool.name"], said(log)["gen_ai.operation.name"]) == ("pay", "execute_tool")
        assert said(log)["gen_ai.agent.name"] == "refunds"
    assert wire.authorizations == {"Bearer andon_sdk_x"}


@pytest.mark.parametrize(
    ("attributes", "operation"),
    [
        ({"openinference.span.kind": "LLM", "llm.model_name": "m"}, "chat"),
        ({"traceloop.span.kind": "tool", "traceloop.entity.name": "pay"}, "execute_tool"),
        ({"http.request.method": "GET"}, None),
    ],
)
def test_other_dialects_and_other_spans(
    wire: WireServer, made: Made, attributes: dict[str, str], operation: str | None
) -> None:
    """What is no step of an agent is not reported."""
    provider, reporter = made
    with provider.get_tracer("t").start_as_current_span("x", attributes=attributes):
        assert reporter.force_flush(int(DEADLINE_S * 1_000))

    found = [said(log)["gen_ai.operation.name"] for log in of(wire, "andoncord.step.started")]
    assert found == ([operation] if operation else [])


def test_heartbeats_say_what_is_in_flight_and_the_last_says_goodbye(wire: WireServer, made: Made) -> None:
    """So that a process that ended is told from a step that hangs."""
    provider, _ = made
    tracer = provider.get_tracer("t")
    with tracer.start_as_current_span("chat m", attributes={"gen_ai.agent.name": "refunds"}):
        eventually(
            wire, lambda: any(said(log).get("andoncord.guard.in_flight") == "1" for log in of(wire, "andoncord.heartbeat"))
        )
    provider.shutdown()

    assert said(of(wire, "andoncord.heartbeat")[-1])["andoncord.guard.closed"] is True


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_reports_as_another_process(wire: WireServer, made: Made) -> None:
    """The child has no threads of its parent's: it starts its own."""
    provider, reporter = made
    tracer = provider.get_tracer("t")
    with tracer.start_as_current_span("execute_tool one"):
        assert reporter.force_flush(int(DEADLINE_S * 1_000))
    child = os.fork()
    if child == 0:
        with tracer.start_as_current_span("execute_tool two"):
            os._exit(0 if reporter.force_flush(int(DEADLINE_S * 1_000)) else 1)
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0
    assert len(of(wire, "andoncord.step.started")) == 2
