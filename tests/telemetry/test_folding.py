"""Folding leaves out machinery and nothing else, whatever shape a trace has."""

from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from andoncord.telemetry.event import Event, EventKind
from andoncord.telemetry.folding import fold, levels

KINDS = (EventKind.OTHER, EventKind.AGENT_INVOKED, EventKind.MODEL_COMPLETED, EventKind.TOOL_COMPLETED, EventKind.GUARD_DENIED)


def span(key: str, above: str = "", kind: EventKind = EventKind.OTHER, **more: Any) -> Event:
    fields: dict[str, Any] = {"name": key, "agent": "bot", **more}
    return Event(kind=kind, trace_id="t", span_id=key, parent_span_id=above, **fields)


def test_a_wrapper_that_failed_alone_stays() -> None:
    """When nothing below a wrapper failed, its failure is the only sign; when something did, that is where it shows."""
    alone = fold([span("a"), span("b", "a", ok=False), span("c", "b", EventKind.TOOL_COMPLETED)])
    within = fold([span("a"), span("b", "a", ok=False), span("c", "b", EventKind.TOOL_FAILED, ok=False)])

    assert [(each.span_id, each.parent_span_id) for each in alone] == [("a", ""), ("b", "a"), ("c", "b")]
    assert [(each.span_id, each.parent_span_id) for each in within] == [("a", ""), ("c", "a")]


def test_another_agent_inside_stays() -> None:
    """An agent inside of itself is one; another agent inside of it is another."""
    agent = EventKind.AGENT_INVOKED
    found = fold([span("a", "", agent), span("b", "a", agent), span("c", "b", agent, agent="other")])

    assert [(each.span_id, each.parent_span_id, each.agent) for each in found] == [("a", "", "bot"), ("c", "a", "other")]


def test_a_record_in_a_folded_span_hangs_on_what_is_left() -> None:
    """A refusal that was written in a wrapper stands below the step around it."""
    found = fold([span("a", "", EventKind.AGENT_INVOKED), span("b", "a"), span("b", "", EventKind.GUARD_DENIED)])

    assert [(each.kind, each.span_id) for each in found] == [(EventKind.AGENT_INVOKED, "a"), (EventKind.GUARD_DENIED, "a")]


@st.composite
def traces(draw: st.DrawFn) -> list[Event]:
    """Spans with parents anywhere: before, after, themselves, in circles, not there."""
    names = [f"s{number}" for number in range(draw(st.integers(0, 12)))]
    return [
        span(
            name,
            draw(st.sampled_from([*names, "gone", ""])),
            draw(st.sampled_from(KINDS)),
            agent=draw(st.sampled_from(["bot", "other", ""])),
            ok=draw(st.booleans()),
            start_ns=draw(st.integers(0, 5)),
            input_tokens=draw(st.integers(0, 3)),
        )
        for name in names
    ]


@settings(max_examples=200, deadline=None)
@given(traces())
def test_no_work_is_lost_in_any_trace(events: list[Event]) -> None:
    """Every model call, tool call and record is there once, with its tokens; a tree of it holds each event once."""
    found = fold(events)
    kept = Counter(event.name for event in found if event.kind not in (EventKind.OTHER, EventKind.AGENT_INVOKED))
    work = Counter(event.name for event in events if event.kind not in (EventKind.OTHER, EventKind.AGENT_INVOKED))

    assert kept == work
    assert len({event.span_id for event in found if event.kind is not EventKind.GUARD_DENIED}) == sum(
        event.kind is not EventKind.GUARD_DENIED for event in found
    )
    assert Counter(id(event) for _, event in levels(found)) == Counter(map(id, found))
    assert fold(found) == found or len(fold(found)) <= len(found)
