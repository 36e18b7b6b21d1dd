"""Recovery: run the plan step by step, verify before the release, stop at the first doubt (RCV-4, RCV-6)."""

from collections.abc import Iterator
from typing import Any

from andoncord.engine.drafts import held_by_others, intent_draft, moved, order_draft
from andoncord.engine.mitigating import end_mitigation
from andoncord.engine.state import Intent, State
from andoncord.engine.stepping import WAIT_MARGIN_MS, is_held, is_worked
from andoncord.incident.incident import Incident
from andoncord.kernel.effect import EffectKind, Outcome
from andoncord.kernel.journal import Draft
from andoncord.kernel.time import MILLISECOND_NS
from andoncord.kernel.vocabulary import IncidentState, Verdict
from andoncord.recover.gate import QualityGate
from andoncord.respond.steps import IRREVERSIBLE, VERSION_BEFORE

ORDER_MS = 1_000
CONFIGURE_MS = 2_000
RESTART_MS = 10_000
PROBE_MS = 30_000


def may_recover(state: State, incident: Incident) -> bool:
    """Whether the recovery may start now: contained and proven, a plan that can run, and nobody left to ask."""
    if incident.plan is None or incident.plan_round != incident.round:
        return False
    if incident.recovery_failed or not incident.plan["automatic"]:
        return False
    if is_held(incident) or not is_worked(state, incident):
        return False
    if incident.containment is not Verdict.VERIFIED and not incident.recovery_approved_by:
        return False
    if is_let_go_by_person(state, incident):
        return False
    return recovery_begun(state, incident) or not needs_approval(state, incident)


def recovery_begun(state: State, incident: Incident) -> bool:
    """Whether a step of the present round's recovery was issued."""
    prefix = f"{incident.round}/recover/"
    return any(step.startswith(prefix) for step in state.steps.get(incident.id, {}))


def recover(state: State, incident: Incident) -> Iterator[Draft]:
    """Run the plan's steps in order; stop at the first that does not succeed."""
    if not may_recover(state, incident):
        return
    assert incident.plan is not None
    if incident.state.rank < IncidentState.RECOVERING.rank:
        why = f"recovery by {incident.plan['strategy'].replace('_', ' ')}"
        yield moved(incident, IncidentState.RECOVERING, why)
        return
    for index, step in enumerate(incident.plan["steps"]):
        if step["kind"] is None:
            continue  # A person's step; approving the recovery is what a person does here.
        for agent in incident.agents:
            key = f"{incident.round}/recover/{index}:{step['name']}/{agent}"
            intent = state.step(incident.id, key)
            if intent is None:
                if step["parameters"].get("rung") == "none":
                    ended = tuple(end_mitigation(state, incident, why="the agent goes on", before_release=True))
                    if ended:
                        yield from ended
                        return
                yield from _recovery_step(state, incident, key, step, agent)
                return
            if intent.receipt is None:
                return
            if intent.effect.kind is EffectKind.PROBE:
                drafts, intent = _probe_further(state, incident, key, intent)
                yield from drafts
                if drafts or intent.receipt is None:
                    return
            problem = recovery_problem(step["name"], intent)
            if problem:
                yield Draft(kind="recovery.failed", incident=incident.id, body={"why": problem, "intent": intent.id})
                yield moved(incident, IncidentState.INVESTIGATING, f"recovery stopped: {problem}")
                return
    if ended := tuple(end_mitigation(state, incident, why="recovered and verified")):
        yield from ended
        return
    yield moved(incident, IncidentState.RESOLVED, "recovered and verified before the agent was released")


def needs_approval(state: State, incident: Incident) -> bool:
    """Whether a person has to allow the recovery: the playbook says so, or a person gave the last order for an agent.

    A recovery that starts by itself would undo what that person decided.
    """
    if incident.recovery_approved_by:
        return False
    if _is_beyond_limit(state, incident):
        return True
    by_hand = any(intent.step.startswith("by-person/") for intent in _last_orders(state, incident))
    return incident.recovery_by == "person" or by_hand


def _is_beyond_limit(state: State, incident: Incident) -> bool:
    """Recoveries of this agent began as often lately as the playbook allows without a person."""
    if recovery_begun(state, incident):
        return False
    now_ns = state.head.at_ns if state.head else 0
    for step in incident.steps:
        if step["do"] != "recover" or not step.get("limit"):
            continue
        since_ns = now_ns - int(step["per_ms"]) * MILLISECOND_NS
        began = {
            intent.incident
            for agent in incident.agents
            for intent in (state.intents[intent_id] for intent_id in state.index.targets.get(agent, ()))
            if "/recover/" in intent.step and intent.issued_ns >= since_ns
        }
        if len(began - {incident.id}) >= int(step["limit"]):
            return True
    return False


def is_let_go_by_person(state: State, incident: Incident) -> bool:
    """Whether the last order for one of the agents was a release by a person."""
    return any(
        intent.step.startswith("by-person/") and intent.effect.parameters["rung"] == "none"
        for intent in _last_orders(state, incident)
    )


def _last_orders(state: State, incident: Incident) -> list[Intent]:
    """The last order for each agent."""
    latest: dict[str, Intent] = {}
    for intent in state.intents_of(incident.id):
        if intent.effect.kind is EffectKind.ORDER and not intent.standing:
            latest[intent.effect.target] = intent
    return list(latest.values())


