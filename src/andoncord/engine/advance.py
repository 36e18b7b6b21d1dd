"""What follows from the state: the next step of every incident.

`advance` looks at the state alone, never at what has just happened, so it gives the same answer after a crash as before it.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from andoncord.engine.drafts import held_by_others, intent_draft, order_draft
from andoncord.engine.state import Intent, State
from andoncord.incident.incident import Incident
from andoncord.investigate.casefile import Investigation
from andoncord.kernel.effect import EffectKind, Outcome
from andoncord.kernel.journal import Draft
from andoncord.kernel.vocabulary import IncidentState, Verdict
from andoncord.recover.gate import QualityGate
from andoncord.recover.plan import plan
from andoncord.respond.ladder import FENCING

VERIFY_MS = 4_000
TERMINATE_MS = 5_000
INVESTIGATE_MS = 10_000
REVIEW_MS = 10_000
ORDER_MS = 1_000
CONFIGURE_MS = 2_000
RESTART_MS = 10_000
PROBE_MS = 30_000


def advance(state: State) -> tuple[Draft, ...]:
    """The next drafts that follow from `state`; empty when everything waits for the world or for a person.

    Call it again after applying what it gave, until it gives nothing.
    """
    for incident in state.incidents.values():
        if incident.state.rank >= IncidentState.REVIEWED.rank:
            continue
        drafts = tuple(_next(state, incident))
        if drafts:
            return drafts
    return ()


def _next(state: State, incident: Incident) -> Iterator[Draft]:
    """The first of these that has something to do decides."""
    if incident.state is IncidentState.RESOLVED:
        yield from _review(state, incident)
        return
    for stage in (_contain, _contain_by_person, _investigate, _plan, _recover, _resolve_released):
        drafts = tuple(stage(state, incident))
        if drafts:
            yield from drafts
            return


# ---- containment ---------------------------------------------------------------------------------------------------------------


def _contain(state: State, incident: Incident) -> Iterator[Draft]:
    """Run the playbook's steps in order, each for every affected agent; wait where a receipt is missing."""
    if not incident.may_act or _recovery_begun(state, incident):
        return
    rung = ""
    for step in incident.steps:
        if step["do"] in ("fence", "contain"):
            rung = step["rung"]
            drafts, waiting = _for_each_agent(state, incident, f"{step['do']}:{rung}", step)
        elif step["do"] == "capture":
            drafts, waiting = _for_each_agent(state, incident, "capture", step)
        elif step["do"] == "verify":
            drafts, waiting = _verify_agents(state, incident, f"verify:{rung}", int(step["at_most_ms"]))
        else:
            continue
        yield from drafts
        if drafts or waiting:
            return


def _for_each_agent(
    state: State, incident: Incident, name: str, step: dict[str, Any]
) -> tuple[list[Draft], bool]:
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
        drafts, done = _verify_one(state, incident, name, agent, order, at_most_ms=at_most_ms)
        if drafts or not done:
            return drafts, not done
    return [], False


def _verify_one(
    state: State, incident: Incident, name: str, agent: str, order: Intent, *, at_most_ms: int
) -> tuple[list[Draft], bool]:
    """The next draft on the way to a verdict about one agent, and whether the verdict is final."""
    prefix = f"{incident.round}/{name}/{agent}"
    first = state.step(incident.id, prefix)
    if first is None:
        return [_verify_draft(state, incident, prefix, agent, order, None, at_most_ms)], False
    if first.receipt is None:
        return [], False
    if not _has_verdict(incident, first):
        return _verdict_drafts(incident, first), False
    if _verdict_of(first) is not Verdict.UNVERIFIED or order.effect.parameters["rung"] not in FENCING:
        return [], True

    terminate_key = f"{incident.round}/terminate/{agent}"
    terminate = state.step(incident.id, terminate_key)
    if terminate is None:
        return [
            intent_draft(
                state,
                incident.id,
                terminate_key,
                EffectKind.TERMINATE,
                agent,
                deadline_ms=TERMINATE_MS,
                reversal="restart",
                parameters={"reason": "the order to stop was not confirmed"},
            )
        ], False
    if terminate.receipt is None:
        return [], False
    if terminate.receipt.outcome is Outcome.FAILED and not terminate.receipt.detail.get("signalled"):
        return [], True  # Nobody could end it: the verdict stays UNVERIFIED.
    second_key = f"{prefix}/after-termination"
    second = state.step(incident.id, second_key)
    if second is None:
        return [_verify_draft(state, incident, second_key, agent, order, terminate, at_most_ms)], False
    if second.receipt is None:
        return [], False
    if not _has_verdict(incident, second):
        return _verdict_drafts(incident, second), False
    return [], True


