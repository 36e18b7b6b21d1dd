"""The auditor: every promise that was not kept is found, and nothing that goes its way is reported."""

from typing import Any

import msgspec
import pytest

from andoncord.engine.audit import DESK_NS, GRACE_NS, IDLE_NS, OURS, PERSON_NS, Fault, audit
from andoncord.engine.facts import OncallLoaded, WorkHandedOver
from andoncord.engine.run import next_due_ns
from andoncord.kernel.effect import EffectKind, Outcome
from andoncord.kernel.time import DAY_NS, SECOND_NS
from andoncord.kernel.vocabulary import Mode, Severity
from andoncord.respond.desk import Work
from andoncord.respond.oncall import Escalation, Level
from andoncord.testing.story import Story, finding


def faults(story: Story, later_ns: int = 0) -> list[Fault]:
    """What the auditor says, so much later."""
    return [each.fault for each in audit(story.state, now=story.now + later_ns)]


def test_what_goes_its_way_is_not_reported(story: Story) -> None:
    """Nothing at first, nothing while steps are under way, nothing right after."""
    assert faults(story, DAY_NS) == []
    story.find(finding())
    assert faults(story) == []
    story.run()
    assert faults(story) == []


def test_an_effect_without_a_receipt_is_late_after_its_deadline(story: Story) -> None:
    """A performer that never answers: not before deadline and grace, then first of all, as a fault of the machinery."""
    story.find(finding())
    deadline_ns = max(story.state.intents[each].effect.deadline_ms * 1_000_000 for each in story.state.outstanding)

    assert faults(story, deadline_ns) == []
    late = audit(story.state, now=story.now + deadline_ns + GRACE_NS + SECOND_NS)
    assert {each.fault for each in late} == {Fault.EFFECT_LATE}
    assert late[0].fault in OURS
    assert late[0].agent == "refunds"
    assert late[0].remedy


def test_an_order_that_not_everybody_confirmed(story: Story) -> None:
    """An order with a partial receipt in force is unconfirmed at once; the verdict without proof is overdue a minute later."""
    story.answers[EffectKind.ORDER] = lambda _: (
        Outcome.PARTIAL,
        {"asked": 2, "confirmed": 1, "unconfirmed": ["i2"], "acks": []},
    )
    story.answers[EffectKind.VERIFY] = lambda _: (
        Outcome.DONE,
        {"verdict": "UNVERIFIED", "missing": ["acknowledgement of i2"], "evidence": []},
    )
    story.answers[EffectKind.TERMINATE] = lambda _: (Outcome.FAILED, {"missing": "no supervisor"})
    story.find(finding(severity=Severity.CRITICAL))
    story.run()

    assert Fault.CONTROL_UNCONFIRMED in faults(story)
    late = {each.fault: each for each in audit(story.state, now=story.now + IDLE_NS + SECOND_NS)}
    assert "acknowledgement of i2" in late[Fault.CONTAINMENT_UNPROVEN].text
    assert "1 of 2" in late[Fault.CONTROL_UNCONFIRMED].text


