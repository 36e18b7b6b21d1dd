"""Orders of their own, for whoever asks: which agents a scope covers, whether anybody can carry it out, what is in force."""

from typing import Any

from andoncord.engine.order_views import all_orders
from andoncord.kernel.errors import CallerError, ConflictError, NotFoundError
from andoncord.kernel.time import SECOND_NS, rfc3339
from andoncord.respond.orders import Scope, StandingOrder, checked, lacking
from andoncord.server.control import KNOWN_SHOWN, Control
from andoncord.telemetry.event import EventKind

RUN_LOOK_BACK_NS = 24 * 3_600 * SECOND_NS
RUNS_LOOKED_AT = 2_000
AGENTS_LOOKED_AT = 50
"""Agents whose runs are looked through for one that was named without its agent."""


class Ordering:
    """Reads and prepares; what is asked for is granted by the engine."""

    def __init__(self, control: Control) -> None:
        self._control = control

    def in_force(self) -> list[dict[str, Any]]:
        """Every order in force, of incidents and of their own."""
        return all_orders(self._control.state)

    def prepared(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """The parameters of a wish to order, with the agents that it covers.

        Raises:
            CallerError: it makes no sense.
            NotFoundError: it covers no known agent: an order to nobody would look like one that was obeyed.
            ConflictError: nobody who is connected can carry it out.
        """
        scope, rung, rate, allow, breaker = checked(
            scope=dict(parameters.get("scope") or {}),
            rung=parameters.get("rung") or "",
            rate=parameters.get("rate"),
            allow=tuple(parameters.get("allow") or ()),
            breaker=parameters.get("breaker") or "",
            instead=parameters.get("instead") or "",
        )
        if scope.run and not scope.one_agent:
            scope = self._scope_of_run(scope)
        agents = self._covered(scope)
        order = StandingOrder(
            id="", scope=scope, rung=rung, rate=rate, allow=allow, breaker=breaker, instead=parameters.get("instead") or ""
        )
        self._refuse_impossible(order, agents)
        said = {"agent": scope.agent, "role": scope.role, "tool": scope.tool, "run": scope.run}
        return {**{name: value for name, value in parameters.items() if name != "scope"}, "about": said, "agents": agents}

    def agents_of(self, order: str) -> list[str]:
        """The agents that hear of an order being lifted: those it covers now.

        Raises:
            NotFoundError: it is not in force.
        """
        known = self._control.state.orders.in_force.get(order)
        if known is None:
            raise NotFoundError(f"no order {order!r} is in force", remedy="GET /api/v1/orders lists them")
        return self._covered(known.scope)

    def breakers(self) -> list[dict[str, Any]]:
        """Every breaker that is not closed, as its guard last reported it, and every one that an order holds."""
        reported = [
            {
                "agent": guard.agent,
                "instance": guard.instance,
                "breaker": name,
                "state": state,
                "forced": None,
                "reported_at": rfc3339(guard.seen_ns),
            }
            for guard in self._control.hub.all()
            for name, state in sorted((guard.state.get("breakers") or {}).items())
        ]
        forced = [
            {
                "agent": order.scope.agent,
                "instance": None,
                "breaker": order.scope.tool,
                "state": order.breaker,
                "forced": order.id,
                "reported_at": None,
            }
            for order in self._control.state.orders.in_force.values()
            if order.breaker
        ]
        return [*forced, *reported]

    def _covered(self, scope: Scope) -> list[str]:
        """The known agents that a scope covers; of several, those are left out whose processes have all said goodbye.

        Whoever comes back hears of the order when it registers.
        """
        fleet = {each["agent"]: each["instances"] for each in self._control.fleet()}
        known = list(fleet)
        found = [agent for agent in known if scope.covers(agent, self._control.roles_of(agent))]
        if not scope.one_agent:
            found = [agent for agent in found if not self._has_departed(agent, fleet[agent])] or found
        if not found:
            shown = ", ".join(known[:KNOWN_SHOWN]) or "none yet"
            raise NotFoundError(f"no known agent is covered by {scope.text}", remedy=f"known agents: {shown}")
        return found

    def _has_departed(self, agent: str, instances: list[dict[str, Any]]) -> bool:
        gone = [not each["connected"] and self._control.hub.has_departed(agent, each["instance"]) for each in instances]
        return bool(gone) and all(gone)

    def _scope_of_run(self, scope: Scope) -> Scope:
        """The scope with the agent that began the run."""
        connected = sorted({guard.agent for guard in self._control.hub.all() if scope.covers(guard.agent, ())})
        if len(connected) > AGENTS_LOOKED_AT:
            raise CallerError("too many agents to look for a run", place="scope.agent", remedy="name its agent as well")
        after_ns = self._control.clock.now() - RUN_LOOK_BACK_NS
        for agent in connected:
            begun = self._control.telemetry.of_kind_since(
                agent, kinds=(EventKind.RUN_STARTED,), after_ns=after_ns, limit=RUNS_LOOKED_AT
            )
            if any(event.run_id == scope.run for event in begun):
                return Scope(agent=agent, role=scope.role, tool=scope.tool, run=scope.run)
        raise NotFoundError(
            f"no connected agent began a run {scope.run!r} within a day", remedy="name its agent as well, if it is a new one"
        )

    def _refuse_impossible(self, order: StandingOrder, agents: list[str]) -> None:
        """Refuse what not one connected enforcement point can do; where some can, the receipt names the others."""
        hub = self._control.hub
        guards = [guard for agent in agents for guard in hub.points(agent)]
        able = [guard for guard in guards if not lacking(order.capabilities, guard.registration.capabilities)]
        holders = [each for agent in agents for each in hub.holders(agent, order.rung)] if order.scope.is_whole else []
        others = [each for agent in agents for each in hub.points(agent, kind="supervisor")]
        if able or holders or not (guards or others):
            return
        announced = sorted({word for point in (*guards, *others) for word in point.registration.capabilities})
        raise ConflictError(
            f"no enforcement point of {', '.join(agents[:KNOWN_SHOWN])} can do this ({order.what} for {order.scope.text})",
            remedy=f"they can: {', '.join(announced) or 'nothing that they announce'}",
        )
