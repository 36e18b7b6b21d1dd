"""Windows in event time: what is late still counts, what is over is forgotten, and one state of affairs is one finding."""

from typing import Any

import pytest

from andoncord.detect.bank import Bank
from andoncord.detect.declared import Declared
from andoncord.detect.finding import Finding
from andoncord.detect.rule import load_rules
from andoncord.kernel.time import MINUTE_NS, SECOND_NS
from andoncord.telemetry.event import Event, EventKind

START_NS = 1_767_225_600 * SECOND_NS
RULE = """
id: x
title: x
on: {on}
correlate: {correlate}
severity: high
category: resource_exhaustion
pattern: token_burst
summary: "{{agent}}: {{count}}"
source: test
runbook: none
tests:
  - {{name: a, given: [], expect: high}}
  - {{name: b, given: [], expect: none}}
"""


def bank(correlate: str, on: str = "tool.failed", **declared: Any) -> Bank:
    rules = load_rules({"x": RULE.format(on=on, correlate=correlate)})
    return Bank(rules, {"a": Declared(agent="a", **declared)})


def event(at_s: float, **fields: Any) -> Event:
    at_ns = START_NS + int(at_s * SECOND_NS)
    base: dict[str, Any] = {"kind": EventKind.TOOL_FAILED, "agent": "a", "run_id": "r", "span_id": f"s{at_s:g}", "ok": False}
    return Event(**{**base, "start_ns": at_ns, "end_ns": at_ns, **fields})


def play(watch: Bank, *events: Event) -> list[Finding]:
    return [finding for shown in events for finding in watch.observe(shown)]


COUNT = "{type: count, group_by: [agent], window: 5m, gte: 3}"


def test_a_late_event_completes_its_window() -> None:
    """The order of arrival does not matter, only the times of the events."""
    (finding,) = play(bank(COUNT), event(0), event(200), event(100))

    assert finding.evidence == ("s0", "s100", "s200")
    assert (finding.onset_ns, finding.at_ns) == (START_NS, START_NS + 200 * SECOND_NS)


def test_an_event_that_is_far_too_late_does_not_count() -> None:
    """Beyond window and allowed lateness an event is of the past."""
    assert play(bank(COUNT), event(1_000), event(990), event(1)) == []


def test_one_state_is_one_finding_until_it_clears() -> None:
    """More of the same raises nothing; after it has cleared, the next time is a finding of its own."""
    watch = bank(COUNT)

    assert len(play(watch, *(event(second) for second in range(10)))) == 1
    assert play(watch, event(1_000)) == []
    assert len(play(watch, event(1_001), event(1_002))) == 1


def test_groups_do_not_mix() -> None:
    """Each agent has its own window."""
    assert play(bank(COUNT), event(0), event(1), event(2, agent="b")) == []


def test_untrusted_events_never_add_to_trusted_ones() -> None:
    """Whoever has no token can neither complete a trusted finding nor, with a success, clear one (SIG-2)."""
    watch = bank("{type: count, group_by: [agent], window: 5m, gte: 3, reset: {on: tool.completed}}")
    forged = event(2.5, kind=EventKind.TOOL_COMPLETED)

    assert play(watch, event(0, trusted=True), event(1, trusted=True), event(2), forged) == []
    (finding,) = play(watch, event(3, trusted=True))
    assert finding.trusted


def test_a_success_clears_only_what_came_before_it() -> None:
    """A success that arrives late does not clear failures that happened after it."""
    watch = bank("{type: count, group_by: [agent], window: 5m, gte: 3, reset: {on: tool.completed}}")
    success = event(5, kind=EventKind.TOOL_COMPLETED)

    assert len(play(watch, event(10), event(11), success, event(12))) == 1


def test_different_values_are_counted_once() -> None:
    """Distinct counts values, not events."""
    watch = bank("{type: distinct, group_by: [agent], field: run_id, window: 5m, gte: 3}")

    assert play(watch, event(0), event(1), event(2), event(3, run_id="r2")) == []
    assert len(play(watch, event(4, run_id="r3"))) == 1


def test_a_sum_is_held_against_what_the_agent_declares() -> None:
    """The limit may be declared per agent; without a declaration nothing is too much."""
    sums = "{type: sum, group_by: [agent, run_id], field: cost_micro_usd, gt: agent.budget_micro_usd}"
    spending = [event(second, kind=EventKind.MODEL_COMPLETED, cost_micro_usd=40) for second in range(4)]

    (finding,) = play(bank(sums, on="model.completed", budget_micro_usd=100), *spending)
    assert finding.facts["at_risk_micro_usd"] == 120
    assert play(bank(sums, on="model.completed"), *spending) == []


def test_a_burst_is_measured_against_the_own_past() -> None:
    """Six times the usual is a burst; the usual itself is not, and nothing is said before the warm-up."""
    burst = "{type: ratio, group_by: [agent], field: tokens, window: 10m, gt: 5, warm_up: 6}"

    def minutes(start: int, count: int, tokens: int) -> list[Event]:
        at_ns = range(START_NS + start * MINUTE_NS, START_NS + (start + count) * MINUTE_NS, MINUTE_NS)
        return [Event(kind=EventKind.MODEL_COMPLETED, agent="a", input_tokens=tokens, start_ns=at, end_ns=at) for at in at_ns]

    usual = minutes(0, 120, 100)
    assert play(bank(burst, on="model.completed"), *usual) == []
    assert len(play(bank(burst, on="model.completed"), *usual, *minutes(120, 20, 900))) == 1
    assert play(bank(burst, on="model.completed"), *minutes(0, 30, 100), *minutes(30, 10, 900)) == []


@pytest.mark.parametrize("gap_s", [10, 400])
def test_a_sequence_needs_its_order_and_its_time(gap_s: int) -> None:
    """Reading, then being refused, within the span."""
    sequence = RULE.replace("on: {on}\n", "").format(
        correlate="{type: sequence, by: [run_id], maxspan: 5m, steps: [{on: tool.completed}, {on: guard.denied}]}"
    )
    watch = Bank(load_rules({"x": sequence}))
    read, refused = event(0, kind=EventKind.TOOL_COMPLETED), event(gap_s, kind=EventKind.GUARD_DENIED)

    assert play(watch, refused) == []
    assert [finding.evidence for finding in play(watch, read, refused)] == ([("s0", "s10")] if gap_s == 10 else [])