def test_a_person_who_does_not_answer(story: Story) -> None:
    """A recovery that waits for approval is overdue when the time of its level is over."""
    story.find(finding(severity=Severity.CRITICAL))
    story.run()
    incident = story.state.incident("inc_000001")
    limit_ns = PERSON_NS[incident.sev]

    assert Fault.PERSON_LATE not in faults(story, limit_ns // 2)
    assert Fault.PERSON_LATE in faults(story, limit_ns + SECOND_NS)


def test_a_review_that_is_not_closed_in_time(story: Story) -> None:
    """A review with a due time is overdue after it, and only after it."""
    due_ns = story.now + 2 * DAY_NS
    story.answers[EffectKind.REVIEW] = lambda _: (Outcome.DONE, {"review": {"answers": [], "markdown": "", "due_ns": due_ns}})
    story.find(finding(severity=Severity.CRITICAL))
    story.run()
    story.ask("approve_recovery")
    story.run()

    assert faults(story) == []
    assert faults(story, due_ns - story.now + SECOND_NS) == [Fault.REVIEW_LATE]


@pytest.mark.parametrize(
    ("command", "parameters", "said"),
    [
        ("order", {"agents": ["refunds"], "about": {"agent": "refunds"}, "rung": "kill"}, "kill for agent refunds"),
        ("order", {"agents": ["refunds"], "about": {"tool": "pay"}, "breaker": "open"}, "breaker open for tool pay"),
        ("contain_fleet", {"agents": ["refunds", "claims"], "rung": "pause"}, "pause of refunds"),
    ],
)
def test_what_a_person_ordered_may_stand(story: Story, command: str, parameters: dict[str, Any], said: str) -> None:
    """It is no fault of the machinery that the engine has nothing to do; the person is asked when their time is over."""
    story.ask(command, incident="", reason="an exercise", **parameters)
    story.run()
    limit_ns = PERSON_NS[story.state.incident("inc_000001").sev]

    assert faults(story, limit_ns // 2) == []
    (late,) = audit(story.state, now=story.now + limit_ns + SECOND_NS)
    assert (late.fault, late.fault in OURS) == (Fault.PERSON_LATE, False)
    assert late.text.startswith(f"{said}")
    assert "ordered by person:ada, stands until somebody" in late.text


def test_what_the_engine_ordered_may_not_stand_without_a_next_step(story: Story) -> None:
    """An agent that the machinery holds, with nobody asked and nothing under way, is a promise of ours."""
    story.find(finding(severity=Severity.CRITICAL))
    story.run()
    incident = story.state.incident("inc_000001")
    story.state.incidents[incident.id] = msgspec.structs.replace(incident, plan=None)

    assert Fault.NOTHING_NEXT in faults(story, IDLE_NS + SECOND_NS)


def test_a_page_that_was_due_and_was_not_sent_is_late(story: Story) -> None:
    """An escalation whose time nobody brings is a fault of the machinery; what nobody is there for any more is undelivered."""
    levels = (Level(who=("ada",), wait="5m"), Level(who=("bob",)))
    story.submit(OncallLoaded(escalation=Escalation(levels=levels)))
    story.find(finding(severity=Severity.CRITICAL, mode=Mode.ALERT))
    story.find(finding("f2", severity=Severity.MEDIUM, mode=Mode.ALERT, agent="other", trace_id="t2", run_id="r2"))
    story.run()
    due_ns = next_due_ns(story.state)
    assert due_ns is not None
    assert Fault.EFFECT_LATE not in [each.fault for each in audit(story.state, now=due_ns + GRACE_NS)]

    late = [each for each in audit(story.state, now=story.now + DAY_NS) if "was not sent" in each.text]
    assert {(each.fault, each.incident) for each in late} == {
        (Fault.EFFECT_LATE, "inc_000001"),
        (Fault.EFFECT_LATE, "inc_000002"),
    }
    story.submit(OncallLoaded(escalation=None))
    late = [each for each in audit(story.state, now=story.now + DAY_NS) if each.text.startswith("a gathered")]
    assert [each.fault for each in late] == [Fault.NOTICE_UNDELIVERED]


def test_what_waits_at_the_desk_is_not_forgotten(story: Story) -> None:
    """The oldest of each agent is named once half a day's work is over; what somebody took is looked after."""
    for name in ("one", "two"):
        story.submit(WorkHandedOver(work=Work(agent="refunds", key=name)))
    assert audit(story.state, now=story.now) == ()
    late = audit(story.state, now=story.now + DESK_NS + 1)
    assert [(each.fault, each.agent) for each in late] == [(Fault.PERSON_LATE, "refunds")]
    for item in ("hnd_000001", "hnd_000002"):
        story.ask("take_handover", incident="", item=item)
    assert audit(story.state, now=story.now + DESK_NS + 1) == ()
