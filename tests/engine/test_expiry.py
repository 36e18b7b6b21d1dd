"""Orders for a limited time."""

import pytest

from andoncord.engine.expiry import next_expiry_ns
from andoncord.engine.facts import TimePassed
from andoncord.kernel.errors import CallerError, ConflictError
from andoncord.kernel.time import SECOND_NS
from andoncord.kernel.vocabulary import Severity
from andoncord.testing.story import Story, finding


def paused_for(story: Story, seconds: int) -> int:
    """Pause an undeclared agent for so long, by a person; when that is over."""
    story.find(finding(trusted=False))
    story.run()
    story.ask("contain", rung="pause", reason="market closed", lasts_s=seconds)
    story.run()
    due_ns = next_expiry_ns(story.state)
    assert due_ns is not None
    return due_ns


def test_an_order_ends_when_its_time_is_over_and_not_before(story: Story) -> None:
    """The release is an order with an epoch of its own, recorded with the reason."""
    due_ns = paused_for(story, 600)
    assert story.submit(TimePassed(now_ns=due_ns - 1)) == ()
    story.submit(TimePassed(now_ns=due_ns))
    story.run()
    assert story.state.rung_of("refunds") == "none"
    assert next_expiry_ns(story.state) is None
    assert "the time that ada gave is over" in str(story.entries)


def test_the_end_survives_a_restart(story: Story) -> None:
    """It is in the journal, not in a timer."""
    due_ns = paused_for(story, 600)
    assert next_expiry_ns(story.replayed()) == due_ns


def test_what_holds_without_an_end_is_not_given_one(story: Story) -> None:
    """An order with an end would let go what a playbook or another person holds."""
    story.find(finding(severity=Severity.CRITICAL))
    story.run()
    with pytest.raises(ConflictError, match="would let the agent go"):
        story.ask("contain", rung="kill", lasts_s=60)


def test_a_raise_takes_the_end_away(story: Story) -> None:
    """A finding that pauses the agent for good replaces the order with an end."""
    paused_for(story, 600)
    story.find(finding("f2"))
    story.run()
    story.submit(TimePassed(now_ns=story.now + 700 * SECOND_NS))
    assert "expiry/" not in str(story.state.steps)


@pytest.mark.parametrize("lasts_s", [-1, 1.5, 8 * 24 * 3_600])
def test_a_senseless_time_is_refused(story: Story, lasts_s: float) -> None:
    """Whole seconds, up to a week."""
    story.find(finding(trusted=False))
    story.run()
    with pytest.raises(CallerError, match="lasts_s"):
        story.ask("contain", rung="pause", lasts_s=lasts_s)
