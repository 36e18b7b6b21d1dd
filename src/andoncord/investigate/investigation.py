"""From findings and the record to an account: what happened, who, why, and why it was possible (INV-1, 4, 5, 6, 10)."""

from collections.abc import Sequence

from andoncord.detect.finding import Finding
from andoncord.incident.severity import judge
from andoncord.investigate.casefile import ChangeSeen, Investigation
from andoncord.investigate.cause import causes
from andoncord.investigate.change import changes as changes_of
from andoncord.investigate.change import outcomes_of
from andoncord.investigate.responsible import rank
from andoncord.investigate.steps import Step, steps_of
from andoncord.investigate.timeline import timeline
from andoncord.kernel.text import visible
from andoncord.kernel.time import MINUTE_NS, seconds_between
from andoncord.kernel.vocabulary import Pattern
from andoncord.telemetry.event import Event, EventKind

BEFORE_ONSET_NS = 10 * MINUTE_NS
"""Where a finding names no trace, its agent's steps from this long before the onset are candidates."""
SLOW_DETECTION_S = 60.0
"""Detection that took longer than this is a contributing factor. Chosen: ten times the longest delay of the built-in rules."""


def investigate(findings: Sequence[Finding], events: Sequence[Event], *, now_ns: int) -> Investigation:
    """Read the record of a case.

    Args:
        findings: of one incident; may be empty, then only the ranking and the timeline have something to say.
        events: everything of the affected agents from 24 h before to now, and of their traces, in any order. Events of
        other agents
            are welcome: outcomes of agents that did not change are the comparison.
    """
    steps = steps_of(_of_the_case(findings, events))
    agents = tuple(dict.fromkeys(finding.agent for finding in findings))
    first_ns = min((finding.at_ns for finding in findings), default=now_ns)
    seen = changes_of(events, agents=agents, first_ns=first_ns, now_ns=now_ns) if findings else ()
    return Investigation(
        timeline=timeline(_with_agents(events, findings, agents), findings, now_ns=now_ns),
        responsible=rank(steps, findings),
        root_causes=causes(findings, steps, seen, outcomes_of(events) if seen else {}),
        changes=seen,
        factors=_factors(findings, events, steps, seen),
        pattern=judge(findings).pattern if findings else None,
    )


def _of_the_case(findings: Sequence[Finding], events: Sequence[Event]) -> list[Event]:
    """The events whose steps are candidates: those of the traces that findings name, else of their agents around the onset."""
    if not findings:
        return list(events)
    traces = {finding.trace_id for finding in findings if finding.trace_id}
    since = {
        finding.agent: (finding.onset_ns or finding.at_ns) - BEFORE_ONSET_NS for finding in findings if not finding.trace_id
    }
    return [
        event for event in events if event.trace_id in traces or (event.agent in since and event.at_ns >= since[event.agent])
    ]


def _with_agents(events: Sequence[Event], findings: Sequence[Finding], agents: Sequence[str]) -> list[Event]:
    traces = {finding.trace_id for finding in findings if finding.trace_id}
    return [event for event in events if not findings or event.agent in agents or event.trace_id in traces]


def _factors(
    findings: Sequence[Finding], events: Sequence[Event], steps: Sequence[Step], seen: Sequence[ChangeSeen]
) -> tuple[str, ...]:
    """Why it was possible and why it was not caught sooner, as far as the record shows."""
    factors: list[str] = []
    for finding in findings:
        took_s = seconds_between(finding.onset_ns or finding.at_ns, finding.at_ns)
        if took_s > SLOW_DETECTION_S:
            factors.append(f"{finding.rule} needed {took_s:.0f} s of evidence from the onset.")
        if not finding.trusted:
            factors.append(f"Signals of {visible(finding.agent, 60)} came without a token bound to it: none may act.")
        if not finding.enforced and finding.pattern in (Pattern.UNAUTHORIZED_ACTION, Pattern.INJECTED_ACTION):
            factors.append("No policy stood in the way: the call was executed before it was seen.")
    for change in seen:
        if not change.overlap:
            factors.append(f"The new {visible(change.kind, 20)} went to all runs at once: no canary compared it with the old.")
        if not change.announced:
            factors.append(f"Nobody announced the change of the {visible(change.kind, 20)}.")
    foreign = any(finding.pattern in (Pattern.INJECTED_ACTION, Pattern.INJECTION_EXPOSURE) for finding in findings)
    if foreign:
        factors.append("Text from outside reaches the agent in the same channel as its instructions.")
    if findings and not any(event.kind is EventKind.QUALITY_SCORED for event in events):
        factors.append("No evaluator scores these runs: a wrong answer would not be seen.")
    if any(step.is_open for step in steps):
        factors.append("A tool has no time limit of its own: the step could hang.")
    return tuple(dict.fromkeys(factors))
