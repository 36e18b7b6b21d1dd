"""Orders of their own: given by a person, lifted by a person or when their time is over, each by itself.

What an order changes is told to every guard that it covers, by one intent for each agent, under one epoch. Agents that come
later learn of it when they register.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from andoncord.engine.asked import declare, lasts_ms, needed, text_of
from andoncord.engine.drafts import intent_draft
from andoncord.engine.facts import PersonAsked
from andoncord.engine.state import State
from andoncord.kernel.effect import EffectKind
from andoncord.kernel.errors import CallerError, ConflictError, NotFoundError
from andoncord.kernel.journal import Draft
from andoncord.kernel.vocabulary import Severity
from andoncord.respond.ladder import height
from andoncord.respond.orders import MAX_IN_FORCE, StandingOrder, checked
from andoncord.respond.playbook import Playbook

ORDER_MS = 1_000
PERSON = "person:"
MAX_AGENTS = 10_000
"""Agents that one order is told to at once."""
MESSAGES = ("deliver", "drop")
SEVERITIES = {"kill": Severity.CRITICAL, "pause": Severity.HIGH, "quarantine": Severity.HIGH}
"""Of the incident that an order by hand opens; low for the others."""


def give(state: State, wish: PersonAsked, playbooks: Sequence[Playbook]) -> tuple[Draft, ...]:
    """Put an order in force for a scope. What is in force beside it stays: the strictest decides."""
    parameters = wish.parameters
    scope, rung, rate, allow, breaker = checked(
        scope=dict(parameters.get("about") or {}),
        rung=str(parameters.get("rung") or ""),
        rate=parameters.get("rate"),
        allow=tuple(parameters.get("allow") or ()),
        breaker=str(parameters.get("breaker") or ""),
        instead=str(parameters.get("instead") or ""),
    )
    agents = _agents(wish)
    if sum(order.by.startswith(PERSON) for order in state.orders.in_force.values()) >= MAX_IN_FORCE:
        raise ConflictError(f"{MAX_IN_FORCE} orders are in force", remedy="lift one first: andon orders")
    order = StandingOrder(
        id=f"ord_{state.orders.given + 1:06d}",
        scope=scope,
        rung=rung,
        rate=rate,
        allow=allow,
        breaker=breaker,
        instead=parameters.get("instead") or "",
        reason=text_of(wish, "reason") or f"{rung if rung != 'none' else parameters.get('instead') or 'breaker'} by hand",
        epoch=state.epoch + 1,
    )
    opened = _incident(state, wish, order, agents, playbooks)
    incident = opened[0].incident if opened else _home(state, order)
    body: dict[str, Any] = {"order": msgspec.to_builtins(order), "agents": agents}
    if given_ms := lasts_ms(wish):
        body["lasts_ms"] = given_ms
    given = Draft(kind="order.given", incident=incident, by=wish.by, body=body)
    told = _tell(state, order, incident, agents, epoch=order.epoch, reason=order.reason, by=wish.by)
    return (*opened, given, *told)


def lift(state: State, wish: PersonAsked, playbooks: Sequence[Playbook]) -> tuple[Draft, ...]:
    """Take one order out of force, and no other."""
    order = state.orders.in_force.get(str(wish.parameters.get("order", "")))
    if order is None:
        raise NotFoundError(f"no order {wish.parameters.get('order')!r} is in force", remedy="andon orders lists them")
    reason = needed(text_of(wish, "reason"), "reason")
    messages = str(wish.parameters.get("messages") or "deliver")
    if messages not in MESSAGES:
        raise CallerError(f"unknown end {messages!r}", place="messages", remedy=f"use one of: {', '.join(MESSAGES)}")
    if messages == "drop" and order.rung != "quarantine":
        raise CallerError("is for a quarantine", place="messages")
    return lifted(state, order, _agents(wish), reason=reason, by=wish.by, messages=messages)


def next_end_ns(state: State) -> int | None:
    """When the next order of its own ends by itself; None when none does."""
    return min((order.expires_ns for order in state.orders.in_force.values() if order.expires_ns), default=None)


def end_standing(state: State, now_ns: int) -> Iterator[Draft]:
    """Lift the first order whose time is over. Messages that it held are delivered."""
    for order in state.orders.in_force.values():
        if order.expires_ns and order.expires_ns <= now_ns:
            agents = [intent.effect.target for intent in state.intents_of(order.incident) if intent.standing == order.id]
            reason = f"the time that {order.by.removeprefix('person:')} gave is over"
            step = "" if order.by.startswith(PERSON) else lift_step(order)
            yield from lifted(state, order, list(dict.fromkeys(agents)), reason=reason, by="andoncord", step=step)
            return


def by_playbook(
    state: State, incident: str, step: str, order: StandingOrder, agent: str, *, lasts_ms: int, deadline_ms: int, offset: int
) -> tuple[Draft, ...]:
    """The drafts of an order that a playbook gives for one agent.

    Args:
        order: what is ordered and why; who, when and under which number is filled in.
        offset: how many orders were drafted before it in the same batch.
    """
    epoch = state.epoch + 1 + offset
    given = msgspec.structs.replace(order, id=f"ord_{state.orders.given + 1 + offset:06d}", epoch=epoch)
    body: dict[str, Any] = {"order": msgspec.to_builtins(given), "agents": [agent]}
    if lasts_ms:
        body["lasts_ms"] = lasts_ms
    told = _tell(
        state,
        given,
        incident,
        [agent],
        epoch=epoch,
        reason=given.reason,
        by="andoncord",
        step=step,
        deadline_ms=deadline_ms,
        offset=offset,
    )
    return (Draft(kind="order.given", incident=incident, body=body), *told)


def lift_step(order: StandingOrder) -> str:
    """The step that the end of an order of a playbook is: nobody released anything by it."""
    return f"lift/{order.id}/{order.scope.agent}"


def lifted(
    state: State,
    order: StandingOrder,
    agents: Sequence[str],
    *,
    reason: str,
    by: str,
    messages: str = "deliver",
    step: str = "",
) -> tuple[Draft, ...]:
    """The drafts that take an order out of force.

    Args:
        step: the step that it is; empty where it is none of a playbook or an undo.
    """
    body = {"order": order.id, "epoch": state.epoch + 1, "reason": reason, "messages": messages}
    taken = Draft(kind="order.lifted", incident=order.incident, by=by, body=body)
    told = _tell(state, order, order.incident, agents, epoch=state.epoch + 1, reason=reason, by=by, is_lifted=True, step=step)
    return (taken, *told)


def _tell(
    state: State,
    order: StandingOrder,
    incident: str,
    agents: Sequence[str],
    *,
    epoch: int,
    reason: str,
    by: str,
    is_lifted: bool = False,
    step: str = "",
    deadline_ms: int = ORDER_MS,
    offset: int = 0,
) -> list[Draft]:
    """One intent for each agent: its guards take the set as it is now.

    Args:
        step: the step that it is; empty for an order by hand, which is watched and given a verdict.
    """
    word = "none" if is_lifted else "breaker" if order.breaker else order.instead or order.rung
    # What holds some of an agent's calls restricts the agent, however hard it holds those: the agent itself goes on.
    means = order.rung if order.scope.is_whole else min(order.rung, "restrict", key=height)
    return [
        intent_draft(
            state,
            incident,
            step or f"by-person/{order.id}/{word}/{agent}",
            EffectKind.ORDER,
            agent,
            deadline_ms=deadline_ms,
            reversal="give the order again" if is_lifted else f"lift {order.id}",
            parameters={
                "rung": "none" if is_lifted else means,
                "epoch": [state.generation, epoch],
                "reason": reason,
                "by": by,
                "standing": order.id,
                "what": order.what,
                "scope": msgspec.to_builtins(order.scope),
                **({} if is_lifted or order.scope.is_whole else {"within": _within(order)}),
                "scope_text": order.scope.text,
                "needs": sorted(order.capabilities),
            },
            by=by,
            offset=offset + number,
        )
        for number, agent in enumerate(agents)
    ]


def _within(order: StandingOrder) -> dict[str, Any]:
    """Which calls must not begin any more, for the watch after an order about one tool or run."""
    return {
        "tool": order.scope.tool,
        "run": order.scope.run,
        "rung": order.rung,
        "allow": list(order.allow),
        "text": order.scope.text,
    }


def _incident(
    state: State, wish: PersonAsked, order: StandingOrder, agents: Sequence[str], playbooks: Sequence[Playbook]
) -> tuple[Draft, ...]:
    """The entries that open an incident for an order; none where an open one of the only agent takes it in."""
    if _home(state, order):
        return ()
    title = f"{order.what} for {order.scope.text} ordered by hand"
    asked = {"title": title[:200], "severity": SEVERITIES.get(order.rung, Severity.LOW), "reason": order.reason}
    declared = declare(state, msgspec.structs.replace(wish, agent=agents[0], parameters=asked), playbooks)
    opened = msgspec.structs.replace(declared[0], body={**declared[0].body, "agents": list(agents)})
    return (opened, *declared[1:])


def _home(state: State, order: StandingOrder) -> str:
    """The open incident that an order for one agent belongs to: one with findings about it, or about nobody else."""
    agent = order.scope.one_agent
    found = (
        incident.id
        for incident in reversed(state.incidents.values())
        if incident.is_open and agent in incident.agents and (incident.findings or incident.agents == (agent,))
    )
    return next(found, "") if agent else ""


def _agents(wish: PersonAsked) -> list[str]:
    """The known agents that the order covers, as whoever asked found them."""
    agents = wish.parameters.get("agents")
    if not isinstance(agents, list) or not agents or not all(isinstance(agent, str) and agent for agent in agents):
        raise CallerError("agents is missing", place="agents", remedy="name at least one agent")
    if len(agents) > MAX_AGENTS:
        raise CallerError(f"more than {MAX_AGENTS} agents at once", place="agents")
    return agents
