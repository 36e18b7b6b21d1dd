"""Words that a person has to say: notices to the outside, read before they go; answers that a playbook waits for."""

from collections.abc import Sequence
from typing import Any

import msgspec

from andoncord.engine.asked import needed, text_of
from andoncord.engine.drafts import intent_draft
from andoncord.engine.facts import PersonAsked
from andoncord.engine.state import Intent, State
from andoncord.incident.incident import Incident
from andoncord.kernel.effect import EffectKind, Outcome, Receipt
from andoncord.kernel.errors import CallerError, ConflictError, NotFoundError
from andoncord.kernel.journal import Draft
from andoncord.kernel.time import rfc3339
from andoncord.respond.playbook import Playbook
from andoncord.respond.steps import ANSWERS, IRREVERSIBLE

SEND_MS = 30_000
MAX_SUBJECT = 200


def send(state: State, wish: PersonAsked, playbooks: Sequence[Playbook]) -> tuple[Draft, ...]:
    """Send a notice as a person has read it, or changed it, to those whom the settings name for its audience.

    Once it has been sent to somebody it is not sent again; one that reached nobody may be.
    """
    incident = state.incident(wish.incident)
    draft = _draft(state, incident, wish)
    sent = _sent(state, incident, draft)
    if any(each.receipt is None or each.receipt.detail.get("reached") for each in sent):
        raise ConflictError(
            f"it was sent by {sent[-1].by.removeprefix('person:')}", remedy="andon notice list shows whom it reached"
        )
    if draft.id in state.desk.rejected:
        raise ConflictError("it was rejected", remedy="have it drafted again: andon playbook fork")
    to = wish.parameters.get("to")
    audience = draft.effect.parameters["notice"]
    if not isinstance(to, list) or not to:
        raise ConflictError(f"nobody is named for {audience} notices", remedy=f"add notices.{audience} to andon.yaml")
    subject, text = needed(text_of(wish, "subject"), "subject"), needed(text_of(wish, "text"), "text")
    if len(subject) > MAX_SUBJECT or "\n" in subject:
        raise CallerError(f"is one line of at most {MAX_SUBJECT} characters", place="subject")
    return (
        intent_draft(
            state,
            incident.id,
            f"statement/{draft.id}/{len(sent) + 1}",
            EffectKind.NOTIFY,
            draft.effect.target,
            deadline_ms=SEND_MS,
            reversal=f"{IRREVERSIBLE}: it was read",
            parameters={
                "kind": "statement",
                "to": to,
                "audience": audience,
                "draft": draft.id,
                "subject": subject,
                "text": text,
            },
            by=wish.by,
        ),
    )


def reject(state: State, wish: PersonAsked, playbooks: Sequence[Playbook]) -> tuple[Draft, ...]:
    """Say that a notice is not sent."""
    incident = state.incident(wish.incident)
    draft = _draft(state, incident, wish)
    if _sent(state, incident, draft):
        raise ConflictError("it was sent already")
    body = {"draft": draft.id, "reason": needed(text_of(wish, "reason"), "reason")}
    return (Draft(kind="statement.rejected", incident=incident.id, by=wish.by, body=body),)


