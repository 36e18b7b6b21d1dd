"""What the control process can show and do, independent of how it is asked: the API and the console both stand on this."""

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, TypeVar

import msgspec

from andoncord.detect.ports import TelemetryReader
from andoncord.engine.facts import GuardAhead, PersonAsked
from andoncord.engine.listing import Listing
from andoncord.engine.queries import view
from andoncord.engine.restored import is_ahead
from andoncord.engine.run import Engine
from andoncord.engine.state import State
from andoncord.kernel.access import Actor
from andoncord.kernel.errors import CallerError, ConflictError, NotFoundError
from andoncord.kernel.journal import Entry
from andoncord.kernel.time import SECOND_NS, rfc3339
from andoncord.learn.kpi import kpis
from andoncord.respond.ladder import FENCING
from andoncord.server.auth import ForbiddenError
from andoncord.server.cases import cases
from andoncord.server.forces import force_of
from andoncord.server.hub import GuardHub
from andoncord.server.permissions import needed_for
from andoncord.server.points import Force, Guard
from andoncord.server.ports import Entropy, ServerClock
from andoncord.telemetry.batch import Beat

FORGET_BEATS_NS = 3_600 * SECOND_NS
"""A process that was not heard of for this long is no longer listed."""
KNOWN_SHOWN = 10
"""Agents named in a refusal."""
Declared = TypeVar("Declared")


