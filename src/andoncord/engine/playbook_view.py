"""What the playbooks of an incident have done, are doing and would do, and what can be undone; nothing is done by asking."""

from typing import Any

from andoncord.engine.books import facts_of
from andoncord.engine.state import Intent, State
from andoncord.engine.stepping import outcomes, read_step, step_key
from andoncord.engine.telling import intent_text, receipt_text
from andoncord.engine.undoing import may_have_changed
from andoncord.incident.incident import Incident
from andoncord.respond.playbook import Playbook, Step
from andoncord.respond.rehearse import skip_reason
from andoncord.respond.steps import KINDS


def playbook_view(state: State, incident_id: str) -> dict[str, Any]:
    """The frozen steps of an incident, each with what became of it, or would.

    Raises:
        NotFoundError: there is no such incident.
    """
    incident = state.incident(incident_id)
    facts = {"incident": facts_of(incident), "steps": outcomes(state, incident)}
    return {
        "incident": incident.id,
        "playbooks": incident.playbook.split(", ") if incident.playbook else [],
        "set": incident.book or None,
        "acts": incident.may_act,
        "attempt": incident.round,
        "recovery": {"by": incident.recovery_by, "role": incident.recovery_role},
        "steps": [_step(state, incident, step, facts) for step in incident.steps],
        "undo": incident.undo,
        "undoable": [
            {"intent": intent.id, "text": intent_text(intent), "undo": intent.effect.reversal}
            for intent in reversed(list(state.intents_of(incident.id)))
            if may_have_changed(intent)
        ],
    }


def summary(playbook: Playbook) -> dict[str, Any]:
    """A playbook in short."""
    when = playbook.when
    shown = {
        "severity": list(when.severities),
        "category": list(when.categories),
        "pattern": list(when.patterns),
        "impact": list(when.impacts),
        "if": when.condition,
    }
    return {
        "id": playbook.id,
        "version": playbook.version,
        "when": {name: value for name, value in shown.items() if value},
        "steps": [step.name for step in playbook.steps],
        "recovery": playbook.recovery or None,
        "source": playbook.source,
    }


def _step(state: State, incident: Incident, frozen: dict[str, Any], facts: dict[str, Any]) -> dict[str, Any]:
    step = read_step(frozen)
    intents = _intents(state, incident, frozen, step)
    status, why = _status(incident, frozen, step, intents, facts)
    return {
        "playbook": step.playbook,
        "name": step.name,
        "do": step.do,
        "rung": step.rung or None,
        "if": step.condition or None,
        "limit": f"{step.limit} in {step.per_ms // 60_000} min" if step.limit else None,
        "at_most_ms": step.at_most_ms,
        "undo": step.undo,
        "settings": step.settings,
        "state": status,
        "why": why or None,
        "intents": [intent.id for intent in intents],
        "came": [receipt_text(intent) for intent in intents if intent.receipt is not None],
    }


def _status(
    incident: Incident, frozen: dict[str, Any], step: Step, intents: list[Intent], facts: dict[str, Any]
) -> tuple[str, str]:
    """One of `would be done`, `would be skipped`, `skipped`, `running`, `done`, `not done`; and why."""
    recorded = incident.judged.get(step_key(incident, frozen))
    if recorded:
        return "skipped", recorded
    if any(intent.receipt is None for intent in intents):
        return "running", ""
    if intents:
        outcome = facts["steps"].get(step.name, "")
        return ("done", "") if outcome in ("done", "verified") else ("not done", outcome)
    if step.do == "retry" and incident.retried:
        return ("skipped" if incident.retried == "refused" else "done"), f"retry {incident.retried}"
    if step.do == "retry" and incident.plan is not None:
        return "would be skipped", f"another way back is known: {incident.plan['strategy'].replace('_', ' ')}"
    if not incident.may_act:
        return "would be skipped", "no trusted finding in mode act, and no person, has allowed the playbook to act"
    why = skip_reason(step, facts)
    return ("would be skipped", why) if why else ("would be done", "")


def _intents(state: State, incident: Incident, frozen: dict[str, Any], step: Step) -> list[Intent]:
    key = step_key(incident, frozen)
    if step.do == "investigate":
        key = f"{incident.round}/investigate"
    prefix = f"{incident.round}/verify:" if step.do == "verify" else f"{key}/"
    if KINDS[step.do].effect is None:
        return []
    return [each for each in state.intents_of(incident.id) if each.step == key or each.step.startswith(prefix)]
