"""Which incident a finding joins."""

from andoncord.incident.correlate import JOIN_WINDOW_NS
from andoncord.kernel.effect import EffectKind, Outcome
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
