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
| a guard whose process has ended | nothing of that number and start time is on the machine | the same |

After a kill, every credential that is declared for the agent must have been revoked, and refused when it was tried.
"""

import msgspec

from andoncord.incident.stage import Stage
from andoncord.kernel.vocabulary import Verdict
from andoncord.respond.ladder import FENCING
from andoncord.respond.proof import needed

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
    calls_within: int = 0
    """Those of them that an order about one tool or run does not allow any more."""
    open_within: tuple[str, ...] = ()
    """Tools of such calls that were under way at the acknowledgement and whose end nobody has reported."""
    lease_left_s: float | None = None
    """For how long it may still hold a lease from before the order; None when it keeps none."""
    tree: Tree | None = None
    """Of a supervisor that holds it, or of a guard that is in it; None when nobody holds the process from outside."""
    gone_pid: int = 0
    """The process that it was, if that has ended on this machine; 0 where it has not, or where that cannot be seen."""


class CredentialEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one credential of the agent after a kill."""

    name: str
    is_revoked: bool
    """Whoever gave it has said that it is revoked."""
    is_refused: bool | None = None
    """What trying it showed; None where it was not tried, or the attempt showed nothing."""
    why: str = ""
    """What was said where one of the two does not hold."""


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the verdict rests on."""

    agent: str
    rung: str
    instances: tuple[InstanceEvidence, ...]
    """Every guard that should have acknowledged, and every supervisor that enforces the rung; none of an empty tree."""
    within: str = ""
    """The tool or run whose calls must not begin any more, where the order holds those and the agent goes on."""
    tree_empty: bool | None = None
    """From the supervisors: True when no process is left of those that they started; None when there is no such report."""
    credentials: tuple[CredentialEvidence, ...] = ()
    """Those that are declared for the agent; looked at after a kill alone."""


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict, what is missing for VERIFIED, what was seen, and which states of the proof that makes."""

    verdict: Verdict
    missing: tuple[str, ...]
    evidence: tuple[str, ...]
    reached: frozenset[Stage] = frozenset()


def judge_containment(observation: Observation) -> Judged:
    """Judge a fence (pause or kill) or a lesser rung.

    For `monitor` and `restrict` the agent is meant to go on, so acknowledgements are all that can be asked. An order that holds
    one tool or run is watched for calls of just that, and for the end of those that were under way.
    """
    evidence: list[str] = []
    failed = False
    not_fenced: list[str] = []
    not_stopped: list[str] = []
    if observation.tree_empty:
        evidence.append("the supervisor saw the agent's process tree empty")
    elif not observation.instances:
        not_fenced.append(f"no enforcement point is connected for {observation.agent}")
    for instance in observation.instances:
        failed |= _judge_instance(instance, observation.rung, not_fenced, not_stopped, evidence)
        if observation.within and instance.acknowledged_ns:
            failed |= _judge_calls(instance, observation.within, not_stopped, evidence)
    if observation.tree_empty is False and observation.instances:
        not_stopped.append("the supervisor still sees processes of the agent")
    not_revoked = _judge_credentials(observation.credentials, evidence) if observation.rung == "kill" else []
    missing = (*not_fenced, *not_stopped, *not_revoked)
    reached = {Stage.FENCED} if not not_fenced else set()
    if observation.credentials and observation.rung == "kill" and not (not_fenced or not_revoked):
        reached.add(Stage.CREDENTIALS_REVOKED)
    if (observation.rung in FENCING or observation.within) and not (not_fenced or not_stopped):
        reached.add(Stage.STOPPED)
    verdict = Verdict.FAILED if failed else Verdict.UNVERIFIED if missing else Verdict.VERIFIED
    return Judged(verdict=verdict, missing=missing, evidence=tuple(evidence), reached=frozenset(reached))


