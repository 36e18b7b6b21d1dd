"""Undoing what was done for an incident: the stated reversals, last first, each with its receipt (RSP-10)."""

from collections.abc import Iterator

from andoncord.engine.drafts import held_by_others, intent_draft, moved, order_draft
from andoncord.engine.standing import lifted
from andoncord.engine.state import Intent, State
from andoncord.incident.incident import Incident
from andoncord.kernel.effect import EffectKind, Outcome
from andoncord.kernel.errors import CallerError, ConflictError
from andoncord.kernel.journal import Draft
from andoncord.respond.ladder import RUNGS
from andoncord.respond.steps import HOOK_BEFORE, IRREVERSIBLE, NOTHING, VERSION_BEFORE

ORDER_MS = 1_000
CONFIGURE_MS = 2_000
RESTART_MS = 10_000
HOOK_MS = 60_000
WITHOUT_TRACE = frozenset(
    {
        EffectKind.CAPTURE,
        EffectKind.VERIFY,
        EffectKind.INVESTIGATE,
        EffectKind.PROBE,
        EffectKind.REVIEW,
        EffectKind.WAIT,
        EffectKind.NOTIFY,
        EffectKind.TICKET,
        EffectKind.DRAFT,
        EffectKind.ASK,
    }
)
"""Effects that change nothing outside the record, but what people know."""
NOT_UNDONE = ("undo/", "lift/")
"""Steps that take something back themselves."""


def begin(state: State, incident: Incident, *, step: str, by: str, reason: str) -> tuple[Draft, ...]:
    """Write down what is to be undone, in which order.

    Args:
        step: an intent's id, or the name of a step; empty for everything.

    Raises:
        CallerError: there is nothing to undo, or no such step.
    """
    if incident.undo and not incident.undo["finished"]:
        raise ConflictError("an undo is under way", remedy="wait for its receipts")
    done = [intent for intent in state.intents_of(incident.id) if may_have_changed(intent) and not _is_undone(state, intent)]
    if step:
        done = [intent for intent in done if step == intent.id or step in intent.step.replace(":", "/").split("/")]
        if not done:
            known = ", ".join(each.id for each in state.intents_of(incident.id) if may_have_changed(each)) or "none"
            raise CallerError(f"nothing was done by a step {step!r} that is not undone", place="step", remedy=f"known: {known}")
    if not done:
        raise ConflictError("nothing was done for this incident that is not undone")
    if step:
        _refuse_superseded(state, done)
    ids = [intent.id for intent in reversed(done)]
    body = {"intents": ids, "reason": reason, "all": not step}
    return (Draft(kind="undo.begun", incident=incident.id, by=by, body=body),)


def _refuse_superseded(state: State, chosen: list[Intent]) -> None:
    """An order that a later one has taken the place of is not undone by itself: that would lift the later one."""
    ids = {intent.id for intent in chosen}
    for intent in chosen:
        control = state.controls.get(intent.effect.target)
        if control is None or intent.standing or intent.effect.kind is not EffectKind.ORDER or control.intent in ids:
            continue
        if not state.intents[control.intent].step.endswith(f"/{intent.id}"):  # Unless it is an undo that was not confirmed.
            raise ConflictError(f"{control.intent} has taken the place of {intent.id}", remedy="undo that one, or everything")


def may_have_changed(intent: Intent) -> bool:
    """Whether an intent has, or may have, changed something outside the record. What failed may have done half of it.

    Orders of their own that a person gave are lifted by themselves: an undo of an incident lets none of them go.
    """
    if intent.effect.kind in WITHOUT_TRACE or intent.step.startswith(NOT_UNDONE):
        return False
    if intent.standing and intent.step.startswith("by-person/"):
        return False
    return intent.receipt is not None


