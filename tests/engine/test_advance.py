"""From a finding to a reviewed incident, step by step."""

from typing import Any

import msgspec
import pytest

from andoncord.engine.queries import summaries, view
from andoncord.engine.run import catch_up
from andoncord.engine.state import Intent
from andoncord.kernel.effect import EffectKind, Outcome
from andoncord.kernel.errors import CallerError, ConflictError
from andoncord.kernel.journal import Entry, check
from andoncord.kernel.time import SECOND_NS
from andoncord.kernel.vocabulary import IncidentState, Mode, Pattern, Severity, Verdict
from andoncord.testing.story import Story, finding


def steps_of(story: Story) -> list[str]:
    """What was performed, without round and agent."""
    return [step.split("/", 1)[1].rsplit("/", 1)[0] if "/" in step else step for step in story.performed]


def test_high_is_fenced_captured_verified_recovered_and_drafted_for_review(story: Story) -> None:
    """A HIGH incident goes the whole way by itself, containment first, and ends resolved with a review."""
    story.find(finding())
    story.run()

    incident = story.state.incident("inc_000001")
    assert incident.state is IncidentState.RESOLVED
    assert steps_of(story)[:5] == ["fence:pause", "traffic/high/slow", "capture", "verify:pause", "investigate"]
    assert [step for step in story.performed if "recover" in step][-1].endswith("release/refunds")
    assert story.performed[-1] == "review"
    assert story.state.rung_of("refunds") == "none"


def test_critical_is_killed_after_capture_and_waits_for_a_person_to_recover(story: Story) -> None:
    """CRITICAL: fence, capture while fenced, then terminate; nothing recovers without a person."""
    story.find(finding(severity=Severity.CRITICAL))
    story.run()

    assert [step for step in steps_of(story) if "notify" not in step][:4] == [
        "fence:pause",
        "capture",
        "contain:kill",
        "verify:kill",
    ]
    assert story.state.rung_of("refunds") == "kill"
    assert view(story.state, "inc_000001", now=story.now)["next"]["action"] == "approve_recovery"

    story.ask("approve_recovery")
    story.run()
    assert story.state.incident("inc_000001").state is IncidentState.RESOLVED


def test_an_unverified_fence_has_the_supervisor_end_the_process_and_is_verified_again(story: Story) -> None:
    """A guard that never answers gives UNVERIFIED first; an empty process tree then makes it VERIFIED."""
    story.answers[EffectKind.ORDER] = lambda intent: (
        (Outcome.FAILED, {"asked": 1, "confirmed": 0, "unconfirmed": ["i1"], "acks": []})
        if intent.effect.parameters["rung"] == "pause"
        else (Outcome.DONE, {"asked": 1, "confirmed": 1, "unconfirmed": [], "acks": []})
    )
    story.answers[EffectKind.VERIFY] = lambda intent: (
        Outcome.DONE,
        {"verdict": "VERIFIED", "missing": [], "evidence": []}
        if intent.effect.parameters["termination"]
        else {"verdict": "UNVERIFIED", "missing": ["acknowledgement from i1"], "evidence": []},
    )
    story.find(finding())
    story.run()

    given = story.state.incident("inc_000001").verdicts
    assert [verdict.verdict for verdict in given] == [Verdict.UNVERIFIED, Verdict.VERIFIED]
    assert given[0].missing == ("acknowledgement from i1",)


def test_the_silence_of_a_process_that_was_ended_on_our_order_is_no_news(story: Story) -> None:
    """After the supervisor ended an instance, its missing heartbeats count for nothing; another instance's do."""
    story.answers[EffectKind.ORDER] = lambda intent: (
        (Outcome.FAILED, {"asked": 1, "confirmed": 0, "unconfirmed": ["i1"], "acks": []})
        if intent.effect.parameters["rung"] != "none"
        else (Outcome.DONE, {"asked": 1, "confirmed": 1, "unconfirmed": [], "acks": []})
    )
    story.answers[EffectKind.VERIFY] = lambda intent: (
        Outcome.DONE,
        {"verdict": "VERIFIED" if intent.effect.parameters["termination"] else "UNVERIFIED", "missing": [], "evidence": []},
    )
    story.find(finding())
    story.run()
    silence = {"pattern": Pattern.SILENCE, "trace_id": "", "onset_ns": story.now, "at_ns": story.now}
    story.find(finding("f2", instance="i1", **silence))
    assert [found.id for found in story.state.incident("inc_000001").findings] == ["f1"]

    story.find(finding("f3", instance="i2", **silence))
    assert [found.id for found in story.state.incident("inc_000001").findings] == ["f1", "f3"]


