"""Verdicts from evidence."""

import pytest

from andoncord.incident.stage import Stage
from andoncord.kernel.vocabulary import Verdict
from andoncord.respond.verify import (
    CredentialEvidence,
    InstanceEvidence,
    Observation,
    Pulse,
    Tree,
    is_settled,
    judge_containment,
)


def instance(**changes: object) -> InstanceEvidence:
    """An instance that acknowledged and then sent two quiet heartbeats."""
    fields: dict[str, object] = {
        "instance": "i1",
        "acknowledged_ns": 10,
        "steps_at_ack": 5,
        "pulses": (
            Pulse(at_ns=11, rung="pause", in_flight=0, steps_started=5),
            Pulse(at_ns=12, rung="pause", in_flight=0, steps_started=5),
        ),
    }
    return InstanceEvidence(**{**fields, **changes})  # type: ignore[arg-type]


def judged(*instances: InstanceEvidence, tree_empty: bool | None = None, rung: str = "pause") -> tuple[Verdict, str]:
    """The verdict and what is missing."""
    result = judge_containment(Observation(agent="a", rung=rung, instances=instances, tree_empty=tree_empty))
    return result.verdict, "; ".join(result.missing)


def test_acknowledged_and_observed_quiet_is_verified() -> None:
    """All acknowledged, nothing in flight, two heartbeats without a further step."""
    assert judged(instance()) == (Verdict.VERIFIED, "")


def test_no_acknowledgement_is_unverified() -> None:
    """The missing acknowledgement is named."""
    assert judged(instance(), instance(instance="i2", acknowledged_ns=0)) == (Verdict.UNVERIFIED, "acknowledgement from i2")


def test_silence_is_not_quiescence() -> None:
    """An acknowledgement without later heartbeats proves nothing."""
    verdict, missing = judged(instance(pulses=()))
    assert verdict is Verdict.UNVERIFIED
    assert "0 of 2 heartbeats" in missing


def test_a_step_still_in_flight_is_missing() -> None:
    """What was started before the fence has to end."""
    busy = (
        Pulse(at_ns=11, rung="pause", in_flight=1, steps_started=5),
        Pulse(at_ns=12, rung="pause", in_flight=1, steps_started=5),
    )
    verdict, missing = judged(instance(pulses=busy, in_flight_at_ack=("export_report",)))
    assert verdict is Verdict.UNVERIFIED
    assert "export_report" in missing


def test_a_step_after_the_acknowledgement_is_failed() -> None:
    """It said it stopped and went on."""
    moved = (Pulse(at_ns=11, rung="pause", in_flight=0, steps_started=7),)
    assert judged(instance(pulses=moved))[0] is Verdict.FAILED
    assert judged(instance(steps_after_ack=1))[0] is Verdict.FAILED


def test_an_empty_process_tree_is_proof_without_acknowledgement() -> None:
    """Nothing that runs can act; who runs elsewhere is not in that tree, and still has to answer."""
    assert judged(tree_empty=True) == (Verdict.VERIFIED, "")
    assert judged(instance(acknowledged_ns=0), tree_empty=True) == (Verdict.UNVERIFIED, "acknowledgement from i1")


def test_processes_left_over_are_missing() -> None:
    """The supervisor tried and something is still there."""
    assert judged(instance(), tree_empty=False)[0] is Verdict.UNVERIFIED


def test_no_enforcement_point_is_unverified() -> None:
    """Nobody was there to be asked."""
    assert judged()[0] is Verdict.UNVERIFIED


@pytest.mark.parametrize("rung", ["monitor", "restrict"])
def test_lesser_rungs_need_only_the_acknowledgement(rung: str) -> None:
    """Under them the agent is meant to go on."""
    assert judged(instance(pulses=()), rung=rung) == (Verdict.VERIFIED, "")


def supervisor(*, frozen: bool = True, empty: bool = False, looks: int = 2, **changes: object) -> InstanceEvidence:
    """A supervisor that acknowledged and sends no heartbeats; or, by `changes`, a guard in its tree."""
    return instance(pulses=(), **{"instance": "s1", "tree": Tree(frozen=frozen, empty=empty, looks=looks), **changes})


@pytest.mark.parametrize(
    ("seen", "rung", "missing"),
    [
        (supervisor(), "pause", ""),
        (supervisor(looks=1), "pause", "seen frozen 1 of 2 times"),
        (supervisor(frozen=False, looks=0), "pause", "that stands"),
        (supervisor(), "kill", "the end of the process tree"),
        (supervisor(frozen=False, empty=True, looks=0), "kill", ""),
        (supervisor(acknowledged_ns=0), "pause", ""),
        (supervisor(acknowledged_ns=0, looks=1), "pause", "seen frozen 1 of 2 times"),
    ],
)
def test_what_a_supervisor_saw_counts_in_place_of_heartbeats(seen: InstanceEvidence, rung: str, missing: str) -> None:
    """Frozen and seen twice is paused, for the supervisor and for a guard in its tree; only empty is killed."""
    verdict, said = judged(seen, rung=rung)

    assert missing in said
    assert verdict is (Verdict.UNVERIFIED if missing else Verdict.VERIFIED)


def test_a_frozen_tree_does_not_speak_for_a_guard_outside_of_it() -> None:
    """Each process has to be stopped by somebody who reaches it."""
    assert judged(supervisor(), instance(acknowledged_ns=0)) == (Verdict.UNVERIFIED, "acknowledgement from i1")


def test_a_process_that_has_ended_needs_no_heartbeats() -> None:
    """Nothing can be done by a process that is gone, whether or not it had acknowledged; unless it had gone on before."""
    assert judged(instance(pulses=(), gone_pid=17)) == (Verdict.VERIFIED, "")
    assert judged(instance(pulses=(), acknowledged_ns=0, gone_pid=17), rung="kill") == (Verdict.VERIFIED, "")
    assert judged(instance(pulses=(), steps_after_ack=1, gone_pid=17))[0] is Verdict.FAILED


@pytest.mark.parametrize(
    ("credential", "missing"),
    [
        (CredentialEvidence(name="crm", is_revoked=True, is_refused=True), ""),
        (CredentialEvidence(name="crm", is_revoked=False, why="exit code 3"), "revocation of the credential crm (exit code 3)"),
        (CredentialEvidence(name="crm", is_revoked=True), "an attempt that shows that the credential crm is refused"),
        (
            CredentialEvidence(name="crm", is_revoked=True, is_refused=False),
            "refusal of the credential crm: it was revoked and still works",
        ),
    ],
)
def test_a_kill_is_verified_only_when_every_credential_was_refused(credential: CredentialEvidence, missing: str) -> None:
    """An empty process tree does not speak for a key that somebody else may hold; a pause asks for none."""
    for tree_empty in (True, None):
        seen = Observation(agent="a", rung="kill", instances=(instance(),), tree_empty=tree_empty, credentials=(credential,))
        result = judge_containment(seen)
        assert "; ".join(result.missing) == missing
        assert (result.verdict is Verdict.VERIFIED) is not bool(missing)
        assert (Stage.CREDENTIALS_REVOKED in result.reached) is not bool(missing)
        assert Stage.STOPPED in result.reached
        assert is_settled(seen), "waiting longer refuses no credential"
    assert (
        judge_containment(Observation(agent="a", rung="pause", instances=(instance(),), credentials=(credential,))).missing
        == ()
    )
