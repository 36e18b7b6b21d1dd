"""Open incidents as alerts of Prometheus's Alertmanager: what it should know now, read off the state.

Labels name an alert there: another label is another alert. They are few, and each changes seldom; whoever sends them says of
labels that are not in the answer any more that they are resolved.
"""

from collections.abc import Mapping

import msgspec

from andoncord.engine.state import State
from andoncord.incident.incident import Incident
from andoncord.kernel.text import visible
from andoncord.kernel.time import MINUTE_NS
from andoncord.kernel.vocabulary import Severity

ALERT = "AndoncordIncident"
"""The `alertname` of all of them."""
RESOLVED_NS = 15 * MINUTE_NS
"""How long it is said that an incident is over, in case it was not heard. Source: what Prometheus does."""
MAX_ALERTS = 1_000
"""Alerts at once, the worst first; more are not sent, and how many is said."""
LINE = 300


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """One alert."""

    labels: dict[str, str]
    annotations: dict[str, str]
    starts_ns: int
    ended_ns: int = 0
    """0 while it fires."""

    @property
    def key(self) -> tuple[tuple[str, str], ...]:
        """What it is known by there."""
        return tuple(sorted(self.labels.items()))


def alerts_of(state: State, *, least: Severity, own: Mapping[str, str], now_ns: int) -> tuple[list[Alert], int]:
    """The alerts of now, and how many there was no room for.

    Args:
        least: milder incidents are left out.
        own: labels of this installation.
    """
    wanted = [
        incident
        for incident in state.incidents.values()
        if incident.severity.rank >= least.rank and (incident.is_open or 0 <= now_ns - incident.resolved_ns < RESOLVED_NS)
    ]
    wanted.sort(key=lambda each: (each.is_open, each.severity.rank, each.opened_ns), reverse=True)
    return [_alert(incident, own) for incident in wanted[:MAX_ALERTS]], max(0, len(wanted) - MAX_ALERTS)


def _alert(incident: Incident, own: Mapping[str, str]) -> Alert:
    labels = {
        **own,
        "alertname": ALERT,
        "incident": incident.id,
        "severity": incident.severity.value,
        "agent": visible(incident.agents[0], 200) if incident.agents else "",
        "environment": visible(incident.environment, 100),
    }
    annotations = {
        "summary": visible(incident.title, LINE),
        "description": visible(f"{incident.sev.value}, {incident.pattern.value}; agents: {', '.join(incident.agents)}", LINE),
        "state": incident.state.value,
        "containment": incident.containment or "under way or not judged yet",
    }
    return Alert(
        labels={name: value for name, value in labels.items() if value},
        annotations=annotations,
        starts_ns=incident.opened_ns,
        ended_ns=0 if incident.is_open else incident.resolved_ns,
    )
