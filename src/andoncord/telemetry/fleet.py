"""What telemetry alone says about the fleet (SIG-9): which agents there are, their versions, tools, models, and partners.

Kept up incrementally, an event at a time, within bounds. It is an account of what was seen: what never sent anything is not
in it. It is saved about every second; a crash may cost the counts, and only the counts, what came since.
"""

from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Any

import msgspec

from andoncord.telemetry.event import Event, EventKind
from andoncord.telemetry.partners import LINKED, Partners
from andoncord.telemetry.stitch import INFERRED

MAX_AGENTS = 10_000
"""Agents kept; beyond it the one heard of longest ago goes, those without a token first."""
MAX_TOOLS = 200
MAX_MODELS = 50
MAX_VERSIONS = 50
MAX_EDGES = 200
MAX_CHANGES = 50
"""Of each agent; beyond it the one seen longest ago goes, and `Sighting.forgot` counts it."""

_TOOLS = frozenset({EventKind.TOOL_COMPLETED, EventKind.TOOL_FAILED})
_MODELS = frozenset({EventKind.MODEL_COMPLETED, EventKind.MODEL_FAILED})
_LINKED = LINKED | {EventKind.CHANGE_MADE}
_VERSIONS = ("version", "configuration", "prompt")
_VERSION_ATTRIBUTES = ("agent_version", "config_version", "prompt_version")
_alike = attrgetter("agent", "kind", "name", "ok", "trusted", "environment", "system")


class Seen(msgspec.Struct, kw_only=True):
    """How often something was seen, and when."""

    count: int = 0
    failed: int = 0
    first_ns: int = 0
    last_ns: int = 0

    def again(self, times: "Times", *, ok: bool = True) -> None:
        """It was seen so many more times."""
        self.count += times.count
        self.failed += 0 if ok else times.count
        self.first_ns = min(self.first_ns or times.first_ns, times.first_ns)
        self.last_ns = max(self.last_ns, times.last_ns)


class Times:
    """How many events of one group there were, and from when to when."""

    __slots__ = ("count", "first_ns", "last_ns")

    def __init__(self, at_ns: int) -> None:
        self.count = 1
        self.first_ns = self.last_ns = at_ns


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """Something about an agent that became different."""

    what: str
    """prompt, config, tool, model, deployment, or what telemetry shows: version, configuration, model."""
    before: str = ""
    after: str = ""
    at_ns: int
    is_announced: bool
    """A change event said so. Otherwise it was inferred from a value that had not been seen before (SIG-5)."""


class Sighting(msgspec.Struct, kw_only=True):
    """Everything that was seen of one agent. Times are the emitter's, but never later than we received them."""

    agent: str
    is_trusted: bool = False
    """Heard with a token that is bound to it, at least once."""
    is_inferred: bool = True
    """No signal named it as an agent: the name is that of the service which sent them."""
    first_ns: int = 0
    last_ns: int = 0
    events: int = 0
    runs: int = 0
    environments: dict[str, Seen] = {}
    systems: dict[str, Seen] = {}
    versions: dict[str, Seen] = {}
    """By `kind value`, such as `version 1.4`."""
    current: dict[str, str] = {}
    """The value of each kind of version that was seen last, and the model."""
    tools: dict[str, Seen] = {}
    models: dict[str, Seen] = {}
    edges: dict[str, Seen] = {}
    """By `how␟agent`."""
    changes: list[Change] = []
    """Oldest first."""
    forgot: int = 0
    """Tools, models, versions and edges that were dropped to stay within bounds."""


def edge_key(how: str, agent: str) -> str:
    """The key of an edge to `agent`.

    >>> edge_of(edge_key("called", "billing"))
    ('called', 'billing')
    """
    return f"{how}\x1f{agent}"


def edge_of(key: str) -> tuple[str, str]:
    """How, and whom."""
    how, _, agent = key.partition("\x1f")
    return how, agent


