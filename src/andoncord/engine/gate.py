"""The deploy gate: code does not change in the middle of an incident about it."""

from typing import Any

from andoncord.engine.state import State
from andoncord.kernel.vocabulary import Severity


def deploy_gate(state: State, agent: str) -> dict[str, Any]:
    """Whether the code of an agent may be deployed now (RSP-6): not while it is held, nor while a severe
    incident about it is open.

    New code in the middle of an incident destroys what is being looked at, and may be the cause itself.
    """
    why: list[str] = []
    rung = state.rung_of(agent)
    if rung != "none":
        why.append(f"{rung} is in force, {state.controls[agent].incident}")
    why.extend(f"{order.what} is in force, {order.id}" for order in state.orders.on(agent, ()) if order.scope.is_whole)
    blocking = [
        incident.id
        for incident in state.incidents.values()
        if incident.is_open and agent in incident.agents and incident.severity.rank >= Severity.HIGH.rank
    ]
    why.extend(f"{incident} is open" for incident in blocking)
    return {"agent": agent, "allowed": not why, "why": why, "incidents": blocking}