class Control:
    """The control process behind its faces.

    Args:
        environment: what the whole installation is for; empty when that is mixed.
        declared: agents of the settings file; they are listed before they are ever heard of.
        policies: every policy that guards must load.
        prices: the price table, as guards load it.
        roles: what agents act as, by name or glob, as the settings file declares it.
        breakers: their circuit breakers, likewise.
        owners: who answers for them, likewise.
    """

    def __init__(
        self,
        *,
        engine: Engine,
        hub: GuardHub,
        telemetry: TelemetryReader,
        clock: ServerClock,
        entropy: Entropy,
        environment: str,
        declared: Sequence[str],
        policies: Callable[[], list[dict[str, Any]]],
        heartbeat_s: float,
        silent_after_s: float,
        prices: Sequence[dict[str, Any]] = (),
        roles: Mapping[str, str] | None = None,
        breakers: Mapping[str, dict[str, Any]] | None = None,
        owners: Mapping[str, str] | None = None,
    ) -> None:
        self.engine = engine
        self._listing = Listing(lambda: engine.state)
        self.hub = hub
        self.telemetry = telemetry
        self.clock = clock
        self.entropy = entropy
        self.environment = environment
        self.heartbeat_s = heartbeat_s
        self._declared = tuple(declared)
        self._roles = dict(roles or {})
        self._breakers = dict(breakers or {})
        self._owners = dict(owners or {})
        self.policies = policies
        self.prices = tuple(prices)
        self._silent_after_ns = int(silent_after_s * SECOND_NS)

    @property
    def state(self) -> State:
        """The engine's state. Read it anew each time: after a failed write the engine replaces it."""
        return self.engine.state

    # Reading.

    def summaries(self, wanted: str) -> list[dict[str, Any]]:
        """Incidents: `open`, `all`, or in one state of the lifecycle."""
        return self.page(self._listing.ids(wanted))

    def listed(self, wanted: str) -> list[str]:
        """The ids of the same incidents, in the same order."""
        return self._listing.ids(wanted)

    def page(self, ids: list[str]) -> list[dict[str, Any]]:
        """One line for each of these incidents. They are not to be changed."""
        return self._listing.lines(ids, now=self.clock.now())

    def view(self, incident_id: str) -> dict[str, Any]:
        """Everything about one incident, with the live counts in its dry runs.

        Raises:
            NotFoundError: there is none.
        """
        whole = view(self.state, incident_id, now=self.clock.now())
        for action in (whole["next"], *whole["alternatives"]):
            if action and action.get("dry_run"):
                agent = action["dry_run"].get("agent") or action.get("agent", "")
                action["dry_run"] = {**action["dry_run"], **self._reach(agent)}
        return whole

    def receipt(self, incident_id: str, intent: str) -> dict[str, Any] | None:
        """The receipt of an intent; None while there is none yet.

        Raises:
            NotFoundError: the incident has no such intent.
        """
        whole = self.view(incident_id)
        for receipt in whole["receipts"]:
            if receipt["intent"] == intent:
                return dict(receipt)
        if any(pending["intent"] == intent for pending in whole["pending"]):
            return None
        raise NotFoundError(f"{incident_id} has no intent {intent!r}")

    def dry_run(self, incident_id: str, rung: str, agent: str) -> dict[str, Any]:
        """What a containment would do, without doing it.

        Raises:
            CallerError: it could not be done.
        """
        whole = self.view(incident_id)
        target = agent or (whole["agents"][0] if whole["agents"] else "")
        for action in whole["alternatives"]:
            if action["rung"] == rung and action["dry_run"]["agent"] == target:
                return dict(action["dry_run"])
        in_force = self.state.rung_of(target)
        raise ConflictError(f"{rung} would not raise what is in force for {target}: {in_force}", place="rung")

    def fleet(self) -> list[dict[str, Any]]:
        """Every agent that is declared or was heard of, with its processes. `incident` is the one whose rung holds it."""
        now = self.clock.now()
        instances: dict[str, dict[tuple[str, str], dict[str, Any]]] = {name: {} for name in self._declared if "*" not in name}
        for beat in self.telemetry.beats():
            if beat.trusted and now - beat.last_seen_ns < FORGET_BEATS_NS:
                instances.setdefault(beat.agent, {})[beat.instance, "guard"] = _heard(beat)
        for guard in self.hub.all():
            known = instances.setdefault(guard.agent, {}).get((guard.instance, guard.registration.kind), {})
            if guard.registration.kind == "supervisor":
                instances[guard.agent].pop((guard.instance, "guard"), None)  # It told of something itself; that is no guard.
            instances[guard.agent][guard.instance, guard.registration.kind] = {**known, **_connected(guard)}
        for agent in self.state.controls:
            instances.setdefault(agent, {})
        return [self._agent(agent, list(instances[agent].values()), now) for agent in sorted(instances)]

    def declared_role(self, agent: str) -> str:
        """The role that the settings declare for an agent; empty where they declare none."""
        return _declared_for(self._roles, agent) or ""

    def owner_of(self, agent: str) -> str:
        """Who answers for an agent, as the settings declare it; empty where they name nobody."""
        return _declared_for(self._owners, agent) or ""

    def roles_of(self, agent: str) -> frozenset[str]:
        """The role that is declared for an agent; where none is, the one that its guards say."""
        return frozenset({self.declared_role(agent) or self.hub.role_of(agent)} - {""})

    def breakers_of(self, agent: str) -> dict[str, Any]:
        """The circuit breakers that the settings declare for an agent, by glob over what it calls."""
        return _declared_for(self._breakers, agent) or {}

    def force(self, agent: str) -> Force:
        """Everything in force for an agent."""
        return force_of(self.state, agent, self.roles_of(agent))

    def matching(self, pattern: str) -> list[str]:
        """The known agents whose names match a glob.

        Raises:
            NotFoundError: none does. An order to nobody would look like an order that was obeyed.
        """
        known = self.known_agents()
        found = [agent for agent in known if fnmatchcase(agent, pattern)]
        if not found:
            raise _unknown(pattern, known)
        return found

    def known_agents(self) -> list[str]:
        """The name of every agent that is declared or was heard of."""
        return [each["agent"] for each in self.fleet()]

    def _agent(self, agent: str, found: list[dict[str, Any]], now: int) -> dict[str, Any]:
        force = self.force(agent)
        rung = force.rung
        guards = [each for each in found if each["kind"] == "guard"] or [each for each in found if each.get("enforces")]
        alive = [each for each in guards if each["connected"] or now - each["seen_ns"] <= self._silent_after_ns]
        state = "contained" if rung in FENCING else "running" if alive else "silent" if guards else "unknown"
        shown = [
            {**{k: v for k, v in each.items() if k != "seen_ns"}, "last_seen_at": rfc3339(each["seen_ns"])} for each in found
        ]
        control = self.state.controls.get(agent)
        incident = control.incident if control and control.rung != "none" else None
        orders = [each["id"] for each in force.orders]
        return {"agent": agent, "instances": shown, "rung": rung, "incident": incident, "orders": orders, "state": state}

    def kpis(self) -> dict[str, Any]:
        """The figures of KPI-1, from the record."""
        figures: dict[str, Any] = msgspec.to_builtins(kpis(cases(self.state)))
        return figures

    def configuration(self, agent: str) -> dict[str, Any] | None:
        """The active registry version of an agent."""
        active = self.state.registry.active(agent)
        return {"version": active.version, "values": active.values} if active else None

    def _reach(self, agent: str) -> dict[str, Any]:
        guards = self.hub.points(agent) or self.hub.holders(agent, "pause")
        in_flight = sum(len(guard.state.get("in_flight", ())) for guard in guards)
        return {"instances": len(guards), "in_flight": in_flight}

    # Acting.

    async def ask(
        self, command: str, *, who: Actor, incident: str = "", agent: str = "", parameters: Mapping[str, Any], key: str = ""
    ) -> tuple[Entry, ...]:
        """Have the engine grant a person's wish. A containment without an incident declares one.

        Raises:
            ForbiddenError: their role does not go that far.
            CallerError: it cannot be granted.
        """
        by, needed = who.by, needed_for(command)
        if needed not in who.may:
            raise ForbiddenError(f"{command.replace('_', ' ')} needs scope {needed.value}, which {who.name!r} has not")
        if command in ("contain", "capture") and not incident:
            incident = await self._home_of(agent, by=by, parameters=parameters, key=key)
        wish = PersonAsked(command=command, by=by, incident=incident, agent=agent, parameters=dict(parameters), key=key)
        return await self.engine.submit(wish)

    async def note_epoch(self, agent: str, instance: str, epoch: tuple[int, int], rung: str) -> None:
        """Compare what a guard has in force with the journal; hold its agent where the guard knows more."""
        if is_ahead(self.state, agent, epoch):
            await self.engine.submit(GuardAhead(agent=agent, instance=instance, epoch=epoch, rung=rung))

    async def _home_of(self, agent: str, *, by: str, parameters: Mapping[str, Any], key: str) -> str:
        """The open incident that an order for this agent belongs to; declared when there is none."""
        if not agent:
            raise CallerError("agent is missing", place="agent")
        if known := self.state.index.of_agents({agent}):
            return known[-1]
        known_agents = self.known_agents()
        if agent not in known_agents:
            raise _unknown(agent, known_agents)
        rung, reason = str(parameters.get("rung", "")), str(parameters.get("reason", ""))
        title = f"{rung} of {agent} ordered by hand" if rung else f"evidence of {agent} sealed by hand"
        declaration = PersonAsked(
            command="declare",
            by=by,
            agent=agent,
            parameters={"title": title, "severity": "high" if rung else "low", "reason": reason},
            key=f"{key}/declare" if key else "",
        )
        entries = await self.engine.submit(declaration)
        return entries[0].incident if entries else self.state.wishes[declaration.key]