def _judge_instance(
    instance: InstanceEvidence, rung: str, not_fenced: list[str], not_stopped: list[str], evidence: list[str]
) -> bool:
    """Add what one enforcement point shows, and lacks; True when a step began after it acknowledged."""
    if instance.tree is not None and not instance.acknowledged_ns:
        _judge_tree(instance.instance, instance.tree, rung, not_fenced, evidence)
        return False
    if instance.acknowledged_ns:
        evidence.append(f"{instance.instance} acknowledged {rung}")
        return rung in FENCING and _judge_quiescence(instance, rung, not_stopped, evidence)
    if instance.gone_pid and rung in FENCING:
        evidence.append(_gone(instance))
    else:
        not_fenced.append(f"acknowledgement from {instance.instance}{_lease(instance)}")
    return False


def _gone(instance: InstanceEvidence) -> str:
    return f"the process of {instance.instance} has ended: no process {instance.gone_pid} of its start time is left"


def _judge_credentials(credentials: tuple[CredentialEvidence, ...], evidence: list[str]) -> list[str]:
    """What is missing of the proof that the agent's credentials are worth nothing any more."""
    missing: list[str] = []
    for credential in credentials:
        because = f" ({credential.why})" if credential.why else ""
        if not credential.is_revoked:
            missing.append(f"revocation of the credential {credential.name}{because}")
        elif credential.is_refused is None:
            missing.append(f"an attempt that shows that the credential {credential.name} is refused{because}")
        elif not credential.is_refused:
            missing.append(f"refusal of the credential {credential.name}: it was revoked and still works{because}")
        else:
            evidence.append(f"the credential {credential.name} was revoked, and refused when it was tried")
    return missing


def _lease(instance: InstanceEvidence) -> str:
    """What may still go on where no answer came: a guard that is cut off lets nothing be changed once its lease has ended."""
    if instance.lease_left_s is None:
        return ""
    if instance.lease_left_s > 0:
        return f"; it may hold a lease for {instance.lease_left_s:.1f} s more"
    return "; its lease has ended, so a guard that works lets nothing be changed"


def is_settled(observation: Observation) -> bool:
    """Whether watching longer cannot change the verdict for the better: the agent was seen to go on, or to have stopped."""
    judged = judge_containment(observation)
    hoped_for = set(needed(observation.rung, has_credentials=False)) - {Stage.REQUESTED}
    if observation.within:
        hoped_for.add(Stage.STOPPED)
    return judged.verdict is Verdict.FAILED or hoped_for <= judged.reached


def _judge_quiescence(instance: InstanceEvidence, rung: str, missing: list[str], evidence: list[str]) -> bool:
    """Add to `missing` and `evidence`; True when a step began after the acknowledgement."""
    moved = max((pulse.steps_started for pulse in instance.pulses), default=instance.steps_at_ack) - instance.steps_at_ack
    begun = max(moved, instance.steps_after_ack)
    if begun > 0:
        missing.append(f"{instance.instance} began {begun} more step{'s' if begun != 1 else ''} after acknowledging")
        return True
    if instance.tree is not None:
        _judge_tree(instance.instance, instance.tree, rung, missing, evidence)
    elif instance.gone_pid:
        evidence.append(_gone(instance))
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


def _judge_calls(instance: InstanceEvidence, within: str, missing: list[str], evidence: list[str]) -> bool:
    """The same for an order about one tool or run, under which everything else goes on; True when such a call began."""
    if instance.calls_within:
        calls = f"{instance.calls_within} more call{'s' if instance.calls_within != 1 else ''}"
        missing.append(f"{instance.instance} began {calls} of {within} after acknowledging")
        return True
    if instance.gone_pid:
        evidence.append(_gone(instance))
    elif len(instance.pulses) < MIN_HEARTBEATS:
        seen = f"{len(instance.pulses)} of {MIN_HEARTBEATS} heartbeats since the fence"
        missing.append(f"observed quiescence of {within} in {instance.instance}: {seen}")
    elif instance.open_within:
        missing.append(f"the end of what was in flight in {instance.instance}: {', '.join(instance.open_within)}")
    else:
        evidence.append(
            f"{instance.instance} sent {len(instance.pulses)} heartbeats since the fence and began no call of {within}"
        )
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
