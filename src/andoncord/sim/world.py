"""The whole path in virtual time: simulated agents, the real detectors, the real core, simulated performers.

Clock, ids, order and chance are ours, so the same seed gives the same journal byte for byte. The engine can be made to crash
between an effect and its receipt; it then starts again from the journal alone.
"""

from typing import Any

from andoncord.detect.bank import Bank
from andoncord.detect.declared import Declared, Objective
from andoncord.detect.finding import Finding
from andoncord.detect.pack import default_rules
from andoncord.engine.facts import Fact, FindingArrived, PersonAsked, ReceiptArrived
from andoncord.engine.queries import next_action
from andoncord.engine.replaying import replay
from andoncord.engine.run import catch_up, take
from andoncord.engine.state import Intent, State
from andoncord.incident.incident import Incident
from andoncord.kernel.canon import canonical_json
from andoncord.kernel.effect import EffectKind, Receipt
from andoncord.kernel.journal import Entry
from andoncord.kernel.money import micro_usd
from andoncord.kernel.time import SECOND_NS
from andoncord.sim.actor import Actor
from andoncord.sim.agenda import Agenda
from andoncord.sim.chance import Chance
from andoncord.sim.fleet import ENVIRONMENT, FLEET, runs_per_week
from andoncord.sim.hands import Hands
from andoncord.sim.story import FAILURES, OPERATOR, QUIET_S, Failure
from andoncord.sim.surroundings import Shelves
from andoncord.telemetry.event import Event
from andoncord.testing.clock import SimClock
from andoncord.testing.journal import MemoryJournal
from andoncord.testing.story import PLAYBOOKS

TELEMETRY_S = (0.004, 0.040)
"""From an agent's event to its being observed."""
TICK_S = 0.25
OPERATOR_S = 1.0
"""The operator acts so long after being asked."""
OUTAGE_S = 0.5
"""A crashed engine is back after so long."""


