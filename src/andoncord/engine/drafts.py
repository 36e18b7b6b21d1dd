"""How intents are written down."""

from typing import Any

import msgspec

from andoncord.engine.state import State
from andoncord.incident.incident import Incident
from andoncord.kernel.effect import Effect, EffectKind
from andoncord.kernel.journal import Draft
from andoncord.kernel.vocabulary import IncidentState
from andoncord.respond.ladder import height

CAPTURE_MS = 2_000
"""How long sealing evidence may take (RSP-14)."""


def intent_draft(
    state: State,
    incident: str,
    step: str,
    kind: EffectKind,
    target: str,
    *,
    deadline_ms: int,
    reversal: str,
    parameters: dict[str, Any] | None = None,
    by: str = "andoncord",
    offset: int = 0,
) -> Draft:
    """An `intent.issued` draft.

    Args:
        step: unique within the incident; issuing the same step twice is a bug.
        offset: how many intents of the same incident were drafted before it in the same batch.
    """
    assert state.step(incident, step) is None, f"step {step} of {incident} was issued before"
    number = len(state.steps.get(incident, {})) + 1 + offset
    intent = f"{incident or 'sys'}.{number:03d}"
    effect = Effect(
        kind=kind,
        target=target,
        incident=incident,
        key=intent,
        deadline_ms=deadline_ms,
        reversal=reversal,
        parameters=parameters or {},
    )
    body = {"intent": intent, "step": step, "effect": msgspec.to_builtins(effect)}
    return Draft(kind="intent.issued", incident=incident, by=by, body=body)


def order_draft(
    state: State,
    incident: str,
    step: str,
    agent: str,
    *,
    rung: str,
    reason: str,
    deadline_ms: int,
    by: str = "andoncord",
    may_lower: bool = False,
    lasts_ms: int = 0,
    offset: int = 0,
) -> Draft:
    """An order to an agent's guards with the next epoch. Unless `may_lower`, what is in force is never lowered (RSP-15).

    Args:
        lasts_ms: after how long it ends by itself; 0 for never.
    """
    in_force = state.rung_of(agent)
    if not may_lower and height(in_force) > height(rung):
        rung = in_force
    return intent_draft(
        state,
        incident,
        step,
        EffectKind.ORDER,
        agent,
        deadline_ms=deadline_ms,
        reversal="order the rung that was in force before" if rung == "none" else "release",
        parameters={
            "rung": rung,
            "epoch": [state.generation, state.epoch + 1 + offset],
            "reason": reason,
            "by": by,
            "before": in_force,
            **({"lasts_ms": lasts_ms} if lasts_ms else {}),
        },
        by=by,
        offset=offset,
    )


def capture_draft(
    state: State, incident: str, step: str, agent: str, acknowledgements: list[dict[str, Any]], *, by: str
) -> Draft:
    """A draft to seal evidence about an agent, as a person wants it."""
    return intent_draft(
        state,
        incident,
        step,
        EffectKind.CAPTURE,
        agent,
        deadline_ms=CAPTURE_MS,
        reversal="nothing to undo",
        parameters={"acknowledgements": acknowledgements},
        by=by,
    )


def held_by_others(state: State, incident: str, agent: str) -> str:
    """The highest rung that other open incidents want for an agent: what stays in force when this incident lets go."""
    wanted = "none"
    for other in state.index.of_agents({agent}):
        if other == incident:
            continue
        orders = [
            intent
            for intent in state.intents_of(other)
            if intent.effect.kind is EffectKind.ORDER and intent.effect.target == agent and not intent.standing
        ]
        if orders:
            wanted = max(wanted, str(orders[-1].effect.parameters["rung"]), key=height)
    return wanted


def moved(incident: Incident, to: IncidentState, why: str, *, by: str = "andoncord") -> Draft:
    """An `incident.moved` draft."""
    return Draft(kind="incident.moved", incident=incident.id, by=by, body={"from": incident.state, "to": to, "why": why})