def undo(state: State, incident: Incident) -> Iterator[Draft]:
    """The next reversal, once the one before has its receipt; at the end what was undone and what could not be."""
    if not incident.undo or incident.undo["finished"]:
        return
    undone: list[str] = []
    impossible = dict(incident.undo["impossible"])
    for intent_id in incident.undo["intents"]:
        if intent_id in impossible:
            continue
        intent = state.intents[intent_id]
        reversal = state.step(incident.id, f"undo/{incident.undo['number']}/{intent_id}")
        if reversal is None:
            yield from _reversal(state, incident, intent)
            return
        if reversal.receipt is None:
            return
        if reversal.receipt.outcome is Outcome.DONE:
            undone.append(intent_id)
        else:
            missing = reversal.receipt.detail.get("missing") or reversal.receipt.detail.get("unconfirmed") or "not confirmed"
            impossible[intent_id] = f"tried, and not confirmed: {missing}"
    body = {"undone": undone, "impossible": impossible}
    yield Draft(kind="undo.finished", incident=incident.id, body=body)
    standing = any(order.incident == incident.id for order in state.orders.in_force.values())
    is_free = not standing and all(state.rung_of(agent) == "none" for agent in incident.agents)
    if incident.is_open and incident.undo["all"] and is_free:
        yield moved(incident, incident.state.RESOLVED, f"undone by {incident.undo['by']} without a verified recovery")


def _reversal(state: State, incident: Incident, intent: Intent) -> tuple[Draft, ...]:
    """The reversal of one intent, or why there is none."""
    assert incident.undo is not None
    step, agent, by = f"undo/{incident.undo['number']}/{intent.id}", intent.effect.target, incident.undo["by"]
    parameters, reversal = intent.effect.parameters, intent.effect.reversal
    match intent.effect.kind:
        case EffectKind.ORDER if intent.standing in state.orders.in_force:
            order = state.orders.in_force[intent.standing]
            reason = f"undo of {intent.id}: {incident.undo['reason']}"
            return lifted(state, order, [agent], reason=reason, by=by, step=step)
        case EffectKind.ORDER if not intent.standing:
            rung = max(str(parameters.get("before", "none")), held_by_others(state, incident.id, agent), key=RUNGS.index)
            reason = f"undo of {intent.id}: {incident.undo['reason']}"
            return (
                order_draft(
                    state, incident.id, step, agent, rung=rung, reason=reason, deadline_ms=ORDER_MS, by=by, may_lower=True
                ),
            )
        case EffectKind.TERMINATE:
            return (_intent(state, incident, step, EffectKind.RESTART, agent, RESTART_MS, "terminate", {"reason": "undo"}, by),)
        case EffectKind.CONFIGURE if parameters.get("before"):
            before = {"version": parameters["before"], "before": parameters["version"]}
            body = {"agent": agent, "version": parameters["before"], "reason": f"undo of {intent.id}"}
            return (
                Draft(kind="registry.activated", incident=incident.id, by=by, body=body),
                _intent(state, incident, step, EffectKind.CONFIGURE, agent, CONFIGURE_MS, VERSION_BEFORE, before, by),
            )
        case EffectKind.HOOK if reversal.startswith(HOOK_BEFORE):
            hook = {**parameters, "hook": reversal.removeprefix(HOOK_BEFORE).strip(), "undoes": intent.id}
            text = f"{IRREVERSIBLE}: it is a reversal itself"
            return (_intent(state, incident, step, EffectKind.HOOK, agent, HOOK_MS, text, hook, by),)
    why = {
        EffectKind.CONFIGURE: "no version was active before",
        EffectKind.ORDER: f"{intent.standing} is not in force any more",
        EffectKind.RELEASE: "the side effects were carried out",
        EffectKind.RESTART: "the process that was there before is gone",
    }.get(intent.effect.kind, "nothing to undo" if reversal == NOTHING else reversal)
    return (Draft(kind="undo.impossible", incident=incident.id, by=by, body={"intent": intent.id, "why": why}),)


def _intent(
    state: State,
    incident: Incident,
    step: str,
    kind: EffectKind,
    agent: str,
    deadline_ms: int,
    reversal: str,
    parameters: dict[str, object],
    by: str,
) -> Draft:
    return intent_draft(
        state, incident.id, step, kind, agent, deadline_ms=deadline_ms, reversal=reversal, parameters=parameters, by=by
    )


def _is_undone(state: State, intent: Intent) -> bool:
    return any(
        each.step.startswith("undo/") and each.step.endswith(f"/{intent.id}") and each.receipt.outcome is Outcome.DONE
        for each in state.intents_of(intent.incident)
        if each.receipt is not None
    )
