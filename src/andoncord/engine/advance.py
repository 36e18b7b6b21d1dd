"""What follows from the state: the next step of every incident.

`advance` looks at the state alone, never at what has just happened, so it gives the same answer after a crash as before it.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from andoncord.engine.containing import contain, contain_by_person
from andoncord.engine.drafts import intent_draft, moved
from andoncord.engine.paging import tell, tell_resolved
from andoncord.engine.recovering import recover, resolve_released
from andoncord.engine.retrying import plain, retry_instead
from andoncord.engine.state import State
from andoncord.engine.ticketing import open_tickets, ticket_resolved
from andoncord.engine.undoing import undo
from andoncord.engine.working import work
from andoncord.incident.incident import Incident
from andoncord.investigate.casefile import Investigation
from andoncord.kernel.effect import EffectKind, Outcome
from andoncord.kernel.journal import Draft
from andoncord.kernel.vocabulary import IncidentState
from andoncord.recover.plan import plan

INVESTIGATE_MS = 120_000
"""Chosen: investigations take turns, and after a storm the last of them waits for many."""
REVIEW_MS = 10_000


def advance(state: State, touched: Iterable[str] | None = None) -> tuple[Draft, ...]:
    """The next drafts that follow from `state`; empty when everything waits for the world or for a person.

    Call it again after applying what it gave, until it gives nothing.

    Args:
        touched: incidents that something was recorded about since it last gave nothing; None looks at all. Incidents that
            share an agent with them are looked at too: what one lets go, another may have waited for.
    """
    for incident in _near(state, touched):
        if incident.state.rank >= IncidentState.REVIEWED.rank:
            continue
        drafts = tuple(ticket_resolved(state, incident) if incident.merged_into else _next(state, incident))
        if drafts:
            return drafts
    return ()


def _near(state: State, touched: Iterable[str] | None) -> list[Incident]:
    if touched is None:
        return list(state.incidents.values())
    near = {incident_id for incident_id in touched if incident_id}
    chosen = [state.incidents[incident_id] for incident_id in sorted(near)]
    agents = {agent for incident in chosen for agent in incident.agents}
    others = [state.incidents[incident] for incident in state.index.of_agents(agents) if incident not in near]
    return chosen + others


def _next(state: State, incident: Incident) -> Iterator[Draft]:
    """The first of these that has something to do decides."""
    if incident.state is IncidentState.RESOLVED:
        over = (tell_resolved, ticket_resolved, _review)
        stages = (undo, *over) if incident.undo and not incident.undo["finished"] else over
        yield from next((drafts for stage in stages if (drafts := tuple(stage(state, incident)))), ())
        return
    for stage in (undo, contain, contain_by_person, tell, open_tickets, _investigate, work, _plan, recover, resolve_released):
        drafts = tuple(stage(state, incident))
        if drafts:
            yield from drafts
            return


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
            yield moved(incident, IncidentState.INVESTIGATING, "contained; looking for the cause")
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
        yield moved(incident, IncidentState.INVESTIGATING, "contained; the cause was looked for before")


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
    """Choose how to recover, once the investigation of this round has an answer."""
    intent = state.step(incident.id, f"{incident.round}/investigate")
    if intent is None or intent.receipt is None or incident.plan_round == incident.round:
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
    drafts, chosen = retry_instead(state, incident, made)
    yield from drafts
    yield Draft(kind="plan.made", incident=incident.id, body={"plan": plain(chosen)})


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
