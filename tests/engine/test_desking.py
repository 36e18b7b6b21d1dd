"""The desk: work is taken in once, side effects are let go once or not at all, notices go out as they were read."""

from typing import Any

import msgspec
import pytest

from andoncord.engine.facts import EffectHeld, WorkHandedOver
from andoncord.engine.stating import at_the_desk, statements
from andoncord.engine.undoing import may_have_changed
from andoncord.kernel.effect import EffectKind, Outcome
from andoncord.kernel.errors import CallerError, ConflictError
from andoncord.respond.desk import MAX_DEPTH, MAX_OF_AGENT, SideEffect, Work, batch_digest, check_effect, check_work
from andoncord.respond.playbook import load
from andoncord.testing.story import PLAYBOOKS, Story, finding

ASKS = load(
    """
id: asks
when: {severity: high, pattern: infinite_loop}
source: a test
steps:
  - draft: {notice: executive, name: board, at_most: 5s, undo: nothing to undo}
  - ask: {question: "Pay the suppliers?", name: pay, role: finance, for: 10m, default: no, at_most: 5s, undo: nothing to undo}
  - wait: {for: 1m, name: later, if: "steps.pay == 'yes'", at_most: 5s, undo: nothing to undo}
""",
    place="asks.yaml",
)
ROLES = {"finance": ["ada"]}


def refund(number: int, **changes: Any) -> SideEffect:
    """A refund of an agent."""
    return SideEffect(agent="refunds", run_id="r1", tool="payments.refund", arguments=f'{{"amount":{number}}}', **changes)


def test_work_is_in_the_inbox_once_and_goes_back_to_the_agent_and_in_again(story: Story) -> None:
    """The key decides; whoever must know is told once; one person takes it, and nobody else finishes it by mistake."""
    work = Work(agent="refunds", key="ticket-17", task="refund order 17", context={"customer": "c-4"})
    story.submit(WorkHandedOver(work=work, to=("queue",)))
    story.submit(WorkHandedOver(work=work, to=("queue",)))
    story.run()

    (item,) = story.state.desk.waiting()
    assert [each.effect.kind for each in story.state.intents.values()] == [EffectKind.NOTIFY]
    story.ask("take_handover", incident="", item=item.id)
    story.ask("return_handover", incident="", item=item.id, reason="the agent is well again")
    story.submit(WorkHandedOver(work=work, to=("queue",)))
    assert [(each.id, each.status) for each in story.state.desk.waiting()] == [(item.id, "waiting")]
    story.ask("finish_handover", incident="", item=item.id, answer="refunded by hand")
    with pytest.raises(ConflictError, match="done already"):
        story.ask("close_handover", incident="", item=item.id, reason="again")
    assert story.replayed() == story.state


def test_what_was_read_is_let_go_once_and_byte_for_byte(story: Story) -> None:
    """Another digest, another person, a second time: refused. The effect that is performed carries the very bytes."""
    for number in (1, 2, 1):
        story.submit(EffectHeld(effect=refund(number, roles=("finance",))))
    held = story.state.desk.still_held()
    ids = [each.id for each in held]
    asked: dict[str, Any] = {"ids": ids, "digest": batch_digest(held), "reason": "checked", "roles": ROLES}
    story.answers[EffectKind.RELEASE] = lambda intent: (
        Outcome.PARTIAL,
        {"effects": {ids[0]: {"state": "done"}, ids[1]: {"state": "held", "why": "nobody is connected"}}},
    )

    assert len(ids) == 2
    with pytest.raises(ConflictError, match="digest"):
        story.ask("release_held", incident="", **{**asked, "ids": ids[:1]})
    with pytest.raises(ConflictError, match="role"):
        story.ask("release_held", incident="", **{**asked, "roles": {"finance": ["bob"]}})
    story.ask("release_held", incident="", **asked)
    (intent,) = [each for each in story.state.intents.values() if each.effect.kind is EffectKind.RELEASE]
    assert [each["arguments"] for each in intent.effect.parameters["effects"]] == ['{"amount":1}', '{"amount":2}']
    with pytest.raises(ConflictError, match="released"):
        story.ask("discard_held", incident="", **asked)
    story.run()

    assert [story.state.desk.held[each].status for each in ids] == ["done", "held"]
    with pytest.raises(ConflictError, match="done"):
        story.ask("release_held", incident="", **asked)
    rest = [story.state.desk.held[ids[1]]]
    story.ask("discard_held", incident="", ids=ids[1:], digest=batch_digest(rest), reason="stale", roles=ROLES)
    assert not story.state.desk.still_held()
    assert story.replayed() == story.state


