"""Undoing: reversals last first, with receipts; what cannot be undone is said."""

import pytest

from andoncord.kernel.effect import EffectKind, Outcome
from andoncord.kernel.errors import CallerError, ConflictError
from andoncord.kernel.vocabulary import IncidentState, Severity
from andoncord.respond.playbook import load
from andoncord.testing.story import SHIPPED, Story, finding

HOOKED = """
id: tell
version: 1
when: {severity: critical, if: "true"}
source: s
steps:
  - hook: {hook: tell, name: tell, at_most: 5s, undo: hook untell}
  - hook: {hook: mail, name: mail, at_most: 5s, undo: "irreversible: it was read"}
"""


@pytest.fixture
def story() -> Story:
    """A critical incident whose steps are all done."""
    story = Story((*SHIPPED, load(HOOKED, place="tell.yaml")))
    story.find(finding(severity=Severity.CRITICAL))
    story.run()
    assert story.state.rung_of("refunds") == "kill"
    return story


def undone(story: Story) -> list[str]:
    return [step for step in story.state.steps["inc_000001"] if step.startswith("undo/")]


def test_everything_is_undone_last_first_and_what_cannot_be_is_said(story: Story) -> None:
    """Hooks by their hooks, orders by the rung before, and the mail that was read stays sent."""
    before = len(story.performed)
    story.ask("undo", reason="a drill")
    story.run()

    incident = story.state.incident("inc_000001")
    performed = [story.state.step("inc_000001", step) for step in story.performed[before:]]
    parameters = [each.effect.parameters for each in performed if each and each.step.startswith("undo/")]
    assert [each.get("rung") or each["hook"] for each in parameters] == ["untell", "pause", "none"]
    assert incident.undo is not None
    assert incident.undo["finished"]
    assert list(incident.undo["impossible"].values()) == ["irreversible: it was read"]
    assert story.state.rung_of("refunds") == "none"
    assert incident.state is IncidentState.RESOLVED
    assert story.replayed() == story.state


def test_one_step_is_undone_and_one_that_another_has_replaced_is_not(story: Story) -> None:
    """Undoing the fence alone would lift the kill that came after it."""
    story.ask("undo", step="tell", reason="wrong queue")
    story.run()
    assert story.state.incident("inc_000001").undo is not None
    assert len(undone(story)) == 1
    with pytest.raises(ConflictError, match="has taken the place"):
        story.ask("undo", step="fence", reason="a mistake")
    story.ask("undo", step="contain", reason="back to a pause")
    story.run()
    assert story.state.rung_of("refunds") == "pause"


def test_a_reversal_that_is_not_confirmed_is_named_and_can_be_tried_again(story: Story) -> None:
    """PARTIAL is never rounded up."""
    story.answers[EffectKind.ORDER] = lambda _: (
        Outcome.PARTIAL,
        {"asked": 1, "confirmed": 0, "unconfirmed": ["i1"], "acks": []},
    )
    story.ask("undo", step="contain", reason="a drill")
    story.run()
    undo = story.state.incident("inc_000001").undo
    assert undo is not None
    assert "i1" in next(iter(undo["impossible"].values()))
    del story.answers[EffectKind.ORDER]
    story.ask("undo", step="contain", reason="the guard is back")
    story.run()
    assert story.state.incident("inc_000001").undo["undone"]  # type: ignore[index]


def test_nothing_is_undone_twice_or_in_parallel(story: Story) -> None:
    """A second undo waits for the first; what is undone is done with; an unknown step is refused with the known ones."""
    story.ask("undo", reason="a drill")
    with pytest.raises(ConflictError, match="under way"):
        story.ask("undo", reason="again")
    story.run()
    with pytest.raises(CallerError, match="nothing was done by a step 'fense'"):
        story.ask("undo", step="fense", reason="a typo")
