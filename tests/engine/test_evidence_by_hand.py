"""Evidence at a person's order: sealed while the agent is watched, and before its processes are ended."""

import pytest

from andoncord.engine.containing import CAPTURED_BY_HAND
from andoncord.kernel.effect import EffectKind, Outcome
from andoncord.kernel.errors import CallerError
from andoncord.testing.story import Story


def kinds(story: Story) -> list[EffectKind]:
    return [each.effect.kind for each in story.state.intents.values()]


@pytest.mark.parametrize("rung", ["pause", "kill"])
def test_an_order_by_hand_that_stops_an_agent_seals_evidence_beside_the_proof(story: Story, rung: str) -> None:
    """The proof does not wait for it: both are under way at once. A milder order, or one about a tool, seals nothing."""
    story.ask("declare", agent="refunds", incident="")
    story.ask("contain", agent="refunds", rung="restrict")
    story.run()
    assert EffectKind.CAPTURE not in kinds(story)
    story.ask("contain", agent="refunds", rung=rung)
    story.answer_one()

    assert kinds(story)[-2:] == [EffectKind.CAPTURE, EffectKind.VERIFY]
    assert len(story.state.outstanding) == 2
    capture = next(each for each in story.state.intents.values() if each.effect.kind is EffectKind.CAPTURE)
    assert (capture.by, capture.effect.deadline_ms) == ("person:ada", 2_000)
    assert capture.effect.parameters["acknowledgements"] == [{"instance": "i1"}]


def test_nothing_is_ended_before_its_evidence_is_sealed(story: Story) -> None:
    """A kill that cannot be proven is carried out by the supervisor once the capture has its receipt, whatever it says."""
    acks = {"asked": 1, "confirmed": 0, "unconfirmed": ["i1"], "acks": [], "supervised": True}
    story.answers[EffectKind.ORDER] = lambda intent: (Outcome.FAILED, acks)
    story.answers[EffectKind.VERIFY] = lambda intent: (Outcome.DONE, {"verdict": "UNVERIFIED", "missing": ["i1"]})
    story.answers[EffectKind.CAPTURE] = lambda intent: (Outcome.FAILED, {"missing": "the disk is full"})
    story.ask("declare", agent="refunds", incident="")
    story.ask("contain", agent="refunds", rung="kill")
    story.run()

    order = [each.rpartition("/")[2] for each in story.performed if "by-person" in each]
    assert order.index("capture") < order.index("terminate")


def test_of_a_large_fleet_the_first_agents_are_sealed_and_the_others_are_named(story: Story) -> None:
    """A bundle may be large; what was left out is in the record, with how to get it."""
    agents = [f"agent-{number}" for number in range(CAPTURED_BY_HAND + 3)]
    story.ask("contain_fleet", incident="", rung="pause", agents=agents)
    story.run()

    assert kinds(story).count(EffectKind.CAPTURE) == CAPTURED_BY_HAND
    assert any("evidence capture" in why for why in story.state.incidents["inc_000001"].judged.values())


def test_a_person_seals_evidence_without_stopping_anything(story: Story) -> None:
    """As often as they like, one at a time."""
    story.ask("declare", agent="refunds", incident="")
    story.ask("capture", agent="refunds", reason="looks odd")
    with pytest.raises(CallerError, match="being sealed"):
        story.ask("capture", agent="refunds")
    story.run()
    story.ask("capture", agent="refunds")

    assert kinds(story) == [EffectKind.CAPTURE] * 2
    assert story.state.rung_of("refunds") == "none"
