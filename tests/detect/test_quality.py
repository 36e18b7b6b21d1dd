"""The quality detector: its promise about false alarms, its speed, and what it leaves out."""

import random
from typing import Any

from andoncord.detect.bank import Bank
from andoncord.detect.declared import Declared, Objective
from andoncord.detect.finding import Finding
from andoncord.detect.ledger import WEEK_NS
from andoncord.detect.pack import default_rules
from andoncord.detect.quality import FailureRate
from andoncord.kernel.time import SECOND_NS
from andoncord.telemetry.event import Event, EventKind

START_NS = 1_767_225_600 * SECOND_NS
RULES = tuple(rule for rule in default_rules() if rule.id == "quality-drop")


def bank(**objective: Any) -> Bank:
    return Bank(
        RULES, {"a": Declared(agent="a", objective=Objective(**{"quality": 0.9, "false_alarms_per_week": 1.0, **objective}))}
    )


def scored(number: int, passed: bool, **fields: Any) -> Event:
    at_ns = START_NS + number * SECOND_NS
    base: dict[str, Any] = {"kind": EventKind.QUALITY_SCORED, "agent": "a", "name": "helpful", "run_id": f"r{number}"}
    return Event(**{**base, "span_id": f"s{number}", "passed": passed, "start_ns": at_ns, "end_ns": at_ns, **fields})


def play(watch: Bank, outcomes: list[bool], first: int = 0) -> list[Finding]:
    return [finding for index, passed in enumerate(outcomes) for finding in watch.observe(scored(first + index, passed))]


def test_false_alarms_are_no_more_frequent_than_promised() -> None:
    """At the edge of the objective alarms come less often than once in 1/alpha runs (here 60,000 runs, alpha 1/500)."""
    chance = random.Random(7)
    rate = FailureRate(allowed=0.1, alpha=1 / 500)
    alarms = 0
    for _ in range(60_000):
        if rate.update(failed=chance.random() < 0.1):
            alarms += 1
            rate.reset()

    assert alarms <= 60_000 / 500


def test_halved_quality_is_found_within_some_twenty_runs() -> None:
    """From 95 % to 45 % against an objective of 90 %: the median delay over 40 seeds is at most 20 runs."""
    delays = []
    for seed in range(40):
        chance = random.Random(seed)
        rate = FailureRate(allowed=0.1, alpha=1 / 1_000)
        for _ in range(100):
            rate.update(failed=chance.random() < 0.05)
        delays.append(next(run for run in range(1, 500) if rate.update(failed=chance.random() < 0.55)))

    assert sorted(delays)[20] <= 20


def test_a_drop_is_found_with_its_beginning_and_its_evidence() -> None:
    """The finding says since when, how many runs failed, and how strong the evidence is."""
    (finding,) = play(bank(), [True] * 40 + [False, True] * 15)

    assert START_NS + 36 * SECOND_NS <= finding.onset_ns <= START_NS + 42 * SECOND_NS
    assert finding.facts["e_value"] >= finding.facts["threshold"] == 1_000
    assert finding.facts["pass_rate_since"] < 0.6
    assert set(finding.evidence) <= {f"s{number}" for number in range(40, 70)}
    assert "its objective is 90%" in finding.summary


def test_a_drop_is_one_finding_until_the_objective_is_met_again() -> None:
    """While it lasts nothing more is said; after twenty good runs the next drop is a finding of its own."""
    watch = bank()

    assert len(play(watch, [False] * 200)) == 1
    assert play(watch, [True] * 40, first=200) == []
    assert len(play(watch, [False] * 30, first=300)) == 1


def test_after_a_change_of_the_agent_the_test_begins_anew() -> None:
    """A fix that does not help is found again."""
    watch = bank()
    play(watch, [False] * 30)
    watch.observe(Event(kind=EventKind.CHANGE_MADE, agent="a", name="prompt", start_ns=START_NS, end_ns=START_NS))

    assert len(play(watch, [False] * 30, first=100)) == 1


def test_forged_good_scores_do_not_hide_a_drop() -> None:
    """Scores without a token are judged apart from those with one (SIG-2)."""
    watch = bank()
    findings: list[Finding] = []
    for number in range(40):
        findings += watch.observe(scored(number, False, trusted=True))
        findings += watch.observe(scored(number, True, run_id=f"forged-{number}"))

    assert [finding.trusted for finding in findings] == [True]


def test_without_a_budget_of_its_own_an_objective_pays_from_the_fleets() -> None:
    """The more the fleet may spend, the sooner the alarm; and the bank counts what was spent and what came of it."""
    found = {}
    for per_week in (0.01, 10.0):
        watch = Bank(RULES, {"a": Declared(agent="a", objective=Objective(quality=0.9))}, false_alarms_per_week=per_week)
        found[per_week] = play(watch, [True] * 50 + [False] * 50)[0].at_ns
        kept = watch.budget()
        assert (kept.streams, kept.observed) == (1, 1)
        assert 0 < kept.expected <= per_week * (kept.until_ns - kept.since_ns) / WEEK_NS * (1 + 1e-9)

    assert found[10.0] < found[0.01]


def test_a_rarer_alarm_needs_more_evidence() -> None:
    """The declared false alarms and runs per week set the threshold."""
    rare = play(bank(false_alarms_per_week=0.1, runs_per_week=10_000), [False] * 30)
    often = play(bank(false_alarms_per_week=10, runs_per_week=1_000), [False] * 30)

    assert rare[0].at_ns > often[0].at_ns


def test_weights_keep_the_promise_where_bad_runs_are_looked_at_more_often() -> None:
    """Runs that went wrong are looked at ten times as often: weighted, alarms keep their promise; unweighted, they do not."""
    alarms = {}
    for is_weighted in (True, False):
        chance = random.Random(3)
        rate = FailureRate(allowed=0.1, alpha=1 / 200)
        alarms[is_weighted] = 0
        for _ in range(40_000):
            failed = chance.random() < 0.1
            share = 1.0 if failed else 0.1
            if chance.random() < share and rate.update(failed=failed, weight=0.1 / share if is_weighted else 1.0):
                alarms[is_weighted] += 1
                rate.reset()

    assert alarms[True] <= 40_000 / 200 < alarms[False]


def test_a_judge_that_fails_good_runs_raises_no_alarm_once_people_have_said_so() -> None:
    """It fails a fifth of the runs where a tenth may; people found all of them good: it is held against its errors."""
    outcomes = [number % 5 != 0 for number in range(1_000)]
    assert len(play(bank(), outcomes)) == 1

    watch = bank(false_alarms_per_week=0.001)
    play(watch, outcomes[:100])
    for number in range(100):
        watch.observe(scored(number, True, name="human_review", span_id=f"h{number}"))

    assert play(watch, outcomes[100:], first=100) == []
    assert len(play(watch, [False, False, True] * 40, first=2_000)) == 1


def test_a_verdict_that_comes_days_later_counts_for_its_run() -> None:
    """What is said of old runs is one observation each; said again it is none."""
    watch = bank()
    play(watch, [True] * 30)
    late = [scored(number, False, start_ns=START_NS + WEEK_NS, end_ns=START_NS + WEEK_NS) for number in range(100, 140)]
    findings = [finding for event in [*late, *late] for finding in watch.observe(event)]

    assert [finding.facts["failed_since"] for finding in findings] == [finding.facts["runs_since"] for finding in findings]
    assert len(findings) == 1
