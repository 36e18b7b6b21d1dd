"""Every detector behind every packaged rule, and every type of correlation, passes the conformance suite."""

import pytest

from andoncord.detect.build import build
from andoncord.detect.pack import recorded_rules
from andoncord.detect.rule import Rule, load_rules
from andoncord.testing import detectors

MORE = """
id: {id}
title: x
on: [model.completed, tool.completed]
correlate: {correlate}
severity: low
category: resource_exhaustion
pattern: token_burst
summary: x
source: test
runbook: none
tests:
  - {{name: a, given: [], expect: low}}
  - {{name: b, given: [], expect: none}}
"""
CORRELATES = {
    "more-ratio": "{type: ratio, group_by: [agent], field: tokens, window: 1m, gt: 2}",
    "more-sum": "{type: sum, group_by: [agent], field: tokens, window: 1m, gt: 100}",
    "more-sequence": "{type: sequence, by: [run_id], maxspan: 1m, steps: [{on: tool.completed}, {on: guard.denied}]}",
    "more-distinct": "{type: distinct, group_by: [agent], field: name, window: 1m, gte: 2}",
}


def every_rule() -> tuple[Rule, ...]:
    texts = {name: MORE.format(id=name, correlate=correlate) for name, correlate in CORRELATES.items()}
    texts["more-sequence"] = texts["more-sequence"].replace("on: [model.completed, tool.completed]\n", "")
    return (*recorded_rules(), *load_rules(texts))


def learns_of_agents(rule: Rule) -> bool:
    """Whether a detector keeps something for each agent, and not for the fleet as a whole."""
    return hasattr(build(rule), "memory") and "agent" in getattr(rule.correlate, "group_by", ("agent",))


@pytest.mark.parametrize("rule", every_rule(), ids=lambda rule: rule.id)
def test_replay_gives_the_same(rule: Rule) -> None:
    """The same events give the same findings."""
    detectors.check_replay(lambda limit: build(rule, max_groups=limit), detectors.ordinary_events(600))


@pytest.mark.parametrize("rule", every_rule(), ids=lambda rule: rule.id)
def test_garbage_does_no_harm(rule: Rule) -> None:
    """Nonsense in any field neither raises nor leaves the scale."""
    detectors.check_garbage(lambda limit: build(rule, max_groups=limit))


@pytest.mark.parametrize("rule", every_rule(), ids=lambda rule: rule.id)
def test_it_keeps_to_its_kinds_and_does_no_io(rule: Rule) -> None:
    """Only wanted kinds are judged, and nothing is opened."""
    detectors.check_kinds(lambda limit: build(rule, max_groups=limit))
    detectors.check_no_io(lambda limit: build(rule, max_groups=limit))


@pytest.mark.parametrize("rule", every_rule(), ids=lambda rule: rule.id)
def test_late_events_do_no_harm(rule: Rule) -> None:
    """What arrives out of order breaks nothing and ends nothing before it began."""
    detectors.check_late(lambda limit: build(rule, max_groups=limit))


@pytest.mark.parametrize("rule", [rule for rule in every_rule() if learns_of_agents(rule)], ids=lambda rule: rule.id)
def test_what_is_learned_of_an_agent_is_little(rule: Rule) -> None:
    """Baselines of ten thousand agents fit into 2 GB: at most 50 kB for each agent and rule."""
    assert 1_000 < detectors.bytes_per_agent(lambda limit: build(rule, max_groups=limit), agents=5) < 50_000


@pytest.mark.parametrize("rule", every_rule(), ids=lambda rule: rule.id)
def test_memory_is_bounded(rule: Rule) -> None:
    """Memory stops growing whatever appears."""
    detectors.check_bounded(lambda limit: build(rule, max_groups=limit))
