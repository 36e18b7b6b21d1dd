"""Which incident a finding belongs to (INC-1)."""

from collections.abc import Iterable

from andoncord.detect.finding import Finding
from andoncord.incident.incident import Incident
from andoncord.kernel.time import MINUTE_NS
from andoncord.kernel.vocabulary import IncidentState

JOIN_WINDOW_NS = 30 * MINUTE_NS
"""A finding this long after the last one opens an incident of its own. Chosen: longer than a containment."""


def home_of(finding: Finding, incidents: Iterable[Incident]) -> str | None:
    """The open incident that `finding` joins, or None when it opens a new one.

    It joins when they share a trace, or the agent within `JOIN_WINDOW_NS` of the incident's last finding. Resolved incidents
    take no more findings: what comes after a verified recovery is news. Of several the most recent wins.
    """
    best: Incident | None = None
    for incident in incidents:
        if incident.state.rank >= IncidentState.RESOLVED.rank:
            continue
        same_trace = bool(finding.trace_id) and any(known.trace_id == finding.trace_id for known in incident.findings)
        last_ns = max((known.at_ns for known in incident.findings), default=incident.opened_ns)
        same_agent = finding.agent in incident.agents and abs(finding.at_ns - last_ns) <= JOIN_WINDOW_NS
        if (same_trace or same_agent) and (best is None or incident.opened_ns >= best.opened_ns):
            best = incident
    return best.id if best else None
