"""The fleet map: what is declared about each agent, completed by what was seen of it, with its state now (SIG-9)."""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any, Literal

import msgspec

from andoncord.kernel.time import MINUTE_NS, rfc3339, seconds_between
from andoncord.telemetry.fleet import Change, Seen, Sighting, edge_of

REPORTING_NS = 5 * MINUTE_NS
"""An agent without a guard counts as reporting for so long after its last signal; after that nothing is known of it. Chosen:
exporters send every few seconds, runs come in minutes."""

Criticality = Literal["low", "medium", "high", "critical"]


class DeclaredAgent(msgspec.Struct, frozen=True, kw_only=True):
    """What people say about an agent, or about all agents whose names match the glob in `agent`."""

    agent: str
    description: str = ""
    version: str = ""
    role: str = ""
    team: str = ""
    owner: str = ""
    criticality: str = ""
    environment: str = ""
    tools: dict[str, str] = {}
    """Tool → `read` or `write`; empty where nothing is declared."""
    depends_on: tuple[str, ...] = ()
    """Agents, services and stores it needs."""
    talks_to: tuple[str, ...] = ()
    """Agents it may reach; empty where nothing is declared."""

    @property
    def is_glob(self) -> bool:
        """Whether it stands for several agents."""
        return any(letter in self.agent for letter in "*?[")


class Alive(msgspec.Struct, frozen=True, kw_only=True):
    """What guards and orders say about an agent now."""

    state: str
    """contained, running, silent or unknown."""
    rung: str = "none"
    incident: str | None = None
    connected: int = 0
    """Enforcement points with an open connection."""
    known: int = 0
    last_ns: int = 0


class Fleet:
    """The map at one instant.

    Args:
        declared: what people say, by name or by glob.
        seen: what telemetry shows.
        alive: what guards and orders say now.
    """

    def __init__(
        self, declared: Iterable[DeclaredAgent], seen: Iterable[Sighting], alive: Mapping[str, Alive], *, now: int
    ) -> None:
        self._declared = list(declared)
        self._seen = {sighting.agent: sighting for sighting in seen}
        self._alive = alive
        self._now = now

    def names(self) -> list[str]:
        """Every agent that is declared by name, was seen, or is known to the guard hub; sorted."""
        return sorted({each.agent for each in self._declared if not each.is_glob} | self._seen.keys() | self._alive.keys())

    def lines(self) -> list[dict[str, Any]]:
        """One line for each agent, by name."""
        return [self._line(name) for name in self.names()]

    def agent(self, name: str) -> dict[str, Any] | None:
        """Everything about one agent; None where nobody knows it."""
        if name not in self._seen and name not in self._alive and not any(each.agent == name for each in self._declared):
            return None
        said, sighting = self._said(name), self._sighted(name)
        return {
            **self._head(name),
            "description": said.description,
            "connected": self._alive[name].connected if name in self._alive else 0,
            "known": self._alive[name].known if name in self._alive else 0,
            "environments_seen": sorted(sighting.environments),
            "version_declared": said.version,
            "current": dict(sighting.current),
            "versions": _rows({_version_name(key): each for key, each in sighting.versions.items()}),
            "events": sighting.events,
            "tools": _tools(said.tools, sighting.tools),
            "models": _rows(sighting.models),
            "systems": sorted(sighting.systems),
            "depends_on": list(said.depends_on),
            "talks_to": _edges(said.talks_to, sighting.edges),
            "called_by": self._called_by(name),
            "changes": [_change(change) for change in reversed(sighting.changes)],
            "forgot": sighting.forgot,
        }

    def _line(self, name: str) -> dict[str, Any]:
        said, sighting = self._said(name), self._sighted(name)
        partners = dict.fromkeys(edge_of(key)[1] for key in sighting.edges)
        unseen = [glob for glob in said.talks_to if not any(fnmatchcase(agent, glob) for agent in partners)]
        return {
            **self._head(name),
            "tools": len(said.tools.keys() | sighting.tools.keys()),
            "models": sorted(sighting.models),
            "talks_to": [*partners, *unseen],
            "changed_at": rfc3339(sighting.changes[-1].at_ns) if sighting.changes else None,
        }

    def _head(self, name: str) -> dict[str, Any]:
        """What a line and a page both show."""
        said, sighting, alive = self._said(name), self._sighted(name), self._alive.get(name)
        last_ns = max(sighting.last_ns, alive.last_ns if alive else 0)
        state, why = _state(alive, sighting.last_ns, last_ns, self._now)
        return {
            "agent": name,
            "state": state,
            "why": why,
            "rung": alive.rung if alive else "none",
            "incident": alive.incident if alive else None,
            "declared": _declaration(self._declared, name) is not None,
            "is_trusted": sighting.is_trusted,
            "is_inferred": name in self._seen and sighting.is_inferred,
            "role": said.role,
            "team": said.team,
            "owner": said.owner,
            "criticality": said.criticality or "unknown",
            "environment": said.environment or _latest(sighting.environments),
            "version": sighting.current.get("version", ""),
            "first_seen_at": rfc3339(sighting.first_ns) if sighting.first_ns else None,
            "last_seen_at": rfc3339(last_ns) if last_ns else None,
            "runs": sighting.runs,
        }

    def _said(self, name: str) -> DeclaredAgent:
        return _declaration(self._declared, name) or DeclaredAgent(agent=name)

    def _sighted(self, name: str) -> Sighting:
        return self._seen.get(name) or Sighting(agent=name, is_inferred=False)

    def _called_by(self, name: str) -> list[dict[str, Any]]:
        return [
            {"agent": sighting.agent, "how": how, **_seen(each)}
            for sighting in self._seen.values()
            for key, each in sighting.edges.items()
            for how, agent in (edge_of(key),)
            if agent == name
        ]


