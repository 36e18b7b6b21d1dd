"""Orders in force as JSON: each with its scope, author, reason, end, what came of it, and how it is undone."""

from typing import Any

import msgspec

from andoncord.engine.state import Control, Intent, State
from andoncord.incident.incident import Incident
from andoncord.kernel.effect import EffectKind, Outcome
from andoncord.kernel.time import rfc3339
from andoncord.respond.orders import StandingOrder


def all_orders(state: State) -> list[dict[str, Any]]:
    """Everything in force: the rungs that incidents hold agents at, and the orders of their own."""
    held = [control_view(state, control) for control in state.controls.values() if control.rung != "none"]
    return [*held, *(standing_view(state, order) for order in state.orders.in_force.values())]


def orders_of(state: State, incident: Incident) -> list[dict[str, Any]]:
    """The last rung of each agent of an incident, and the orders of their own that it gave or that cover its agents."""
    held = [control_view(state, control) for control in state.controls.values() if control.agent in incident.agents]
    standing = [
        standing_view(state, order)
        for order in state.orders.in_force.values()
        if order.incident == incident.id or any(order.scope.covers(agent, ()) for agent in incident.agents)
    ]
    return [*held, *standing]


def control_view(state: State, control: Control) -> dict[str, Any]:
    """The rung that an incident put in force for one agent."""
    intent = state.intents[control.intent]
    return {
        "id": control.intent,
        "standing": None,
        "agent": control.agent,
        "scope": {"agent": control.agent},
        "what": control.rung,
        "rung": control.rung,
        "epoch": [state.generation, control.epoch],
        "incident": control.incident,
        "by": control.by,
        "reason": control.reason,
        "at": rfc3339(control.since_ns),
        "expires_at": rfc3339(control.expires_ns) if control.expires_ns else None,
        "undo": f"andon resume {control.agent} --reason …",
        **_came_of([intent]),
    }


def standing_view(state: State, order: StandingOrder) -> dict[str, Any]:
    """One order of its own."""
    told = [
        intent
        for intent in state.intents_of(order.incident)
        if intent.standing == order.id and intent.effect.kind is EffectKind.ORDER
    ]
    return {
        "id": order.id,
        "standing": order.id,
        "agent": order.scope.text,
        "scope": msgspec.to_builtins(order.scope),
        "what": order.what,
        "rung": order.rung,
        "rate": order.rate if order.rung == "throttle" else None,
        "allow": list(order.allow),
        "breaker": order.breaker or None,
        "instead": order.instead or None,
        "epoch": [state.generation, order.epoch],
        "incident": order.incident,
        "by": order.by,
        "reason": order.reason,
        "at": rfc3339(order.since_ns),
        "expires_at": rfc3339(order.expires_ns) if order.expires_ns else None,
        "undo": f"andon resume --order {order.id} --reason …",
        **_came_of(told),
    }


def _came_of(told: list[Intent]) -> dict[str, Any]:
    """What the enforcement points answered, over all agents; None while an answer is still missing."""
    receipts = [intent.receipt for intent in told if intent.receipt is not None]
    if not told or len(receipts) < len(told):
        return {"asked": None, "confirmed": None, "unconfirmed": [], "fence_ms": None, "outcome": None}
    times = [receipt.detail.get("fence_ms") for receipt in receipts]
    outcomes = {receipt.outcome for receipt in receipts}
    outcome = outcomes.pop() if len(outcomes) == 1 else Outcome.PARTIAL
    return {
        "asked": _sum(receipt.detail.get("asked") for receipt in receipts),
        "confirmed": _sum(receipt.detail.get("confirmed") for receipt in receipts),
        "unconfirmed": [name for receipt in receipts for name in receipt.detail.get("unconfirmed", ())],
        "fence_ms": max((each for each in times if each is not None), default=None) if None not in times else None,
        "outcome": outcome,
    }


def _sum(counts: Any) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None
