"""Ways to what the state holds, so that nothing has to be searched for when there are ten thousand incidents."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from andoncord.incident.correlate import causes_of
from andoncord.incident.incident import Incident

Place = tuple[bool, int, int, int, str]


@dataclass(slots=True)
class Index:
    """Kept by `apply` beside the state, and like it rebuilt by replaying."""

    by_agent: dict[str, dict[str, None]] = field(default_factory=dict)
    """Agent → the open incidents that it is part of."""
    by_trace: dict[str, dict[str, None]] = field(default_factory=dict)
    """Trace → the open incidents with a finding in it."""
    by_cause: dict[str, dict[str, None]] = field(default_factory=dict)
    """Cause → the open incidents with a finding that names it."""
    targets: dict[str, list[str]] = field(default_factory=dict)
    """Agent → the intents that are aimed at it, in the order of issue."""
    places: dict[str, Place] = field(default_factory=dict)
    """Incident → where it stands in a list, the worst and newest highest."""
    changed: dict[str, int] = field(default_factory=dict)
    """Incident → the entry after which its line in a list may last have changed."""

    def near(self, agent: str, trace: str) -> list[str]:
        """Open incidents with this agent or this trace, in the order of opening."""
        found = {**self.by_agent.get(agent, {}), **(self.by_trace.get(trace, {}) if trace else {})}
        return sorted(found)

    def of_agents(self, agents: set[str]) -> list[str]:
        """Open incidents with any of these agents, in the order of opening."""
        return sorted({incident for agent in agents for incident in self.by_agent.get(agent, ())})

    def of_causes(self, causes: Iterable[str]) -> list[str]:
        """Open incidents with a finding that names any of these causes, in the order of opening."""
        return sorted({incident for cause in causes for incident in self.by_cause.get(cause, ())})

    def renew(self, before: Incident | None, after: Incident) -> None:
        """Note what became of an incident."""
        self.places[after.id] = place_of(after)
        if before is not None and ((before.is_open and not after.is_open) or _is_less(before, after)):
            _forget(self.by_agent, before.agents, before.id)
            _forget(self.by_trace, (finding.trace_id for finding in before.findings), before.id)
            _forget(self.by_cause, (cause for finding in before.findings for cause in causes_of(finding)), before.id)
            before = None
        if not after.is_open:
            return
        known = before is not None and before.is_open
        if before is None or not known or before.agents is not after.agents:
            for agent in after.agents:
                self.by_agent.setdefault(agent, {})[after.id] = None
        if before is None or not known or before.findings is not after.findings:
            have = len(before.findings) if before is not None and known else 0
            for finding in after.findings[have:]:
                if finding.trace_id:
                    self.by_trace.setdefault(finding.trace_id, {})[after.id] = None
                for cause in causes_of(finding):
                    self.by_cause.setdefault(cause, {})[after.id] = None


def place_of(incident: Incident) -> Place:
    """Open before closed, then the worst, then the newest."""
    return (
        incident.is_open,
        incident.severity.rank,
        incident.category.priority.rank,
        incident.opened_ns,
        incident.id,
    )


def _is_less(before: Incident, after: Incident) -> bool:
    return len(after.findings) < len(before.findings) or len(after.agents) < len(before.agents)


def _forget(known: dict[str, dict[str, None]], names: Iterable[str], incident: str) -> None:
    for name in names:
        if name in known:
            known[name].pop(incident, None)
            if not known[name]:
                del known[name]