def _verify_draft(
    state: State, incident: Incident, key: str, agent: str, order: Intent, terminate: Intent | None, at_most_ms: int
) -> Draft:
    receipt = order.receipt
    assert receipt is not None
    parameters = {
        "rung": order.effect.parameters["rung"],
        "epoch": order.effect.parameters["epoch"],
        "order": order.id,
        "order_outcome": receipt.outcome,
        "acknowledgements": receipt.detail.get("acks", []),
        "unconfirmed": receipt.detail.get("unconfirmed", []),
        "termination": terminate.receipt.detail if terminate and terminate.receipt else None,
        "fenced_ns": (terminate.receipt.at_ns if terminate and terminate.receipt else receipt.at_ns),
    }
    return intent_draft(
        state,
        incident.id,
        key,
        EffectKind.VERIFY,
        agent,
        deadline_ms=at_most_ms,
        reversal="nothing to undo",
        parameters=parameters,
    )


def _verdict_drafts(incident: Incident, intent: Intent) -> list[Draft]:
    """Record a verdict, and the step of the lifecycle that follows from it."""
    assert intent.receipt is not None
    detail = intent.receipt.detail
    verdict = _verdict_of(intent)
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


def _verdict_of(intent: Intent) -> Verdict:
    """A verification that broke proves nothing: it is UNVERIFIED."""
    assert intent.receipt is not None
    return Verdict(intent.receipt.detail.get("verdict", Verdict.UNVERIFIED))


def _has_verdict(incident: Incident, intent: Intent) -> bool:
    return any(given.intent == intent.id for given in incident.verdicts)


def _contain_by_person(state: State, incident: Incident) -> Iterator[Draft]:
    """Verify what a person ordered, the same way as what a playbook ordered."""
    for intent in tuple(state.intents_of(incident.id)):
        if not intent.step.startswith("by-person/") or intent.effect.kind is not EffectKind.ORDER or intent.receipt is None:
            continue
        if intent.effect.parameters["rung"] == "none":
            continue
        key = f"{intent.step}/verify"
        verification = state.step(incident.id, key)
        if verification is None:
            yield _verify_draft(state, incident, key, intent.effect.target, intent, None, VERIFY_MS)
            return
        if verification.receipt is not None and not _has_verdict(incident, verification):
            yield from _verdict_drafts(incident, verification)
            return


def _last_order(state: State, incident: Incident, agent: str) -> Intent | None:
    orders = [
        intent
        for intent in state.intents_of(incident.id)
        if intent.effect.kind is EffectKind.ORDER and intent.effect.target == agent
    ]
    return orders[-1] if orders else None


def _acknowledgements(state: State, incident: Incident, agent: str) -> list[dict[str, Any]]:
    order = _last_order(state, incident, agent)
    return list(order.receipt.detail.get("acks", [])) if order and order.receipt else []


# ---- investigation and plan ----------------------------------------------------------------------------------------------------


def _investigate(state: State, incident: Incident) -> Iterator[Draft]:
    """Investigate once a verdict is there, or at once where nobody may act: it never delays a containment."""
    if not incident.findings:
        return
    key = f"{incident.round}/investigate"
    intent = state.step(incident.id, key)
    if intent is None:
        if incident.may_act and not _containment_done(state, incident):
            return
        if incident.state is IncidentState.CONTAINED:
            yield _moved(incident, IncidentState.INVESTIGATING, "contained; looking for the cause")
        yield intent_draft(
            state,
            incident.id,
            key,
            EffectKind.INVESTIGATE,
            incident.agents[0],
            deadline_ms=INVESTIGATE_MS,
            reversal="nothing to undo",
            parameters={
                "agents": list(incident.agents),
                "traces": sorted({finding.trace_id for finding in incident.findings if finding.trace_id}),
                "findings": [msgspec.to_builtins(finding) for finding in incident.findings],
            },
        )
    elif incident.state is IncidentState.CONTAINED and intent.receipt is not None:
        yield _moved(incident, IncidentState.INVESTIGATING, "contained; the cause was looked for before")


def _containment_done(state: State, incident: Incident) -> bool:
    """Every containment step has its receipt and every verification its verdict."""
    for intent in state.intents_of(incident.id):
        if intent.receipt is None and intent.effect.kind in (
            EffectKind.ORDER,
            EffectKind.CAPTURE,
            EffectKind.TERMINATE,
            EffectKind.VERIFY,
        ):
            return False
    return bool(incident.verdicts)


def _plan(state: State, incident: Incident) -> Iterator[Draft]:
    """Choose how to recover, once the investigation has an answer."""
    intent = state.step(incident.id, f"{incident.round}/investigate")
    if intent is None or intent.receipt is None or incident.plan is not None:
        return
    causes: Sequence[Any] = ()
    if incident.investigation:
        causes = msgspec.convert(incident.investigation, Investigation, strict=False).root_causes
    made = plan(
        causes,
        state.registry,
        agent=incident.agents[0],
        pattern=incident.pattern,
        severity=incident.severity,
        has_supervisor=any(
            each.receipt is not None and each.receipt.outcome is Outcome.DONE
            for each in state.intents_of(incident.id)
            if each.effect.kind is EffectKind.TERMINATE
        ),
    )
    yield Draft(kind="plan.made", incident=incident.id, body={"plan": msgspec.to_builtins(made)})


