"""Views of the state as JSON, for the API, the console and the command line. One shape for all three."""

from typing import Any

import msgspec

from andoncord.engine.index import place_of
from andoncord.engine.order_views import orders_of
from andoncord.engine.recovering import needs_approval, recovery_problem
from andoncord.engine.state import Intent, State
from andoncord.engine.stating import at_the_desk
from andoncord.engine.telling import intent_text, receipt_text, timeline
from andoncord.engine.ticketing import ticket_views
from andoncord.incident.changes import Role
from andoncord.incident.classify import labels
from andoncord.incident.incident import Incident
from andoncord.incident.onset import onset
from andoncord.kernel.time import rfc3339, seconds_between
from andoncord.kernel.vocabulary import IncidentState, Verdict
from andoncord.respond.ladder import RUNGS, height
from andoncord.respond.orders import StandingOrder

RUNG_TITLES = {
    "monitor": "Watch {agent} more closely",
    "restrict": "Restrict {agent} to tools that only read",
    "pause": "Pause {agent}",
    "kill": "Kill every run of {agent}",
}
RUNG_EFFECTS = {
    "monitor": "denser heartbeats; nothing is held",
    "restrict": "tools declared as writing are denied, reading goes on",
    "pause": "no further call starts; open runs wait at their next step and can be resumed",
    "kill": "no further call starts; open runs end and cannot be resumed",
}


def summaries(state: State, *, now: int, wanted: str = "all") -> list[dict[str, Any]]:
    """Incidents, the worst and newest first.

    Args:
        wanted: `open`, `all`, or one word of `IncidentState`.
    """
    chosen = [
        incident
        for incident in state.incidents.values()
        if wanted == "all" or (wanted == "open" and incident.is_open) or incident.state.value == wanted
    ]
    chosen.sort(key=place_of, reverse=True)
    return [summary(state, incident, now=now) for incident in chosen]


def summary(state: State, incident: Incident, *, now: int) -> dict[str, Any]:
    """One line of the list of incidents."""
    return {
        "id": incident.id,
        "title": incident.title,
        "state": incident.state,
        "severity": incident.severity,
        "sev": incident.sev,
        "category": incident.category,
        "pattern": incident.pattern,
        "agents": list(incident.agents),
        "environment": incident.environment,
        "opened_at": rfc3339(incident.opened_ns),
        "age_s": round(seconds_between(incident.opened_ns, now), 3),
        "containment": incident.containment,
        "contained_in_s": _contained_in_s(incident),
        "awaiting": awaiting(state, incident),
        "disposition": incident.disposition,
        "findings_n": len(incident.findings) + sum(incident.grouped.values()),
    }


def view(state: State, incident_id: str, *, now: int) -> dict[str, Any]:
    """Everything about one incident.

    Raises:
        NotFoundError: there is none with this id.
    """
    incident = state.incident(incident_id)
    intents = list(state.intents_of(incident_id))
    investigation = incident.investigation or {}
    return {
        **summary(state, incident, now=now),
        **_onset(incident),
        "categories": msgspec.to_builtins(labels(incident.findings, primary=incident.category)),
        "detected_at": rfc3339(incident.detected_ns),
        "contained_at": _when(incident.contained_ns),
        "resolved_at": _when(incident.resolved_ns),
        "reviewed_at": _when(incident.reviewed_ns),
        "detected_in_s": round(max(0.0, seconds_between(incident.onset_ns, incident.detected_ns)), 3),
        "declared_by": incident.declared_by or None,
        "acknowledged_by": incident.acknowledged_by or None,
        "acknowledged_at": _when(incident.acknowledged_ns),
        "playbook": incident.playbook,
        "reasons": list(incident.reasons),
        "verdicts": [
            {
                "at": rfc3339(given.at_ns),
                "at_s": round(seconds_between(incident.detected_ns, given.at_ns), 3),
                "agent": given.agent,
                "verdict": given.verdict,
                "missing": list(given.missing),
                "evidence": list(given.evidence),
                "in_flight": msgspec.to_builtins(given.in_flight),
                "intent": given.intent,
                "order": state.intents[given.intent].effect.parameters.get("order"),
                "stages": [{"stage": each.stage, "at": rfc3339(each.at_ns)} for each in given.stages],
            }
            for given in incident.verdicts
        ],
        "orders": orders_of(state, incident),
        "receipts": [_receipt(intent) for intent in intents if intent.receipt is not None],
        "pending": [
            {
                "intent": intent.id,
                "kind": intent.effect.kind,
                "target": intent.effect.target,
                "since_at": rfc3339(intent.issued_ns),
            }
            for intent in intents
            if intent.receipt is None
        ],
        "next": next_action(state, incident),
        "alternatives": _alternatives(state, incident),
        "findings": [msgspec.to_builtins(finding) for finding in incident.findings],
        "grouped": [{"rule": rule, "count": count} for rule, count in sorted(incident.grouped.items())],
        "responsible": list(investigation.get("responsible", ())),
        "root_causes": list(investigation.get("root_causes", ())),
        "factors": list(investigation.get("factors", ())),
        "blast_radius": _reach(investigation.get("blast_radius")),
        "timeline": timeline(state, incident),
        "impact": incident.impact or {"text": "unknown", "cost_micro_usd": 0, "runs": [], "agents": [], "assumptions": []},
        "recovery": recovery(state, incident),
        "review": review(incident),
        "crew": [{"role": role, "person": incident.crew.get(role)} for role in Role],
        "tickets": ticket_views(state, incident_id),
        "desk": at_the_desk(state, incident_id),
        "merged": list(incident.merged),
        "merged_into": incident.merged_into or None,
        "split_from": incident.split_from or None,
        "changes": [
            {"at": rfc3339(each.at_ns), "by": each.by, "what": each.what, "why": each.why} for each in incident.changes
        ],
        "notes": [{"at": rfc3339(note.at_ns), "by": note.by, "text": note.text} for note in incident.notes],
    }