def _unknown(pattern: str, known: Sequence[str]) -> NotFoundError:
    shown = ", ".join(known[:KNOWN_SHOWN]) or "none yet"
    return NotFoundError(f"no known agent is {pattern!r}", remedy=f"known agents: {shown}")


def _declared_for(declared: Mapping[str, Declared], agent: str) -> Declared | None:
    """What is declared for an agent: under its exact name, else under the longest glob that matches."""
    if agent in declared:
        return declared[agent]
    globs = sorted(declared, key=lambda glob: (-len(glob), glob))
    return next((declared[glob] for glob in globs if fnmatchcase(agent, glob)), None)


def _heard(beat: Beat) -> dict[str, Any]:
    generation, _, counter = beat.epoch.partition(".")
    epoch = [int(generation), int(counter)] if generation.isdigit() and counter.isdigit() else None
    return {
        "instance": beat.instance,
        "kind": "guard",
        "connected": False,
        "seen_ns": beat.last_seen_ns,
        "rung": beat.rung or "none",
        "epoch": epoch,
        "in_flight": beat.in_flight,
    }


def _connected(guard: Guard) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "instance": guard.instance,
        "kind": guard.registration.kind,
        "connected": guard.is_connected,
        "seen_ns": guard.seen_ns,
        "capabilities": sorted(guard.registration.capabilities),
    }
    if guard.state:
        shown["rung"] = guard.state.get("rung", "none")
        shown["epoch"] = guard.state.get("epoch")
        shown["in_flight"] = len(guard.state.get("in_flight", ()))
    if guard.registration.kind == "supervisor":
        enforces = sorted({"pause", "kill"} & set(guard.registration.capabilities))
        return {"rung": "none", "epoch": None, "in_flight": 0, "enforces": enforces, **shown}
    return shown