def _declaration(listed: list[DeclaredAgent], name: str) -> DeclaredAgent | None:
    exact = next((each for each in listed if each.agent == name), None)
    if exact is not None:
        return exact
    globs = sorted(
        (each for each in listed if each.is_glob and fnmatchcase(name, each.agent)), key=lambda each: -len(each.agent)
    )
    return globs[0] if globs else None


def _version_name(key: str) -> str:
    """A kept version as people read it.

    >>> _version_name("prompt 1.4")
    '1.4 (prompt)'
    """
    what, _, value = key.partition(" ")
    return f"{value} ({what})"


def _change(change: Change) -> dict[str, Any]:
    return {
        "at": rfc3339(change.at_ns),
        "what": change.what,
        "before": change.before,
        "after": change.after,
        "announced": change.is_announced,
    }


def _state(alive: Alive | None, seen_ns: int, last_ns: int, now: int) -> tuple[str, str]:
    """The state, and why it is that. Silence is unknown: it may have ended, hang, or be cut off."""
    if alive is not None and alive.state in ("contained", "running"):
        held = f"{alive.rung} in force" if alive.state == "contained" else ""
        points = f"{alive.connected} of {alive.known} enforcement points connected"
        return alive.state, f"{held}, {points}" if held else points
    if seen_ns and now - seen_ns <= REPORTING_NS:
        return "reporting", "sends telemetry; no guard is connected, so it can be watched and not stopped"
    if not last_ns:
        return "unknown", "declared, and never heard of"
    return "unknown", f"not heard of for {_age(seconds_between(last_ns, now))}"


def _age(seconds: float) -> str:
    """An age in the unit that matters.

    >>> _age(60), _age(3_040), _age(200_000)
    ('60 s', '51 min', '56 h')
    """
    if seconds < 120:
        return f"{round(seconds)} s"
    return f"{round(seconds / 60)} min" if seconds < 7_200 else f"{round(seconds / 3_600)} h"


def _latest(table: Mapping[str, Seen]) -> str:
    return max(table, key=lambda name: table[name].last_ns, default="")


def _rows(table: Mapping[str, Seen]) -> list[dict[str, Any]]:
    """Things that were seen, the latest first."""
    return [{"name": name, **_seen(each)} for name, each in sorted(table.items(), key=lambda item: (-item[1].last_ns, item[0]))]


def _seen(each: Seen | None) -> dict[str, Any]:
    if each is None:
        return {"count": 0, "failed": 0, "first_seen_at": None, "last_seen_at": None}
    return {
        "count": each.count,
        "failed": each.failed,
        "first_seen_at": rfc3339(each.first_ns),
        "last_seen_at": rfc3339(each.last_ns),
    }


def _tools(declared: Mapping[str, str], seen: Mapping[str, Seen]) -> list[dict[str, Any]]:
    """Every tool, declared or seen. Where tools are declared, one that is not among them is outside the agent's scope."""
    names = sorted(declared.keys() | seen.keys())
    other = "not declared" if declared else "unknown"
    return [{"name": name, "permission": declared.get(name, other), **_seen(seen.get(name))} for name in names]


def _edges(declared: tuple[str, ...], seen: Mapping[str, Seen]) -> list[dict[str, Any]]:
    """Whom it reaches. Where partners are declared, one that is not among them says so."""
    found: list[dict[str, Any]] = []
    for key, each in sorted(seen.items(), key=lambda item: -item[1].last_ns):
        how, agent = edge_of(key)
        is_declared = any(fnmatchcase(agent, glob) for glob in declared) if declared else None
        found.append({"agent": agent, "how": how, "declared": is_declared, **_seen(each)})
    met = {edge["agent"] for edge in found}
    found += [
        {"agent": glob, "how": "", "declared": True, **_seen(None)}
        for glob in declared
        if not any(fnmatchcase(agent, glob) for agent in met)
    ]
    return found
