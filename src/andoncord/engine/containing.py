"""Containment: fence, capture, terminate, verify, in the order of the playbook (RSP-14)."""

from collections.abc import Iterator
from typing import Any

import msgspec

from andoncord.engine.drafts import capture_draft, intent_draft, order_draft
from andoncord.engine.mitigating import mitigate
from andoncord.engine.recovering import recovery_begun
from andoncord.engine.revoking import revoke, revoked
from andoncord.engine.state import Intent, State
from andoncord.engine.stepping import is_held, judged, step_key
from andoncord.incident.incident import Incident
from andoncord.incident.stage import Stage
from andoncord.kernel.effect import EffectKind, Outcome
from andoncord.kernel.journal import Draft
from andoncord.kernel.vocabulary import IncidentState, Verdict
from andoncord.respond.ladder import FENCING
from andoncord.respond.proof import proof
from andoncord.respond.steps import KINDS

VERIFY_MS = 4_000
"""How long an order of a person is watched before its verdict; a playbook names its own."""
WITHIN_MS = 30_000
"""The same for what an order about one tool or run lets go on: nothing is ended where it is not seen to stop, so there is
time for slow heartbeats and for the end of calls. Chosen: half of what the commands wait for a verdict."""
TERMINATE_MS = 5_000
CAPTURED_BY_HAND = 32
"""Agents of orders by hand in one incident whose evidence is sealed: a bundle may be large, and the fleet too."""
MORE_AGENTS = "by-person/capture"
WATCHED_AT_ONCE = 32
"""Agents of one order by hand whose verdicts are waited for at the same time."""


def contain(state: State, incident: Incident) -> Iterator[Draft]:
    """Run the playbook's steps in order, each for every affected agent; wait where a receipt is missing."""
    if not incident.may_act or recovery_begun(state, incident) or is_held(incident):
        return
    rung = ""
    for step in incident.steps:
        waiting = False
        if step.get("late"):
            continue
        if step["do"] in ("fence", "contain"):
            drafts, is_done = judged(state, incident, step)
            if not drafts and not is_done:
                continue
            if not drafts:
                rung = step["rung"]
                name = step_key(incident, step).partition("/")[2]
                drafts, waiting = _for_each_agent(state, incident, name, step)
        elif KINDS[step["do"]].orders:
            drafts, is_done = judged(state, incident, step)
            if not drafts and not is_done:
                continue
            if not drafts:
                drafts, waiting = mitigate(state, incident, step)
        elif step["do"] == "capture":
            drafts, waiting = _for_each_agent(state, incident, "capture", step)
        elif step["do"] == "verify":
            drafts, waiting = _verify_agents(state, incident, f"verify:{rung}", int(step["at_most_ms"]))
        else:
            continue
        yield from drafts
        if drafts or waiting:
            return


def _for_each_agent(state: State, incident: Incident, name: str, step: dict[str, Any]) -> tuple[list[Draft], bool]:
    """Drafts for the agents whose step was not issued yet, and whether a receipt is still missing."""
    drafts: list[Draft] = []
    waiting = False
    for agent in incident.agents:
        key = f"{incident.round}/{name}/{agent}"
        intent = state.step(incident.id, key)
        if intent is None:
            if step["do"] == "capture":
                drafts.append(
                    intent_draft(
                        state,
                        incident.id,
                        key,
                        EffectKind.CAPTURE,
                        agent,
                        deadline_ms=int(step["at_most_ms"]),
                        reversal=step["undo"],
                        offset=len(drafts),
                        parameters={"acknowledgements": _acknowledgements(state, incident, agent)},
                    )
                )
            else:
                drafts.append(
                    order_draft(
                        state,
                        incident.id,
                        key,
                        agent,
                        rung=step["rung"],
                        reason=f"{incident.pattern.value.replace('_', ' ')}: {incident.title}",
                        deadline_ms=int(step["at_most_ms"]),
                        offset=len(drafts),
                    )
                )
        elif intent.receipt is None:
            waiting = True
    return drafts, waiting


def _verify_agents(state: State, incident: Incident, name: str, at_most_ms: int) -> tuple[list[Draft], bool]:
    """Verify every agent; where an agent under a fence cannot be verified, have its supervisor end it and verify again."""
    for agent in incident.agents:
        order = _last_order(state, incident, agent)
        if order is None or order.receipt is None:
            continue
        key, terminate_key = f"{incident.round}/{name}/{agent}", f"{incident.round}/terminate/{agent}"
        may_end = order.effect.parameters["rung"] in FENCING
        drafts, done = _verify_one(state, incident, key, terminate_key, order, may_end=may_end, at_most_ms=at_most_ms)
        if drafts or not done:
            return drafts, not done
    return [], False


