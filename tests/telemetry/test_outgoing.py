"""Events written as OTLP again."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from andoncord.telemetry.batch import Signal
from andoncord.telemetry.event import Event, EventKind
from andoncord.telemetry.otlp import decode_logs_json, decode_traces_json
from andoncord.telemetry.outgoing import requests_of
from andoncord.telemetry.stitch import INFERRED

RECORDED = sorted((Path(__file__).parent / "emitters").glob("*.otlp.json"))
TRACE, SPAN, PARENT = "ab" * 16, "cd" * 8, "ef" * 8
AT_NS = 1_767_225_600_000_000_000
WORD = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=40).filter(
    lambda text: text.strip() and text == text.strip()
)
SHARED = {
    "trace_id": st.just(TRACE),
    "agent": st.just("support"),
    "run_id": WORD,
    "session_id": WORD | st.just(""),
    "instance": st.just("i-1"),
    "system": st.just("desk"),
    "environment": st.sampled_from(("", "prod")),
    "task": WORD | st.just(""),
    "start_ns": st.just(AT_NS),
    "attributes": st.dictionaries(st.sampled_from(("x.one", "x.two")), st.integers(0, 9) | st.booleans() | WORD, max_size=2),
}
SPANS = st.builds(
    Event,
    kind=st.sampled_from((EventKind.MODEL_COMPLETED, EventKind.AGENT_INVOKED)),
    name=st.just("support"),
    span_id=st.just(SPAN),
    parent_span_id=st.sampled_from(("", PARENT)),
    end_ns=st.just(AT_NS + 5),
    input_text=WORD | st.just(""),
    output_text=WORD | st.just(""),
    instructions=WORD | st.just(""),
    **SHARED,
) | st.builds(
    Event,
    kind=st.just(EventKind.TOOL_FAILED),
    ok=st.just(False),
    error_type=WORD,
    name=WORD,
    span_id=st.just(SPAN),
    end_ns=st.just(AT_NS + 5),
    arguments=st.just('{"order":7}'),
    result=WORD,
    **SHARED,
)


def read_back(events: list[Event]) -> list[Event]:
    """What a receiver makes of the requests."""
    decoders = {Signal.TRACES: decode_traces_json, Signal.LOGS: decode_logs_json}
    found = [decoders[signal](body, received_ns=0) for signal, body in requests_of(events)]
    assert [each.rejected for each in found] == [()] * len(found)
    return [event for each in found for event in each.events]


def received_anew(event: Event) -> Event:
    return msgspec.structs.replace(event, received_ns=0, trusted=False)


@given(SPANS)
@settings(max_examples=150, deadline=None)
def test_a_span_is_read_back_as_it_was(event: Event) -> None:
    """Whatever stands in it, hostile text included."""
    assert read_back([event]) == [event]


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.name.removesuffix(".otlp.json"))
def test_what_real_emitters_sent_survives_the_round(path: Path) -> None:
    """Traces of real frameworks mean the same after they were exported and imported."""
    events = decode_traces_json(path.read_bytes(), received_ns=0).events
    again = {event.span_id: event for event in read_back(list(events))}

    assert len(again) == len(events) > 0
    for event in events:
        assert again[event.span_id] == received_anew(event), event.attributes.get(INFERRED)


def test_records_of_guards_survive_the_round() -> None:
    """Heartbeats, denials, scores, changes, runs and plain records come back as they were."""
    base: Any = {"agent": "support", "instance": "i-1", "system": "desk", "run_id": "r-1", "start_ns": AT_NS, "end_ns": AT_NS}
    events = [
        Event(kind=EventKind.HEARTBEAT, attributes={"rung": "pause", "in_flight": 0}, **{**base, "run_id": ""}),
        Event(kind=EventKind.GUARD_DENIED, ok=False, name="pay", span_id=SPAN, trace_id=TRACE, arguments="{}", **base),
        Event(kind=EventKind.QUALITY_SCORED, name="judge", score=0.25, passed=False, trace_id=TRACE, **base),
        Event(kind=EventKind.CHANGE_MADE, name="prompt", attributes={"from": "v1", "to": "v2"}, **base),
        Event(kind=EventKind.RUN_ENDED, ok=False, trace_id=TRACE, attributes={"outcome": "failed"}, **base),
        Event(kind=EventKind.OTHER, name="app.note", output_text="a line", trace_id=TRACE, parent_span_id=SPAN, **base),
    ]

    assert sorted(read_back(events), key=lambda event: event.kind) == sorted(events, key=lambda event: event.kind)
