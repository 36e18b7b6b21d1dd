"""Turning a playbook that is under way."""

import pytest

from andoncord.engine.turning import CANCELLABLE
from andoncord.kernel.effect import EffectKind
from andoncord.kernel.errors import ConflictError, NotFoundError
from andoncord.respond.playbook import load
from andoncord.testing.story import SHIPPED, Story, finding

BOOK = """
id: tell
version: 1
when: {pattern: infinite_loop}
source: s
steps:
  - hook: {hook: tell, name: tell, at_most: 5s, undo: nothing to undo}
  - wait: {for: 10m, name: settle, at_most: 5s, undo: nothing to undo}
  - hook: {hook: after, name: after, if: "steps.settle == 'failed'", at_most: 5s, undo: nothing to undo}
  - recover: {by: person, at_most: 1h, undo: nothing to undo}
"""


@pytest.fixture
def story() -> Story:
    """An incident whose playbook waits."""
    story = Story((*SHIPPED, load(BOOK, place="tell.yaml")))
    story.find(finding())
    while story.state.step("inc_000001", "1/tell/settle") is None:
        assert story.answer_one()
    return story


def intent_of(story: Story, step: str) -> str:
    intent = story.state.step("inc_000001", step)
    assert intent is not None
    return intent.id


def test_a_wait_is_cancelled_and_the_playbook_goes_on(story: Story) -> None:
    """The receipt says who and why; the steps after it see that it failed."""
    waiting = intent_of(story, "1/tell/settle")
    story.ask("cancel_step", intent=waiting, reason="it has settled")
    assert story.state.intents[waiting].receipt is not None
    assert story.state.intents[waiting].receipt.detail["missing"] == "cancelled by ada: it has settled"  # type: ignore[union-attr]
    story.run()
    assert story.state.step("inc_000001", "1/tell/after") is not None
    with pytest.raises(ConflictError, match="has its receipt"):
        story.ask("cancel_step", intent=waiting, reason="again")


def test_containment_is_not_cancelled(story: Story) -> None:
    """What holds an agent is let go by an undo or a release, never by forgetting it."""
    assert not CANCELLABLE & {EffectKind.ORDER, EffectKind.CAPTURE, EffectKind.TERMINATE, EffectKind.VERIFY}
    with pytest.raises(NotFoundError):
        story.ask("cancel_step", intent="inc_000001.999", reason="a typo")


def test_steps_are_done_anew_from_one_of_them_on(story: Story) -> None:
    """The forked step and those after it get new intents; the one before is not repeated."""
    with pytest.raises(ConflictError, match="under way"):
        story.ask("fork_playbook", step="settle", reason="too early")
    story.run()
    story.ask("fork_playbook", step="settle", reason="the queue was changed")
    story.run()

    steps = list(story.state.steps["inc_000001"])
    assert "1/tell/settle~1" in steps
    assert "1/tell/tell~1" not in steps
    assert story.state.incident("inc_000001").judged["1/tell/after~1"]
    assert story.replayed() == story.state
    with pytest.raises(NotFoundError, match="no step 'fence' after the containment"):
        story.ask("fork_playbook", step="fence", reason="no")