def _recovery_step(state: State, incident: Incident, key: str, step: dict[str, Any], agent: str) -> Iterator[Draft]:
    kind = EffectKind(step["kind"])
    parameters = dict(step["parameters"])
    if kind is EffectKind.ORDER:
        releases = parameters["rung"] == "none"
        yield order_draft(
            state,
            incident.id,
            key,
            agent,
            rung=held_by_others(state, incident.id, agent) if releases else parameters["rung"],
            reason=step["text"],
            deadline_ms=ORDER_MS,
            may_lower=releases,
        )
        return
    if kind is EffectKind.CONFIGURE:
        if parameters.pop("publish", False):
            yield Draft(kind="registry.published", incident=incident.id, body=_published(incident, agent, parameters))
        active = state.registry.active(agent)
        parameters["before"] = active.version if active else ""
        yield Draft(
            kind="registry.activated",
            incident=incident.id,
            body={"agent": agent, "version": parameters["version"], "reason": step["text"]},
        )
    deadlines = {EffectKind.CONFIGURE: CONFIGURE_MS, EffectKind.RESTART: RESTART_MS, EffectKind.PROBE: PROBE_MS}
    reversals = {EffectKind.CONFIGURE: VERSION_BEFORE, EffectKind.RESTART: f"{IRREVERSIBLE}: the process before it is gone"}
    if kind is EffectKind.WAIT:
        for_ms = int(parameters["for_ms"])
        parameters["until_ns"] = (state.head.at_ns if state.head else 0) + for_ms * MILLISECOND_NS
        deadlines[kind] = for_ms + WAIT_MARGIN_MS
    yield intent_draft(
        state,
        incident.id,
        key,
        kind,
        agent,
        deadline_ms=deadlines.get(kind, ORDER_MS),
        reversal=reversals.get(kind, "nothing to undo"),
        parameters=parameters,
    )


def _published(incident: Incident, agent: str, parameters: dict[str, Any]) -> dict[str, Any]:
    note = f"made for the retry of {incident.id}"
    return {"agent": agent, "version": parameters["version"], "values": parameters["values"], "note": note, "good": False}


def _probe_further(state: State, incident: Incident, key: str, intent: Intent) -> tuple[list[Draft], Intent]:
    """Ask for the samples that could still decide; the last probe carries what all before it showed.

    The gate's test may be looked at after every sample, so going on is no second chance: it ends at its `max_samples`.
    """
    number = 1
    while intent.receipt is not None:
        answered = samples_of(intent)
        judged = QualityGate().judge(answered)
        asked = int(intent.effect.parameters["samples"])
        came = len(intent.receipt.detail.get("passed", ()))
        if judged.decided or came < asked:
            break
        number += 1
        further = state.step(incident.id, f"{key}/{number}")
        if further is None:
            draft = intent_draft(
                state,
                incident.id,
                f"{key}/{number}",
                EffectKind.PROBE,
                intent.effect.target,
                deadline_ms=PROBE_MS,
                reversal="nothing to undo",
                parameters={"samples": judged.needed, "before": answered},
            )
            return [draft], intent
        intent = further
    return [], intent


def samples_of(probe: Intent) -> list[bool]:
    """Every sample up to and including this probe's, in order."""
    assert probe.receipt is not None
    before = probe.effect.parameters.get("before", [])
    return [bool(passed) for passed in (*before, *probe.receipt.detail.get("passed", []))]


def recovery_problem(name: str, intent: Intent) -> str:
    """Why a recovery step did not succeed; empty when it did."""
    receipt = intent.receipt
    assert receipt is not None
    if intent.effect.kind is EffectKind.PROBE:
        judged = QualityGate().judge(samples_of(intent))
        return "" if judged.accepted else f"quality was not shown to be above 0.8: {judged.why}"
    if receipt.outcome is Outcome.DONE:
        return ""
    missing = receipt.detail.get("missing") or ", ".join(receipt.detail.get("unconfirmed", [])) or receipt.outcome.value
    return f"{name.replace('_', ' ')} was not confirmed: {missing}"


def resolve_released(state: State, incident: Incident) -> Iterator[Draft]:
    """A person who releases every agent resolves the incident; the record says that nothing verified it."""
    released = [
        intent
        for intent in state.intents_of(incident.id)
        if intent.step.startswith("by-person/") and intent.effect.kind is EffectKind.ORDER
    ]
    if not released or any(intent.receipt is None for intent in released) or released[-1].effect.parameters["rung"] != "none":
        return
    if released[-1].receipt is None or released[-1].receipt.outcome is not Outcome.DONE:
        return
    free = {intent.effect.target for intent in released if state.rung_of(intent.effect.target) == "none"}
    if ended := tuple(end_mitigation(state, incident, why=f"released by {released[-1].by}", agents=free)):
        yield from ended  # Whoever lets an agent go does not want it slowed or its work kept from it.
        return
    if any(order.incident == incident.id for order in state.orders.in_force.values()):
        return
    if all(state.rung_of(agent) == "none" for agent in incident.agents):
        yield moved(incident, IncidentState.RESOLVED, f"released by {released[-1].by} without a verified recovery")
