"""Which incident a finding joins."""

from typing import Any

import pytest

from andoncord.incident.correlate import JOIN_WINDOW_NS, MAX_TOGETHER
from andoncord.kernel.effect import EffectKind, Outcome
from andoncord.kernel.vocabulary import IncidentState, Mode, Severity
from andoncord.testing.story import Story, finding


def waiting_story() -> Story:
    """An incident that stays open, because its recovery never passes the probe."""
    story = Story()
    story.answers[EffectKind.PROBE] = lambda _: (Outcome.DONE, {"passed": []})
    story.find(finding())
    story.run()
    return story


def test_the_same_agent_within_the_window_joins() -> None:
    """One page per incident, not per finding."""
    story = waiting_story()
    story.find(finding("f2", trace_id="t2", at_ns=10_000_000_000 + JOIN_WINDOW_NS))
    assert len(story.state.incidents) == 1


def test_the_same_agent_after_the_window_is_another_incident() -> None:
    """What comes much later is news."""
    story = waiting_story()
    story.find(finding("f2", trace_id="t2", at_ns=10_000_000_001 + JOIN_WINDOW_NS))
    assert len(story.state.incidents) == 2


def test_another_agent_in_the_same_trace_joins() -> None:
    """A failure that crosses agents in one trace is one incident with both agents."""
    story = waiting_story()
    story.find(finding("f2", agent="triage"))
    assert story.state.incident("inc_000001").agents == ("refunds", "triage")


def test_another_agent_in_another_trace_is_another_incident() -> None:
    """Nothing connects them."""
    story = waiting_story()
    story.find(finding("f2", agent="triage", trace_id="t2"))
    assert len(story.state.incidents) == 2


def test_a_resolved_incident_takes_no_more_findings() -> None:
    """After a verified recovery a finding opens a new incident."""
    story = Story()
    story.find(finding())
    story.run()
    story.find(finding("f2"))
    assert len(story.state.incidents) == 2


def test_what_comes_late_joins_the_incident_of_its_own_time() -> None:
    """A finding about the first minutes of a long incident belongs there, also hours after its last finding."""
    story = waiting_story()
    hour = 2 * JOIN_WINDOW_NS
    story.find(finding("f2", at_ns=10_000_000_000 + 3 * hour))
    story.find(finding("late", trace_id="other", at_ns=10_000_000_000 + hour))
    assert len(story.state.incidents) == 1
    story.find(finding("after", trace_id="another", at_ns=10_000_000_001 + 3 * hour + JOIN_WINDOW_NS))
    assert len(story.state.incidents) == 2


def test_a_finding_that_names_several_agents_joins_what_one_of_them_is_part_of() -> None:
    """A circle that grows is no second incident beside that of one of its agents."""
    story = waiting_story()
    story.find(finding("f2", agent="triage", trace_id="t2", facts={"agents": ["triage", "refunds"]}))
    assert story.state.incident("inc_000001").agents == ("refunds", "triage")


TIMEOUTS = {"causes": ["dependency:lookup"]}


def one_cause() -> Story:
    """An incident whose cause is known, with the world still answering."""
    story = Story()
    story.answers[EffectKind.INVESTIGATE] = lambda _: (Outcome.FAILED, {"missing": "nobody"})
    story.find(finding(facts=TIMEOUTS))
    return story


def test_agents_with_the_same_cause_are_one_incident_and_each_is_contained() -> None:
    """A broken dependency is one page, however many agents it breaks; it is the same when the journal is read again."""
    story = one_cause()
    for number in range(2, 6):
        story.find(finding(f"f{number}", agent=f"agent-{number}", trace_id=f"t{number}", facts=TIMEOUTS))
    assert len(story.state.incidents) == 1
    assert story.state.incident("inc_000001").agents == ("refunds", "agent-2", "agent-3", "agent-4", "agent-5")
    while story.state.incident("inc_000001").containment is None or not story.state.incident("inc_000001").is_contained():
        assert story.answer_one()
    assert {"refunds", "agent-2", "agent-5"} <= set(story.state.controls)
    assert story.replayed() == story.state


def test_agents_that_fail_at_the_same_time_for_other_causes_are_other_incidents() -> None:
    """Time alone connects nobody, nor does a cause that only one of them names."""
    story = one_cause()
    story.find(finding("f2", agent="triage", trace_id="t2", facts={"causes": ["dependency:mail"]}))
    story.find(finding("f3", agent="search", trace_id="t3"))
    assert [each.agents for each in story.state.incidents.values()] == [("refunds",), ("triage",), ("search",)]


@pytest.mark.parametrize(
    "difference",
    [
        {"severity": Severity.MEDIUM},
        {"severity": Severity.CRITICAL},
        {"mode": Mode.ALERT},
        {"trusted": False},
        {"environment": "staging"},
        {"at_ns": 10_000_000_001 + JOIN_WINDOW_NS},
    ],
)
def test_a_cause_in_common_stops_nobody_harder_than_the_finding_does(difference: dict[str, Any]) -> None:
    """What is done about an incident is done to all of its agents: what would be treated otherwise stands for itself."""
    story = one_cause()
    story.find(finding("f2", agent="triage", trace_id="t2", facts=TIMEOUTS, **difference))
    assert len(story.state.incidents) == 2
    assert story.replayed() == story.state


def test_what_comes_late_joins_the_incident_of_its_cause_by_its_own_time() -> None:
    """Of two incidents with the cause, the one that was going on then."""
    story = one_cause()
    far_ns = 10_000_000_000 + 4 * JOIN_WINDOW_NS
    story.find(finding("f2", agent="triage", trace_id="t2", facts=TIMEOUTS, at_ns=far_ns, onset_ns=far_ns))
    story.find(finding("late", agent="search", trace_id="t3", facts=TIMEOUTS, at_ns=10_000_000_000 + JOIN_WINDOW_NS // 2))
    assert [each.agents for each in story.state.incidents.values()] == [("refunds", "search"), ("triage",)]


def test_nobody_joins_by_cause_while_agents_are_let_go() -> None:
    """A recovery that is under way is the recovery of those that it began with."""
    story = Story()
    story.find(finding(facts=TIMEOUTS))
    while story.state.incident("inc_000001").state is not IncidentState.RECOVERING:
        assert story.answer_one()
    story.find(finding("f2", agent="triage", trace_id="t2", facts=TIMEOUTS))
    assert len(story.state.incidents) == 2


def test_an_incident_takes_a_bounded_number_of_agents_by_cause() -> None:
    """A dependency that a whole fleet needs is a few incidents: the first is full, the next takes over."""
    story = one_cause()
    for number in range(MAX_TOGETHER + 20):
        story.find(finding(f"g{number}", agent=f"agent-{number}", trace_id=f"t-{number}", facts=TIMEOUTS))
    assert [len(each.agents) for each in story.state.incidents.values()] == [MAX_TOGETHER, 21]
