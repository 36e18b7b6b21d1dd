"""The report on one trace: what `andon analyze` prints, and the same for traces seen live."""

from collections.abc import Sequence
from math import exp

import msgspec

from andoncord.detect.finding import Finding
from andoncord.incident.severity import judge
from andoncord.investigate.casefile import Investigation
from andoncord.investigate.investigation import investigate
from andoncord.kernel.text import visible
from andoncord.kernel.vocabulary import Category, CauseType, Mode, Pattern, Severity
from andoncord.telemetry.event import Event, EventKind

SEVERITY_RISK = {Severity.LOW: 0.15, Severity.MEDIUM: 0.35, Severity.HIGH: 0.65, Severity.CRITICAL: 0.9}
"""What a certain finding of each severity says about the run. Chosen, uncalibrated."""
EXPOSURE_SHARE = 0.25
"""Reading foreign instructions is a risk, not an incident."""
SHADOW_SHARE = 0.25
ERROR_PRIOR = 0.15
"""Largest part of the risk that failed calls alone can give."""
LENGTH_PRIOR = 0.15
"""Largest part that length alone can give. Source: in recorded customer-service runs length alone orders failures with an
AUROC near .7."""
LENGTH_SCALE = 40.0
"""Steps at which two thirds of it are reached."""
SUMMARY_LIMIT = 300
NAME_LIMIT = 200


class FindingReport(msgspec.Struct, frozen=True, kw_only=True):
    """A finding, as reported. The summary may quote agents: made visible, still nothing to obey."""

    rule: str
    span_id: str
    agent: str
    severity: Severity
    category: Category
    pattern: Pattern
    score: float
    summary: str


class SuspectReport(msgspec.Struct, frozen=True, kw_only=True):
    """A suspect, as reported."""

    agent: str
    span_id: str
    score: float


class CauseReport(msgspec.Struct, frozen=True, kw_only=True):
    """A cause, as reported."""

    type: CauseType
    score: float
    evidence: tuple[str, ...]


class TraceReport(msgspec.Struct, frozen=True, kw_only=True):
    """One trace judged by itself. `severity` and `category` are None where there is no incident."""

    trace_id: str
    incident: bool
    risk: float
    """0 to 1: see `risk`."""
    severity: Severity | None
    category: Category | None
    findings: tuple[FindingReport, ...]
    responsible: tuple[SuspectReport, ...]
    root_causes: tuple[CauseReport, ...]


class Analysis(msgspec.Struct, frozen=True, kw_only=True):
    """A report with the whole account behind it."""

    report: TraceReport
    investigation: Investigation


def is_incident(finding: Finding) -> bool:
    """Whether a finding makes its trace an incident: its rule may at least alert, and it is more than exposure (DET-23)."""
    return finding.mode is not Mode.SHADOW and finding.pattern is not Pattern.INJECTION_EXPOSURE


def risk(events: Sequence[Event], findings: Sequence[Finding]) -> float:
    """How likely the run went wrong, as a score from 0 to 1 for ordering runs. It is not calibrated: 0.8 does not mean 80 %.

    `1 - (1 - prior) * product of (1 - weight of each finding)`: every finding raises it, none lowers it. A finding weighs
    its score times its severity's share, less when it is in shadow or mere exposure. The prior is weak on purpose: up to
    0.15 each for the share of calls that failed and for the number of steps.

    >>> risk([], [])
    0.0
    """
    steps = failed = 0
    for event in events:
        if event.kind in (EventKind.MODEL_COMPLETED, EventKind.TOOL_COMPLETED):
            steps += 1
        elif event.kind in (EventKind.MODEL_FAILED, EventKind.TOOL_FAILED, EventKind.GUARD_DENIED):
            steps += 1
            failed += 1
    calm = 1.0
    if steps:
        calm = 1 - ERROR_PRIOR * failed / steps - LENGTH_PRIOR * (1 - exp(-steps / LENGTH_SCALE))
    for finding in findings:
        weight = SEVERITY_RISK[finding.severity] * max(0.0, min(1.0, finding.score))
        if finding.pattern is Pattern.INJECTION_EXPOSURE:
            weight *= EXPOSURE_SHARE
        if finding.mode is Mode.SHADOW:
            weight *= SHADOW_SHARE
        calm *= 1 - weight
    return round(1 - calm, 6)


def analyze_trace(events: Sequence[Event], findings: Sequence[Finding], *, trace_id: str = "") -> Analysis:
    """Judge one trace by itself.

    Suspects are ranked even where no rule fired: a reader may know that the run failed. Causes need a finding.

    Args:
        trace_id: of the trace; by default that of its first event.
    """
    telling = [finding for finding in findings if is_incident(finding)]
    last_ns = max((event.at_ns for event in events), default=0)
    account = investigate(telling, events, now_ns=last_ns)
    judgement = judge(telling) if telling else None
    report = TraceReport(
        trace_id=trace_id or (events[0].trace_id if events else ""),
        incident=bool(telling),
        risk=risk(events, findings),
        severity=judgement.severity if judgement else None,
        category=judgement.category if judgement else None,
        findings=tuple(
            _finding(finding)
            for finding in findings
            if finding.mode is not Mode.SHADOW or finding.pattern is Pattern.INJECTION_EXPOSURE
        ),
        responsible=tuple(
            SuspectReport(agent=visible(suspect.agent, NAME_LIMIT), span_id=suspect.span_id, score=suspect.score)
            for suspect in account.responsible
        ),
        root_causes=tuple(
            CauseReport(type=cause.type, score=cause.score, evidence=cause.evidence) for cause in account.root_causes
        ),
    )
    return Analysis(report=report, investigation=account)


def _finding(finding: Finding) -> FindingReport:
    return FindingReport(
        rule=finding.rule,
        span_id=finding.span_id,
        agent=visible(finding.agent, NAME_LIMIT),
        severity=finding.severity,
        category=finding.category,
        pattern=finding.pattern,
        score=finding.score,
        summary=visible(finding.summary, SUMMARY_LIMIT),
    )
