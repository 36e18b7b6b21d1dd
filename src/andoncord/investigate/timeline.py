"""What happened, in order, with the moments that tell the story marked (INV-1)."""

from bisect import bisect_left
from collections.abc import Sequence

from andoncord.detect.finding import Finding
from andoncord.investigate.casefile import Moment
from andoncord.investigate.steps import in_order
from andoncord.kernel.text import quoted, visible
from andoncord.kernel.time import DAY_NS
from andoncord.telemetry.event import Event, EventKind

MAX_MOMENTS = 200
"""A timeline longer than this is not read. Key moments stay, then those nearest to one."""
LOOK_BACK_NS = DAY_NS
_QUIET = frozenset({EventKind.HEARTBEAT, EventKind.OTHER, EventKind.STEP_STARTED, EventKind.AGENT_INVOKED})


def timeline(events: Sequence[Event], findings: Sequence[Finding], *, now_ns: int) -> tuple[Moment, ...]:
    """The moments from 24 h before the first finding to now, oldest first, at most `MAX_MOMENTS`."""
    onset_ns = min((finding.onset_ns or finding.at_ns for finding in findings), default=0)
    began_ns = min((finding.at_ns for finding in findings), default=now_ns) - LOOK_BACK_NS
    named = {span_id for finding in findings for span_id in (finding.span_id, *finding.evidence) if span_id}
    told: list[tuple[int, bool, Event | Moment]] = []
    seen_error: set[str] = set()
    for event in in_order(events):
        if (event.kind in _QUIET and event.span_id not in named) or not began_ns <= event.at_ns <= now_ns:
            continue
        key = event.kind in (EventKind.CHANGE_MADE, EventKind.GUARD_DENIED) or event.span_id in named
        if event.kind in (EventKind.TOOL_FAILED, EventKind.MODEL_FAILED) and event.agent not in seen_error:
            seen_error.add(event.agent)
            key = True
        told.append((event.at_ns, key, event))
    told.extend((moment.at_ns, True, moment) for moment in map(_found, findings))
    if onset_ns and any(onset_ns < finding.at_ns for finding in findings):
        first = min(findings, key=lambda finding: finding.onset_ns or finding.at_ns)
        told.append((onset_ns, True, _began(first, onset_ns)))
    told.sort(key=lambda each: each[0])
    return tuple(each if isinstance(each, Moment) else _moment(each, key) for _, key, each in _bounded(told))


def _bounded(told: list[tuple[int, bool, Event | Moment]]) -> list[tuple[int, bool, Event | Moment]]:
    """At most `MAX_MOMENTS`: the key ones first (the earliest of them when they are too many), then those nearest to one."""
    if len(told) <= MAX_MOMENTS:
        return told
    keys = [place for place, (_, key, _) in enumerate(told) if key][:MAX_MOMENTS]

    def distance(place: int) -> int:
        at = bisect_left(keys, place)
        return min((abs(place - key) for key in keys[max(0, at - 1) : at + 1]), default=len(told) - place)

    kept = sorted(range(len(told)), key=lambda place: (distance(place), place))[:MAX_MOMENTS]
    return [told[place] for place in sorted(kept)]


def _moment(event: Event, key: bool) -> Moment:
    return Moment(
        at_ns=event.at_ns,
        kind=event.kind.value,
        text=_text(event),
        agent=visible(event.agent, 80),
        span_id=event.span_id,
        key=key,
    )


def _began(finding: Finding, onset_ns: int) -> Moment:
    return Moment(
        at_ns=onset_ns,
        kind="onset",
        text=f"Onset, as far as the evidence of {finding.rule} shows.",
        agent=visible(finding.agent, 80),
        span_id=finding.span_id,
        key=True,
    )


def _found(finding: Finding) -> Moment:
    return Moment(
        at_ns=finding.at_ns,
        kind="finding",
        text=f"{finding.rule} found {finding.pattern.value} ({finding.severity.value}): {quoted(finding.summary)}",
        agent=visible(finding.agent, 80),
        span_id=finding.span_id,
        key=True,
    )


def _text(event: Event) -> str:  # noqa: PLR0911 - one sentence per kind of event
    name = visible(event.name, 60)
    match event.kind:
        case EventKind.RUN_STARTED:
            return f"A run begins: {quoted(event.task, 80)}" if event.task else "A run begins."
        case EventKind.RUN_ENDED:
            return "A run ends well." if event.ok else "A run ends badly."
        case EventKind.MODEL_COMPLETED:
            return f"It says {quoted(event.output_text)}" if event.output_text else f"A call of the model {name}."
        case EventKind.MODEL_FAILED:
            return f"A call of the model {name} fails: {quoted(event.error_type, 60)}"
        case EventKind.TOOL_COMPLETED:
            return f"It calls {name}{_arguments(event)}."
        case EventKind.TOOL_FAILED:
            return f"It calls {name}{_arguments(event)}; the call fails: {quoted(event.error_type or event.result, 80)}"
        case EventKind.GUARD_DENIED:
            code = visible(str(event.attributes.get("code", "")), 20)
            return f"The guard refuses {name}{_arguments(event)} ({code})."
        case EventKind.QUALITY_SCORED:
            judged = "passes" if event.passed else "fails"
            return f"An answer {judged} {name or 'its check'}."
        case EventKind.CHANGE_MADE:
            before, after = event.attributes.get("from", ""), event.attributes.get("to", "")
            return f"The {name or 'configuration'} changes from {quoted(str(before), 60)} to {quoted(str(after), 60)}."
        case _:
            return f"{event.kind.value} {name}".strip()


def _arguments(event: Event) -> str:
    return f" with {quoted(event.arguments, 80)}" if event.arguments else ""
