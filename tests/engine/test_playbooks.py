"""Playbooks at work: composed, frozen, conditional, limited, tried again."""

from typing import Any

import msgspec
import pytest

from andoncord.engine.facts import PlaybooksLoaded
from andoncord.engine.playbook_view import playbook_view
from andoncord.engine.run import refuse_unperformed
from andoncord.engine.state import Intent
from andoncord.kernel.effect import EffectKind, Outcome
from andoncord.kernel.errors import CallerError
from andoncord.kernel.time import SECOND_NS
from andoncord.kernel.vocabulary import IncidentState, Pattern, Severity
from andoncord.respond.playbook import load
from andoncord.testing.story import INVESTIGATION, SHIPPED, Story, finding

UNKNOWN_CAUSE = {**INVESTIGATION, "root_causes": []}


def looked(executed: list[dict[str, Any]] | None) -> Any:
    """An investigation that finds no cause, and says which tools were called."""
    return lambda _: (Outcome.DONE, {**UNKNOWN_CAUSE, "executed": executed})


def steps_of(story: Story) -> list[str]:
    return list(story.state.steps["inc_000001"])


def test_money_at_risk_is_contained_first_whatever_the_severity() -> None:
    """The impact tree fences first and asks a person about the way back (RSP-8), where the severity alone would not."""
    story = Story(SHIPPED)
    story.find(finding(severity=Severity.LOW, pattern=Pattern.TOKEN_BURST, facts={"at_risk_micro_usd": 250_000_000}))
    story.run()

    incident = story.state.incident("inc_000001")
    assert "impact-financial v2" in incident.playbook
    assert steps_of(story)[0] == "1/fence:pause/refunds"
    assert incident.recovery_by == "person"


def test_an_open_incident_keeps_the_playbooks_of_its_opening() -> None:
    """What is loaded later holds for incidents that open later."""
    story = Story(SHIPPED)
    story.submit(PlaybooksLoaded(playbooks=SHIPPED))
    story.find(finding(severity=Severity.LOW))
    version = next(each.version for each in SHIPPED if each.id == "low")
    harsher = msgspec.structs.replace(next(each for each in SHIPPED if each.id == "low"), version=version + 1)
    newer = (*(each for each in SHIPPED if each.id != "low"), harsher)
    story.submit(PlaybooksLoaded(playbooks=newer))
    story.find(finding("f2", severity=Severity.LOW))
    assert f"low v{version}" in story.state.incident("inc_000001").playbook

    story.find(finding("f3", agent="other", severity=Severity.LOW, trace_id="t2", run_id="r2"))
    assert f"low v{version + 1}" in story.state.incident("inc_000002").playbook
    assert story.replayed() == story.state


def test_a_run_that_only_read_is_tried_again_with_other_parameters() -> None:
    """High, no cause found, nothing but reading tools called: new parameters, released, watched, resolved (RSP-9)."""
    story = Story(SHIPPED)
    story.answers[EffectKind.INVESTIGATE] = looked([{"agent": "refunds", "tool": "orders.lookup", "repeatable": True}])
    story.find(finding(pattern=Pattern.REPEATED_FAILURE))
    story.run()

    incident = story.state.incident("inc_000001")
    active = story.state.registry.active("refunds")
    assert incident.plan is not None
    assert incident.plan["strategy"] == "retry"
    assert active is not None
    assert active.values == {"temperature": 0.1, "context_tokens": 64000}
    assert [step.split("/")[2] for step in steps_of(story) if "/recover/" in step] == ["0:configure", "1:release", "2:watch"]
    assert incident.state is IncidentState.RESOLVED


def test_a_run_that_wrote_is_not_tried_again() -> None:
    """One tool that is neither reading nor idempotent, or that nothing is known of, is enough (RSP-15)."""
    for executed in ([{"agent": "refunds", "tool": "payments.refund", "repeatable": False}], None):
        story = Story(SHIPPED)
        story.answers[EffectKind.INVESTIGATE] = looked(executed)
        story.find(finding(pattern=Pattern.REPEATED_FAILURE))
        story.run()

        incident = story.state.incident("inc_000001")
        assert incident.retried == "refused"
        assert incident.state is not IncidentState.RESOLVED
        assert story.state.rung_of("refunds") == "pause"


