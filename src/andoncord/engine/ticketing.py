"""Tickets: at most one of each incident in each tracker, and the word in it that the incident is over.

A ticket waits for no containment, nor a containment for a ticket.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from andoncord.engine.drafts import intent_draft
from andoncord.engine.facts import PersonAsked
from andoncord.engine.paging import shown
from andoncord.engine.state import Intent, State
from andoncord.engine.stepping import is_before_done, is_looked_into, judged, read_step, step_key
from andoncord.incident.incident import Incident
from andoncord.kernel.effect import EffectKind, Outcome
from andoncord.kernel.errors import ConflictError
from andoncord.kernel.journal import Draft
from andoncord.respond.playbook import Playbook

ASKED_MS = 30_000
RESOLVE_MS = 60_000
NOTHING = "nothing to undo"
NO_TRACKER = "no tracker is configured: trackers is empty"


def open_tickets(state: State, incident: Incident) -> Iterator[Draft]:
    """Begin the first step `ticket` of an incident that has not begun and may."""
    for step in incident.steps:
        if step["do"] != "ticket":
            continue
        key = step_key(incident, step)
        if state.step(incident.id, key) is not None or incident.judged.get(key):
            continue
        if step.get("condition") and not (is_looked_into(state, incident) and is_before_done(state, incident, step)):
            continue
        drafts, is_done = judged(state, incident, step)
        yield from drafts
        if drafts:
            return
        if is_done:
            read = read_step(step)
            tracker = str(read.settings.get("tracker", "")) or state.notices.tracker
            if why := _reason_not_to(state, incident, tracker):
                yield Draft(kind="step.judged", incident=incident.id, body={"step": key, "name": read.name, "skipped": why})
            else:
                whose = {"playbook": read.playbook, "name": read.name}
                yield _opened(state, incident, key, tracker, deadline_ms=read.at_most_ms, reversal=read.undo, **whose)
            return


def ticket_resolved(state: State, incident: Incident) -> Iterator[Draft]:
    """Say in every ticket of an incident that it is over."""
    for intent in tickets_of(state, incident.id):
        step = f"resolved/ticket/{intent.id}"
        if intent.receipt is None or intent.receipt.outcome is not Outcome.DONE or state.step(incident.id, step) is not None:
            continue
        ended = next((each.why for each in reversed(incident.changes) if each.why), "")
        parameters = {
            "kind": "resolve",
            "tracker": intent.effect.parameters["tracker"],
            "ticket": intent.receipt.detail["ticket"],
            "why": ended,
            "disposition": incident.disposition or "",
            **shown(incident),
        }
        yield intent_draft(
            state,
            incident.id,
            step,
            EffectKind.TICKET,
            _agent(incident),
            deadline_ms=RESOLVE_MS,
            reversal=NOTHING,
            parameters=parameters,
        )
        return


def open_by_person(state: State, wish: PersonAsked, playbooks: Sequence[Playbook]) -> tuple[Draft, ...]:
    """Open a ticket by hand."""
    incident = state.incident(wish.incident)
    if not incident.is_open:
        raise ConflictError(f"{incident.id} is {incident.state.value}", remedy="tickets are for incidents that are open")
    tracker = str(wish.parameters.get("tracker") or "") or state.notices.tracker
    if why := _reason_not_to(state, incident, tracker):
        raise ConflictError(why, remedy="" if tracker else "name one under trackers in andon.yaml")
    number = sum(1 for _ in tickets_of(state, incident.id)) + 1
    return (_opened(state, incident, f"by-hand/ticket/{number}", tracker, deadline_ms=ASKED_MS, reversal=NOTHING, by=wish.by),)


def tickets_of(state: State, incident: str) -> Iterator[Intent]:
    """The intents that open tickets of an incident."""
    for intent in state.intents_of(incident):
        if intent.effect.kind is EffectKind.TICKET and intent.effect.parameters["kind"] == "open":
            yield intent


def ticket_views(state: State, incident: str) -> list[dict[str, Any]]:
    """The tickets of an incident: where each is, and whether it says by now that the incident is over."""
    found: list[dict[str, Any]] = []
    for intent in tickets_of(state, incident):
        receipt = intent.receipt
        ticket = receipt.detail.get("ticket") if receipt else None
        over = state.step(incident, f"resolved/ticket/{intent.id}")
        told = over.receipt if over else None
        last = told or receipt
        found.append(
            {
                "tracker": intent.effect.parameters["tracker"],
                "state": _word(receipt.outcome if receipt else None, told.outcome if told else None),
                "id": ticket["id"] if ticket else None,
                "url": ticket["url"] or None if ticket else None,
                "intent": intent.id,
                "by": intent.by,
                "why": str(last.detail.get("missing", "")) if last else "",
            }
        )
    return found


def _word(opened: Outcome | None, told: Outcome | None) -> str:
    if opened is None:
        return "pending"
    if opened is not Outcome.DONE:
        return "failed"
    return {None: "open", Outcome.DONE: "resolved"}.get(told, "not updated")


def _reason_not_to(state: State, incident: Incident, tracker: str) -> str:
    """Why no ticket is opened; empty where nothing is against it."""
    if not tracker:
        return NO_TRACKER
    for intent in tickets_of(state, incident.id):
        is_there = intent.receipt is None or intent.receipt.outcome is Outcome.DONE
        if is_there and intent.effect.parameters["tracker"] == tracker:
            ticket = intent.receipt.detail["ticket"]["id"] if intent.receipt else "one that is being opened"
            return f"{incident.id} has a ticket in {tracker}: {ticket}"
    return ""


def _opened(
    state: State,
    incident: Incident,
    step: str,
    tracker: str,
    *,
    deadline_ms: int,
    reversal: str,
    by: str = "andoncord",
    **whose: str,
) -> Draft:
    return intent_draft(
        state,
        incident.id,
        step,
        EffectKind.TICKET,
        _agent(incident),
        deadline_ms=deadline_ms,
        reversal=reversal,
        parameters={"kind": "open", "tracker": tracker, **whose, **shown(incident)},
        by=by,
    )


def _agent(incident: Incident) -> str:
    return incident.agents[0] if incident.agents else ""