def test_without_a_supervisor_it_stays_unverified_and_says_so(story: Story) -> None:
    """Nobody could end it: the incident is not contained, not recovered, and the view names what is missing."""
    story.answers[EffectKind.VERIFY] = lambda _: (
        Outcome.DONE,
        {"verdict": "UNVERIFIED", "missing": ["acknowledgement from i1"], "evidence": []},
    )
    story.answers[EffectKind.TERMINATE] = lambda _: (Outcome.FAILED, {"missing": "no supervisor is connected for refunds"})
    story.find(finding())
    story.run()

    shown = view(story.state, "inc_000001", now=story.now)
    assert shown["containment"] is Verdict.UNVERIFIED
    assert shown["contained_at"] is None
    assert "acknowledgement from i1" in shown["next"]["why"]
    assert story.state.rung_of("refunds") == "pause"


@pytest.mark.parametrize(
    ("rung", "supervised", "ended"), [("kill", True, True), ("kill", False, False), ("pause", True, False)]
)
def test_a_kill_by_a_person_that_is_not_verified_is_carried_out_by_the_supervisor(
    story: Story, rung: str, supervised: bool, ended: bool
) -> None:
    """Who says kill means the process; who says pause does not, and without a supervisor nobody pretends to try."""
    detail = {"asked": 1, "confirmed": 0, "unconfirmed": ["i1"], "acks": [], "supervised": supervised}
    story.answers[EffectKind.ORDER] = lambda _: (Outcome.FAILED, detail)
    story.answers[EffectKind.VERIFY] = lambda intent: (
        Outcome.DONE,
        {"verdict": "VERIFIED" if intent.effect.parameters["termination"] else "UNVERIFIED", "missing": [], "evidence": []},
    )
    story.find(finding(trusted=False))
    story.run()
    story.ask("contain", rung=rung, reason="it hangs")
    story.run()

    verdicts = [Verdict.UNVERIFIED, Verdict.VERIFIED] if ended else [Verdict.UNVERIFIED]
    assert [given.verdict for given in story.state.incident("inc_000001").verdicts] == verdicts
    assert any(step.endswith("/terminate") for step in story.performed) is ended


def test_an_untrusted_finding_opens_an_incident_and_stops_nothing(story: Story) -> None:
    """Signals without a bound token may inform but never trigger an action (SIG-2); a person can act on them."""
    story.find(finding(trusted=False))
    story.run()
    assert story.performed == ["1/investigate"]
    assert view(story.state, "inc_000001", now=story.now)["next"]["action"] == "contain"

    story.ask("contain", rung="pause", reason="looks bad")
    story.run()
    assert story.state.incident("inc_000001").containment is Verdict.VERIFIED


def test_a_shadow_finding_is_recorded_and_opens_nothing(story: Story) -> None:
    """Mode shadow notes in silence."""
    story.find(finding(mode=Mode.SHADOW))
    assert story.kinds == ["finding.recorded"]
    assert not story.state.incidents


def test_the_same_finding_twice_is_one(story: Story) -> None:
    """Findings may be delivered again after a crash."""
    story.find(finding())
    story.run()
    before = len(story.entries)
    story.find(finding())
    assert len(story.entries) == before


def test_later_findings_join_and_raise_but_never_lower(story: Story) -> None:
    """A critical finding about a paused agent raises it to kill; a low one afterwards changes nothing in force."""
    story.answers[EffectKind.INVESTIGATE] = lambda _: (Outcome.FAILED, {})
    story.find(finding())
    story.run()
    story.find(finding("f2", severity=Severity.CRITICAL))
    story.run()
    assert len(story.state.incidents) == 1
    assert story.state.rung_of("refunds") == "kill"

    story.find(finding("f3", severity=Severity.LOW))
    story.run()
    assert story.state.rung_of("refunds") == "kill"
    assert story.state.incident("inc_000001").severity is Severity.CRITICAL


