"""What people do to incidents as a whole: merge, split, assign, star (INC-6, INC-7)."""

from collections.abc import Sequence
from typing import Any

import msgspec

from andoncord.engine.asked import MAX_TEXT, needed, text_of
from andoncord.engine.drafts import moved, order_draft
from andoncord.engine.facts import PersonAsked
from andoncord.engine.judging import judged
from andoncord.engine.recovering import recovery_begun
from andoncord.engine.state import State
from andoncord.engine.telling import timeline
from andoncord.incident.changes import Role
from andoncord.incident.impact import estimate
from andoncord.incident.incident import Incident
from andoncord.kernel.errors import CallerError, ConflictError
from andoncord.kernel.journal import Draft
from andoncord.kernel.vocabulary import Disposition, IncidentState
from andoncord.respond.playbook import Playbook

TAKE_OVER_MS = 1_000
MAX_PERSON = 64


def merge(state: State, wish: PersonAsked, playbooks: Sequence[Playbook]) -> tuple[Draft, ...]:
    """Make another incident part of this one, which takes over what the other holds; the other closes as duplicate."""
    into, other = state.incident(wish.incident), state.incident(needed(text_of(wish, "from"), "from"))
    reason = needed(text_of(wish, "reason"), "reason")
    if into.id == other.id:
        raise CallerError("an incident cannot be merged into itself", place="from")
    _refuse_unless_settled(state, into, "merged")
    _refuse_unless_settled(state, other, "merged")
    if other.severity.rank > into.severity.rank:
        raise ConflictError(
            f"{other.id} is {other.severity.value}, {into.id} only {into.severity.value}",
            remedy=f"merge {into.id} into {other.id}, so that what is done about the worse one goes on",
        )
    impact = msgspec.to_builtins(estimate((*into.findings, *other.findings))) if into.findings or other.findings else {}
    return (
        Draft(
            kind="incident.merged",
            incident=into.id,
            by=wish.by,
            body={"from": other.id, "impact": impact, "reason": reason},
        ),
        *_take_over(state, into.id, other, other.agents, wish, offset=0),
        Draft(kind="incident.absorbed", incident=other.id, by=wish.by, body={"into": into.id, "reason": reason}),
        Draft(
            kind="incident.disposed",
            incident=other.id,
            by=wish.by,
            body={"disposition": Disposition.DUPLICATE, "reason": f"merged into {into.id}"},
        ),
        moved(other, IncidentState.RESOLVED, f"merged into {into.id}", by=wish.by),
    )


def split(state: State, wish: PersonAsked, playbooks: Sequence[Playbook]) -> tuple[Draft, ...]:
    """Give some findings an incident of their own: those that are named, or all about one agent."""
    source = state.incident(wish.incident)
    reason = needed(text_of(wish, "reason"), "reason")
    _refuse_unless_settled(state, source, "split")
    chosen = _chosen(source, wish)
    left = [finding for finding in source.findings if finding not in chosen]
    if not left:
        raise ConflictError("nothing would be left of it", remedy="leave at least one finding")
    agents = tuple(dict.fromkeys(finding.agent for finding in chosen))
    leaving = [agent for agent in agents if agent not in {finding.agent for finding in left}]
    new = f"inc_{len(state.incidents) + 1:06d}"
    ids = [finding.id for finding in chosen]
    opened = {
        "title": text_of(wish, "title") or chosen[0].summary,
        "agents": list(agents),
        "environment": source.environment,
        "onset_ns": min(finding.onset_ns for finding in chosen),
        "reason": f"split off from {source.id}: {reason}",
    }
    shared = {"findings": ids, "agents": leaving, "reason": reason}
    triaged = {"from": IncidentState.DETECTED, "to": IncidentState.TRIAGED, "why": f"split off from {source.id}"}
    return (
        Draft(kind="incident.opened", incident=new, by=wish.by, body=opened),
        Draft(kind="findings.received", incident=new, by=wish.by, body={"from": source.id, **shared}),
        Draft(
            kind="incident.split",
            incident=source.id,
            by=wish.by,
            body={"into": new, **shared, "impact": msgspec.to_builtins(estimate(left))},
        ),
        judged(state, new, chosen, was_allowed=source.may_act, playbooks=playbooks),
        Draft(kind="incident.moved", incident=new, by=wish.by, body=triaged),
        *_take_over(state, new, source, tuple(leaving), wish, offset=0),
    )