def _verify_one(
    state: State, incident: Incident, key: str, terminate_key: str, order: Intent, *, may_end: bool, at_most_ms: int
) -> tuple[list[Draft], bool]:
    """The next drafts on the way to a verdict about one agent, and whether the verdict is final."""
    agent = order.effect.target
    drafts, done = revoke(state, incident, key, order)
    if drafts or not done:
        return drafts, False
    drafts, done = _verdict_on(state, incident, key, order, None, at_most_ms=at_most_ms)
    first = state.step(incident.id, key)
    if not done or first is None or not may_end or verdict_of(first) is not Verdict.UNVERIFIED:
        return drafts, done

    terminate = state.step(incident.id, terminate_key)
    if terminate is None:
        return [_terminate_draft(state, incident, terminate_key, agent)], False
    if terminate.receipt is None:
        return [], False
    if terminate.receipt.outcome is Outcome.FAILED and not terminate.receipt.detail.get("signalled"):
        return [], True  # Nobody could end it: the verdict stays UNVERIFIED.
    return _verdict_on(state, incident, f"{key}/after-termination", order, terminate, at_most_ms=at_most_ms)


def _verdict_on(
    state: State, incident: Incident, key: str, order: Intent, terminate: Intent | None, *, at_most_ms: int
) -> tuple[list[Draft], bool]:
    """Verify, wait, record the verdict: the drafts of whichever comes next, and whether the verdict is recorded."""
    verification = state.step(incident.id, key)
    if verification is None:
        return [_verify_draft(state, incident, key, order, terminate, at_most_ms=at_most_ms)], False
    if verification.receipt is None:
        return [], False
    if not _has_verdict(incident, verification):
        return _verdict_drafts(incident, verification), False
    return [], True


def _terminate_draft(state: State, incident: Incident, key: str, agent: str) -> Draft:
    return intent_draft(
        state,
        incident.id,
        key,
        EffectKind.TERMINATE,
        agent,
        deadline_ms=TERMINATE_MS,
        reversal="restart",
        parameters={"reason": "the order to stop was not confirmed"},
    )


def _verify_draft(
    state: State, incident: Incident, key: str, order: Intent, terminate: Intent | None, *, at_most_ms: int
) -> Draft:
    receipt = order.receipt
    assert receipt is not None
    parameters = {
        "rung": order.effect.parameters["rung"],
        "epoch": order.effect.parameters["epoch"],
        "order": order.id,
        "order_outcome": receipt.outcome,
        "ordered_ns": order.issued_ns,
        "acknowledgements": receipt.detail.get("acks", []),
        "unconfirmed": receipt.detail.get("unconfirmed", []),
        "termination": terminate.receipt.detail if terminate and terminate.receipt else None,
        "in_flight": [
            msgspec.to_builtins(call)
            for given in incident.verdicts
            if given.agent == order.effect.target
            for call in given.in_flight
        ],
        "fenced_ns": (terminate.receipt.at_ns if terminate and terminate.receipt else receipt.at_ns),
        "credentials": revoked(state, incident, order),
    }
    if within := order.effect.parameters.get("within"):
        parameters |= {"within": within, "fence_ms": at_most_ms}
        at_most_ms = max(at_most_ms, WITHIN_MS)
    return intent_draft(
        state,
        incident.id,
        key,
        EffectKind.VERIFY,
        order.effect.target,
        deadline_ms=at_most_ms,
        reversal="nothing to undo",
        parameters=parameters,
    )


def _verdict_drafts(incident: Incident, intent: Intent) -> list[Draft]:
    """Record a verdict, and the step of the lifecycle that follows from it."""
    assert intent.receipt is not None
    detail = intent.receipt.detail
    verdict = verdict_of(intent)
    drafts = [
        Draft(
            kind="verdict.given",
            incident=incident.id,
            body={
                "intent": intent.id,
                "agent": intent.effect.target,
                "verdict": verdict,
                "missing": list(detail.get("missing", [])),
                "evidence": list(detail.get("evidence", [])),
                "in_flight": list(detail.get("in_flight", [])),
                "stages": _stages(intent),
            },
        )
    ]
    all_verified = verdict is Verdict.VERIFIED and incident.is_contained(also=intent.effect.target)
    if all_verified and incident.state.rank < IncidentState.CONTAINED.rank:
        drafts.append(
            Draft(
                kind="incident.moved",
                incident=incident.id,
                body={
                    "from": incident.state,
                    "to": IncidentState.CONTAINED,
                    "why": "containment was verified",
                    "contained_ns": intent.effect.parameters.get("fenced_ns", 0),
                },
            )
        )
    return drafts


