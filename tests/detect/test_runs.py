"""Runs are added up once, with what comes late, and handed to all who ask."""

from typing import Any

from andoncord.detect.runs import SETTLE_NS, Runs
from andoncord.kernel.time import SECOND_NS
from andoncord.telemetry.event import Event, EventKind

START_NS = 1_767_225_600 * SECOND_NS


def seen(kind: EventKind, second: int, **fields: Any) -> Event:
    at_ns = START_NS + second * SECOND_NS
    return Event(**{"kind": kind, "agent": "a", "run_id": "r", "start_ns": at_ns, "end_ns": at_ns, **fields})


def test_a_run_is_handed_out_once_with_what_came_after_its_end() -> None:
    """Spans that arrive after the end of their run still count; a second sign of the end does not make a second run."""
    runs = Runs()
    for event in (
        seen(EventKind.RUN_STARTED, 0),
        seen(EventKind.RUN_ENDED, 9, ok=False),
        seen(EventKind.MODEL_COMPLETED, 3, cost_micro_usd=7),
        seen(EventKind.TOOL_FAILED, 5),
    ):
        assert runs.observe(event) == ()
    (run,) = runs.tick(START_NS + 9 * SECOND_NS + SETTLE_NS)

    assert (run.cost_micro_usd, run.steps, run.tool_calls, run.tool_errors, run.ok, run.seconds) == (7, 2, 1, 1, False, 9.0)
    assert runs.observe(seen(EventKind.AGENT_INVOKED, 60)) == ()
    assert runs.tick(START_NS + 120 * SECOND_NS) == ()


def test_several_who_ask_get_the_same_and_nothing_counts_twice() -> None:
    """The same event shown by two detectors is one event."""
    runs = Runs()
    model, end = seen(EventKind.MODEL_COMPLETED, 1, cost_micro_usd=7), seen(EventKind.RUN_ENDED, 2)
    for event in (model, model, end, end):
        runs.observe(event)
    first, second = runs.tick(START_NS + 60 * SECOND_NS), runs.tick(START_NS + 60 * SECOND_NS)

    assert first == second
    assert [run.cost_micro_usd for run in first] == [7]