def test_a_failed_probe_holds_the_agent_and_asks_a_person(story: Story) -> None:
    """Quality that was not shown keeps the agent fenced; a second approval tries again."""
    story.answers[EffectKind.PROBE] = lambda _: (Outcome.DONE, {"passed": [True, False] * 10})
    story.find(finding())
    story.run()
    incident = story.state.incident("inc_000001")
    assert incident.state is IncidentState.INVESTIGATING
    assert story.state.rung_of("refunds") != "none"
    assert view(story.state, "inc_000001", now=story.now)["next"]["action"] == "approve_recovery"

    story.answers.pop(EffectKind.PROBE)
    story.ask("approve_recovery")
    story.run()
    assert story.state.incident("inc_000001").state is IncidentState.RESOLVED


def test_an_undecided_probe_is_continued_until_it_decides(story: Story) -> None:
    """One failure among the first samples asks for more of them; together they release the agent."""
    asked: list[int] = []

    def answer(intent: Intent) -> tuple[Outcome, dict[str, Any]]:
        asked.append(intent.effect.parameters["samples"])
        failed = len(asked) == 1
        return Outcome.DONE, {"passed": [not failed] + [True] * (asked[-1] - 1)}

    story.answers[EffectKind.PROBE] = answer
    story.find(finding())
    story.run()
    assert story.state.incident("inc_000001").state is IncidentState.RESOLVED
    assert len(asked) == 2
    assert asked[1] < asked[0]
    probe = next(
        step for step in view(story.state, "inc_000001", now=story.now)["recovery"]["steps"] if step["name"] == "probe"
    )
    assert probe["state"] == "done"


def test_a_probe_that_is_never_answered_is_not_asked_for_ever(story: Story) -> None:
    """Fewer samples than asked for end the recovery, they do not repeat it."""
    story.answers[EffectKind.PROBE] = lambda _: (Outcome.FAILED, {"passed": [], "missing": "no guard"})
    story.find(finding())
    story.run()
    assert "recovery.failed" in story.kinds


def test_a_second_attempt_is_investigated_and_planned_anew(story: Story) -> None:
    """After a failed recovery the agent is fenced again, and what is known by then makes the plan."""
    story.answers[EffectKind.PROBE] = lambda _: (Outcome.FAILED, {"passed": []})
    story.find(finding())
    story.run()
    story.answers.pop(EffectKind.PROBE)
    story.ask("approve_recovery")
    story.run()
    assert story.kinds.count("plan.made") == 2
    assert story.performed.count("2/investigate") == 1
    assert story.state.incident("inc_000001").state is IncidentState.RESOLVED


def test_going_wrong_again_during_recovery_contains_again(story: Story) -> None:
    """A finding that began after the release, before the incident is resolved, starts containment anew."""
    story.answers[EffectKind.ORDER] = lambda intent: (
        (Outcome.PARTIAL, {"asked": 2, "confirmed": 1, "unconfirmed": ["i2"], "acks": []})
        if intent.effect.parameters["rung"] == "none"
        else (Outcome.DONE, {"asked": 1, "confirmed": 1, "unconfirmed": [], "acks": []})
    )
    story.find(finding())
    while story.state.incident("inc_000001").state is not IncidentState.RECOVERING or story.state.rung_of("refunds") != "none":
        assert story.answer_one()
    later = story.now + SECOND_NS
    story.find(finding("f2", at_ns=later, onset_ns=later))
    story.run()

    assert story.state.incident("inc_000001").round == 2
    assert story.state.rung_of("refunds") == "pause"


def test_a_person_can_release_with_a_reason_only(story: Story) -> None:
    """Lowering needs a person and a reason; it resolves the incident and says that nothing verified it."""
    story.find(finding(severity=Severity.CRITICAL))
    story.run()
    with pytest.raises(CallerError, match="reason is missing"):
        story.ask("release")
    story.ask("release", reason="known test traffic")
    story.run()
    assert story.state.rung_of("refunds") == "none"
    moved = [entry for entry in story.entries if entry.kind == "incident.moved"][-1]
    assert "without a verified recovery" in moved.body["why"]


def test_a_release_by_a_person_is_not_undone_by_an_automatic_recovery(story: Story) -> None:
    """Released while the investigation was still running: the recovery that would start by itself does not."""
    story.find(finding())
    while "1/investigate" not in story.state.steps["inc_000001"]:
        assert story.answer_one()
    story.ask("release", reason="known test traffic")
    story.run()
    assert story.state.rung_of("refunds") == "none"
    assert not [step for step in story.performed if "recover" in step]
    assert story.state.incident("inc_000001").state is IncidentState.RESOLVED


