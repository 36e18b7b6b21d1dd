"""The report on one trace: what `andon analyze` prints, and the same for traces seen live."""

from collections.abc import Sequence
from math import exp, log1p

import msgspec

from andoncord.detect.depletion import MIN_AGENTS, Shared
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
EDIT_SHARE = 0.05
"""An edit outside the scope breaks a rule; it says next to nothing about the result. Source: of recorded coding runs, 2 of 7
with such an edit failed and 15 of 53 without."""
PRIOR = 0.5
"""Largest part of the risk that a run's shape alone can give. Chosen."""
STEPS_WEIGHT, AGAIN_WEIGHT, CALL_LAST_WEIGHT, SHAPE_BIAS = 1.47, 2.0, -1.06, -5.0
"""Log-odds per log(1 + steps), per share of calls that repeat an earlier one, and for a last step that is a call. Fitted on
recorded customer-service and coding runs together, each centred; five folds by task give an AUROC of .733 and .756, where
length alone gives .671 and .740; picked as the best of eight combinations on the same folds.
Failed calls, lengths of answers and numbers of tools did not carry over from one set to the
other. The bias is chosen."""
_MODEL = frozenset({EventKind.MODEL_COMPLETED, EventKind.MODEL_FAILED})
_CALLS = frozenset({EventKind.TOOL_COMPLETED, EventKind.TOOL_FAILED, EventKind.GUARD_DENIED})
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
    its score times its severity's share, less when it is in shadow or mere exposure. The prior is the run's shape, see
    `shape`; where several agents share a quantity, it is how much of it is gone, since there a longer run is a better one.

    >>> risk([], [])
    0.0
    """
    gone = _gone(events)
    calm = 1 - (PRIOR * shape(events) if gone is None else PRIOR * gone)
    for finding in findings:
        weight = SEVERITY_RISK[finding.severity] * max(0.0, min(1.0, finding.score))
        if finding.pattern is Pattern.INJECTION_EXPOSURE:
            weight *= EXPOSURE_SHARE
        if finding.pattern in (Pattern.FORBIDDEN_EDIT, Pattern.SCOPE_CREEP):
            weight *= EDIT_SHARE
        if finding.mode is Mode.SHADOW:
            weight *= SHADOW_SHARE
        calm *= 1 - weight
    return round(1 - calm, 6)


def shape(events: Sequence[Event]) -> float:
    """What the shape of a run says about it: 0 for an empty one, towards 1 for a long one that repeats itself."""
    steps = calls = 0
    is_call_last = False
    different: set[tuple[str, str]] = set()
    for event in events:
        if event.kind in _MODEL:
            is_call_last = False
        elif event.kind in _CALLS:
            is_call_last = True
            calls += 1
            different.add((event.name, event.arguments))
        else:
            continue
        steps += 1
    if not steps:
        return 0.0
    again = 1 - len(different) / calls if calls else 0.0
    odds = SHAPE_BIAS + STEPS_WEIGHT * log1p(steps) + AGAIN_WEIGHT * again + CALL_LAST_WEIGHT * is_call_last
    return 1 / (1 + exp(-odds))


def _gone(events: Sequence[Event]) -> float | None:
    """How much of a quantity that several agents share is gone, the largest part of any; None without one."""
    if len({event.agent for event in events}) < MIN_AGENTS:
        return None
    shared = Shared()
    parts: dict[int, float] = {}
    for event in events:
        if event.kind is EventKind.TOOL_COMPLETED:
            for quantity in shared.note(event):
                parts[id(quantity)] = 1 - quantity.last / quantity.most if quantity.most > 0 else 0.0
    return min(1.0, max(parts.values())) if parts else None


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
