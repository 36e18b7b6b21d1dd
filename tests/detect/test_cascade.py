"""Errors that spread, by branching with a known reproduction number."""

import random

import pytest

from andoncord.detect.bank import Bank
from andoncord.detect.finding import Finding
from andoncord.detect.pack import default_rules
from andoncord.kernel.time import MINUTE_NS, SECOND_NS
from andoncord.telemetry.event import Event, EventKind

START_NS = 1_767_225_600 * SECOND_NS
RULE = tuple(rule for rule in default_rules() if rule.id == "error-cascade")


def failed(trace: int, agent: str, at_ns: int, name: str) -> Event:
    return Event(
        kind=EventKind.TOOL_FAILED,
        agent=agent,
        run_id=f"{trace}-{agent}",
        trace_id=f"trace-{trace}",
        span_id=f"{trace}-{agent}",
        name=name,
        ok=False,
        start_ns=at_ns,
        end_ns=at_ns,
        trusted=True,
    )


def outbreak(number: float, roots: int, seed: int) -> list[Finding]:
    """Errors in traces of their own, a root every ten seconds; each makes `number` more on average, half a minute later."""
    chance, bank, events = random.Random(seed), Bank(RULE), []
    for trace in range(roots):
        waiting, agents = [START_NS + trace * 10 * SECOND_NS], 0
        while waiting and agents < 40:
            at_ns = waiting.pop(0)
            events.append(failed(trace, f"agent-{agents}", at_ns, f"tool-{agents}"))
            agents += 1
            children = sum(chance.random() < number / 8 for _ in range(8))
            waiting += [at_ns + int(chance.uniform(5, 30) * SECOND_NS) for _ in range(children)]
        waiting.sort()
    found: list[Finding] = []
    for event in sorted(events, key=lambda event: event.at_ns):
        found += bank.observe(event)
    assert not bank.faults
    return found


@pytest.mark.parametrize("seed", range(3))
def test_a_growing_outbreak_is_found_with_its_number(seed: int) -> None:
    """At 1.8 errors for each there is a critical finding, of something that went at least one step."""
    found = outbreak(1.8, 40, seed)

    assert found
    assert found[0].severity == "critical"
    assert found[0].facts["generations"] >= 1


@pytest.mark.parametrize("seed", range(3))
def test_errors_that_die_out_are_no_growth(seed: int) -> None:
    """At 0.4 errors for each nobody says that there are ever more; at most that five agents failed in one trace."""
    assert all(found.facts["at_least"] <= 1 and found.facts["generations"] >= 3 for found in outbreak(0.4, 200, seed))
    assert not outbreak(0.1, 200, seed)


def test_a_new_outbreak_after_an_hour_is_told_again() -> None:
    """It is told once, and again only when an hour has passed."""
    told: list[Finding] = []
    bank = Bank(RULE)
    for hour in (0, 2):
        for step in range(6):
            at_ns = START_NS + hour * 60 * MINUTE_NS + step * SECOND_NS
            told += bank.observe(failed(hour, f"agent-{step}", at_ns, f"tool-{step}"))

    assert len(told) == 2
    assert told[0].onset_ns == START_NS