def test_what_a_person_stopped_is_not_released_by_a_recovery_that_starts_by_itself(story: Story) -> None:
    """A person paused it: the plan waits for them, even where the playbook would let it run."""
    story.find(finding(trusted=False))
    story.run()
    story.ask("contain", rung="pause", reason="looks bad")
    story.run()
    assert story.state.rung_of("refunds") == "pause"
    shown = view(story.state, "inc_000001", now=story.now)
    assert (shown["next"]["action"], shown["recovery"]["awaiting"]) == ("approve_recovery", "person")

    story.ask("approve_recovery")
    story.run()
    assert story.state.incident("inc_000001").state is IncidentState.RESOLVED


def test_containing_lower_than_what_is_in_force_is_refused(story: Story) -> None:
    """`contain` never lowers."""
    story.find(finding(severity=Severity.CRITICAL))
    story.run()
    with pytest.raises(ConflictError, match="would lower"):
        story.ask("contain", rung="pause")


def test_a_fleet_is_held_in_one_incident_and_every_agent_is_verified(story: Story) -> None:
    """One wish orders every agent with an epoch of its own; contained only when each was verified."""
    story.ask("contain_fleet", incident="", agents=["pricing", "refunds", "support"], rung="pause", reason="market closed")
    story.run()
    incident = story.state.incident("inc_000001")
    assert incident.state is IncidentState.CONTAINED
    assert {given.agent for given in incident.verdicts} == {"pricing", "refunds", "support"}
    assert len({story.state.epoch_of(agent) for agent in incident.agents}) == 3

    with pytest.raises(CallerError, match="agents is missing"):
        story.ask("contain_fleet", incident="", agents=[], rung="pause")


def test_a_wish_with_the_same_key_is_granted_once(story: Story) -> None:
    """A button pressed twice orders once."""
    story.find(finding(trusted=False))
    story.run()
    story.ask("contain", rung="pause", key="k1")
    before = len(story.entries)
    story.ask("contain", rung="pause", key="k1")
    assert len(story.entries) == before


def test_the_review_closes_with_answers_and_a_structural_change(story: Story) -> None:
    """Answers alone leave the review open; with the proposal applied it closes (LRN-2)."""
    story.find(finding())
    story.run()
    story.ask("answer_review", answers={"why_guardrails": "No limit on identical refunds."})
    assert story.state.incident("inc_000001").state is IncidentState.RESOLVED

    story.ask("apply_proposal")
    story.run()
    assert "no-refunds" in story.state.policies
    story.ask("answer_review", answers={"why_guardrails": "No limit on identical refunds."})
    assert story.state.incident("inc_000001").state is IncidentState.REVIEWED


def test_a_declared_incident_stops_nothing_until_asked(story: Story) -> None:
    """Declaring is not containing."""
    story.ask("declare", agent="pricing", incident="", title="prices look odd", severity="high")
    story.run()
    assert story.state.rung_of("pricing") == "none"
    story.ask("contain", agent="pricing", incident="", rung="pause")
    story.run()
    assert story.state.incident("inc_000001").containment is Verdict.VERIFIED


def test_replaying_the_journal_gives_the_same_state(story: Story) -> None:
    """Replay is identity, and the chain holds."""
    story.find(finding())
    story.find(finding("f2", severity=Severity.CRITICAL, agent="support", trace_id="t2"))
    story.run()
    story.ask("approve_recovery", incident="inc_000002")
    story.run()
    replayed = story.replayed()
    assert check(story.entries) is None
    assert msgspec.json.encode(replayed) == msgspec.json.encode(story.state)
    assert summaries(replayed, now=story.now) == summaries(story.state, now=story.now)


def test_a_crash_between_any_two_entries_changes_nothing(story: Story) -> None:
    """From every prefix of the journal the rest of the story ends the same, with no step issued twice."""
    story.find(finding(severity=Severity.CRITICAL))
    story.run()
    whole = [entry.body["step"] for entry in story.entries if entry.kind == "intent.issued"]
    for length in range(4, len(story.entries)):
        again = Story()
        again.now = story.now
        again.entries = list(story.entries[:length])
        again.state = again.replayed()
        again.entries += _caught_up(again)
        again.run()
        issued = [entry.body["step"] for entry in again.entries if entry.kind == "intent.issued"]
        assert issued == whole, f"after a crash at entry {length}"


def _caught_up(story: Story) -> list[Entry]:
    return list(catch_up(story.state, now=story.now))
