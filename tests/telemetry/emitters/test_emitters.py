"""What real emitters sent, recorded by `record.py`, reads alike: the same agent, steps, tokens and failure."""

import json
from pathlib import Path

import pytest

from andoncord.telemetry.event import Event, EventKind
from andoncord.telemetry.otlp import decode_traces_json

HERE = Path(__file__).parent
RECORDINGS = sorted(path.name.removesuffix(".otlp.json") for path in HERE.glob("*.otlp.json"))
WITHOUT_INSTRUCTIONS = {"openai_agents_openinference", "openai_agents_openllmetry"}
"""Their emitter does not write the instructions of the Responses API down."""
BARE_ARGUMENT = {"langchain_openinference"}
"""Its emitter writes a single argument without its name."""
NO_ERROR_TYPE = {"openai_agents_openinference": "_OTHER", "openai_agents_openllmetry": "_OTHER"}
"""Their SDK tells instrumentations that a tool failed, not with what."""


def events(name: str) -> tuple[Event, ...]:
    """The events of one recording."""
    decoded = decode_traces_json((HERE / f"{name}.otlp.json").read_bytes(), received_ns=0)
    assert not decoded.rejected
    return decoded.events


def test_every_emitter_of_record_is_recorded() -> None:
    """No recording is missing: six families, one of them in both of its schemas."""
    assert len(RECORDINGS) == 8


@pytest.mark.parametrize("name", RECORDINGS)
def test_the_steps_of_the_story(name: str) -> None:
    """Three model calls and two tool calls in their order, all of one agent and one run."""
    found = events(name)
    steps = [(event.kind, event.name) for event in found if event.kind.value.partition(".")[0] in ("model", "tool")]

    model = (EventKind.MODEL_COMPLETED, "scripted-1")
    looked_up, refused = (EventKind.TOOL_COMPLETED, "lookup_order"), (EventKind.TOOL_FAILED, "refund_order")
    assert steps == [model, looked_up, model, refused, model]
    assert {event.agent for event in found} == {"support_bot"}
    assert len({event.run_id for event in found}) == 1


@pytest.mark.parametrize("name", RECORDINGS)
def test_tokens_are_counted_once(name: str) -> None:
    """Sums on agents and wrappers count for nothing: three calls are 120 tokens in and 18 out."""
    counted = [(event.input_tokens, event.output_tokens) for event in events(name) if event.input_tokens]

    assert counted == [(30, 5), (40, 6), (50, 7)]


@pytest.mark.parametrize("name", RECORDINGS)
def test_arguments_result_and_failure_of_tools(name: str) -> None:
    """What the tool was called with, what it gave back, and that the second failed, with what where the emitter knows it."""
    looked_up, refused = (event for event in events(name) if event.kind in (EventKind.TOOL_COMPLETED, EventKind.TOOL_FAILED))

    for call in (looked_up, refused):
        assert call.arguments == "A-7" if name in BARE_ARGUMENT else json.loads(call.arguments) == {"order": "A-7"}
    # Google's function responses are objects.
    assert looked_up.result in ("shipped", '{"result": "shipped"}')
    assert looked_up.ok
    assert not refused.ok
    expected = NO_ERROR_TYPE.get(name)
    assert refused.error_type == expected if expected else refused.error_type not in ("", "_OTHER")


@pytest.mark.parametrize("name", RECORDINGS)
def test_what_the_model_saw_and_said(name: str) -> None:
    """The question without the history that other spans hold, the calls it asked for, its answer."""
    models = [event for event in events(name) if event.kind is EventKind.MODEL_COMPLETED]

    assert {event.input_text for event in models} == {"Where is order 7?"}
    said = [event.output_text.replace('": "', '":"') for event in models]
    assert said == ['lookup_order({"order":"A-7"})', 'refund_order({"order":"A-7"})', "Order 7 is on its way."]
    if name not in WITHOUT_INSTRUCTIONS:
        assert all(event.instructions.startswith("You help with orders.") for event in models)


@pytest.mark.parametrize("name", RECORDINGS)
def test_every_step_hangs_below_the_root(name: str) -> None:
    """Following parents from any step ends at the one span without a parent."""
    parents = {event.span_id: event.parent_span_id for event in events(name)}
    roots = [span for span, parent in parents.items() if not parent]

    assert len(roots) == 1
    for span in parents:
        above = span
        while parents[above]:
            above = parents[above]
        assert above == roots[0]
