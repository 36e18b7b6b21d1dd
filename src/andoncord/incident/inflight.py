"""What became of the calls that were under way when an agent was fenced.

Stopping an agent stops what it would do next, not what it had begun. Each such call is listed with what is known about it; what
is not known is called unknown and never rounded up.
"""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum

import msgspec

from andoncord.telemetry.event import Event, EventKind

MAX_CALLS = 200
"""Calls listed with one verdict; an agent with more in flight at once is told by their number."""
END_KINDS = (EventKind.TOOL_COMPLETED, EventKind.TOOL_FAILED)


class Disposition(StrEnum):
    """What became of a call."""

    COMPLETED = "completed"
    """It ended well after the fence: its effect has happened."""
    ABORTED = "aborted"
    """It did not end well, and its tool is declared to change nothing: there is no effect to look for."""
    UNKNOWN = "unknown"
    """It may or may not have had its effect: somebody has to look."""


class InFlightCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call that had begun before the fence and not ended."""

    instance: str
    tool: str
    span_id: str
    run_id: str
    disposition: Disposition = Disposition.UNKNOWN


def dispose(
    reported: Sequence[InFlightCall], events: Iterable[Event], *, fenced_ns: int, tools: Mapping[str, str]
) -> tuple[InFlightCall, ...]:
    """The calls in flight at the fence, each with its disposition, by instance and tool.

    Args:
        reported: what guards named in their acknowledgements.
        events: the agent's trusted step starts and tool ends around the fence; a guard that could not answer is completed from
            the starts that have no end.
        fenced_ns: when the fence was acknowledged, or ordered where it was not.
        tools: what each tool is declared to do, `read` or `write`; an undeclared one may write.
    """
    calls = {call.span_id: call for call in reported}
    ended: dict[str, Event] = {}
    for event in events:
        if event.kind in END_KINDS:
            ended[event.span_id] = event
        elif event.kind is EventKind.STEP_STARTED and event.start_ns <= fenced_ns and event.span_id:
            calls.setdefault(
                event.span_id,
                InFlightCall(instance=event.instance, tool=event.name, span_id=event.span_id, run_id=event.run_id),
            )
    found = [
        msgspec.structs.replace(call, disposition=_became(call, ended.get(call.span_id), tools))
        for call in calls.values()
        if call.span_id not in ended or ended[call.span_id].at_ns > fenced_ns
    ]
    found.sort(key=lambda call: (call.instance, call.tool, call.span_id))
    return tuple(found[:MAX_CALLS])


def _became(call: InFlightCall, end: Event | None, tools: Mapping[str, str]) -> Disposition:
    if end is not None and end.kind is EventKind.TOOL_COMPLETED:
        return Disposition.COMPLETED
    return Disposition.ABORTED if tools.get(call.tool) == "read" else Disposition.UNKNOWN
