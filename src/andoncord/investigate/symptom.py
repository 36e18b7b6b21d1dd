"""What the pattern of the trouble itself speaks for, when nothing is known to have changed (INV-4, INV-10)."""

from collections.abc import Sequence

from andoncord.detect.finding import Finding
from andoncord.investigate.casefile import Avoid, Cause
from andoncord.investigate.steps import Step
from andoncord.kernel.text import quoted, visible
from andoncord.kernel.vocabulary import CauseType, Pattern
from andoncord.telemetry.event import EventKind

MAX_EVIDENCE = 10
LAST_CALLS = 10
"""Calls looked at for the tool that a run is stuck on."""
MAX_ARGUMENTS = 4_000
"""Characters of a call's arguments that are handed on; longer ones are no use for recognising it."""
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
    Pattern.BEHAVIOR_DRIFT: (
        (CauseType.INPUT_SHIFT, 0.3, "other work would look the same; the mix of inputs was not compared"),
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


def causes_of_pattern(finding: Finding, steps: Sequence[Step], step: Step | None) -> tuple[Cause, ...]:
    """The causes that one finding speaks for; `step` is the one it names, if any."""
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
    mine = [
        each
        for each in steps
        if not each.is_model
        and each.event.agent == finding.agent
        and (not finding.trace_id or each.event.trace_id == finding.trace_id)
    ]
    tool = _stuck_tool(finding, mine, step)
    calls = [each for each in mine if each.event.name == tool and each.event.kind is not EventKind.GUARD_DENIED]
    failed = [each for each in calls if each.event.kind is EventKind.TOOL_FAILED]
    asked = {each.event.arguments for each in calls}
    answers = {(each.event.result, each.event.error_type) for each in calls}
    spans = _spans(finding)
    trust = _trust(finding)
    name = quoted(tool, 60) if tool else "a tool"
    avoid = _past_spending(finding, steps, tool) or (
        _same_call(calls[-1], "this call was repeated without progress") if calls else None
    )
    if calls and len(failed) == len(calls) and len(asked) > 1:
        return (
            _cause(CauseType.TOOL_FAULT, 0.65 * trust, f"{name} failed every time, whatever was asked of it.", spans, avoid),
            _cause(CauseType.CAPABILITY_MISMATCH, 0.35 * trust, f"The agent may not know how to use {name}.", spans, avoid),
        )
    if failed:
        return (
            _cause(
                CauseType.CAPABILITY_MISMATCH, 0.5 * trust, f"The agent went on with calls of {name} that failed.", spans, avoid
            ),
            _cause(CauseType.TOOL_FAULT, 0.45 * trust, f"{name} answered with an error.", spans, avoid),
        )
    if len(calls) > 1 and len(answers) == 1:
        return (
            _cause(
                CauseType.TOOL_FAULT,
                0.6 * trust,
                f"The answer of {name} never changes, so the agent cannot go on.",
                spans,
                avoid,
            ),
            _cause(
                CauseType.FEEDBACK_LOOP,
                0.4 * trust,
                "The agent feeds the same answer back into the same decision.",
                spans,
                avoid,
            ),
        )
    return (_cause(CauseType.FEEDBACK_LOOP, 0.5 * trust, "The agent goes round in a circle of its own making.", spans, avoid),)


def _stuck_tool(finding: Finding, calls: Sequence[Step], step: Step | None) -> str:
    """The tool it is stuck on: what the finding names, else the one called most among the last calls."""
    names = [each.event.name for each in calls]
    named = str(finding.facts.get("name") or (step.event.name if step else ""))
    if named in names:
        return named
    last = [name for name in names[-LAST_CALLS:] if name]
    return max(last, key=last.count) if last else ""


def _past_spending(finding: Finding, steps: Sequence[Step], tool: str) -> Avoid | None:
    """Half of what the stuck run had spent when it was found: it would have been stopped at half the harm."""
    spent = sum(
        step.event.cost_micro_usd
        for step in steps
        if finding.trace_id and step.event.trace_id == finding.trace_id and step.event.at_ns <= finding.at_ns
    )
    if spent < 2:
        return None
    because = "the run went on spending without progress"
    return Avoid(agent=finding.agent, tool=tool, cost_micro_usd=spent // 2, because=because)


def _same_call(step: Step, because: str) -> Avoid:
    event = step.event
    arguments = event.arguments if len(event.arguments) <= MAX_ARGUMENTS else ""
    return Avoid(agent=event.agent, tool=event.name, arguments=arguments, because=because)


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
        avoid = _same_call(source, "this is where the foreign instructions stood")
        return (_cause(CauseType.PROMPT_ISSUE, 0.75 * trust, summary, evidence, avoid),)
    outside = _outside(finding, step)
    if finding.pattern in (Pattern.INJECTED_ACTION, Pattern.DATA_EXFILTRATION):
        summary = "The agent acted on instructions that are not its own."
        return (_cause(CauseType.PROMPT_ISSUE, 0.6 * trust, summary, spans, outside),)
    return (
        _cause(CauseType.CAPABILITY_MISMATCH, 0.45 * trust, "The task led the agent outside what it may do.", spans, outside),
        _cause(CauseType.PROMPT_ISSUE, 0.4 * trust, "Its instructions do not keep it inside what it may do.", spans, outside),
    )


def _outside(finding: Finding, step: Step | None) -> Avoid | None:
    """The tool as a whole where the agent may not use it; this one call where the tool itself is its daily work."""
    if step is None or step.is_model or not step.event.name:
        return None
    if finding.pattern in (Pattern.FORBIDDEN_EDIT, Pattern.SCOPE_CREEP, Pattern.POLICY_VIOLATION):
        return _same_call(step, "this call reached outside what the task allows")
    return Avoid(agent=step.event.agent, tool=step.event.name, because="the agent has no business with this tool")


def foreign_source(finding: Finding, steps: Sequence[Step], step: Step | None) -> Step | None:
    """The step whose result the offending call came from: it names the call's tool, or holds a value of its arguments.

    What the finding names wins; then the latest such result before the call in the same trace. Text of the task itself is
    not foreign.
    """
    named = str(finding.facts.get("read_span_id") or "")
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
            _cause(CauseType.TOOL_FAULT, 0.7 * trust, summary, spans, _same_call(step, "this call never came back")),
            _cause(CauseType.SYSTEM_FAULT, 0.3 * trust, "The process or its host may have stopped.", spans),
        )
    summary = "The agent fell silent between steps: its process, host or network may have stopped."
    return (_cause(CauseType.SYSTEM_FAULT, 0.6 * trust, summary, _spans(finding)),)


def _cause(kind: CauseType, score: float, summary: str, evidence: tuple[str, ...], avoid: Avoid | None = None) -> Cause:
    return Cause(
        type=kind,
        score=round(score, 4),
        claim="consistent with",
        summary=summary,
        evidence=evidence[:MAX_EVIDENCE],
        reasons=(summary,),
        against=("rests on this run alone: no comparison with a run where it was otherwise",),
        avoid=avoid,
    )


def _spans(finding: Finding) -> tuple[str, ...]:
    return tuple(dict.fromkeys(span for span in (finding.span_id, *finding.evidence) if span))[:MAX_EVIDENCE]


def _trust(finding: Finding) -> float:
    """A finding that is half sure supports a cause half as much, down to a floor: its pattern was still seen."""
    return 0.5 + 0.5 * max(0.0, min(1.0, finding.score))
