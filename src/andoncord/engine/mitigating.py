"""Traffic control and mitigation by playbooks: orders beside the rung, one for each agent, and their end (RSP-5, RSP-6)."""

from collections.abc import Collection, Iterator
from typing import Any

from andoncord.engine.standing import by_playbook, lift_step, lifted
from andoncord.engine.state import State
from andoncord.engine.stepping import read_step, step_key
from andoncord.incident.incident import Incident
from andoncord.kernel.journal import Draft
from andoncord.respond.orders import MAX_BY_PLAYBOOK, Scope, StandingOrder
from andoncord.respond.playbook import Step

PERSON = "person:"


def mitigate(state: State, incident: Incident, step: dict[str, Any]) -> tuple[list[Draft], bool]:
    """Drafts of the orders for agents that have none by this step yet, and whether a receipt is still missing."""
    key, read = step_key(incident, step), read_step(step)
    drafts: list[Draft] = []
    given = 0
    waiting = False
    for agent in incident.agents:
        intent = state.step(incident.id, f"{key}/{agent}")
        if intent is not None:
            waiting = waiting or intent.receipt is None
            continue
        why = _needless(state, incident, read, agent)
        if f"{key}/{agent}" in incident.judged:
            continue
        if why:
            body = {"step": f"{key}/{agent}", "name": read.name, "skipped": why}
            drafts.append(Draft(kind="step.judged", incident=incident.id, body=body))
            continue
        drafts += by_playbook(
            state,
            incident.id,
            f"{key}/{agent}",
            _order(incident, read, agent),
            agent,
            lasts_ms=int(read.settings["lasts_ms"]),
            deadline_ms=read.at_most_ms,
            offset=given,
        )
        given += 1
    return drafts, waiting


def end_mitigation(
    state: State, incident: Incident, *, why: str, before_release: bool = False, agents: Collection[str] | None = None
) -> Iterator[Draft]:
    """Lift the first order that a playbook gave for an incident; nothing when there is none.

    Args:
        before_release: only what would keep the work away from an agent that is let go on: it could not be watched.
        agents: only orders for these; None for all.
    """
    for order in state.orders.in_force.values():
        is_ours = order.incident == incident.id and not order.by.startswith(PERSON)
        is_ours = is_ours and (agents is None or order.scope.agent in agents)
        if is_ours and (not before_release or order.instead == "hand-over"):
            yield from lifted(state, order, [order.scope.agent], reason=why, by="andoncord", step=lift_step(order))
            return


def _order(incident: Incident, step: Step, agent: str) -> StandingOrder:
    settings = step.settings
    return StandingOrder(
        id="",
        scope=Scope(agent=agent, tool=settings["tool"]),
        rung=settings["order"],
        rate=settings["rate"],
        breaker=settings["breaker"],
        instead=settings["instead"],
        reason=f"{incident.pattern.value.replace('_', ' ')}: {incident.title}",
    )


def _needless(state: State, incident: Incident, step: Step, agent: str) -> str:
    """Why an order is not given: the same is in force for this incident already, or there is no room for it; else empty."""
    wanted = _order(incident, step, agent)
    mine = [order for order in state.orders.in_force.values() if order.scope.one_agent == agent]
    for order in mine:
        same = (order.scope, order.rung, order.rate, order.breaker, order.instead)
        if order.incident == incident.id and same == (
            wanted.scope,
            wanted.rung,
            wanted.rate,
            wanted.breaker,
            wanted.instead,
        ):
            return f"{order.id} is in force already"
    if sum(not order.by.startswith(PERSON) for order in mine) >= MAX_BY_PLAYBOOK:
        return f"playbooks have {MAX_BY_PLAYBOOK} orders in force for {agent} already"
    return ""
