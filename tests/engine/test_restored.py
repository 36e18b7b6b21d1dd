"""A server that was restored from an older state."""

from andoncord.engine.facts import GuardAhead
from andoncord.engine.restored import is_ahead
from andoncord.kernel.vocabulary import IncidentState
from andoncord.testing.story import Story, finding


def report(story: Story, epoch: tuple[int, int], *, agent: str = "refunds", rung: str = "kill") -> None:
    story.submit(GuardAhead(agent=agent, instance="i1", epoch=epoch, rung=rung))


def test_a_guard_that_knows_more_is_held_under_a_newer_generation(story: Story) -> None:
    """The kill that the journal lost stays a kill, newer than what was lost, and an incident says so; replay agrees."""
    report(story, (1, 9))

    assert (story.state.rung_of("refunds"), story.state.epoch_of("refunds")) == ("kill", (2, 1))
    assert "restored" in story.state.incidents["inc_000001"].title
    assert not is_ahead(story.state, "refunds", (1, 9))
    assert story.replayed() == story.state


def test_an_agent_that_ran_freely_is_held_too(story: Story) -> None:
    """What the lost order was for is not known, so even a release is confirmed by a person; who then lets it go."""
    report(story, (1, 9), rung="none")
    assert story.state.rung_of("refunds") == "pause"

    story.run()
    story.ask("release", agent="refunds", reason="looked at it")
    story.run()

    assert (story.state.rung_of("refunds"), story.state.epoch_of("refunds")) == ("none", (2, 2))
    assert (
        story.state.incidents["inc_000001"].state is IncidentState.REVIEWED or not story.state.incidents["inc_000001"].is_open
    )


def test_every_agent_is_judged_by_itself(story: Story) -> None:
    """The generation that one agent raised does not hide that another is ahead; a second process of the first is no news."""
    report(story, (1, 9))
    report(story, (1, 9))
    report(story, (1, 7), agent="reports", rung="pause")

    assert len(story.state.incidents) == 2
    assert story.state.epoch_of("reports") == (3, 2)


def test_what_the_journal_ordered_is_not_ahead(story: Story) -> None:
    """An agent that obeys its last order, under an older or the newer generation, or an older order, is as it should be."""
    story.find(finding())
    counter = story.state.epoch_of("refunds")[1]
    report(story, (1, counter))
    report(story, (1, 0), agent="reports")
    assert len(story.state.incidents) == 1

    report(story, (1, 99), agent="reports")
    assert not is_ahead(story.state, "refunds", (2, counter))
    assert is_ahead(story.state, "refunds", (2, counter + 5))
