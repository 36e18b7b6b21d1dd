"""A restart costs detectors nothing of what they had learned, and what was seen twice counts once."""

import random

import pytest

from andoncord.detect.bank import Bank
from andoncord.detect.build import declared_of
from andoncord.detect.cases import events_of
from andoncord.detect.declared import Declared, Objective
from andoncord.detect.finding import Finding
from andoncord.detect.pack import default_rules
from andoncord.kernel.time import HOUR_NS, MINUTE_NS, SECOND_NS
from andoncord.telemetry.event import Event, EventKind

START_NS = 1_767_225_600 * SECOND_NS
DECLARED = {"a-*": Declared(agent="a-*", objective=Objective(quality=0.8))}


def bank() -> Bank:
    return Bank(default_rules(), DECLARED)


def fleet(runs: int, *, first: int = 0, cost: int = 10_000) -> list[Event]:
    """Runs of three agents, ten minutes apart, each with a model call, three tool calls, a score and an end."""
    chance, events = random.Random(first), list[Event]()
    for number in range(first, first + runs):
        for agent in ("a-1", "a-2", "b"):
            at_ns = START_NS + number * 10 * MINUTE_NS

            def seen(kind: EventKind, second: int, **fields: object) -> Event:
                when_ns = at_ns + second * SECOND_NS  # noqa: B023
                return Event(
                    kind=kind,
                    agent=agent,  # noqa: B023
                    run_id=f"r{number}",  # noqa: B023
                    span_id=f"{agent}-{number}-{second}",  # noqa: B023
                    start_ns=when_ns,
                    end_ns=when_ns,
                    received_ns=when_ns + SECOND_NS,
                    trusted=True,
                    **fields,  # type: ignore[arg-type]
                )

            events.append(seen(EventKind.MODEL_COMPLETED, 0, cost_micro_usd=int(cost * chance.uniform(0.8, 1.2))))
            events += [seen(EventKind.TOOL_COMPLETED, 1 + step, name=chance.choice("xyz")) for step in range(3)]
            events.append(
                seen(EventKind.QUALITY_SCORED, 5, name="helpful", score=chance.random(), passed=chance.random() > 0.1)
            )
            events.append(seen(EventKind.RUN_ENDED, 6))
    return sorted(events, key=lambda event: event.at_ns)


def found(watch: Bank, events: list[Event]) -> list[Finding]:
    return [finding for event in events for finding in (*watch.observe(event), *watch.tick(event.at_ns))]


def test_after_a_restart_detectors_go_on_as_if_there_had_been_none() -> None:
    """With its memory and the last hour again a bank finds what the one that ran on finds; without its memory, nothing."""
    before, after = fleet(300), fleet(40, first=300, cost=40_000)
    ran_on = bank()
    found(ran_on, before)
    kept = {rule: ran_on.remember(rule) for rule in ran_on.learning}
    restarted, forgetful = bank(), bank()
    assert restarted.recall(kept) == {}
    hour = [event for event in before if event.received_ns > before[-1].received_ns - HOUR_NS]
    for watch in (restarted, forgetful):
        watch.replay(hour)

    def learned(watch: Bank) -> list[tuple[object, ...]]:
        told = [finding for finding in found(watch, after) if finding.rule in kept]
        return [(each.rule, each.agent, each.onset_ns, each.facts["before"], each.facts["runs_before"]) for each in told]

    expected = learned(ran_on)
    assert {(rule, agent) for rule, agent, *_ in expected} == {("run-cost", agent) for agent in ("a-1", "a-2", "b")}
    assert sorted(learned(restarted)) == sorted(expected)
    assert learned(forgetful) == []


@pytest.mark.parametrize(
    "damage", [lambda body: body[:-20], lambda body: b"", lambda body: body.replace(b"Profile", b"Profane")]
)
def test_a_damaged_memory_is_refused_and_the_detector_begins_anew(damage: object) -> None:
    """What cannot be read is named, and changes nothing."""
    watch = bank()
    found(watch, fleet(60))
    kept = {"run-cost": damage(watch.remember("run-cost"))}  # type: ignore[operator]

    assert list(bank().recall(kept)) == ["run-cost"]


@pytest.mark.parametrize("rule_id", ["moving-together", "error-cascade", "feedback-loop", "unusual-partners"])
def test_what_is_seen_over_the_fleet_survives_a_restart(rule_id: str) -> None:
    """A bank that is restarted just before the evidence is complete finds the same as one that ran on."""
    rule = next(rule for rule in default_rules() if rule.id == rule_id)
    case = next(case for case in rule.tests if case.expect != "none")
    declared, events = {"*": declared_of("*", case.declared)}, events_of(case)
    ran_on = Bank((rule,), declared)
    last = next(place for place, event in enumerate(events) if ran_on.observe(event))
    before, after = Bank((rule,), declared), Bank((rule,), declared)
    for event in events[:last]:
        assert not before.observe(event)

    assert not after.recall({rule_id: before.remember(rule_id)})
    # As after a restart, what came last is shown again: only runs that are under way are begun by it.
    after.replay(events[max(0, last - 30) : last])
    assert [finding.severity for finding in after.observe(events[last])] == [case.expect]
