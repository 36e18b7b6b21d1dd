"""The choice of a way back."""

import pytest

from andoncord.investigate.casefile import Cause, Claim
from andoncord.kernel.effect import EffectKind
from andoncord.kernel.vocabulary import CauseType, Pattern, Severity
from andoncord.recover.plan import TREATMENTS, RecoveryPlan, Strategy, by_priority, plan
from andoncord.recover.registry import Registry


def cause(kind: CauseType, score: float = 0.9, claim: Claim = "consistent with") -> Cause:
    return Cause(type=kind, score=score, claim=claim, summary="")


def plan_for(
    *causes: Cause, registry: Registry | None = None, pattern: Pattern | None = None, supervised: bool = True
) -> RecoveryPlan:
    return plan(
        causes,
        registry or Registry(),
        agent="helpdesk",
        pattern=pattern,
        severity=Severity.HIGH,
        has_supervisor=supervised,
    )


def test_a_changed_prompt_is_rolled_back_probed_and_only_then_released() -> None:
    """With a good version from before, the plan configures it, probes, and releases last."""
    registry = Registry().publish("helpdesk", {"prompt": "kind"}, good=True, at_ns=1, by="a")
    registry = registry.publish("helpdesk", {"prompt": "quick"}, at_ns=2, by="a").activate("helpdesk", "v2", at_ns=3, by="a")

    chosen = plan_for(cause(CauseType.PROMPT_CHANGE), registry=registry, pattern=Pattern.QUALITY_DROP)

    assert chosen.strategy is Strategy.ROLLBACK
    assert [step.kind for step in chosen.steps] == [EffectKind.CONFIGURE, EffectKind.PROBE, EffectKind.ORDER]
    assert chosen.steps[0].parameters == {"version": "v1", "values": {"prompt": "kind"}}


def test_without_a_good_version_a_person_decides() -> None:
    """Nothing to roll back to is said, not papered over."""
    chosen = plan_for(cause(CauseType.PROMPT_CHANGE))

    assert not chosen.automatic
    assert "no good version" in chosen.why


def test_a_hung_tool_is_restarted_by_the_supervisor() -> None:
    """Silence with a tool fault restarts the process, probes, and releases."""
    chosen = plan_for(cause(CauseType.TOOL_FAULT), pattern=Pattern.SILENCE)

    assert [step.name for step in chosen.steps] == ["restart", "probe", "release"]


def test_a_restart_without_a_supervisor_waits_for_a_person() -> None:
    """Andoncord does not promise what it has no hands for."""
    chosen = plan_for(cause(CauseType.TOOL_FAULT), pattern=Pattern.SILENCE, supervised=False)

    assert not chosen.automatic
    assert "no supervisor" in chosen.why


@pytest.mark.parametrize(
    ("kind", "pattern"),
    [(CauseType.TOOL_FAULT, Pattern.INFINITE_LOOP), (CauseType.PROMPT_ISSUE, Pattern.INJECTED_ACTION)],
)
def test_a_stuck_or_poisoned_run_is_ended_and_started_fresh(kind: CauseType, pattern: Pattern) -> None:
    """The run goes, the process stays."""
    assert [step.name for step in plan_for(cause(kind), pattern=pattern).steps] == ["fresh_run", "probe", "release"]


def test_a_guess_is_not_acted_on() -> None:
    """A cause below the least score holds containment and asks for a person."""
    chosen = plan_for(cause(CauseType.PROMPT_CHANGE, score=0.1))

    assert chosen.strategy is Strategy.HOLD
    assert not chosen.automatic


def test_every_cause_has_a_treatment() -> None:
    """A new cause type cannot be forgotten in the table."""
    assert set(TREATMENTS) == set(CauseType)


def test_plans_are_worked_by_priority() -> None:
    """Critical causes come before high ones."""
    high, critical = plan_for(cause(CauseType.TOOL_FAULT)), plan_for(cause(CauseType.FEEDBACK_LOOP))

    assert by_priority([high, critical]) == (critical, high)