class FleetMap:
    """The running account. Memory is bounded by the constants of this module.

    Args:
        known: what was kept of an earlier account.

    >>> fleet = FleetMap()
    >>> fleet.observe([Event(kind=EventKind.TOOL_COMPLETED, agent="refunds", name="payments.refund", start_ns=1, end_ns=2)])
    >>> [(each.agent, list(each.tools)) for each in fleet.take_changed()]
    [('refunds', ['payments.refund'])]
    """

    def __init__(self, known: Iterable[Sighting] = ()) -> None:
        self._agents = {sighting.agent: sighting for sighting in known}
        self._plain = {_plain(agent): agent for agent in self._agents}
        self._changed: dict[str, None] = {}
        self._partners = Partners(self._agents, self._named)

    def __len__(self) -> int:
        return len(self._agents)

    @property
    def has_changed(self) -> bool:
        """Whether `take_rows` has something to give."""
        return bool(self._changed)

    def observe(self, events: Iterable[Event]) -> None:
        """Take in events, in the order in which they were recorded. Alike ones are counted together."""
        groups: dict[tuple[Any, ...], Times] = {}
        for event in events:
            at_ns, received_ns, attributes = event.end_ns or event.start_ns, event.received_ns, event.attributes
            if received_ns and received_ns < at_ns:
                at_ns = received_ns
            get = attributes.get
            key = (*_alike(event), INFERRED in attributes, get("agent_version"), get("config_version"), get("prompt_version"))
            times = groups.get(key)
            if times is None:
                # Before its group is counted, so that an agent is known when the first hand-off names it.
                if not self._is_known(event, at_ns):
                    continue
                groups[key] = Times(at_ns)
            else:
                times.count += 1
                if at_ns < times.first_ns:
                    times.first_ns = at_ns
                elif at_ns > times.last_ns:
                    times.last_ns = at_ns
            if event.kind in _LINKED:
                self._single(event, at_ns)
        for key, times in groups.items():
            self._count_group(key, times)

    def take_back(self, events: Iterable[Event]) -> list[str]:
        """Events turned out to be another agent's. Returns the agents of whom nothing is left: they were only guessed."""
        gone: list[str] = []
        for event in events:
            sighting = self._agents.get(event.agent)
            if sighting is None:
                continue
            self._changed[event.agent] = None
            sighting.events = max(0, sighting.events - 1)
            sighting.runs = max(0, sighting.runs - _is_run(event))
            for table, name in _counted_in(sighting, event):
                if _once_less(table, name, ok=event.ok):
                    _no_longer(sighting, name)
            if not sighting.events:
                del self._agents[event.agent]
                self._plain.pop(_plain(event.agent), None)
                gone.append(event.agent)
        return gone

    def take_changed(self) -> list[Sighting]:
        """The agents of which something was seen since this was last asked."""
        changed = [self._agents[agent] for agent in self._changed if agent in self._agents]
        self._changed.clear()
        return changed

    def take_rows(self) -> list[tuple[str, bytes]]:
        """What changed since this was last asked, as it is kept; a name with nothing behind it is to be forgotten."""
        gone = [(agent, b"") for agent in self._changed if agent not in self._agents]
        return gone + [(sighting.agent, msgspec.json.encode(sighting)) for sighting in self.take_changed()]

    def _is_known(self, event: Event, at_ns: int) -> bool:
        """Whether the agent of an event is in the account, now that it was heard of."""
        agent = event.agent
        if not agent:
            return False
        if agent not in self._agents:
            if len(self._agents) >= MAX_AGENTS and not self._make_room(event):
                return False
            self._agents[agent] = Sighting(agent=agent, first_ns=at_ns, is_trusted=event.trusted)
            self._plain[_plain(agent)] = agent
        elif event.trusted:
            self._agents[agent].is_trusted = True
        return True

    def _count_group(self, key: tuple[Any, ...], times: Times) -> None:
        agent, kind, name, ok, _, environment, system, is_inferred, *versions = key
        sighting = self._agents.get(agent)
        if sighting is None:
            return
        self._changed[agent] = None
        sighting.events += times.count
        sighting.last_ns = max(sighting.last_ns, times.last_ns)
        sighting.is_inferred = sighting.is_inferred and is_inferred
        if kind in _TOOLS:
            self._count(sighting, sighting.tools, name, times, MAX_TOOLS, ok=ok)
        elif kind in _MODELS and name:
            self._count(sighting, sighting.models, name, times, MAX_MODELS, ok=ok)
            self._become(sighting, "model", name, times)
        elif kind is EventKind.RUN_STARTED:
            sighting.runs += times.count
        if environment:
            self._count(sighting, sighting.environments, environment, times, MAX_VERSIONS)
        if system:
            self._count(sighting, sighting.systems, system, times, MAX_VERSIONS)
        for what, value in zip(_VERSIONS, versions, strict=True):
            if value is not None and value != "":
                self._count(sighting, sighting.versions, f"{what} {value}", times, MAX_VERSIONS)
                self._become(sighting, what, str(value), times)

    def _single(self, event: Event, at_ns: int) -> None:
        """What one event says that its group does not: changes, hand-offs, messages, whose span it is below."""
        sighting = self._agents.get(event.agent)
        if sighting is None:
            return
        kind = event.kind
        if kind is EventKind.CHANGE_MADE:
            said = event.attributes
            before, after = str(said.get("from", "")), str(said.get("to", ""))
            what = event.name or "configuration"
            _keep(sighting, Change(what=what, before=before, after=after, at_ns=at_ns, is_announced=True))
            return
        if kind is EventKind.AGENT_INVOKED:
            # An agent with our SDK says that a run begins; of others the outermost span stands for it.
            sighting.runs += _is_run(event)
        for reach in self._partners.observe(event, at_ns):
            self._edge(reach.sender, reach.how, reach.receiver, reach.at_ns)

    def _named(self, text: str) -> str:
        """The known agent that a tool is named after, else the text: a tool's name has `_` for what it must not hold."""
        return text if text in self._agents else self._plain.get(_plain(text), text)

    @staticmethod
    def _count(sighting: Sighting, table: dict[str, Seen], name: str, times: Times, limit: int, *, ok: bool = True) -> None:
        seen = table.get(name)
        if seen is None:
            if len(table) >= limit:
                del table[min(table, key=lambda each: table[each].last_ns)]
                sighting.forgot += 1
            seen = table[name] = Seen()
        seen.again(times, ok=ok)

    @staticmethod
    def _become(sighting: Sighting, what: str, value: str, times: Times) -> None:
        """What an agent runs with now. A value that was never seen before is a change nobody announced."""
        before = sighting.current.get(what)
        if before == value:
            return
        table, prefix = (sighting.models, "") if what == "model" else (sighting.versions, f"{what} ")
        known, last = table[prefix + value], table.get(prefix + (before or ""))
        if last is None or known.last_ns >= last.last_ns:
            sighting.current[what] = value
        is_announced = any(change.is_announced and change.after == value for change in sighting.changes)
        if before is not None and known.count == times.count and not is_announced:
            _keep(sighting, Change(what=what, before=before, after=value, at_ns=times.first_ns, is_announced=False))

    def _edge(self, agent: str, how: str, other: str, at_ns: int) -> None:
        sighting = self._agents.get(agent)
        if sighting is None or not other or other == agent:
            return
        self._changed[agent] = None
        self._count(sighting, sighting.edges, edge_key(how, other), Times(at_ns), MAX_EDGES)

    def _make_room(self, event: Event) -> bool:
        """Let the agent go that was heard of longest ago. One without a token never pushes out one with."""
        untrusted = [sighting for sighting in self._agents.values() if not sighting.is_trusted]
        candidates: Sequence[Sighting] = untrusted or (list(self._agents.values()) if event.trusted else ())
        if not candidates:
            return False
        oldest = min(candidates, key=lambda sighting: sighting.last_ns)
        del self._agents[oldest.agent]
        self._plain.pop(_plain(oldest.agent), None)
        self._changed[oldest.agent] = None
        return True