# ---- recovery ------------------------------------------------------------------------------------------------------------------


def may_recover(incident: Incident) -> bool:
    """Whether the recovery may start now: contained and proven, a plan that can run, and nobody left to ask."""
    if incident.plan is None or incident.recovery_failed or not incident.plan["automatic"]:
        return False
    if incident.containment is not Verdict.VERIFIED and not incident.recovery_approved_by:
        return False
    return bool(incident.recovery_approved_by) or incident.recovery_by == "automatic"


def _recovery_begun(state: State, incident: Incident) -> bool:
    prefix = f"{incident.round}/recover/"
    return any(step.startswith(prefix) for step in state.steps.get(incident.id, {}))


def _recover(state: State, incident: Incident) -> Iterator[Draft]:
    """Run the plan's steps in order; stop at the first that does not succeed."""
    if not may_recover(incident):
        return
    assert incident.plan is not None
    if incident.state.rank < IncidentState.RECOVERING.rank:
        why = f"recovery by {incident.plan['strategy'].replace('_', ' ')}"
        yield _moved(incident, IncidentState.RECOVERING, why)
        return
    for index, step in enumerate(incident.plan["steps"]):
        if step["kind"] is None:
            continue  # A person's step; approving the recovery is what a person does here.
        for agent in incident.agents:
            key = f"{incident.round}/recover/{index}:{step['name']}/{agent}"
            intent = state.step(incident.id, key)
            if intent is None:
                yield from _recovery_step(state, incident, key, step, agent)
                return
            if intent.receipt is None:
                return
            problem = _recovery_problem(step["name"], intent)
            if problem:
                yield Draft(kind="recovery.failed", incident=incident.id, body={"why": problem, "intent": intent.id})
                yield _moved(incident, IncidentState.INVESTIGATING, f"recovery stopped: {problem}")
                return
    yield _moved(incident, IncidentState.RESOLVED, "recovered and verified before the agent was released")


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
        yield Draft(
            kind="registry.activated",
            incident=incident.id,
            body={"agent": agent, "version": parameters["version"], "reason": step["text"]},
        )
    deadlines = {EffectKind.CONFIGURE: CONFIGURE_MS, EffectKind.RESTART: RESTART_MS, EffectKind.PROBE: PROBE_MS}
    reversals = {EffectKind.CONFIGURE: "activate the version before", EffectKind.RESTART: "terminate"}
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


def _recovery_problem(name: str, intent: Intent) -> str:
    """Why a recovery step did not succeed; empty when it did."""
    receipt = intent.receipt
    assert receipt is not None
    if intent.effect.kind is EffectKind.PROBE:
        judged = QualityGate().judge([bool(passed) for passed in receipt.detail.get("passed", [])])
        return "" if judged.accepted else f"quality was not shown to be above 0.8: {judged.why}"
    if receipt.outcome is Outcome.DONE:
        return ""
    missing = receipt.detail.get("missing") or ", ".join(receipt.detail.get("unconfirmed", [])) or receipt.outcome.value
    return f"{name.replace('_', ' ')} was not confirmed: {missing}"


def _resolve_released(state: State, incident: Incident) -> Iterator[Draft]:
    """A person who releases every agent resolves the incident; the record says that nothing verified it."""
    released = [
        intent
        for intent in state.intents_of(incident.id)
        if intent.step.startswith("by-person/") and intent.effect.kind is EffectKind.ORDER and intent.receipt
    ]
    if not released or released[-1].effect.parameters["rung"] != "none":
        return
    if released[-1].receipt is None or released[-1].receipt.outcome is not Outcome.DONE:
        return
    if all(state.rung_of(agent) == "none" for agent in incident.agents):
        yield _moved(incident, IncidentState.RESOLVED, f"released by {released[-1].by} without a verified recovery")


# ---- review --------------------------------------------------------------------------------------------------------------------


def _review(state: State, incident: Incident) -> Iterator[Draft]:
    """Draft the review at resolution."""
    key = "review"
    if state.step(incident.id, key) is None:
        yield intent_draft(
            state,
            incident.id,
            key,
            EffectKind.REVIEW,
            incident.agents[0] if incident.agents else "",
            deadline_ms=REVIEW_MS,
            reversal="nothing to undo",
        )


def _moved(incident: Incident, to: IncidentState, why: str) -> Draft:
    return Draft(kind="incident.moved", incident=incident.id, body={"from": incident.state, "to": to, "why": why})
