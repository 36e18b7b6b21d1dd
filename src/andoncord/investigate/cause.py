"""Root causes, ranked, each with evidence for and against (INV-4).

Two sources: what changed before the trouble began (`change`), and what its pattern speaks for (`symptom`). The
scores only rank; the caps keep a cause that rests on timing below one that rests on overlap, and a guess below what a
recovery would act on.
"""

from collections.abc import Iterable, Sequence

import msgspec

from andoncord.detect.finding import Finding
from andoncord.investigate.casefile import Avoid, Cause, ChangeSeen
from andoncord.investigate.change import SIGNIFICANT, RunOutcome, worse_by_chance
from andoncord.investigate.inferred import NAMED
from andoncord.investigate.steps import Step
from andoncord.investigate.symptom import MAX_EVIDENCE, causes_of_pattern
from andoncord.kernel.text import quoted, visible
from andoncord.kernel.vocabulary import CauseType

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
MAX_FINDINGS = 20
"""Kinds of findings that causes are drawn from, the earliest."""
CONCURRENT_WITHIN_NS = 60 * 1_000_000_000


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
    # One finding per pattern, agent and trace: the others of a kind speak for the same causes.
    telling = {(finding.pattern, finding.agent, finding.trace_id): finding for finding in reversed(findings)}
    for finding in list(telling.values())[-MAX_FINDINGS:]:
        found.extend(causes_of_pattern(finding, steps, named.get(finding.span_id)))
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
        score = min(score, change.confidence)
        against.append(f"nobody announced it; inferred from the {change.how or 'versions that runs name'}")
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
        avoid=Avoid(agent=change.agent, version=change.after, because=f"runs on version {quoted(change.after, 40)} went wrong")
        if change.after and change.confidence >= NAMED
        else None,
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