def _stages(intent: Intent) -> list[dict[str, Any]]:
    """The states of the proof that a verification saw reached."""
    assert intent.receipt is not None
    seen = {Stage(stage): int(at_ns) for stage, at_ns in intent.receipt.detail.get("reached", {}).items()}
    requested = {Stage.REQUESTED: int(intent.effect.parameters["ordered_ns"])}
    way = proof({**requested, **seen}, verdict=verdict_of(intent), judged_ns=intent.receipt.at_ns)
    return [msgspec.to_builtins(each) for each in way]


def verdict_of(intent: Intent) -> Verdict:
    """A verification that broke proves nothing: it is UNVERIFIED."""
    assert intent.receipt is not None
    return Verdict(intent.receipt.detail.get("verdict", Verdict.UNVERIFIED))


def _has_verdict(incident: Incident, intent: Intent) -> bool:
    return any(given.intent == intent.id for given in incident.verdicts)


def contain_by_person(state: State, incident: Incident) -> Iterator[Draft]:
    """Verify what a person ordered, the same way as what a playbook ordered.

    A kill that cannot be verified is carried out by the agent's supervisor, where there is one and the kill is still in force.
    Of an order to many agents, some are watched at the same time, and what is verified is not looked at again.
    """
    verified = {given.intent for given in incident.verdicts if given.verdict is Verdict.VERIFIED}
    watched = 0
    for intent in tuple(state.intents_of(incident.id)):
        ordered = intent.step.startswith("by-person/") and intent.effect.kind is EffectKind.ORDER
        if not ordered or intent.receipt is None or intent.effect.parameters["rung"] == "none":
            continue
        key, agent = f"{intent.step}/verify", intent.effect.target
        first = state.step(incident.id, key)
        if first is not None and first.id in verified:
            continue
        captured, drafts = _captured_by_person(state, incident, intent)
        if drafts:
            yield from drafts
            return
        is_in_force = intent.standing in state.orders.in_force if intent.standing else state.rung_of(agent) == "kill"
        may_end = intent.effect.parameters["rung"] == "kill" and is_in_force and intent.receipt.detail.get("supervised") is True
        may_end = may_end and captured
        drafts, done = _verify_one(
            state, incident, key, f"{intent.step}/terminate", intent, may_end=may_end, at_most_ms=VERIFY_MS
        )
        yield from drafts
        watched += not done
        if drafts or watched >= WATCHED_AT_ONCE:
            return


def _captured_by_person(state: State, incident: Incident, order: Intent) -> tuple[bool, list[Draft]]:
    """Whether nothing is lost any more by ending the agent of an order by hand; and the drafts that see to it.

    Evidence is sealed while the agent is watched, so that neither waits for the other.
    """
    assert order.receipt is not None
    parameters = order.effect.parameters
    if parameters["rung"] not in FENCING or parameters.get("within"):
        return True, []
    key = f"{order.step}/capture"
    capture = state.step(incident.id, key)
    if capture is not None:
        return capture.receipt is not None, []
    sealed = sum(step.startswith("by-person/") and step.endswith("/capture") for step in state.steps.get(incident.id, ()))
    if sealed >= CAPTURED_BY_HAND:
        why = f"evidence of the first {CAPTURED_BY_HAND} agents was sealed; of another: andon evidence capture AGENT"
        body = {"step": MORE_AGENTS, "name": "capture", "skipped": why}
        return True, [] if MORE_AGENTS in incident.judged else [Draft(kind="step.judged", incident=incident.id, body=body)]
    return False, [
        capture_draft(state, incident.id, key, order.effect.target, list(order.receipt.detail.get("acks", ())), by=order.by)
    ]


def _last_order(state: State, incident: Incident, agent: str) -> Intent | None:
    orders = [
        intent
        for intent in state.intents_of(incident.id)
        if intent.effect.kind is EffectKind.ORDER and intent.effect.target == agent and not intent.standing
    ]
    return orders[-1] if orders else None


def _acknowledgements(state: State, incident: Incident, agent: str) -> list[dict[str, Any]]:
    order = _last_order(state, incident, agent)
    return list(order.receipt.detail.get("acks", [])) if order and order.receipt else []
