"""Pages, their escalation and what is gathered, in the pure core."""

from typing import Any

import pytest

from andoncord.engine.facts import OncallLoaded, TimePassed
from andoncord.engine.run import next_due_ns
from andoncord.engine.state import Intent
from andoncord.kernel.effect import EffectKind, Outcome
from andoncord.kernel.errors import ConflictError
from andoncord.kernel.time import HOUR_NS, MINUTE_NS
from andoncord.kernel.vocabulary import Mode, Severity
from andoncord.respond.oncall import Escalation, Level, Quiet
from andoncord.testing.story import Story, finding

TWO_LEVELS = Escalation(
    levels=(Level(who=("primary",), wait="5m"), Level(who=("ada", "ops-mail"), wait="10m")), loops=2, quiet=Quiet(batch="15m")
)


def told(escalation: Escalation | None = TWO_LEVELS, **changes: Any) -> Story:
    story = Story()
    story.submit(OncallLoaded(escalation=escalation))
    story.find(finding(**{"severity": Severity.CRITICAL, **changes}))
    return story


def pages(story: Story) -> list[Intent]:
    return [intent for intent in story.state.intents.values() if intent.effect.kind is EffectKind.NOTIFY]


def pass_time(story: Story, by_ns: int) -> None:
    """Let time pass as the engine does: from one moment that something is due at to the next."""
    end_ns = story.now + by_ns
    while (due_ns := next_due_ns(story.state)) is not None and due_ns <= end_ns:
        story.now = max(story.now, due_ns)
        assert story.submit(TimePassed(now_ns=story.now))
        story.run()
    story.now = end_ns


def test_the_first_page_is_decided_with_the_incident_and_waits_for_nothing() -> None:
    """Before any effect has an answer, the fence and the page are both under way, in this order."""
    story = told()
    assert [intent.effect.kind for intent in story.state.intents.values()] == [EffectKind.ORDER, EffectKind.NOTIFY]
    assert pages(story)[0].effect.parameters["to"] == ["primary"]


def test_each_level_is_asked_in_turn_until_the_loops_are_over() -> None:
    """Nobody answers: both levels are asked, twice, each after the other's time; then the record says that nobody answered."""
    story = told()
    story.run()
    begun_ns = story.now
    pass_time(story, 3 * HOUR_NS)

    assert [intent.effect.parameters["to"][0] for intent in pages(story)] == ["primary", "ada", "primary", "ada"]
    assert [round((intent.issued_ns - begun_ns) / MINUTE_NS) for intent in pages(story)] == [0, 5, 15, 20]
    assert story.kinds.count("page.unanswered") == 1
    assert story.replayed().notices == story.state.notices


def test_an_acknowledgement_stops_the_pages_until_it_is_stale() -> None:
    """An hour after somebody said that they look after it, and it is still open, the first level is asked again."""
    story = told()
    story.run()
    pass_time(story, 6 * MINUTE_NS)
    story.ask("acknowledge")
    acknowledged_ns = story.now
    pass_time(story, 59 * MINUTE_NS)
    assert len(pages(story)) == 2

    pass_time(story, 2 * MINUTE_NS)

    assert [intent.effect.parameters["level"] for intent in pages(story)] == [0, 1, 0]
    assert pages(story)[2].issued_ns - acknowledged_ns < 61 * MINUTE_NS
    assert story.state.incidents["inc_000001"].acknowledged_by == "person:ada"


def test_a_level_that_reached_nobody_is_not_waited_for() -> None:
    """When the first level's page fails, the second is asked at once, and a whole loop of failures waits all the same."""
    story = told()
    story.answers[EffectKind.NOTIFY] = lambda intent: (Outcome.FAILED, {"missing": "the mail server is away"})
    story.run()
    pass_time(story, MINUTE_NS)
    assert [intent.effect.parameters["level"] for intent in pages(story)] == [0, 1]
    pass_time(story, 10 * MINUTE_NS)
    assert len(pages(story)) == 4


def test_without_configuration_a_critical_page_is_tried_once_and_others_are_skipped_aloud() -> None:
    """Nobody is configured: the page goes to nobody, once, and what could wait says why it was not sent."""
    story = told(None)
    story.run()
    pass_time(story, 3 * HOUR_NS)
    quiet = told(None, severity=Severity.MEDIUM)

    assert [intent.effect.parameters["to"] for intent in pages(story)] == [[]]
    assert pages(quiet) == []
    assert "nobody is configured" in quiet.state.incidents["inc_000001"].judged["1/medium/notify"]


def test_what_nobody_may_act_on_is_told_all_the_same() -> None:
    """A finding in mode alert stops nothing, and pages."""
    story = told(mode=Mode.ALERT)
    assert next(intent.effect.kind for intent in story.state.intents.values()) is EffectKind.NOTIFY


def test_medium_notices_are_gathered_into_one() -> None:
    """Two medium incidents within a batch are one message; a restart in between changes nothing."""
    story = told(severity=Severity.MEDIUM)
    story.find(finding("f2", severity=Severity.MEDIUM, agent="other", trace_id="t2", run_id="r2"))
    story.run()
    assert pages(story) == []

    pass_time(story, 16 * MINUTE_NS)

    (notice,) = pages(story)
    assert [each["id"] for each in notice.effect.parameters["incidents"]] == ["inc_000001", "inc_000002"]
    assert next_due_ns(story.state) is None
    assert story.replayed().notices == story.state.notices


def test_whoever_was_paged_is_told_that_it_is_over() -> None:
    """A resolved incident tells everybody who was asked, once, and pages nobody any more; it cannot be acknowledged."""
    story = told()
    story.run()
    pass_time(story, 6 * MINUTE_NS)
    story.ask("release", reason="a drill")
    story.run()
    story.ask("dispose", disposition="false_positive")
    story.run()
    pass_time(story, 3 * HOUR_NS)

    assert [intent.effect.parameters["kind"] for intent in pages(story)] == ["page", "page", "resolved"]
    assert pages(story)[2].effect.parameters["to"] == ["primary", "ada", "ops-mail"]
    with pytest.raises(ConflictError, match="resolved"):
        story.ask("acknowledge")
