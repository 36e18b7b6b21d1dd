"""An agent's figures by the minute: what was not heard is unknown, and nothing counts twice."""

from typing import Any

import pytest

from andoncord.investigate.series import Point, series
from andoncord.kernel.errors import CallerError
from andoncord.kernel.time import MINUTE_NS, SECOND_NS
from andoncord.telemetry.event import Event, EventKind

SINCE = 1_000 * MINUTE_NS
UNTIL = SINCE + 4 * MINUTE_NS


def event(kind: EventKind, minute: float, took_ms: int = 100, **more: Any) -> Event:
    end_ns = SINCE + int(minute * MINUTE_NS)
    fields: dict[str, Any] = {"trace_id": "t", "run_id": "t", "agent": "a", **more}
    return Event(kind=kind, start_ns=end_ns - took_ms * 1_000_000, end_ns=end_ns, **fields)


def points(*events: Event, limit: int = 1_000) -> tuple[Point | None, ...]:
    return series("a", events, since_ns=SINCE, until_ns=UNTIL, limit=limit).points


def test_a_gap_is_unknown_and_a_heartbeat_is_zero() -> None:
    """A minute with a sign of life and no work is 0; one without any sign is None."""
    found = points(event(EventKind.HEARTBEAT, 0.5), event(EventKind.TOOL_COMPLETED, 2.5))

    assert [point is None for point in found] == [False, True, False, True]
    assert found[0] == Point(at_ns=SINCE)
    assert found[2] is not None
    assert found[2].steps == 1


def test_figures_of_a_minute() -> None:
    """Runs, steps, errors, tokens, cost with what is missing from it, and latencies that were really measured."""
    (found, *_) = points(
        event(EventKind.MODEL_COMPLETED, 0.1, 200, input_tokens=10, output_tokens=2, cost_micro_usd=5),
        event(EventKind.MODEL_COMPLETED, 0.2, 400, input_tokens=10, attributes={"cost_unknown": True}),
        event(EventKind.TOOL_FAILED, 0.3, 900, ok=False),
        event(EventKind.AGENT_INVOKED, 0.4, ok=False, attributes={"total_input_tokens": 20}),
        event(EventKind.AGENT_INVOKED, 0.4, parent_span_id="above"),
        event(EventKind.RUN_ENDED, 0.5, run_id="r"),
    )

    assert found == Point(
        at_ns=SINCE,
        runs=2,
        failed_runs=1,
        steps=3,
        failed_steps=1,
        tool_errors=1,
        input_tokens=20,
        output_tokens=2,
        cost_micro_usd=5,
        unpriced=1,
        p50_ms=400.0,
        p95_ms=900.0,
    )


def test_what_was_not_read_is_unknown() -> None:
    """When the limit is reached, everything up to the oldest event read is unknown, also the minute it is in."""
    events = [event(EventKind.TOOL_COMPLETED, minute) for minute in (1.2, 1.8, 2.5, 3.5)]
    cut = series("a", events, since_ns=SINCE, until_ns=UNTIL, limit=4)

    assert cut.is_cut
    assert [point is None for point in cut.points] == [True, True, False, False]


@pytest.mark.parametrize(("since", "until"), [(UNTIL, SINCE), (SINCE, SINCE), (0, 2_000 * MINUTE_NS)])
def test_a_time_that_is_none_or_too_long_is_refused(since: int, until: int) -> None:
    """It ends before it begins, is empty, or has more points than a day has minutes."""
    with pytest.raises(CallerError):
        series("a", [], since_ns=since, until_ns=until, step_ns=60 * SECOND_NS, limit=10)
