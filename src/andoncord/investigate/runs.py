"""The runs of an agent, one line each, so that a person finds the one to read."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from andoncord.kernel.errors import CallerError
from andoncord.telemetry.event import Event, EventKind
from andoncord.telemetry.prices import COST_UNKNOWN

_PLACE = re.compile(r"([0-9]{1,19})-([0-9]{1,19})-([0-9]{1,6})", re.ASCII)
_STEPS = frozenset((EventKind.MODEL_COMPLETED, EventKind.MODEL_FAILED, EventKind.TOOL_COMPLETED, EventKind.TOOL_FAILED))


class RunSeen(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen of one run."""

    run_id: str
    trace_id: str
    task: str
    start_ns: int
    end_ns: int
    """When the last of it was over."""
    has_ended: bool
    """It was seen to end; otherwise it goes on, or its end was lost."""
    ok: bool
    steps: int
    failed_steps: int
    denied: int
    """Calls that the guard refused."""
    tokens: int
    cost_micro_usd: int
    unpriced: int


def runs(events: Iterable[Event]) -> tuple[RunSeen, ...]:
    """The runs among the events of one agent, the latest first.

    >>> step = Event(kind=EventKind.TOOL_FAILED, run_id="r", trace_id="t", start_ns=1, end_ns=5, ok=False)
    >>> [(run.run_id, run.failed_steps, run.has_ended) for run in runs([step])]
    [('r', 1, False)]
    """
    found: dict[str, list[Event]] = {}
    for event in events:
        if event.run_id and event.kind is not EventKind.HEARTBEAT:
            found.setdefault(event.run_id, []).append(event)
    return tuple(sorted((_run(run_id, own) for run_id, own in found.items()), key=lambda run: (-run.start_ns, run.run_id)))


class Place(NamedTuple):
    """Where a page of runs ended, in numbers alone: ids are the emitters' own words, and a place is typed into a shell."""

    until_ns: int
    """The end of the time that is paged through: it stays, while more is recorded."""
    start_ns: int
    """When the last run of the page began."""
    alike: int
    """Runs so far that began at that moment."""

    def __str__(self) -> str:
        return f"{self.until_ns}-{self.start_ns}-{self.alike}"

    @classmethod
    def read(cls, text: str) -> "Place":
        """A place from its text.

        Raises:
            CallerError: it is none.

        >>> Place.read(str(Place(9, 5, 1)))
        Place(until_ns=9, start_ns=5, alike=1)
        """
        found = _PLACE.fullmatch(text)
        if found is None:
            raise CallerError("is no place in the list", place="after", remedy="use `next` of the page before, or none")
        return cls(*map(int, found.groups()))


def page(
    listed: Sequence[RunSeen], *, until_ns: int, limit: int, after: Place | None
) -> tuple[Sequence[RunSeen], Place | None]:
    """A page of `runs`, and where the next one begins; None where nothing follows."""
    start = 0
    if after is not None:
        start = bisect_left(listed, -after.start_ns, key=lambda run: -run.start_ns)
        later = bisect_right(listed, -after.start_ns, key=lambda run: -run.start_ns)
        start = min(start + after.alike, later)
    end = start + limit
    if end >= len(listed):
        return listed[start:], None
    last_ns = listed[end - 1].start_ns
    first = bisect_left(listed, -last_ns, key=lambda run: -run.start_ns)
    return listed[start:end], Place(until_ns, last_ns, end - first)


def _run(run_id: str, events: list[Event]) -> RunSeen:
    steps = [event for event in events if event.kind in _STEPS]
    ends = [event for event in events if event.kind is EventKind.RUN_ENDED or _is_outermost(event)]
    return RunSeen(
        run_id=run_id,
        trace_id=next((event.trace_id for event in events if event.trace_id), ""),
        task=next((event.task for event in events if event.task), ""),
        start_ns=min(event.start_ns for event in events),
        end_ns=max(event.at_ns for event in events),
        has_ended=bool(ends),
        ok=all(event.ok for event in ends),
        steps=len(steps),
        failed_steps=sum(not event.ok for event in steps),
        denied=sum(event.kind is EventKind.GUARD_DENIED for event in events),
        tokens=sum(event.input_tokens + event.output_tokens for event in steps),
        cost_micro_usd=sum(event.cost_micro_usd for event in steps),
        unpriced=sum(COST_UNKNOWN in event.attributes for event in steps),
    )


def _is_outermost(event: Event) -> bool:
    return event.kind is EventKind.AGENT_INVOKED and not event.parent_span_id
