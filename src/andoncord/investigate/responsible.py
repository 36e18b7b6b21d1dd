"""Which agent and which step are responsible, as a ranking (INV-5).

Every step starts with the same small suspicion. What speaks against a step adds to it: a finding that names it, an error
of a call it made, a refusal, foreign instructions acted on, a repeat. Blame for a call goes to the model step that
decided on it, not to the tool. The weights are flat and stated below, not fitted: where people themselves agree on the
step in 35 % of cases, a fitted weight would mostly learn the habits of one framework, and the position of the culprit
differs by workflow (median relative position .33 to .73).
"""

from collections.abc import Sequence

from andoncord.detect.finding import Finding
from andoncord.investigate.casefile import Suspect
from andoncord.investigate.steps import Step
from andoncord.kernel.text import quoted
from andoncord.kernel.vocabulary import Pattern
from andoncord.telemetry.event import EventKind

TOP = 5

# Weights, relative to a flat prior of 1 for a model step. Chosen so that any one direct sign outweighs the prior of a
# short run, and a finding outweighs every indirect sign.
MODEL_PRIOR = 1.0
TOOL_PRIOR = 0.25
"""A tool call carries out what a model step decided."""
FINDING_WEIGHT = 12.0
"""Times the finding's score and its severity's share."""
EVIDENCE_SHARE = 0.15
"""What each further span of a finding's evidence gets of its weight, and the maker of the named call."""
FIRST_ERROR_WEIGHT = 2.0
"""Source: the actor of the first hard error is the responsible agent in .56 of the runs of a labelled multi-agent set."""
LATER_ERROR_WEIGHT = 0.5
REFUSAL_WEIGHT = 4.0
REPEAT_WEIGHT = 0.3
MAX_REPEATS_COUNTED = 4


class _Sheet:
    """Suspicion per step while it is being added up."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self.weights = [MODEL_PRIOR if step.is_model else TOOL_PRIOR for step in steps]
        self.reasons: list[list[tuple[float, str]]] = [[] for _ in steps]

    def add(self, index: int, weight: float, reason: str) -> None:
        self.weights[index] += weight
        self.reasons[index].append((weight, reason))


def rank(steps: Sequence[Step], findings: Sequence[Finding], *, top: int = TOP) -> tuple[Suspect, ...]:
    """The `top` most suspicious steps, most suspicious first; ties go to the earlier step.

    Ranks even without findings: a reader may know that the run failed although no rule saw why.
    """
    if not steps:
        return tuple(
            Suspect(agent=finding.agent, span_id=finding.span_id, score=1.0, why=finding.summary) for finding in findings[:1]
        )
    sheet = _Sheet(steps)
    _weigh_findings(sheet, steps, findings)
    _weigh_errors(sheet, steps)
    _weigh_repeats(sheet, steps)
    total = sum(sheet.weights)
    order = sorted(range(len(steps)), key=lambda index: (-sheet.weights[index], index))
    return tuple(
        Suspect(
            agent=steps[index].event.agent,
            span_id=steps[index].event.span_id,
            score=round(sheet.weights[index] / total, 6),
            why=_why(sheet.reasons[index]),
        )
        for index in order[:top]
    )


def _weigh_findings(sheet: _Sheet, steps: Sequence[Step], findings: Sequence[Finding]) -> None:
    by_span: dict[str, list[int]] = {}
    for step in steps:
        by_span.setdefault(step.event.span_id, []).append(step.index)
    for finding in findings:
        if finding.pattern is Pattern.INJECTION_EXPOSURE:
            continue  # Reading foreign instructions is not the reader's fault; acting on them has a finding of its own.
        weight = FINDING_WEIGHT * max(0.0, min(1.0, finding.score)) * (finding.severity.rank + 1) / 4
        named = by_span.get(finding.span_id) or _spoken_last(steps, finding)
        for index in named[:1]:
            sheet.add(index, weight, f"{finding.rule}: {quoted(finding.summary)}")
            maker = steps[index].maker
            if maker != index:
                sheet.add(maker, weight * EVIDENCE_SHARE, f"decided on the call that {finding.rule} names")
        for span_id in finding.evidence:
            if span_id != finding.span_id:
                for index in by_span.get(span_id, [])[:1]:
                    sheet.add(index, weight * EVIDENCE_SHARE, f"part of the evidence of {finding.rule}")


def _spoken_last(steps: Sequence[Step], finding: Finding) -> list[int]:
    """Where a finding names no step (a score, a silence): the last decision of its agent before it, in its trace."""
    spoken = [
        step.index
        for step in steps
        if step.event.agent == finding.agent
        and step.event.at_ns <= finding.at_ns
        and (not finding.trace_id or step.event.trace_id == finding.trace_id)
    ]
    deciding = [index for index in spoken if steps[index].is_model or steps[index].is_open]
    return (deciding or spoken)[-1:]


def _weigh_errors(sheet: _Sheet, steps: Sequence[Step]) -> None:
    seen_error = False
    for step in steps:
        event = step.event
        if event.kind is EventKind.GUARD_DENIED:
            sheet.add(step.maker, REFUSAL_WEIGHT, f"asked for {quoted(event.name, 60)}, which the guard refused")
        elif event.kind in (EventKind.TOOL_FAILED, EventKind.MODEL_FAILED):
            failure = event.error_type or "an error"
            if not seen_error:
                sheet.add(step.maker, FIRST_ERROR_WEIGHT, f"the first hard error ({quoted(failure, 40)}) came of it")
            else:
                sheet.add(step.maker, LATER_ERROR_WEIGHT, f"an error ({quoted(failure, 40)}) came of it")
            seen_error = True


def _weigh_repeats(sheet: _Sheet, steps: Sequence[Step]) -> None:
    """A call with the same arguments as an earlier one of the same agent that failed or changed nothing."""
    seen: dict[tuple[str, str, str], tuple[str, int]] = {}
    for step in steps:
        event = step.event
        if step.is_model or not event.name:
            continue
        call = (event.agent, event.name, event.arguments)
        result, times = seen.get(call, (event.result, 0))
        if times and result == event.result and times <= MAX_REPEATS_COUNTED:
            sheet.add(step.maker, REPEAT_WEIGHT, f"repeats {quoted(event.name, 60)} and gets the same answer")
        seen[call] = (event.result, times + 1)


def _why(reasons: Sequence[tuple[float, str]]) -> str:
    if not reasons:
        return "no sign of its own; every step is a candidate"
    told: list[str] = []
    for _, reason in sorted(reasons, key=lambda each: -each[0]):
        if reason not in told:
            told.append(reason)
    more = f"; and {len(told) - 2} more" if len(told) > 2 else ""
    return "; ".join(told[:2]) + more
