"""Root causes, ranked, each with evidence for and against (INV-4).

Two sources: what changed before the trouble began (`change`), and what the pattern of the trouble itself speaks for. The
scores only rank; the caps keep a cause that rests on timing below one that rests on overlap, and a guess below what a
recovery would act on.
"""

from collections.abc import Iterable, Sequence

import msgspec

from andoncord.detect.finding import Finding
from andoncord.investigate.casefile import Cause, ChangeSeen
from andoncord.investigate.change import SIGNIFICANT, RunOutcome, worse_by_chance
from andoncord.investigate.steps import Step
from andoncord.kernel.text import quoted, visible
from andoncord.kernel.vocabulary import CauseType, Pattern
from andoncord.telemetry.event import EventKind

CHANGE_CAUSES = {
    "prompt": CauseType.PROMPT_CHANGE,
    "config": CauseType.PROMPT_CHANGE,
    "tool": CauseType.TOOL_CHANGE,
    "model": CauseType.MODEL_CHANGE,
    "deployment": CauseType.SYSTEM_FAULT,
}
OVERLAP_CAP = 0.95
TIMING_CAP = 0.8
"""Source: a cause named from timing alone was right in 67 % of cases at 0.7-0.9 in simulation, so it never claims more."""
UNTESTED = 0.45
"""A change before the trouble without outcomes on both sides: worth looking at, no more. Chosen."""
CONCURRENT_SHARE = 0.6
"""What a change keeps when others of another kind came with it. Chosen."""
PLACEBO_SHARE = 0.5
"""What it keeps when agents that did not change got worse as well. Chosen."""
MIN_PLACEBO = 10
CONCURRENT_WITHIN_NS = 60 * 1_000_000_000
MAX_EVIDENCE = 10

STUCK_PATTERNS = frozenset({Pattern.INFINITE_LOOP, Pattern.COST_SPIRAL, Pattern.REPEATED_FAILURE, Pattern.TOOL_FAILURE_STREAK})
OVERSTEP_PATTERNS = frozenset(
    {
        Pattern.INJECTED_ACTION,
        Pattern.DATA_EXFILTRATION,
        Pattern.UNAUTHORIZED_ACTION,
        Pattern.SCOPE_CREEP,
        Pattern.POLICY_VIOLATION,
        Pattern.FORBIDDEN_EDIT,
    }
)
SUGGESTED: dict[Pattern, tuple[tuple[CauseType, float, str], ...]] = {
    Pattern.QUALITY_DROP: (
        (CauseType.INPUT_SHIFT, 0.25, "quality fell; the mix of inputs was not compared"),
        (CauseType.CAPABILITY_MISMATCH, 0.2, "quality is below its objective"),
    ),
    Pattern.CONFIDENT_HALLUCINATION: (
        (CauseType.CAPABILITY_MISMATCH, 0.45, "it stated what it could not know"),
        (CauseType.PROMPT_ISSUE, 0.35, "its instructions do not make it check or abstain"),
    ),
    Pattern.HARMFUL_OUTPUT: ((CauseType.PROMPT_ISSUE, 0.5, "its instructions did not keep it from harmful output"),),
    Pattern.TOKEN_BURST: (
        (CauseType.FEEDBACK_LOOP, 0.4, "tokens grew beyond what the work explains"),
        (CauseType.INPUT_SHIFT, 0.3, "larger inputs would look the same"),
    ),
    Pattern.CONTEXT_GROWTH: ((CauseType.FEEDBACK_LOOP, 0.4, "its own output goes back into its context"),),
    Pattern.STATE_CORRUPTION: (
        (CauseType.TOOL_FAULT, 0.4, "a tool gave or stored wrong data"),
        (CauseType.FEEDBACK_LOOP, 0.3, "wrong data may have been read back in"),
    ),
    Pattern.DECISION_CASCADE: ((CauseType.FEEDBACK_LOOP, 0.5, "one agent's error became the input of the next"),),
    Pattern.EMERGENT_BEHAVIOR: (
        (CauseType.EMERGENT_BEHAVIOR, 0.7, "each agent stayed within its limits and their sum did not"),
    ),
}
"""What a pattern speaks for when nothing better is known. Scores chosen; without a second sign they stay below a verdict."""