def _onset(incident: Incident) -> dict[str, Any]:
    """When it began: the estimate, the interval, and what it rests on."""
    found = onset(incident.findings, opened_ns=incident.onset_ns or incident.opened_ns)
    # A merged incident keeps the earliest onset, also of findings that were only counted.
    at_ns = min(incident.onset_ns, found.at_ns) if incident.onset_ns else found.at_ns
    return {
        "onset_at": rfc3339(at_ns),
        "onset_earliest_at": rfc3339(min(at_ns, found.earliest_ns)) if found.earliest_ns else None,
        "onset_latest_at": rfc3339(max(at_ns, found.latest_ns)),
        "onset_basis": found.basis,
    }


def _reach(found: dict[str, Any] | None) -> dict[str, Any] | None:
    """The blast radius with its times as the API shows them; None before the investigation."""
    if found is None:
        return None
    runs = [{name: value for name, value in run.items() if name != "since_ns"} for run in found["runs"]]
    for run, seen in zip(runs, found["runs"], strict=True):
        run["since_at"] = rfc3339(seen["since_ns"])
    return {**found, "runs": runs}


def awaiting(state: State, incident: Incident) -> str | None:
    """`person` when nothing goes on until somebody decides; None while the engine works or all is done."""
    return "person" if (next_action(state, incident) or {}).get("action") not in (None, "none", "complete_review") else None


def next_action(state: State, incident: Incident) -> dict[str, Any] | None:
    """The one thing to do now, or None when there is nothing for a person to do."""
    if incident.state is IncidentState.REVIEWED:
        return None
    if incident.state is IncidentState.RESOLVED:
        return _next_in_review(incident)
    held = [each for each in incident.agents if state.rung_of(each) != "none"]
    standing = [order for order in state.orders.in_force.values() if order.incident == incident.id]
    if standing and not held and not incident.findings:
        return _next_for_order(incident, standing[-1])
    if not incident.verdicts and not incident.may_act and not held:
        return _next_without_trust(state, incident)
    if any(intent.receipt is None for intent in state.intents_of(incident.id)):
        return None
    if incident.containment in (Verdict.UNVERIFIED, Verdict.FAILED):
        missing = "; ".join(incident.verdicts[-1].missing) or "no evidence"
        why = f"not confirmed as stopped. Missing: {missing}"
        return _contain_action(state, incident, "kill", incident.agents[0], why)
    return _next_in_recovery(state, incident, held)


def _next_for_order(incident: Incident, order: StandingOrder) -> dict[str, Any] | None:
    """An order by hand stands until somebody lifts it; only what is not confirmed asks for somebody now."""
    if incident.containment not in (Verdict.UNVERIFIED, Verdict.FAILED):
        return None
    why = f"Missing: {'; '.join(incident.verdicts[-1].missing) or 'evidence'}"
    return _action("none", f"{order.what} for {order.scope.text} is not confirmed", why, incident.agents[0])


def _next_in_review(incident: Incident) -> dict[str, Any] | None:
    """Apply the structural change, then answer what the record cannot."""
    if incident.review is None:
        return None
    agent = incident.agents[0]
    if not incident.proposal_applied and (incident.review.get("review") or {}).get("proposal"):
        return _action("apply_proposal", "Apply the proposed policy", "a review closes only with a structural change", agent)
    return _action("complete_review", "Answer the open questions of the review", "the record cannot answer them", agent)


def _next_without_trust(state: State, incident: Incident) -> dict[str, Any]:
    """Nothing may act by itself: propose the pause."""
    why = (
        "declared by a person: nothing has been stopped yet"
        if incident.declared_by
        else "the signals came without a token bound to this agent, so nothing is stopped without you"
    )
    return _contain_action(state, incident, "pause", incident.agents[0], why)


def _next_in_recovery(state: State, incident: Incident, held: list[str]) -> dict[str, Any] | None:
    agent = incident.agents[0]
    if incident.recovery_failed:
        return _action("approve_recovery", "Try the recovery again", incident.recovery_failed, agent)
    if incident.plan is None or incident.recovery_approved_by:
        return None
    if not incident.plan["automatic"]:
        why = incident.plan.get("person") or incident.plan["why"]
        return _action("release", f"Release {held[0]} when its cause is removed", why, held[0]) if held else None
    if needs_approval(state, incident):
        strategy = incident.plan["strategy"].replace("_", " ")
        return _action("approve_recovery", f"Approve the recovery by {strategy}", incident.plan["why"], agent)
    return None


