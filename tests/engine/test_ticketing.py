"""Tickets, in the pure core."""

import pytest

from andoncord.engine.facts import OncallLoaded
from andoncord.engine.state import Intent
from andoncord.engine.ticketing import ticket_views
from andoncord.kernel.effect import EffectKind, Outcome
from andoncord.kernel.errors import ConflictError
from andoncord.kernel.vocabulary import Mode, Severity
from andoncord.testing.story import Story, finding


def ticketed(tracker: str = "github") -> Story:
    story = Story()
    story.submit(OncallLoaded(escalation=None, tracker=tracker))
    story.find(finding(severity=Severity.CRITICAL, mode=Mode.ALERT))
    return story


def tickets(story: Story) -> list[Intent]:
    return [intent for intent in story.state.intents.values() if intent.effect.kind is EffectKind.TICKET]


def test_a_critical_incident_gets_one_ticket_and_a_word_in_it_when_it_is_over() -> None:
    """The playbook opens it without waiting for a containment; the end is written into the same ticket, once."""
    story = ticketed()
    story.run()
    assert [(each["tracker"], each["state"]) for each in ticket_views(story.state, "inc_000001")] == [("github", "open")]

    story.ask("dispose", disposition="false_positive", reason="a drill")
    story.run()

    opened, over = tickets(story)
    assert over.effect.parameters["ticket"] == {"id": "T-inc_000001", "url": "https://tickets.example/1"}
    assert (opened.effect.parameters["kind"], over.effect.parameters["kind"]) == ("open", "resolve")
    assert ticket_views(story.state, "inc_000001")[0]["state"] == "resolved"
    assert ticket_views(story.replayed(), "inc_000001") == ticket_views(story.state, "inc_000001")


def test_without_a_tracker_the_step_says_that_it_was_left_out() -> None:
    """Nothing claims that a ticket was opened."""
    story = ticketed("")
    assert tickets(story) == []
    assert "no tracker is configured" in story.state.incidents["inc_000001"].judged["1/critical/ticket"]
    with pytest.raises(ConflictError, match="no tracker"):
        story.ask("open_ticket")


def test_by_hand_one_ticket_in_each_tracker_and_another_try_where_it_failed() -> None:
    """A second one in the same tracker is refused by the name of the first, unless the first came to nothing."""
    story = ticketed()
    story.answers[EffectKind.TICKET] = lambda intent: (Outcome.FAILED, {"missing": "the tracker is away"})
    story.run()
    del story.answers[EffectKind.TICKET]
    story.ask("open_ticket")
    story.ask("open_ticket", tracker="jira")
    story.run()

    with pytest.raises(ConflictError, match="T-inc_000001"):
        story.ask("open_ticket")
    shown = [(each["tracker"], each["state"]) for each in ticket_views(story.state, "inc_000001")]
    assert shown == [("github", "failed"), ("github", "open"), ("jira", "open")]


def test_the_ticket_of_a_merged_incident_is_told_too() -> None:
    """What became part of another incident is over where it was."""
    story = ticketed()
    story.find(finding("f2", severity=Severity.CRITICAL, mode=Mode.ALERT, agent="other", trace_id="t2", run_id="r2"))
    story.run()
    story.ask("merge", incident="inc_000001", **{"from": "inc_000002", "reason": "one cause"})
    story.run()

    assert [ticket_views(story.state, each)[0]["state"] for each in ("inc_000001", "inc_000002")] == ["open", "resolved"]
