"""Attribution across batches."""

from typing import Any

from andoncord.telemetry.event import Event, EventKind
from andoncord.telemetry.stitch import stitch


def tool(**fields: Any) -> Event:
    base: dict[str, Any] = {
        "kind": EventKind.TOOL_COMPLETED,
        "trace_id": "t",
        "span_id": "c",
        "parent_span_id": "b",
        "agent": "shop",
    }
    return Event(**{**base, "attributes": {"agent_inferred": True, "kept": 1}, **fields})


ROOT = Event(kind=EventKind.AGENT_INVOKED, trace_id="t", span_id="a", agent="refunds", task="order 7", trusted=True)
MIDDLE = Event(
    kind=EventKind.OTHER, trace_id="t", span_id="b", parent_span_id="a", agent="shop", attributes={"agent_inferred": True}
)


def test_an_agent_is_found_through_several_parents() -> None:
    """The nearest ancestor that names its agent gives agent and task; other attributes stay."""
    child, middle, _ = stitch([tool(), MIDDLE, ROOT])

    assert (child.agent, child.task, child.attributes) == ("refunds", "order 7", {"kept": 1})
    assert middle.agent == "refunds"


def test_another_trace_has_nothing_to_say() -> None:
    """Span ids are only looked up within their trace."""
    assert stitch([tool(trace_id="other"), MIDDLE, ROOT])[0].agent == "shop"


def test_moving_to_another_agent_never_adds_trust() -> None:
    """An event stays trusted only if it was, and the ancestor is."""
    assert stitch([tool(trusted=False), MIDDLE, ROOT])[0].trusted is False
    assert stitch([tool(trusted=True), MIDDLE, ROOT])[0].trusted is True


def test_a_circle_of_parents_ends() -> None:
    """Spans that are each other's parents are left as they are."""
    one = tool(span_id="x", parent_span_id="y")
    two = tool(span_id="y", parent_span_id="x")

    assert stitch([one, two]) == (one, two)


def test_of_model_calls_inside_of_each_other_the_innermost_counts() -> None:
    """Three layers show one call, each in a batch of its own: it counts once, what was taken away is kept beside it."""
    layers = [
        Event(
            kind=EventKind.MODEL_COMPLETED,
            trace_id="t",
            span_id=key,
            parent_span_id=above,
            agent="refunds",
            input_tokens=30,
            cost_micro_usd=7,
        )
        for key, above in (("m", "l"), ("n", "m"), ("l", "a"))
    ]

    found = {event.span_id: event for event in stitch([*layers, ROOT])}

    assert [found[key].input_tokens for key in "lmn"] == [0, 0, 30]
    assert sum(event.cost_micro_usd for event in found.values()) == 7
    assert found["l"].kind is EventKind.OTHER
    assert found["l"].attributes == {"total_input_tokens": 30, "total_cost_micro_usd": 7}


def test_a_call_that_names_itself_its_parent_still_counts() -> None:
    """A span that is its own parent does not take its own count away."""
    loop = Event(kind=EventKind.MODEL_COMPLETED, trace_id="t", span_id="m", parent_span_id="m", agent="a", input_tokens=30)

    assert stitch([loop])[0].input_tokens == 30
