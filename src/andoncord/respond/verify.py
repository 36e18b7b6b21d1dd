"""Whether an agent has stopped, judged from evidence, never from the call having returned.

VERIFIED needs all of: at least one enforcement point was asked; every one acknowledged the epoch, or its process tree was seen
empty; nothing was in flight at the end; and quiescence was *observed*: after the fence, heartbeats kept coming and counted no
further step.
Silence is not quiescence, unless the process tree is empty. A step that began after its instance acknowledged makes it FAILED.

What proves that one enforcement point and its process have stopped:

| who reports | for pause | for kill |
|---|---|---|
| a guard | acknowledged, then two heartbeats, no further step, nothing in flight | the same |
| a supervisor that holds the tree | the tree was seen to stand, twice; or empty | the tree was seen empty |
| a guard whose process is in such a tree | what its supervisor saw | what its supervisor saw |
"""

import msgspec

from andoncord.kernel.vocabulary import Verdict

MIN_HEARTBEATS = 2
"""Heartbeats after the fence that make quiescence observed: two, so that a count can be seen not to move."""


MIN_LOOKS = 2
"""Looks at a frozen tree that make quiescence observed: two, between which its processes used no processor time."""


class Tree(msgspec.Struct, frozen=True, kw_only=True):
    """What a supervisor saw of the process tree that it holds."""

    frozen: bool
    """Every process in it stands: the group's own report, or the state of each in /proc."""
    empty: bool
    looks: int = 0
    """How often in a row it was seen to stand."""


class Pulse(msgspec.Struct, frozen=True, kw_only=True):
    """One heartbeat of one instance, as the telemetry recorded it."""

    at_ns: int
    rung: str
    in_flight: int
    steps_started: int


class InstanceEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """What is known about one enforcement point and its process after the order went out."""

    instance: str
    acknowledged_ns: int = 0
    """When it acknowledged this epoch; 0 when it did not."""
    steps_at_ack: int = 0
    in_flight_at_ack: tuple[str, ...] = ()
    pulses: tuple[Pulse, ...] = ()
    """Heartbeats after the acknowledgement, earliest first."""
    steps_after_ack: int = 0
    """Steps in the telemetry that started after the acknowledgement."""
    lease_left_s: float | None = None
    """For how long it may still hold a lease from before the order; None when it keeps none."""
    tree: Tree | None = None
    """Of a supervisor that holds it, or of a guard that is in it; None when nobody holds the process from outside."""


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the verdict rests on."""

    agent: str
    rung: str
    instances: tuple[InstanceEvidence, ...]
    """Every guard that should have acknowledged, and every supervisor that enforces the rung."""
    tree_empty: bool | None = None
    """From the supervisor: True when no process of the agent is left; None when there is no such report."""


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict, what is missing for VERIFIED, and what was seen."""

    verdict: Verdict
    missing: tuple[str, ...]
    evidence: tuple[str, ...]


def judge_containment(observation: Observation) -> Judged:
    """Judge a fence (pause or kill) or a lesser rung.

    For `monitor` and `restrict` the agent is meant to go on, so acknowledgements are all that can be asked.
    """
    if observation.tree_empty:
        return Judged(verdict=Verdict.VERIFIED, missing=(), evidence=("the supervisor saw the agent's process tree empty",))
    if not observation.instances:
        return Judged(
            verdict=Verdict.UNVERIFIED,
            missing=(f"no enforcement point is connected for {observation.agent}",),
            evidence=(),
        )
    missing: list[str] = []
    evidence: list[str] = []
    failed = False
    for instance in observation.instances:
        if instance.tree is not None and not instance.acknowledged_ns:
            _judge_tree(instance.instance, instance.tree, observation.rung, missing, evidence)
            continue
        if not instance.acknowledged_ns:
            missing.append(f"acknowledgement from {instance.instance}{_lease(instance)}")
            continue
        evidence.append(f"{instance.instance} acknowledged {observation.rung}")
        if observation.rung in ("pause", "kill"):
            failed |= _judge_quiescence(instance, observation.rung, missing, evidence)
    if observation.tree_empty is False:
        missing.append("the supervisor still sees processes of the agent")
    verdict = Verdict.FAILED if failed else Verdict.UNVERIFIED if missing else Verdict.VERIFIED
    return Judged(verdict=verdict, missing=tuple(missing), evidence=tuple(evidence))


def _lease(instance: InstanceEvidence) -> str:
    """What may still go on where no answer came: a guard that is cut off lets nothing be changed once its lease has ended."""
    if instance.lease_left_s is None:
        return ""
    if instance.lease_left_s > 0:
        return f"; it may hold a lease for {instance.lease_left_s:.1f} s more"
    return "; its lease has ended, so a guard that works lets nothing be changed"


def is_settled(observation: Observation) -> bool:
    """Whether watching longer cannot change the verdict for the better: it is VERIFIED or FAILED already."""
    return judge_containment(observation).verdict is not Verdict.UNVERIFIED


def _judge_quiescence(instance: InstanceEvidence, rung: str, missing: list[str], evidence: list[str]) -> bool:
    """Add to `missing` and `evidence`; True when a step began after the acknowledgement."""
    moved = max((pulse.steps_started for pulse in instance.pulses), default=instance.steps_at_ack) - instance.steps_at_ack
    begun = max(moved, instance.steps_after_ack)
    if begun > 0:
        missing.append(f"{instance.instance} began {begun} more step{'s' if begun != 1 else ''} after acknowledging")
        return True
    if instance.tree is not None:
        _judge_tree(instance.instance, instance.tree, rung, missing, evidence)
    elif len(instance.pulses) < MIN_HEARTBEATS:
        missing.append(
            f"observed quiescence of {instance.instance}: {len(instance.pulses)} of {MIN_HEARTBEATS} heartbeats since the fence"
        )
    elif instance.pulses[-1].in_flight:
        named = ", ".join(instance.in_flight_at_ack) or f"{instance.pulses[-1].in_flight} step(s)"
        missing.append(f"the end of what was in flight in {instance.instance}: {named}")
    else:
        evidence.append(f"{instance.instance} sent {len(instance.pulses)} heartbeats since the fence and began no step")
    return False


def _judge_tree(name: str, tree: Tree, rung: str, missing: list[str], evidence: list[str]) -> None:
    """Judge by what was seen from outside. A frozen process is paused; it is not killed."""
    if tree.empty:
        evidence.append(f"the process tree of {name} was seen empty")
    elif rung == "kill":
        missing.append(f"the end of the process tree of {name}")
    elif not tree.frozen:
        missing.append(f"a process tree of {name} that stands")
    elif tree.looks < MIN_LOOKS:
        missing.append(f"observed quiescence of {name}: seen frozen {tree.looks} of {MIN_LOOKS} times")
    else:
        evidence.append(f"the process tree of {name} was seen frozen {tree.looks} times and used no processor time in between")