def recovery(state: State, incident: Incident) -> dict[str, Any] | None:
    """The recovery plan with the state of each step."""
    if incident.plan is None:
        return None
    steps: list[dict[str, Any]] = []
    for index, step in enumerate(incident.plan["steps"]):
        prefix = f"{incident.round}/recover/{index}:{step['name']}/"
        intents = [intent for intent in state.intents_of(incident.id) if intent.step.startswith(prefix)]
        steps.append({"name": step["name"], "state": _step_state(step["name"], intents), "text": _step_text(step, intents)})
    waits = needs_approval(state, incident) and incident.is_open
    return {
        "strategy": incident.plan["strategy"],
        "automatic": incident.plan["automatic"],
        "why": incident.plan["why"],
        "person": incident.plan.get("person", ""),
        "total_minutes": incident.plan["total_minutes"],
        "approved_by": incident.recovery_approved_by or None,
        "failed": incident.recovery_failed or None,
        "steps": steps,
        "awaiting": "person" if waits or incident.recovery_failed else None,
    }


def review(incident: Incident) -> dict[str, Any] | None:
    """The review with the answers that people gave filled in."""
    if incident.review is None:
        return None
    drafted = incident.review.get("review") or {}
    answers = [
        {
            **answer,
            "answer": incident.answers.get(answer["id"], answer["answer"]),
            "needs_person": answer["needs_person"] and answer["id"] not in incident.answers,
        }
        for answer in drafted.get("answers", ())
    ]
    proposal = drafted.get("proposal")
    return {
        "answers": answers,
        "proposal": {**proposal, "applied": bool(incident.proposal_applied)} if proposal else None,
        "markdown": drafted.get("markdown", ""),
        "due_at": _when(drafted.get("due_ns") or 0),
        "path": incident.review.get("path"),
    }


def _action(action: str, title: str, why: str, agent: str) -> dict[str, Any]:
    return {"action": action, "title": title, "why": why, "agent": agent, "rung": None, "dry_run": None}


def _contain_action(state: State, incident: Incident, rung: str, agent: str, why: str) -> dict[str, Any]:
    title = RUNG_TITLES[rung].format(agent=agent)
    return {
        "action": "contain",
        "title": title,
        "why": why,
        "agent": agent,
        "rung": rung,
        "dry_run": dry_run(state, incident, rung, agent),
    }


def dry_run(state: State, incident: Incident, rung: str, agent: str) -> dict[str, Any]:
    """What an order would do, without doing it. Live counts of instances are added by whoever knows the connections."""
    in_force = state.rung_of(agent)
    return {
        "text": f"{RUNG_EFFECTS[rung]}. In force now: {in_force}.",
        "agent": agent,
        "rung": rung,
        "in_force": in_force,
        "undo": "release, at any time" if rung != "kill" else "release lets new runs start; ended runs stay ended",
    }


def _alternatives(state: State, incident: Incident) -> list[dict[str, Any]]:
    """Every rung above what is in force, lowest first."""
    if not incident.is_open or not incident.agents:
        return []
    agent = incident.agents[0]
    in_force = state.rung_of(agent)
    return [
        {"rung": rung, "title": RUNG_TITLES[rung].format(agent=agent), "dry_run": dry_run(state, incident, rung, agent)}
        for rung in RUNGS[1:]
        if height(rung) > height(in_force)
    ]


def _receipt(intent: Intent) -> dict[str, Any]:
    receipt = intent.receipt
    assert receipt is not None
    return {
        "intent": intent.id,
        "kind": intent.effect.kind,
        "target": intent.effect.target,
        "wanted": intent_text(intent),
        "rung": intent.effect.parameters.get("rung"),
        "standing": intent.standing or None,
        "by": intent.by,
        "outcome": receipt.outcome,
        "at": rfc3339(receipt.at_ns),
        "text": receipt_text(intent),
        "undo": intent.effect.reversal,
        "detail": receipt.detail,
    }


def _step_state(name: str, intents: list[Intent]) -> str:
    """`todo`, `running`, `failed` or `done`; a probe that was answered is done only when it showed enough quality."""
    if not intents:
        return "todo"
    if any(intent.receipt is None for intent in intents):
        return "running"
    last = {intent.effect.target: intent for intent in intents}  # A further probe decides for those before it.
    return "failed" if any(recovery_problem(name, intent) for intent in last.values()) else "done"


def _step_text(step: dict[str, Any], intents: list[Intent]) -> str:
    came = "; ".join(receipt_text(intent) for intent in intents if intent.receipt)
    return f"{step['text']} → {came}" if came else str(step["text"])


def _contained_in_s(incident: Incident) -> float | None:
    if not incident.contained_ns:
        return None
    return round(max(0.0, seconds_between(incident.detected_ns, incident.contained_ns)), 3)


def _when(at_ns: int) -> str | None:
    return rfc3339(at_ns) if at_ns else None