def causes(
    findings: Sequence[Finding],
    steps: Sequence[Step],
    changes: Sequence[ChangeSeen],
    outcomes: dict[str, list[RunOutcome]],
) -> tuple[Cause, ...]:
    """Possible causes, best supported first, one per type.

    Args:
        steps: of the traces that the findings name.
        changes: of the affected agents, before the first finding.
        outcomes: per agent, for the comparison with agents that did not change.
    """
    found: list[Cause] = []
    onset_ns = min((finding.onset_ns or finding.at_ns for finding in findings), default=0)
    if findings:
        found.extend(_from_change(change, changes, outcomes, onset_ns) for change in changes if change.kind in CHANGE_CAUSES)
    named = {step.event.span_id: step for step in reversed(steps) if step.event.span_id}
    for finding in findings:
        found.extend(_from_pattern(finding, steps, named.get(finding.span_id)))
    return _merged(found)


def _from_change(
    change: ChangeSeen, changes: Sequence[ChangeSeen], outcomes: dict[str, list[RunOutcome]], onset_ns: int
) -> Cause:
    difference = change.p_value is not None
    score = (1 - (change.p_value or 0.0)) if difference else UNTESTED
    significant = difference and (change.p_value or 0.0) <= SIGNIFICANT
    proven = significant and change.overlap
    score = min(score, OVERLAP_CAP if proven else TIMING_CAP)
    what = visible(change.kind, 20)
    reasons: list[str] = []
    against: list[str] = []
    if difference:
        reasons.append(
            f"{change.passed_before} of {change.judged_before} runs passed before, "
            f"{change.passed_after} of {change.judged_after} after (chance of that without a change: {change.p_value:.2g})"
        )
    else:
        against.append("no outcomes on both sides of the change to compare")
    if not significant and difference:
        against.append("the outcomes do not differ by more than chance explains")
    if proven:
        reasons.append("both versions worked at the same time, or going back brought the old outcomes back")
    else:
        against.append("the versions did not overlap in time, so anything else that changed then would look the same")
    if not change.announced:
        against.append("nobody announced it; inferred from the versions that runs name")
    score *= _concurrency(change, changes, against) * _placebo(change, outcomes, reasons, against)
    if change.at_ns > onset_ns:
        score *= CONCURRENT_SHARE
        against.append("the trouble may have begun before the change: the estimate of the onset is earlier")
    arrow = f"{quoted(change.before, 40)} to {quoted(change.after, 40)}"
    return Cause(
        type=CHANGE_CAUSES[change.kind],
        score=round(score, 4),
        claim="cause" if proven else "consistent with",
        summary=f"The {what} of {visible(change.agent, 60)} changed from {arrow} before the trouble began.",
        evidence=tuple(span for span in (change.span_id, *change.failing_spans) if span),
        reasons=tuple(reasons),
        against=tuple(against),
    )


def _concurrency(change: ChangeSeen, changes: Iterable[ChangeSeen], against: list[str]) -> float:
    others = {
        other.kind
        for other in changes
        if other.agent == change.agent and other.kind != change.kind and abs(other.at_ns - change.at_ns) <= CONCURRENT_WITHIN_NS
    }
    if not others:
        return 1.0
    against.append(f"changed within a minute of it: {', '.join(sorted(visible(kind, 20) for kind in others))}")
    return CONCURRENT_SHARE


def _placebo(change: ChangeSeen, outcomes: dict[str, list[RunOutcome]], reasons: list[str], against: list[str]) -> float:
    """The same comparison on agents that did not change: if they got worse too, something common is behind it."""
    others = [outcome for agent, each in outcomes.items() if agent != change.agent for outcome in each]
    before = [outcome.passed for outcome in others if outcome.at_ns < change.at_ns]
    after = [outcome.passed for outcome in others if outcome.at_ns >= change.at_ns]
    if len(before) < MIN_PLACEBO or len(after) < MIN_PLACEBO:
        return 1.0
    if worse_by_chance(sum(before), len(before), sum(after), len(after)) <= SIGNIFICANT:
        against.append("agents that did not change got worse at the same time")
        return PLACEBO_SHARE
    reasons.append(f"the other agents, {len(after)} runs since, did not get worse")
    return 1.0


