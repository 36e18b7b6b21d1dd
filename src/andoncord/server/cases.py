"""From the engine's state to finished cases, as learning reads them; and the performer that drafts reviews."""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from andoncord.engine.queries import recovery
from andoncord.engine.state import State
from andoncord.incident.incident import Incident
from andoncord.investigate.casefile import Investigation
from andoncord.kernel.effect import Effect, EffectKind, Outcome, Receipt
from andoncord.learn.case import Case
from andoncord.learn.review import draft
from andoncord.server.casework import write_durably
from andoncord.server.ports import ServerClock


def case_of(state: State, incident: Incident) -> Case:
    """One incident as learning sees it."""
    investigation = incident.investigation
    active = {agent: state.registry.active(agent) for agent in incident.agents}
    return Case(
        incident=incident.id,
        title=incident.title,
        severity=incident.severity,
        sev=incident.sev,
        category=incident.category,
        pattern=incident.pattern,
        agents=incident.agents,
        environment=incident.environment,
        onset_ns=incident.onset_ns,
        detected_ns=incident.detected_ns,
        contained_ns=incident.contained_ns,
        resolved_ns=incident.resolved_ns,
        disposition=incident.disposition,
        findings=incident.findings,
        investigation=msgspec.convert(investigation, Investigation, strict=False) if investigation else None,
        verdicts=tuple(
            {
                "verdict": given.verdict.value,
                "missing": list(given.missing),
                "evidence": list(given.evidence),
                "at_ns": given.at_ns,
            }
            for given in incident.verdicts
        ),
        orders=_orders(state, incident),
        impact=incident.impact,
        recovery=recovery(state, incident),
        versions={agent: version.version for agent, version in active.items() if version},
        notes=tuple({"at_ns": note.at_ns, "by": note.by, "text": note.text} for note in incident.notes),
    )


def cases(state: State) -> tuple[Case, ...]:
    """Every incident as a case, in the order in which they were opened."""
    return tuple(case_of(state, incident) for incident in state.incidents.values())


class ReviewPerformer:
    """Drafts the post-incident review into a file of its own (LRN-1).

    Args:
        folder: where reviews go: `<folder>/<incident>.md`.
    """

    def __init__(self, *, folder: Path, clock: ServerClock, state: Callable[[], State]) -> None:
        self._folder = folder
        self._clock = clock
        self._state = state

    async def perform(self, intent: str, effect: Effect) -> Receipt:
        state = self._state()
        case = case_of(state, state.incident(effect.incident))
        path = self._folder / f"{effect.incident}.md"

        def write() -> Mapping[str, Any]:
            review = draft(case)
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_durably(path, review.markdown.encode())
            return {"path": str(path), "review": msgspec.to_builtins(review)}

        detail = dict(await asyncio.to_thread(write))
        return Receipt(intent=intent, outcome=Outcome.DONE, at_ns=self._clock.now(), detail=detail)


def _orders(state: State, incident: Incident) -> tuple[dict[str, Any], ...]:
    orders: list[dict[str, Any]] = []
    for intent in state.intents_of(incident.id):
        if intent.effect.kind is not EffectKind.ORDER:
            continue
        detail = intent.receipt.detail if intent.receipt else {}
        orders.append(
            {
                "agent": intent.effect.target,
                "rung": intent.effect.parameters["rung"],
                "by": intent.by,
                "reason": intent.effect.parameters["reason"],
                "asked": detail.get("asked", 0),
                "confirmed": detail.get("confirmed", 0),
                "unconfirmed": list(detail.get("unconfirmed", ())),
                "at_ns": intent.issued_ns,
            }
        )
    return tuple(orders)
