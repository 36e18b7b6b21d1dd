"""A recovery plan per cause (RCV-2, RCV-3, RCV-4): which steps, in which order, how long, and what needs a person."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import msgspec

from andoncord.investigate.casefile import Cause
from andoncord.kernel.effect import EffectKind
from andoncord.kernel.vocabulary import CauseType, Pattern, Severity
from andoncord.recover.gate import QualityGate
from andoncord.recover.registry import Registry, Version


class Strategy(StrEnum):
    """Ways back. The first four are performed by Andoncord; the others are worked by people, step by step."""

    ROLLBACK = "rollback"
    RESTART = "restart"
    FRESH_RUN = "fresh_run"
    RETRY = "retry"
    RECONFIGURATION = "reconfiguration"
    RETRAINING = "retraining"
    REDEPLOYMENT = "redeployment"
    HOLD = "hold"

    @property
    def is_automatic(self) -> bool:
        """Andoncord has the means to perform it."""
        return self in (Strategy.ROLLBACK, Strategy.RESTART, Strategy.FRESH_RUN, Strategy.RETRY)


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a plan. `kind` is None for a step that only a person can do."""

    name: str
    kind: EffectKind | None
    text: str
    parameters: dict[str, Any] = {}


class RecoveryPlan(msgspec.Struct, frozen=True, kw_only=True):
    """How an agent comes back, and why this way."""

    agent: str
    strategy: Strategy
    cause: CauseType | None
    automatic: bool
    """Every step can be performed; whether it starts by itself is the playbook's decision."""
    steps: tuple[Step, ...]
    total_minutes: int
    priority: Severity
    why: str
    person: str = ""
    """What a person has to do, when the plan needs one."""


class _Treatment(msgspec.Struct, frozen=True):
    """A row of the table: how a cause is treated when nothing recorded can be taken back."""

    priority: Severity
    hours: float
    """The upper end of what RCV-2 names for the cause."""
    strategy: Strategy
    person: str = ""
    """What a person has to do when the strategy is not automatic, or afterwards when it is."""


BUILT_MINUTES = 5
"""A configure, restart or fresh run with its probes: the probes dominate. Chosen."""

_GUARD_LATER = "change the instructions or permissions so that it cannot happen again; the review proposes how"
TREATMENTS: dict[CauseType, _Treatment] = {
    CauseType.PROMPT_CHANGE: _Treatment(Severity.HIGH, 2, Strategy.RECONFIGURATION, "correct the prompt and publish it"),
    CauseType.MODEL_CHANGE: _Treatment(Severity.HIGH, 2, Strategy.RECONFIGURATION, "pin the model in use before"),
    CauseType.TOOL_CHANGE: _Treatment(Severity.HIGH, 2, Strategy.RECONFIGURATION, "pin or repair the tool"),
    CauseType.PROMPT_ISSUE: _Treatment(Severity.HIGH, 2, Strategy.FRESH_RUN, _GUARD_LATER),
    CauseType.TOOL_FAULT: _Treatment(Severity.HIGH, 2, Strategy.RESTART),
    CauseType.SYSTEM_FAULT: _Treatment(Severity.HIGH, 2, Strategy.RESTART),
    CauseType.FEEDBACK_LOOP: _Treatment(Severity.CRITICAL, 4, Strategy.FRESH_RUN, _GUARD_LATER),
    CauseType.EMERGENT_BEHAVIOR: _Treatment(
        Severity.CRITICAL, 6, Strategy.RECONFIGURATION, "change how the agents interact; going back does not help"
    ),
    CauseType.CAPABILITY_MISMATCH: _Treatment(
        Severity.MEDIUM, 24, Strategy.REDEPLOYMENT, "deploy an agent that can do the task, or take the task away"
    ),
    CauseType.TRAINING_DATA_ISSUE: _Treatment(Severity.HIGH, 8, Strategy.RETRAINING, "correct the data and retrain"),
    CauseType.INPUT_SHIFT: _Treatment(
        Severity.MEDIUM, 2, Strategy.RECONFIGURATION, "adapt the agent to the new inputs, or send them elsewhere"
    ),
}
REVERSIBLE_CHANGES = frozenset({CauseType.PROMPT_CHANGE, CauseType.MODEL_CHANGE, CauseType.TOOL_CHANGE})
LEAST_SCORE = 0.3
"""Below this the best cause is a guess, and a guess is no ground for acting. Chosen."""
RUN_BOUND_PATTERNS = frozenset(
    {Pattern.INFINITE_LOOP, Pattern.COST_SPIRAL, Pattern.REPEATED_FAILURE, Pattern.TOOL_FAILURE_STREAK}
)
"""Here the process is well and one run is stuck: ending the run is enough, and loses less than a restart."""
PRIORITY_ORDER = tuple(reversed(Severity))