def _from_pattern(finding: Finding, steps: Sequence[Step], step: Step | None) -> tuple[Cause, ...]:
    if finding.pattern is Pattern.INJECTION_EXPOSURE:
        return ()  # Read, not acted on: no failure to find the cause of.
    if finding.pattern in STUCK_PATTERNS:
        return _stuck(finding, steps, step)
    if finding.pattern in OVERSTEP_PATTERNS:
        return _overstep(finding, steps, step)
    if finding.pattern is Pattern.SILENCE:
        return _silent(finding, steps)
    spans = _spans(finding)
    return tuple(
        Cause(
            type=kind,
            score=round(score * _trust(finding), 4),
            claim="consistent with",
            summary=f"{finding.rule}: {reason}.",
            evidence=spans,
            reasons=(reason,),
            against=("a typical cause of this pattern; nothing else in the record speaks for it",),
        )
        for kind, score, reason in SUGGESTED.get(finding.pattern, ())
    )


def _stuck(finding: Finding, steps: Sequence[Step], step: Step | None) -> tuple[Cause, ...]:
    """Going round: is it the tool that never answers otherwise, the agent that asks wrongly, or a circle of its own making?"""
    tool = str(finding.facts.get("tool") or (step.event.name if step else ""))
    calls = [
        each
        for each in steps
        if not each.is_model
        and each.event.agent == finding.agent
        and (not tool or each.event.name == tool)
        and (not finding.trace_id or each.event.trace_id == finding.trace_id)
        and each.event.kind is not EventKind.GUARD_DENIED
    ]
    failed = [each for each in calls if each.event.kind is EventKind.TOOL_FAILED]
    asked = {each.event.arguments for each in calls}
    answers = {(each.event.result, each.event.error_type) for each in calls}
    spans = _spans(finding)
    trust = _trust(finding)
    name = quoted(tool, 60) if tool else "a tool"
    if calls and len(failed) == len(calls) and len(asked) > 1:
        return (
            _cause(CauseType.TOOL_FAULT, 0.65 * trust, f"{name} failed every time, whatever was asked of it.", spans),
            _cause(CauseType.CAPABILITY_MISMATCH, 0.35 * trust, f"The agent may not know how to use {name}.", spans),
        )
    if failed:
        return (
            _cause(CauseType.CAPABILITY_MISMATCH, 0.5 * trust, f"The agent went on with calls of {name} that failed.", spans),
            _cause(CauseType.TOOL_FAULT, 0.45 * trust, f"{name} answered with an error.", spans),
        )
    if len(calls) > 1 and len(answers) == 1:
        return (
            _cause(CauseType.TOOL_FAULT, 0.6 * trust, f"The answer of {name} never changes, so the agent cannot go on.", spans),
            _cause(CauseType.FEEDBACK_LOOP, 0.4 * trust, "The agent feeds the same answer back into the same decision.", spans),
        )
    return (_cause(CauseType.FEEDBACK_LOOP, 0.5 * trust, "The agent goes round in a circle of its own making.", spans),)


def _overstep(finding: Finding, steps: Sequence[Step], step: Step | None) -> tuple[Cause, ...]:
    """Outside what it may do: because something it read said so, or by itself?"""
    spans = _spans(finding)
    trust = _trust(finding)
    source = foreign_source(finding, steps, step)
    if source is not None:
        read = source.event
        told = quoted(_telling(read.result, step), 100)
        summary = (
            f"The agent obeyed text that {visible(read.name or 'a tool', 60)} gave it: {told}. "
            "Its instructions do not keep what it reads apart from what it is told."
        )
        evidence = tuple(dict.fromkeys((read.span_id, *spans)))
        return (_cause(CauseType.PROMPT_ISSUE, 0.75 * trust, summary, evidence),)
    if finding.pattern in (Pattern.INJECTED_ACTION, Pattern.DATA_EXFILTRATION):
        return (_cause(CauseType.PROMPT_ISSUE, 0.6 * trust, "The agent acted on instructions that are not its own.", spans),)
    return (
        _cause(CauseType.CAPABILITY_MISMATCH, 0.45 * trust, "The task led the agent outside what it may do.", spans),
        _cause(CauseType.PROMPT_ISSUE, 0.4 * trust, "Its instructions do not keep it inside what it may do.", spans),
    )