def test_who_answers_for_an_agent_does_not_approve_what_a_policy_wants_approved(story: Story) -> None:
    """Being held is no way around the second person; where no policy wants one, whoever answers for it may drop it."""
    story.submit(EffectHeld(effect=refund(1, roles=("finance",)), not_by=("ada",)))
    story.submit(EffectHeld(effect=refund(2), not_by=("ada",)))
    wanted, plain = story.state.desk.still_held()
    for word in ("release_held", "discard_held"):
        with pytest.raises(ConflictError, match="whoever asked"):
            story.ask(word, incident="", ids=[wanted.id], digest=batch_digest([wanted]), reason="mine", roles=ROLES)
    story.ask("discard_held", incident="", ids=[plain.id], digest=batch_digest([plain]), reason="stale", roles=ROLES)
    assert story.replayed().desk == story.state.desk


def test_what_cannot_be_read_the_same_by_everybody_is_not_held() -> None:
    """Arguments are canonical JSON of an object."""
    with pytest.raises(CallerError, match="canonical"):
        check_effect(SideEffect(agent="a", run_id="r", tool="t", arguments='{"b":1, "a":2}'))


def test_a_release_whose_answer_is_lost_is_unknown_and_not_repeated(story: Story) -> None:
    """Nobody knows whether it was done, so it is neither held nor done."""
    story.submit(EffectHeld(effect=refund(1)))
    held = story.state.desk.still_held()
    story.answers[EffectKind.RELEASE] = lambda intent: (Outcome.FAILED, {"missing": "no answer within 35 s"})
    asked: dict[str, Any] = {"ids": [held[0].id], "digest": batch_digest(held), "reason": "checked"}
    story.ask("release_held", incident="", **asked)
    story.run()

    (came,) = story.state.desk.held.values()
    assert (came.status, came.came) == ("unknown", "no answer within 35 s")
    with pytest.raises(ConflictError, match="unknown"):
        story.ask("release_held", incident="", **asked)


def test_a_notice_leaves_as_a_person_has_written_it_and_an_answer_turns_the_playbook() -> None:
    """Nothing goes out by itself; only whoever is in the role answers; a condition sees the answer."""
    story = Story((*PLAYBOOKS, ASKS))
    story.answers[EffectKind.DRAFT] = lambda intent: (
        Outcome.DONE,
        {"subject": "SEV-2", "text": "At risk.", "template": "x v1"},
    )
    story.find(finding())
    while story.state.intents[next(iter(story.state.outstanding))].effect.kind is not EffectKind.ASK:
        story.answer_one()

    (drafted,) = statements(story.state, "inc_000001")
    assert (drafted["audience"], drafted["state"], drafted["text"]) == ("executive", "draft", "At risk.")
    assert at_the_desk(story.state, "inc_000001") == {"held": 0, "handed_over": 0, "drafts": 1, "questions": 1}
    said: dict[str, Any] = {"draft": drafted["draft"], "subject": "SEV-2", "text": "At risk, and held.", "reason": ""}
    with pytest.raises(ConflictError, match="nobody is named"):
        story.ask("send_statement", **said, to=[])
    story.ask("send_statement", **said, to=["board"])
    with pytest.raises(ConflictError, match="sent by ada"):
        story.ask("send_statement", **said, to=["board"])
    with pytest.raises(ConflictError, match="not in the role"):
        story.ask("answer_ask", step="pay", answer="yes", roles={"finance": ["bob"]})
    story.ask("answer_ask", step="pay", answer="yes", roles=ROLES)
    story.run()

    notices = [each.effect for each in story.state.intents.values() if each.effect.parameters.get("kind") == "statement"]
    assert [(each.parameters["text"], each.parameters["to"]) for each in notices] == [("At risk, and held.", ["board"])]
    assert "1/asks/later" in story.performed
    assert not any(may_have_changed(each) for each in story.state.intents.values() if each.effect.kind is EffectKind.ASK)
    assert story.replayed() == story.state


def test_a_runaway_fills_its_own_share_and_no_more(story: Story) -> None:
    """What is beyond it is refused, so the call is denied; another agent's is held all the same."""
    for number in range(MAX_OF_AGENT):
        story.submit(EffectHeld(effect=refund(number)))
    with pytest.raises(ConflictError, match="of refunds alone"):
        story.submit(EffectHeld(effect=refund(MAX_OF_AGENT)))
    story.submit(EffectHeld(effect=msgspec.structs.replace(refund(1), agent="support")))
    assert len(story.state.desk.still_held()) == MAX_OF_AGENT + 1


def test_what_comes_along_is_not_nested_without_end() -> None:
    """It is kept for good, and everything that reads it goes through it."""
    context: Any = "the last"
    for _ in range(MAX_DEPTH):
        context = [context]
    with pytest.raises(CallerError, match="deep"):
        check_work(Work(agent="refunds", key="k", context=context))
    check_work(Work(agent="refunds", key="k", context=context[0]))