def assign(state: State, wish: PersonAsked, playbooks: Sequence[Playbook]) -> tuple[Draft, ...]:
    """Say who does what in an incident; an empty person leaves the role open."""
    incident = state.incident(wish.incident)
    try:
        role = Role(str(wish.parameters.get("role", "")))
    except ValueError:
        raise CallerError("unknown role", place="role", remedy=f"use one of: {', '.join(Role)}") from None
    person = text_of(wish, "person")
    if len(person) > MAX_PERSON or not person.isprintable():
        raise CallerError(f"is at most {MAX_PERSON} printable characters", place="person")
    body = {"role": role, "person": person, "reason": text_of(wish, "reason")}
    return (Draft(kind="role.assigned", incident=incident.id, by=wish.by, body=body),)


def star(state: State, wish: PersonAsked, playbooks: Sequence[Playbook]) -> tuple[Draft, ...]:
    """Mark a moment of the timeline as one that tells the story, or take the mark away."""
    incident = state.incident(wish.incident)
    moment = needed(text_of(wish, "moment"), "moment")
    told = next((each for each in timeline(state, incident) if each["id"] == moment), None)
    if told is None and moment not in incident.starred:
        raise CallerError("there is no such moment in the timeline", place="moment", remedy="take an id of `timeline`")
    body = {
        "moment": moment,
        "star": wish.parameters.get("star", True) is not False,
        "text": told["text"][:MAX_TEXT] if told else "",
    }
    return (Draft(kind="moment.starred", incident=incident.id, by=wish.by, body=body),)


def _chosen(source: Incident, wish: PersonAsked) -> list[Any]:
    """The findings that a wish names."""
    named = wish.parameters.get("findings") or []
    if not isinstance(named, list) or not all(isinstance(each, str) for each in named):
        raise CallerError("is a list of ids of findings", place="findings")
    unknown = [each for each in named if each not in {finding.id for finding in source.findings}]
    if unknown:
        raise CallerError(f"{source.id} has no finding {unknown[0]!r}", place="findings")
    chosen = [each for each in source.findings if each.id in named or (wish.agent and each.agent == wish.agent)]
    if not chosen:
        raise CallerError("no finding is named", place="findings", remedy="name findings, or an agent that some are about")
    return chosen


def _refuse_unless_settled(state: State, incident: Incident, what: str) -> None:
    """An incident whose agents are being let go, or that has orders which others cannot take over, stays as it is."""
    if not incident.is_open:
        raise ConflictError(f"{incident.id} is {incident.state.value}", remedy="only open incidents can be changed")
    if recovery_begun(state, incident):
        raise ConflictError(f"the recovery of {incident.id} is under way", remedy="wait for its end")
    standing = [order.id for order in state.orders.in_force.values() if order.incident == incident.id]
    if standing:
        raise ConflictError(f"{incident.id} has orders of its own in force and cannot be {what}", remedy=f"lift {standing[0]}")


def _take_over(
    state: State, incident: str, source: Incident, agents: Sequence[str], wish: PersonAsked, *, offset: int
) -> list[Draft]:
    """Orders with which an incident goes on holding what another one held, each confirmed by the guards anew."""
    held = [agent for agent in agents if (control := state.controls.get(agent)) and control.incident == source.id]
    held = [agent for agent in held if state.rung_of(agent) != "none"]
    begun = sum(step.startswith("by-person/") and "/verify" not in step for step in state.steps.get(incident, {}))
    return [
        order_draft(
            state,
            incident,
            f"by-person/{begun + number}/{state.rung_of(agent)}/{agent}",
            agent,
            rung=state.rung_of(agent),
            reason=f"taken over from {source.id}",
            deadline_ms=TAKE_OVER_MS,
            by=wish.by,
            offset=offset + number - 1,
        )
        for number, agent in enumerate(held, start=1)
    ]