def foreign_source(finding: Finding, steps: Sequence[Step], step: Step | None) -> Step | None:
    """The step whose result the offending call came from: it names the call's tool, or holds a value of its arguments.

    What the finding names wins; then the latest such result before the call in the same trace. Text of the task itself is
    not foreign.
    """
    named = str(finding.facts.get("source_span") or finding.facts.get("foreign_span") or "")
    if named:
        for each in steps:
            if each.event.span_id == named:
                return each
    if step is None or step.is_model:
        return None
    tool = step.event.name
    for each in reversed(steps[: step.index]):
        event = each.event
        if event.trace_id != step.event.trace_id or not event.result or event.kind is not EventKind.TOOL_COMPLETED:
            continue
        if event.name != tool and ((len(tool) > 3 and tool in event.result) or each.index in step.reads):
            return each
    return None


def _telling(result: str, step: Step | None) -> str:
    """The part of a result around the name of the tool that was called after it."""
    at = result.find(step.event.name) if step else -1
    return result[max(0, at - 60) :] if at > 0 else result


def _silent(finding: Finding, steps: Sequence[Step]) -> tuple[Cause, ...]:
    hung = [step for step in steps if step.is_open and step.event.agent == finding.agent]
    trust = _trust(finding)
    if hung:
        step = hung[-1]
        spans = tuple(dict.fromkeys((step.event.span_id, *_spans(finding))))
        summary = f"{quoted(step.event.name, 60)} began and never came back."
        return (
            _cause(CauseType.TOOL_FAULT, 0.7 * trust, summary, spans),
            _cause(CauseType.SYSTEM_FAULT, 0.3 * trust, "The process or its host may have stopped.", spans),
        )
    summary = "The agent fell silent between steps: its process, host or network may have stopped."
    return (_cause(CauseType.SYSTEM_FAULT, 0.6 * trust, summary, _spans(finding)),)


def _cause(kind: CauseType, score: float, summary: str, evidence: tuple[str, ...]) -> Cause:
    return Cause(
        type=kind,
        score=round(score, 4),
        claim="consistent with",
        summary=summary,
        evidence=evidence[:MAX_EVIDENCE],
        reasons=(summary,),
        against=("rests on this run alone: no comparison with a run where it was otherwise",),
    )


def _spans(finding: Finding) -> tuple[str, ...]:
    return tuple(dict.fromkeys(span for span in (finding.span_id, *finding.evidence) if span))[:MAX_EVIDENCE]


def _trust(finding: Finding) -> float:
    """A finding that is half sure supports a cause half as much, down to a floor: its pattern was still seen."""
    return 0.5 + 0.5 * max(0.0, min(1.0, finding.score))


def _merged(found: Sequence[Cause]) -> tuple[Cause, ...]:
    """One cause per type: the best supported, with the evidence of all."""
    best: dict[CauseType, Cause] = {}
    for cause in sorted(found, key=lambda each: -each.score):
        kept = best.get(cause.type)
        if kept is None:
            best[cause.type] = cause
            continue
        evidence = tuple(dict.fromkeys((*kept.evidence, *cause.evidence)))[:MAX_EVIDENCE]
        reasons = tuple(dict.fromkeys((*kept.reasons, *cause.reasons)))[:MAX_EVIDENCE]
        best[cause.type] = msgspec.structs.replace(kept, evidence=evidence, reasons=reasons)
    return tuple(sorted(best.values(), key=lambda each: -each.score))
