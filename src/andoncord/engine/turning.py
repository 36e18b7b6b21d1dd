"""Turning a playbook that is under way: a step is cancelled, or the steps are done anew from one of them on."""

import msgspec

from andoncord.engine.recovering import recovery_begun
from andoncord.engine.state import State
from andoncord.engine.stepping import is_in_turn, step_key
from andoncord.incident.incident import Incident
from andoncord.kernel.effect import EffectKind, Outcome, Receipt
from andoncord.kernel.errors import ConflictError, NotFoundError
from andoncord.kernel.journal import Draft

CANCELLABLE = frozenset({EffectKind.HOOK, EffectKind.WAIT, EffectKind.INVESTIGATE, EffectKind.PROBE})
"""What may be left undone without anything being let go by it."""


def cancel(state: State, incident: Incident, intent_id: str, *, by: str, reason: str) -> tuple[Draft, ...]:
    """The receipt of a step that a person has cancelled.

    Raises:
        CallerError: there is no such step, or it may not or need not be cancelled.
    """
    intent = state.intents.get(intent_id)
    if intent is None or intent.incident != incident.id:
        raise NotFoundError(f"{incident.id} has no intent {intent_id!r}")
    if intent.receipt is not None:
        raise ConflictError(f"{intent_id} has its receipt: {intent.receipt.outcome.value}", remedy="undo it instead")
    if intent.effect.kind not in CANCELLABLE:
        raise ConflictError(
            f"a step of kind {intent.effect.kind.value} is not cancelled", remedy="undo it once it has a receipt"
        )
    at_ns = state.head.at_ns if state.head else 0
    detail = {"missing": f"cancelled by {by.removeprefix('person:')}: {reason}", "cancelled": True}
    receipt = Receipt(intent=intent_id, outcome=Outcome.FAILED, at_ns=at_ns, detail=detail)
    return (Draft(kind="receipt.recorded", incident=incident.id, by=by, body={"receipt": msgspec.to_builtins(receipt)}),)


def fork(state: State, incident: Incident, name: str, *, by: str, reason: str) -> tuple[Draft, ...]:
    """Have the steps from `name` on done anew. What contains is not among them: it is in force.

    Raises:
        CallerError: there is no such step, it is under way, or it is too late.
    """
    steps = [step for step in incident.steps if is_in_turn(step)]
    names = [step.get("name", step["do"]) for step in steps]
    if name not in names:
        raise NotFoundError(f"no step {name!r} after the containment", remedy=f"there are: {', '.join(names) or 'none'}")
    if not incident.is_open or recovery_begun(state, incident) or incident.undo:
        raise ConflictError("the recovery or an undo has begun: its steps are not done anew from here")
    again = steps[names.index(name) :]
    for step in again:
        key = step_key(incident, step)
        for each in [f"{key}/{agent}" for agent in incident.agents] if step.get("late") else [key]:
            intent = state.step(incident.id, each)
            if intent is not None and intent.receipt is None:
                raise ConflictError(
                    f"{intent.id} is under way", remedy=f"wait for it, or cancel it: andon playbook cancel {incident.id}"
                )
    keys = [step_key(incident, step).partition("~")[0] for step in again]
    return (Draft(kind="playbook.forked", incident=incident.id, by=by, body={"steps": keys, "reason": reason}),)