class World:
    """One seeded world.

    Args:
        seed: decides everything that chance decides.
        failures: what goes wrong, and when.
        loss: the share of orders that arrive late because a stream broke.
        crash_on: the engine crashes once after each of these kinds of effect was carried out and before its receipt is written.
    """

    def __init__(
        self,
        seed: int,
        *,
        failures: tuple[Failure, ...] = FAILURES,
        loss: float = 0.05,
        crash_on: frozenset[EffectKind] = frozenset(),
    ) -> None:
        self.clock = SimClock()
        self.agenda = Agenda(self.clock)
        self.shelves = Shelves()
        self.journal = MemoryJournal()
        self.state = State()
        self.events: list[Event] = []
        self.onsets: dict[str, int] = {}
        """Letter → when the failure first took effect."""
        self.crashes = 0
        self.received: list[str] = []
        """The intents that the performers were asked to carry out, in order."""
        self._chance = Chance(seed, "world")
        self._crash_on = set(crash_on)
        self._is_up = True
        self._waiting: list[Finding] = []
        self._playbooks = PLAYBOOKS
        self._asked: set[str] = set()
        self._arrived: dict[str, int] = {}
        """Agent → when the last of its events arrives."""
        self.bank = Bank(default_rules(), declared=_declared())
        self.actors = {
            name: Actor(
                role,
                chance=Chance(seed, name),
                agenda=self.agenda,
                surroundings=self.shelves,
                emit=self._emitted,
                onset=self._began,
            )
            for name, role in FLEET.items()
        }
        self._hands = Hands(
            self.actors,
            agenda=self.agenda,
            chance=Chance(seed, "hands"),
            state=lambda: self.state,
            events=self.events,
            answered=self._answered,
            loss=loss,
        )
        for name, role in FLEET.items():
            self.wish("publish_version", agent=name, values=role.settings, note="as tested", good=True)
        for actor in self.actors.values():
            actor.start()
        for failure in failures:
            self.agenda.after(QUIET_S + failure.after_s, lambda failure=failure: self._inject(failure))  # type: ignore[misc]
        self.agenda.after(TICK_S, self._tick)

    def run(self, seconds: float) -> None:
        """Let so much time pass."""
        self.agenda.run(seconds)

    def incident_of(self, agent: str) -> Incident | None:
        """The first incident of an agent."""
        return next((each for each in self.state.incidents.values() if agent in each.agents), None)

    def journal_bytes(self) -> bytes:
        """The whole journal, one entry a line."""
        return b"\n".join(canonical_json(entry) for entry in self.journal.read())

    # ---- what goes wrong

    def _inject(self, failure: Failure) -> None:
        if failure.publishes:
            self.wish("publish_version", agent=failure.agent, values=failure.publishes, note=failure.note)
            version = self.state.registry.versions(failure.agent)[-1].version
            self.wish("activate_version", agent=failure.agent, version=version, reason=f"roll-out: {failure.note}")
        if failure.lays:
            self.shelves.put(*failure.lays)

    def _began(self, letter: str) -> None:
        self.onsets.setdefault(letter, self.clock.now())

    # ---- telemetry and detection

    def _emitted(self, event: Event) -> None:
        """Telemetry takes a moment; what one agent sends arrives in the order in which it was sent."""
        latency_s = self._chance.between(*TELEMETRY_S)
        arrival_ns = max(self.clock.now() + round(latency_s * SECOND_NS), self._arrived.get(event.agent, 0))
        self._arrived[event.agent] = arrival_ns
        self.agenda.at(arrival_ns, lambda: self._observed(event))

    def _observed(self, event: Event) -> None:
        self.events.append(event)
        self._found(self.bank.observe(event))

    def _tick(self) -> None:
        self._found(self.bank.tick(self.clock.now()))
        self.agenda.after(TICK_S, self._tick)

    def _found(self, findings: tuple[Finding, ...]) -> None:
        """Findings are durable before they are told: while the engine is down they wait."""
        for finding in findings:
            if self._is_up:
                self._take(FindingArrived(finding=finding))
            else:
                self._waiting.append(finding)

    # ---- the engine

    def _take(self, fact: Fact) -> None:
        self._keep(take(self.state, fact, now=self.clock.now(), playbooks=self._playbooks))

    def _keep(self, entries: tuple[Entry, ...]) -> None:
        self.journal.append(entries)
        for entry in entries:
            if entry.kind == "intent.issued":
                self._perform(self.state.intents[entry.body["intent"]])
        for incident in self.state.incidents.values():
            self._ask_operator(incident)

    def _perform(self, intent: Intent) -> None:
        self.received.append(intent.id)
        self._hands.perform(intent.id, intent.effect)

    def _answered(self, receipt: Receipt) -> None:
        if not self._is_up:
            return
        kind = self.state.intents[receipt.intent].effect.kind
        if kind in self._crash_on:
            self._crash_on.discard(kind)
            self._crash()
            return
        self._take(ReceiptArrived(receipt=receipt))

    def _crash(self) -> None:
        """The engine goes, with everything it had not written down."""
        self.crashes += 1
        self._is_up = False
        self.agenda.after(OUTAGE_S, self._come_back)

    def _come_back(self) -> None:
        self.state = replay(self.journal.read())
        self._is_up = True
        left_over = [self.state.intents[intent] for intent in self.state.outstanding]
        self._keep(catch_up(self.state, now=self.clock.now()))
        for intent in left_over:
            self._perform(intent)
        waiting, self._waiting = self._waiting, []
        self._found(tuple(waiting))

    # ---- people

    def wish(self, command: str, *, agent: str = "", incident: str = "", key: str = "", **parameters: Any) -> None:
        """What the operator asks for."""
        by = f"person:{OPERATOR}"
        self._take(PersonAsked(command=command, by=by, agent=agent, incident=incident, key=key, parameters=parameters))

    def _ask_operator(self, incident: Incident) -> None:
        """The operator deals with what lies around an agent told to stop, and approves recoveries that wait for a person."""
        is_ordered = any(
            intent.receipt and intent.effect.kind is EffectKind.ORDER for intent in self.state.intents_of(incident.id)
        )
        if is_ordered and f"{incident.id}-clear" not in self._asked:
            self._asked.add(f"{incident.id}-clear")
            self.agenda.after(OPERATOR_S / 2, lambda: self._clear_around(incident.agents))
        step = next_action(self.state, incident)
        if step is None or step["action"] != "approve_recovery":
            return
        key = f"{incident.id}-{incident.round}-{len(incident.verdicts)}-{incident.recovery_failed}"
        if key in self._asked:
            return
        self._asked.add(key)
        self.agenda.after(OPERATOR_S, lambda: self._approve(incident.id, key))

    def _clear_around(self, agents: tuple[str, ...]) -> None:
        for failure in FAILURES:
            if failure.lays and failure.agent in agents:
                self.shelves.clear(failure.lays[0])

    def _approve(self, incident_id: str, key: str) -> None:
        if not self._is_up:
            self.agenda.after(OPERATOR_S, lambda: self._approve(incident_id, key))
            return
        incident = self.state.incident(incident_id)
        step = next_action(self.state, incident)
        if step is None or step["action"] != "approve_recovery":
            return
        self.wish("approve_recovery", incident=incident_id, key=key, reason="read the incident room")


def _declared() -> dict[str, Declared]:
    return {
        role.name: Declared(
            agent=role.name,
            tools=dict(role.access),
            objective=Objective(quality=role.quality, false_alarms_per_week=1.0, runs_per_week=runs_per_week(role)),
            budget_micro_usd=micro_usd(role.budget_usd),
            environment=ENVIRONMENT,
        )
        for role in FLEET.values()
    }