def test_a_retry_that_goes_wrong_is_escalated() -> None:
    """A finding after the release ends the runs and leaves the way back to a person."""
    story = Story(SHIPPED)
    story.answers[EffectKind.INVESTIGATE] = looked([{"agent": "refunds", "tool": "orders.lookup", "repeatable": True}])
    story.find(finding(pattern=Pattern.REPEATED_FAILURE))
    while not any(step.endswith("watch/refunds") for step in steps_of(story)):
        assert story.answer_one()
    late = story.now + SECOND_NS
    story.find(finding("f2", pattern=Pattern.REPEATED_FAILURE, onset_ns=late, at_ns=late))
    story.run()

    incident = story.state.incident("inc_000001")
    assert "2/contain:kill/escalate/refunds" in steps_of(story)
    assert story.state.rung_of("refunds") == "kill"
    assert (incident.retried, incident.recovery_by) == ("failed", "person")


def test_an_agent_is_retried_only_as_often_as_the_playbook_says() -> None:
    """Twice in an hour; the third time a person decides, and the record says why."""
    story = Story(SHIPPED)
    story.answers[EffectKind.INVESTIGATE] = looked([{"agent": "refunds", "tool": "orders.lookup", "repeatable": True}])
    for number in range(3):
        new = {
            "trace_id": f"t{number}",
            "run_id": f"r{number}",
            "span_id": f"s{number}",
            "at_ns": story.now,
            "onset_ns": story.now,
        }
        story.find(finding(f"f{number}", pattern=Pattern.REPEATED_FAILURE, **new))
        story.run()

    plans = [str((incident.plan or {})["strategy"]) for incident in story.state.incidents.values()]
    assert (plans[:2], plans[2] == "retry") == (["retry", "retry"], False)
    last = list(story.state.incidents.values())[2]
    assert any("2 is the limit" in why for why in last.judged.values())


HOOKED = """
id: tell
version: 1
when: {pattern: infinite_loop}
source: s
steps:
  - hook: {hook: tell, name: tell, with: {queue: night}, limit: 1/1h, at_most: 5s, undo: hook untell}
  - hook: {hook: page, name: page, if: "steps.tell == 'failed'", at_most: 5s, undo: "irreversible: it was read"}
  - wait: {for: 10m, name: settle, at_most: 5s, undo: nothing to undo}
"""


def hooked() -> Story:
    return Story((*SHIPPED, load(HOOKED, place="tell.yaml")))


def test_a_condition_looks_at_what_came_of_the_steps_before() -> None:
    """The page goes out only when telling failed; what was skipped is written down with its reason."""
    for came, skipped in ((Outcome.DONE, True), (Outcome.FAILED, False)):
        story = hooked()

        def answer(intent: Intent, came: Outcome = came) -> tuple[Outcome, dict[str, Any]]:
            return (came if intent.effect.parameters["hook"] == "tell" else Outcome.DONE), {}

        story.answers[EffectKind.HOOK] = answer
        story.find(finding())
        story.run()
        assert ("1/tell/page" in steps_of(story)) is not skipped
        shown = {each["name"]: each for each in playbook_view(story.state, "inc_000001")["steps"]}
        assert shown["page"]["state"] == ("skipped" if skipped else "done")
        assert "1/tell/settle" in steps_of(story)


def test_a_limit_holds_for_an_agent_over_all_its_incidents() -> None:
    """The second incident of the agent within the hour leaves the step out, and says so."""
    story = hooked()
    story.find(finding())
    story.run()
    story.ask("dispose", disposition="false_positive") if story.state.incident("inc_000001").is_open else None
    story.now += 60 * SECOND_NS
    story.find(finding("f2", trace_id="t2", run_id="r2", onset_ns=story.now, at_ns=story.now))
    story.run()

    second = story.state.incident("inc_000002")
    assert "1 times in the last 60 minutes" in second.judged["1/tell/tell"]


def test_a_step_that_nobody_performs_is_refused() -> None:
    """A playbook with a hook cannot be loaded where hooks are not performed."""
    with pytest.raises(CallerError, match="nobody performs the step 'hook'"):
        refuse_unperformed([load(HOOKED, place="tell.yaml")], {EffectKind.WAIT})