def _is_run(event: Event) -> bool:
    """Whether an event stands for a run that nothing else stands for."""
    if event.kind is EventKind.RUN_STARTED:
        return True
    return event.kind is EventKind.AGENT_INVOKED and not event.parent_span_id and event.run_id == event.trace_id


def _counted_in(sighting: Sighting, event: Event) -> list[tuple[dict[str, Seen], str]]:
    """Where an event was counted, and under what."""
    said = event.attributes
    found = [(sighting.environments, event.environment), (sighting.systems, event.system)]
    if event.kind in _TOOLS:
        found.append((sighting.tools, event.name))
    elif event.kind in _MODELS:
        found.append((sighting.models, event.name))
    named = ((what, said.get(name)) for what, name in zip(_VERSIONS, _VERSION_ATTRIBUTES, strict=True))
    return found + [(sighting.versions, f"{what} {value}") for what, value in named if value not in (None, "")]


def _once_less(table: dict[str, Seen], name: str, *, ok: bool) -> bool:
    """Something was seen once less; whether it was never seen then."""
    seen = table.get(name)
    if seen is None:
        return False
    seen.count -= 1
    seen.failed = max(0, seen.failed - (not ok))
    if seen.count > 0:
        return False
    del table[name]
    return True


def _no_longer(sighting: Sighting, name: str) -> None:
    """A model or a version was never seen: what followed from it did not either."""
    value = name.partition(" ")[2] or name
    for what in [what for what, current in sighting.current.items() if current in (name, value)]:
        table, prefix = (sighting.models, "") if what == "model" else (sighting.versions, f"{what} ")
        if f"{prefix}{sighting.current[what]}" not in table:
            del sighting.current[what]
    sighting.changes[:] = [change for change in sighting.changes if change.is_announced or change.after not in (name, value)]


def _keep(sighting: Sighting, change: Change) -> None:
    sighting.changes.append(change)
    sighting.changes.sort(key=lambda each: each.at_ns)
    del sighting.changes[:-MAX_CHANGES]


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())


def load(rows: Iterable[tuple[str, bytes]]) -> list[Sighting]:
    """Sightings from rows that `FleetMap.take_rows` gave."""
    return [msgspec.json.decode(body, type=Sighting) for _, body in rows]
