"""Which agent and which step are responsible, as a ranking (INV-5).

Every step starts with the same suspicion. Signs for or against a step multiply it: a finding that names it, an error of a
call it made, a refusal, a repeat, words that admit to made-up content, code. Blame for a call goes to the model step that
decided on it, not to the tool. There is no weight for the position: the culprit's median relative position is .33 in one
labelled set and .73 in another, so a fitted one would only learn the habits of a framework.

Source of the weights: the text and error signs were fitted by conditional logistic regression on 64 labelled failed
multi-agent runs and rounded. On the 53 short runs among them this ranking names the agent first in 57 %, the step first in
38 % and among three in 72 % (a random model step: 48 %, 17 %, 47 %; fits that leave out the run they judge: 58 %, 41 %,
72 %); on the eleven long ones the step first in none and among three in 18 %, too few to tell. The signs were chosen on
these same runs, so expect less elsewhere. The weights of findings are chosen: any finding outweighs them all.
"""

import re
from collections.abc import Sequence
from math import exp

from andoncord.detect.finding import Finding
from andoncord.investigate.casefile import Suspect
from andoncord.investigate.steps import Step
from andoncord.kernel.text import quoted
from andoncord.kernel.vocabulary import Pattern
from andoncord.telemetry.event import EventKind

TOP = 5

# Weights are added logarithms: +0.7 doubles the suspicion.
TOOL_PRIOR = -1.4
"""A tool call carries out what a model step decided."""
FINDING_WEIGHT = 4.0
"""Times the finding's score and its severity's share, so that a certain critical finding multiplies by 55."""
EVIDENCE_SHARE = 0.25
"""What each further span of a finding's evidence gets of its weight, and the maker of a named or refused call."""
REFUSAL_WEIGHT = 2.0
FIRST_ERROR_WEIGHT = 0.75
LATER_ERROR_WEIGHT = 0.5
REPEAT_WEIGHT = 0.3
CODE_WEIGHT = 1.0
INVENTED_WEIGHT = 0.4
"""Per word, up to `MAX_INVENTED`."""
MAX_INVENTED = 3
OPENING_WEIGHT = -0.4
"""The first to speak in a trace mostly repeats the task."""
MAX_REPEATS_COUNTED = 4
MAX_TEXT = 20_000

_CODE = "```"
_INVENTED = re.compile(
    r"\b(?:assum\w*|placeholder\w*|hypothetical\w*|simulat\w*|dummy|mock\w*|pretend\w*|fabricat\w*)\b", re.IGNORECASE
)
_STEMS = ("assum", "placeholder", "hypothetical", "simulat", "dummy", "mock", "pretend", "fabricat")


class _Sheet:
    """Suspicion per step while it is being added up."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self.weights = [0.0 if step.is_model else TOOL_PRIOR for step in steps]
        self.reasons: list[list[tuple[float, str]]] = [[] for _ in steps]

    def add(self, index: int, weight: float, reason: str) -> None:
        self.weights[index] += weight
        self.reasons[index].append((weight, reason))

    def shares(self) -> list[float]:
        highest = max(self.weights)
        powers = [exp(weight - highest) for weight in self.weights]
        total = sum(powers)
        return [power / total for power in powers]


def rank(steps: Sequence[Step], findings: Sequence[Finding], *, top: int = TOP) -> tuple[Suspect, ...]:
    """The `top` most suspicious steps, most suspicious first; ties go to the earlier step.

    Ranks even without findings: a reader may know that the run failed although no rule saw why.
    """
    if not steps:
        return tuple(
            Suspect(agent=finding.agent, span_id=finding.span_id, score=1.0, why=quoted(finding.summary))
            for finding in findings[:1]
        )
    sheet = _Sheet(steps)
    _weigh_findings(sheet, steps, findings)
    _weigh_errors(sheet, steps)
    _weigh_repeats(sheet, steps)
    _weigh_words(sheet, steps)
    shares = sheet.shares()
    order = sorted(range(len(steps)), key=lambda index: (-shares[index], index))
    return tuple(
        Suspect(
            agent=steps[index].event.agent,
            span_id=steps[index].event.span_id,
            score=round(shares[index], 6),
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
            maker = steps[index].maker
            # An agent that only carries out what another decided (a terminal, an executor) is not the one to ask.
            carries_out = steps[maker].event.agent != steps[index].event.agent
            sheet.add(index, weight * (EVIDENCE_SHARE if carries_out else 1), f"{finding.rule}: {quoted(finding.summary)}")
            if maker != index:
                share = 1 if carries_out else EVIDENCE_SHARE
                sheet.add(maker, weight * share, f"decided on the call that {finding.rule} names")
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
            sheet.add(step.index, REFUSAL_WEIGHT, f"the guard refused {quoted(event.name, 60)}")
            if step.maker != step.index:
                share = REFUSAL_WEIGHT * EVIDENCE_SHARE
                sheet.add(step.maker, share, f"decided on {quoted(event.name, 60)}, which the guard refused")
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


def _weigh_words(sheet: _Sheet, steps: Sequence[Step]) -> None:
    opened: set[str] = set()
    for step in steps:
        if not step.is_model:
            continue
        text = step.event.output_text[:MAX_TEXT]
        if step.event.trace_id not in opened:
            opened.add(step.event.trace_id)
            sheet.add(step.index, OPENING_WEIGHT, "opens the conversation")
        if _CODE in text:
            sheet.add(step.index, CODE_WEIGHT, "wrote code")
        lowered = text.lower()
        # The stems first: a plain search is many times faster than the pattern, and most text holds none of them.
        words = _INVENTED.findall(text)[:MAX_INVENTED] if any(stem in lowered for stem in _STEMS) else []
        if words:
            sheet.add(step.index, INVENTED_WEIGHT * len(words), f"speaks of made-up content ({quoted(words[0], 30)})")


def _why(reasons: Sequence[tuple[float, str]]) -> str:
    told: list[str] = []
    for weight, reason in sorted(reasons, key=lambda each: -each[0]):
        if weight > 0 and reason not in told:
            told.append(reason)
    if not told:
        return "no sign of its own; every step is a candidate"
    more = f"; and {len(told) - 2} more" if len(told) > 2 else ""
    return "; ".join(told[:2]) + more
