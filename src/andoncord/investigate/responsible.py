"""Which agent and which step are responsible, as a ranking (INV-5).

Every step starts with the same suspicion. Signs for or against a step multiply it: a finding that names it, an error of a
call it made, a refusal, words that admit to made-up content, code. Blame for a call goes to the model step that decided on
it, not to the tool. There is no weight for the position: the culprit's median relative position is .33 in one labelled set
and .73 in another, so a fitted one would only learn the habits of a framework. Nor is there one for repeated calls: its sign
changed from fit to fit.

Source of the weights: conditional logistic regression with a ridge, fitted on 64 labelled failed multi-agent runs and
rounded. Fitted anew without the fold they are judged on (five folds), such weights name the step first in 31 % and among
three in 59 % of the runs (the best blind guess 14 %, a random three 34 %): 36 % and 68 % of the 53 short runs, none and 18 %
of the eleven long ones, too few to tell. `benchmarks/held_out.py` fits, `just bench labelled` says the figures. The signs
themselves were chosen on these runs, so expect less elsewhere. The weights of findings are chosen: any finding outweighs
them all.
"""

import re
from collections.abc import Mapping, Sequence
from math import exp

from andoncord.detect.finding import Finding
from andoncord.investigate.casefile import Suspect
from andoncord.investigate.steps import Step
from andoncord.kernel.text import quoted
from andoncord.kernel.vocabulary import Pattern
from andoncord.telemetry.event import EventKind

TOP = 5

FINDING_WEIGHT = 4.0
"""Times the finding's score and its severity's share, so that a certain critical finding multiplies by 55."""
EVIDENCE_SHARE = 0.25
"""What each further span of a finding's evidence gets of its weight, and the maker of a named or refused call."""
MAX_INVENTED = 3
"""Words that admit to made-up content, counted in one step."""

WEIGHTS: Mapping[str, float] = {
    "finding": FINDING_WEIGHT,
    "refusal": 2.0,
    "tool": -1.1,
    "first_error": 0.7,
    "later_error": 0.4,
    "code": 1.0,
    "invented": 0.8,
    "opening": -0.4,
}
"""By sign; added logarithms: +0.7 doubles the suspicion. A tool call carries out what a model step decided; the first to speak
in a trace mostly repeats the task."""
FITTED = ("tool", "first_error", "later_error", "code", "invented", "opening")
"""Signs whose weights were fitted; those of findings and refusals are chosen."""
MAX_TEXT = 20_000

_CODE = "```"
_INVENTED = re.compile(
    r"\b(?:assum\w*|placeholder\w*|hypothetical\w*|simulat\w*|dummy|mock\w*|pretend\w*|fabricat\w*)\b", re.IGNORECASE
)
_STEMS = ("assum", "placeholder", "hypothetical", "simulat", "dummy", "mock", "pretend", "fabricat")


class _Sheet:
    """Signs of suspicion per step while they are being gathered."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self.signs: list[dict[str, float]] = [{} if step.is_model else {"tool": 1.0} for step in steps]
        self.reasons: list[list[tuple[float, str]]] = [[] for _ in steps]

    def add(self, index: int, sign: str, reason: str, amount: float = 1.0) -> None:
        self.signs[index][sign] = self.signs[index].get(sign, 0.0) + amount
        self.reasons[index].append((WEIGHTS[sign] * amount, reason))

    def shares(self, weights: Mapping[str, float]) -> list[float]:
        scores = [sum(weights[sign] * amount for sign, amount in signs.items()) for signs in self.signs]
        highest = max(scores)
        powers = [exp(score - highest) for score in scores]
        total = sum(powers)
        return [power / total for power in powers]


def signs_of(steps: Sequence[Step], findings: Sequence[Finding]) -> list[dict[str, float]]:
    """What speaks for and against each step, by sign: what the weights are fitted on."""
    return _sheet(steps, findings).signs


def _sheet(steps: Sequence[Step], findings: Sequence[Finding]) -> _Sheet:
    sheet = _Sheet(steps)
    _weigh_findings(sheet, steps, findings)
    _weigh_errors(sheet, steps)
    _weigh_words(sheet, steps)
    return sheet


def rank(steps: Sequence[Step], findings: Sequence[Finding], *, top: int = TOP) -> tuple[Suspect, ...]:
    """The `top` most suspicious steps, most suspicious first; ties go to the earlier step.

    Ranks even without findings: a reader may know that the run failed although no rule saw why.
    """
    if not steps:
        return tuple(
            Suspect(agent=finding.agent, span_id=finding.span_id, score=1.0, why=quoted(finding.summary))
            for finding in findings[:1]
        )
    sheet = _sheet(steps, findings)
    shares = sheet.shares(WEIGHTS)
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
        amount = max(0.0, min(1.0, finding.score)) * (finding.severity.rank + 1) / 4
        named = by_span.get(finding.span_id) or _spoken_last(steps, finding)
        for index in named[:1]:
            maker = steps[index].maker
            # An agent that only carries out what another decided (a terminal, an executor) is not the one to ask.
            carries_out = steps[maker].event.agent != steps[index].event.agent
            own = amount * (EVIDENCE_SHARE if carries_out else 1)
            sheet.add(index, "finding", f"{finding.rule}: {quoted(finding.summary)}", own)
            if maker != index:
                share = 1 if carries_out else EVIDENCE_SHARE
                sheet.add(maker, "finding", f"decided on the call that {finding.rule} names", amount * share)
        for span_id in finding.evidence:
            if span_id != finding.span_id:
                for index in by_span.get(span_id, [])[:1]:
                    sheet.add(index, "finding", f"part of the evidence of {finding.rule}", amount * EVIDENCE_SHARE)


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
            sheet.add(step.index, "refusal", f"the guard refused {quoted(event.name, 60)}")
            if step.maker != step.index:
                decided = f"decided on {quoted(event.name, 60)}, which the guard refused"
                sheet.add(step.maker, "refusal", decided, EVIDENCE_SHARE)
        elif event.kind in (EventKind.TOOL_FAILED, EventKind.MODEL_FAILED):
            failure = event.error_type or "an error"
            if not seen_error:
                sheet.add(step.maker, "first_error", f"the first hard error ({quoted(failure, 40)}) came of it")
            else:
                sheet.add(step.maker, "later_error", f"an error ({quoted(failure, 40)}) came of it")
            seen_error = True


def _weigh_words(sheet: _Sheet, steps: Sequence[Step]) -> None:
    opened: set[str] = set()
    for step in steps:
        if not step.is_model:
            continue
        text = step.event.output_text[:MAX_TEXT]
        if step.event.trace_id not in opened:
            opened.add(step.event.trace_id)
            sheet.add(step.index, "opening", "opens the conversation")
        if _CODE in text:
            sheet.add(step.index, "code", "wrote code")
        lowered = text.lower()
        # The stems first: a plain search is many times faster than the pattern, and most text holds none of them.
        words = _INVENTED.findall(text)[:MAX_INVENTED] if any(stem in lowered for stem in _STEMS) else []
        if words:
            sheet.add(step.index, "invented", f"speaks of made-up content ({quoted(words[0], 30)})", len(words))


def _why(reasons: Sequence[tuple[float, str]]) -> str:
    told: list[str] = []
    for weight, reason in sorted(reasons, key=lambda each: -each[0]):
        if weight > 0 and reason not in told:
            told.append(reason)
    if not told:
        return "no sign of its own; every step is a candidate"
    more = f"; and {len(told) - 2} more" if len(told) > 2 else ""
    return "; ".join(told[:2]) + more