def answer(state: State, wish: PersonAsked, playbooks: Sequence[Playbook]) -> tuple[Draft, ...]:
    """Say yes or no to what a playbook asks; the answer is the step's receipt."""
    incident = state.incident(wish.incident)
    named = needed(text_of(wish, "step"), "step")
    asked = [each for each in state.intents_of(incident.id) if each.effect.kind is EffectKind.ASK]
    found = [each for each in asked if named in (each.id, each.effect.parameters["name"])]
    if not found:
        known = ", ".join(each.effect.parameters["name"] for each in asked) or "none"
        raise NotFoundError(f"{incident.id} asks nothing called {named!r}", remedy=f"questions: {known}")
    intent = found[-1]
    if intent.receipt is not None:
        raise ConflictError(f"it was answered: {intent.receipt.detail.get('answer')}")
    said = text_of(wish, "answer")
    if said not in ANSWERS:
        raise CallerError(f"unknown answer {said!r}", place="answer", remedy=f"use one of: {', '.join(ANSWERS)}")
    role, name = intent.effect.parameters.get("role") or "", wish.by.removeprefix("person:")
    people = (wish.parameters.get("roles") or {}).get(role, ())
    if role and name not in people:
        remedy = f"ask one of: {', '.join(people)}" if people else f"name people under approvals.roles.{role} in andon.yaml"
        raise ConflictError(f"{name} is not in the role {role!r}", remedy=remedy)
    at_ns = state.head.at_ns if state.head else 0
    detail = {"answer": said, "by": wish.by, "reason": text_of(wish, "reason")}
    receipt = Receipt(intent=intent.id, outcome=Outcome.DONE, at_ns=at_ns, detail=detail)
    return (Draft(kind="receipt.recorded", incident=incident.id, by=wish.by, body={"receipt": msgspec.to_builtins(receipt)}),)


def statements(state: State, incident_id: str) -> list[dict[str, Any]]:
    """The drafts of notices of an incident, each with what became of it.

    Raises:
        NotFoundError: there is no such incident.
    """
    incident = state.incident(incident_id)
    shown: list[dict[str, Any]] = []
    for draft in state.intents_of(incident.id):
        if draft.effect.kind is not EffectKind.DRAFT:
            continue
        detail = draft.receipt.detail if draft.receipt else {}
        sent = _sent(state, incident, draft)
        rejected = state.desk.rejected.get(draft.id)
        last = sent[-1] if sent else None
        came = last.receipt.detail if last and last.receipt else {}
        words = last.effect.parameters if last else detail
        shown.append(
            {
                "draft": draft.id,
                "audience": draft.effect.parameters["notice"],
                "state": _word(draft, last, rejected),
                "why": rejected or detail.get("missing") or came.get("missing") or None,
                "subject": words.get("subject", ""),
                "text": words.get("text", ""),
                "template": detail.get("template"),
                "by": last.by if last else None,
                "reached": list(came.get("reached", ())),
                "at": rfc3339((last or draft).issued_ns),
            }
        )
    return shown


def at_the_desk(state: State, incident_id: str) -> dict[str, int]:
    """How much of an incident waits for a person at the desk, by what it is."""
    outstanding = (each for each in state.intents_of(incident_id) if each.receipt is None)
    return {
        "held": len(state.desk.still_held(incident=incident_id)),
        "handed_over": sum(each.incident == incident_id for each in state.desk.waiting()),
        "drafts": sum(each["state"] in ("draft", "not sent") for each in statements(state, incident_id)),
        "questions": sum(each.effect.kind is EffectKind.ASK for each in outstanding),
    }


def _word(draft: Intent, last: Intent | None, rejected: str | None) -> str:
    if rejected is not None:
        return "rejected"
    if draft.receipt is None:
        return "being written"
    if not draft.receipt.detail.get("text"):
        return "not written"
    if last is None:
        return "draft"
    if last.receipt is None:
        return "being sent"
    return "sent" if last.receipt.detail.get("reached") else "not sent"


def _draft(state: State, incident: Incident, wish: PersonAsked) -> Intent:
    named = needed(text_of(wish, "draft"), "draft")
    for intent in state.intents_of(incident.id):
        if intent.effect.kind is EffectKind.DRAFT and named == intent.id:
            if intent.receipt is None:
                raise ConflictError("it is being written")
            return intent
    raise NotFoundError(f"{incident.id} has no draft {named!r}", remedy=f"andon notice list {incident.id}")


def _sent(state: State, incident: Incident, draft: Intent) -> list[Intent]:
    return [each for each in state.intents_of(incident.id) if each.effect.parameters.get("draft") == draft.id]
