"""Which incident a finding belongs to (INC-1)."""

from collections.abc import Iterable

from andoncord.detect.finding import Finding
from andoncord.incident.incident import Incident
from andoncord.kernel.time import MINUTE_NS
from andoncord.kernel.vocabulary import IncidentState, Mode

WEIGHED = ("at_risk_micro_usd", "customers")
"""Facts of a finding that decide how bad an incident is."""
JOIN_WINDOW_NS = 30 * MINUTE_NS
"""A finding this long after the last one opens an incident of its own. Chosen: longer than a containment."""


MAX_NAMED = 8
"""Agents, and causes, looked at of those that a finding names."""
MAX_TOGETHER = 100
"""Agents of one incident from which on nobody joins by cause alone; the next ones open another. Chosen: more than anybody looks
at one by one, and an incident is judged anew with every agent."""
MAX_WHOLE = 50
"""Findings of one incident that are kept whole whatever they say. Chosen: more than anybody reads one by one."""


def says_nothing_new(finding: Finding, incident: Incident) -> bool:
    """Whether the incident is no different with this finding: one like it is known, and there are many already.

    Such a finding is counted, so that a storm neither fills the record nor slows down what is decided. While an agent is being
    let go every finding is looked at.
    """
    if len(incident.findings) < MAX_WHOLE or incident.state.rank >= IncidentState.RECOVERING.rank:
        return False
    return any(_is_covered(finding, by=known) for known in incident.findings)


def _is_covered(finding: Finding, *, by: Finding) -> bool:
    is_alike = (by.rule, by.agent, by.pattern, by.mode) == (finding.rule, finding.agent, finding.pattern, finding.mode)
    return (
        is_alike
        and by.severity.rank >= finding.severity.rank
        and by.trusted >= finding.trusted
        and by.enforced <= finding.enforced
        and all(_number(by.facts.get(name)) >= _number(finding.facts.get(name)) for name in WEIGHED)
        and finding.facts.get("tool") == by.facts.get("tool")
    )


def _number(value: object) -> int:
    return int(value) if isinstance(value, int | float) else 0


def agents_of(finding: Finding) -> frozenset[str]:
    """The agent that a finding is about, and those it names beside: of a cascade, a circle, a price that moves in step."""
    named = finding.facts.get("agents")
    others = [each for each in named if isinstance(each, str)] if isinstance(named, list | tuple) else []
    return frozenset((finding.agent, *others[:MAX_NAMED]))


def causes_of(finding: Finding) -> frozenset[str]:
    """What the finding names as that which it comes from."""
    named = finding.facts.get("causes")
    names = [each for each in named if isinstance(each, str)] if isinstance(named, list | tuple) else []
    return frozenset(names[:MAX_NAMED])


def home_of(finding: Finding, incidents: Iterable[Incident]) -> str | None:
    """The open incident that `finding` joins, or None when it opens a new one.

    It joins when they share a trace, or an agent or a cause within `JOIN_WINDOW_NS` of the time from the incident's onset to
    its last finding: one that comes late belongs where its own time says, not to what is going on now. Resolved incidents take
    no more findings: what comes after a verified recovery is news. Of several the one with the trace wins, then the one with
    the cause, then the nearest in time, then the most recent.
    """
    best: tuple[bool, bool, int, int] | None = None
    home: str | None = None
    agents, causes = agents_of(finding), causes_of(finding)
    for incident in incidents:
        if incident.state.rank >= IncidentState.RESOLVED.rank:
            continue
        same_trace = bool(finding.trace_id) and any(known.trace_id == finding.trace_id for known in incident.findings)
        last_ns = incident.last_finding_ns or incident.opened_ns
        first_ns = min(incident.onset_ns or last_ns, last_ns)
        apart_ns = max(0, finding.at_ns - last_ns, first_ns - finding.at_ns)
        is_near = apart_ns <= JOIN_WINDOW_NS
        same_agent = is_near and not agents.isdisjoint(incident.agents)
        same_cause = is_near and bool(causes) and _has_cause(incident, finding, causes)
        place = (same_trace, same_cause, -apart_ns, incident.opened_ns)
        if (same_trace or same_agent or same_cause) and (best is None or place >= best):
            best, home = place, incident.id
    return home


def _has_cause(incident: Incident, finding: Finding, causes: frozenset[str]) -> bool:
    """Whether an incident comes from what the finding comes from, and would do to its agent what the finding alone would.

    What is done about an incident is done to each of its agents. So nobody is stopped, or stopped harder, because another agent
    has the same cause: how bad it is and whether it may act have to agree, and who is trusted shares no incident by cause with
    who is not. While agents are being let go nobody joins them.
    """
    if incident.state.rank >= IncidentState.RECOVERING.rank or incident.environment != finding.environment:
        return False
    if finding.agent not in incident.agents and len(incident.agents) >= MAX_TOGETHER:
        return False
    worst = max((known.severity.rank for known in incident.findings), default=-1)
    return (
        worst == finding.severity.rank
        and incident.may_act == (finding.trusted and finding.mode is Mode.ACT)
        and any(known.trusted == finding.trusted and not causes.isdisjoint(causes_of(known)) for known in incident.findings)
    )