def plan(
    root_causes: Sequence[Cause],
    registry: Registry,
    *,
    agent: str,
    pattern: Pattern | None,
    severity: Severity,
    has_supervisor: bool,
    gate: QualityGate | None = None,
) -> RecoveryPlan:
    """Choose the way back for the best-supported cause (RCV-4).

    A recorded change that can be taken back: rollback. A fault of the process: restart, where a supervisor can. A poisoned or
    stuck run: end it and start fresh. Nothing well enough supported: hold and investigate.

    Args:
        root_causes: as the investigation ranked them, best first.
        has_supervisor: the supervisor that launched the agent is connected, so that its process can be restarted.
    """
    samples = (gate or QualityGate()).least_samples
    if not root_causes or root_causes[0].score < LEAST_SCORE:
        return _hold(agent, severity)
    cause = root_causes[0]
    strategy = _strategy(cause, pattern)
    good = registry.last_good(agent) if cause.type in REVERSIBLE_CHANGES else None
    steps: tuple[Step, ...]
    if good is not None:
        active = registry.active(agent)
        bad = active.version if active else "the present version"
        strategy, steps = Strategy.ROLLBACK, (_configure(good, bad), _probe(samples), _release())
        reason = f"{good.version} was the last good version before {bad}"
    elif strategy is Strategy.FRESH_RUN:
        steps = (_end_runs(), _probe(samples), _release())
        reason = "the open run carries the fault, a new one starts without it"
    elif strategy is Strategy.RESTART and has_supervisor:
        steps = (_restart(), _probe(samples), _release())
        reason = "the process is at fault, a new one starts clean"
    else:
        return _by_person(agent, cause, strategy)
    return RecoveryPlan(
        agent=agent,
        strategy=strategy,
        cause=cause.type,
        automatic=True,
        steps=steps,
        total_minutes=BUILT_MINUTES,
        priority=TREATMENTS[cause.type].priority,
        why=f"{_because(cause)}; {reason}",
        person="" if strategy is Strategy.ROLLBACK else TREATMENTS[cause.type].person,
    )


def by_priority(plans: Sequence[RecoveryPlan]) -> tuple[RecoveryPlan, ...]:
    """Plans in the order they should be worked: highest priority first, then the quickest."""
    return tuple(sorted(plans, key=lambda each: (PRIORITY_ORDER.index(each.priority), each.total_minutes, each.agent)))


def _strategy(cause: Cause, pattern: Pattern | None) -> Strategy:
    strategy = TREATMENTS[cause.type].strategy
    if strategy is Strategy.FRESH_RUN and pattern is Pattern.SILENCE:
        return Strategy.RESTART
    if strategy is Strategy.RESTART and pattern in RUN_BOUND_PATTERNS:
        return Strategy.FRESH_RUN
    return strategy


def _by_person(agent: str, cause: Cause, strategy: Strategy) -> RecoveryPlan:
    """A plan that waits for a person, saying what is missing for Andoncord to do it."""
    treatment = TREATMENTS[cause.type]
    if strategy is Strategy.RESTART:
        task, missing = "restart the agent's process", "no supervisor is connected"
    else:
        task = treatment.person
        unversioned = cause.type in REVERSIBLE_CHANGES
        missing = "the registry holds no good version from before" if unversioned else f"{strategy.value} is not automated"
    return RecoveryPlan(
        agent=agent,
        strategy=strategy,
        cause=cause.type,
        automatic=False,
        steps=(Step(name="person", kind=None, text=f"A person must {task}."),),
        total_minutes=round(treatment.hours * 60),
        priority=treatment.priority,
        why=f"{_because(cause)}; {missing}",
        person=task,
    )


def _hold(agent: str, severity: Severity) -> RecoveryPlan:
    return RecoveryPlan(
        agent=agent,
        strategy=Strategy.HOLD,
        cause=None,
        automatic=False,
        steps=(Step(name="person", kind=None, text="Containment stays in force; a person must find the cause."),),
        total_minutes=0,
        priority=severity,
        why="no cause is well enough supported to act on",
        person="find the cause",
    )


def _configure(good: Version, bad: str) -> Step:
    return Step(
        name="configure",
        kind=EffectKind.CONFIGURE,
        text=f"Make {good.version} the active version again, in place of {bad}.",
        parameters={"version": good.version, "values": good.values},
    )


def _restart() -> Step:
    text = "Have the supervisor start the agent's process anew, still fenced."
    return Step(name="restart", kind=EffectKind.RESTART, text=text)


def _end_runs() -> Step:
    text = "End the open runs with everything they have read; the next run starts with an empty context."
    return Step(name="fresh_run", kind=EffectKind.ORDER, text=text, parameters={"rung": "kill"})


def _probe(samples: int) -> Step:
    text = f"Let the fenced agent work on tasks with known answers, side effects denied: at least {samples} samples."
    return Step(name="probe", kind=EffectKind.PROBE, text=text, parameters={"samples": samples})


def _release() -> Step:
    text = "Lift the fence when the probes have passed the quality gate."
    return Step(name="release", kind=EffectKind.ORDER, text=text, parameters={"rung": "none"})


def _because(cause: Cause) -> str:
    return f"the cause is {cause.type.value}" if cause.claim == "cause" else f"the record is consistent with {cause.type.value}"
