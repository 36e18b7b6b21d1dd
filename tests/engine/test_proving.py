"""Orders that are broken after their verdict."""

from andoncord.engine.facts import OrderBroken
from andoncord.engine.proving import judged_orders
from andoncord.kernel.time import SECOND_NS
from andoncord.kernel.vocabulary import Verdict
from andoncord.testing.story import Story

WHY = "i1 began a call of tool pay"


def test_a_verdict_is_taken_back_when_its_order_is_broken(story: Story) -> None:
    """Once; the states that had been reached stay told, and a later look says nothing new."""
    story.ask("order", incident="", rung="kill", agents=["refunds"], about={"tool": "pay"}, reason="fraud")
    story.run()
    (told,) = judged_orders(story.state)
    (before,) = story.state.incidents["inc_000001"].verdicts
    assert before.verdict is Verdict.VERIFIED

    for _ in range(2):
        story.submit(OrderBroken(order=told.id, why=WHY, now_ns=story.now + SECOND_NS))

    _, after = story.state.incidents["inc_000001"].verdicts
    assert (after.verdict, after.missing, after.intent) == (Verdict.FAILED, (WHY,), before.intent)
    assert [str(each.stage) for each in after.stages][-1] == "FAILED"
    assert list(judged_orders(story.state)) == []
    assert story.replayed().incidents == story.state.incidents


def test_what_happens_after_an_order_was_lifted_breaks_nothing(story: Story) -> None:
    """Nor is an order about a whole agent watched like that: a probe may work while it is held."""
    story.ask("order", incident="", rung="kill", agents=["refunds"], about={"tool": "pay"}, reason="fraud")
    story.run()
    (told,) = judged_orders(story.state)
    story.ask("lift", incident="", order=told.standing, agents=["refunds"], reason="over")
    story.run()
    assert story.submit(OrderBroken(order=told.id, why=WHY, now_ns=story.now)) == ()

    story.ask("order", incident="", rung="pause", agents=["refunds"], about={"agent": "refunds"}, reason="look")
    story.run()
    assert list(judged_orders(story.state)) == []
