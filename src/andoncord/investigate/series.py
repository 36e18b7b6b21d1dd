"""An agent's figures over time, a minute at a time (INV-1). A minute in which nothing was heard is unknown, not 0."""

from collections.abc import Iterable

import msgspec

from andoncord.kernel.errors import CallerError
from andoncord.kernel.time import MINUTE_NS
from andoncord.telemetry.event import Event, EventKind
from andoncord.telemetry.prices import COST_UNKNOWN

MAX_POINTS = 1_440
"""A day of minutes."""
_TOOLS = frozenset((EventKind.TOOL_COMPLETED, EventKind.TOOL_FAILED))
_STEPS = _TOOLS | {EventKind.MODEL_COMPLETED, EventKind.MODEL_FAILED}


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of one step of time."""

    at_ns: int
    """When it begins."""
    runs: int = 0
    """Runs that ended."""
    failed_runs: int = 0
    steps: int = 0
    """Model and tool calls that ended."""
    failed_steps: int = 0
    tool_errors: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_micro_usd: int = 0
    unpriced: int = 0
    """Model calls whose cost is unknown, so that the line above is too low."""
    p50_ms: float | None = None
    """Of the time a step took; None where no step ended."""
    p95_ms: float | None = None


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """One agent from an instant to another. A point that is None is a gap: nothing was heard, so nothing is known."""

    agent: str
    since_ns: int
    until_ns: int
    step_ns: int
    points: tuple[Point | None, ...]
    is_cut: bool
    """There were more events than are read; what is older than the first point that is not None is unknown."""


def series(
    agent: str, events: Iterable[Event], *, since_ns: int, until_ns: int, step_ns: int = MINUTE_NS, limit: int
) -> Series:
    """The figures of `events`, which are those of one agent that were over within the time, the latest `limit` of them.

    Raises:
        CallerError: the time is empty, or has more than `MAX_POINTS` steps.
    """
    if until_ns <= since_ns or step_ns <= 0:
        raise CallerError("ends before it begins", place="until")
    first = since_ns - since_ns % step_ns
    count = -(-(until_ns - first) // step_ns)
    if count > MAX_POINTS:
        raise CallerError(f"has more than {MAX_POINTS} points", place="since", remedy="ask for less time, or for longer steps")
    buckets: list[list[Event]] = [[] for _ in range(count)]
    taken, oldest = 0, until_ns
    for event in events:
        taken += 1
        oldest = min(oldest, event.at_ns)
        place = (event.at_ns - first) // step_ns
        if 0 <= place < count:
            buckets[place].append(event)
    is_cut = taken >= limit
    if is_cut:
        # The step in which the reading stopped is known in part, which is not known.
        for place in range(min(count, (oldest - first) // step_ns + 1)):
            buckets[place] = []
    points = tuple(_point(first + place * step_ns, bucket) if bucket else None for place, bucket in enumerate(buckets))
    return Series(agent=agent, since_ns=first, until_ns=until_ns, step_ns=step_ns, points=points, is_cut=is_cut)


def _point(at_ns: int, events: list[Event]) -> Point:
    steps = [event for event in events if event.kind in _STEPS]
    took = sorted(max(0, event.end_ns - event.start_ns) for event in steps if event.end_ns)
    ended = [event for event in events if _is_end_of_run(event)]
    return Point(
        at_ns=at_ns,
        runs=len(ended),
        failed_runs=sum(not event.ok for event in ended),
        steps=len(steps),
        failed_steps=sum(not event.ok for event in steps),
        tool_errors=sum(event.kind is EventKind.TOOL_FAILED for event in steps),
        input_tokens=sum(event.input_tokens for event in steps),
        output_tokens=sum(event.output_tokens for event in steps),
        cost_micro_usd=sum(event.cost_micro_usd for event in steps),
        unpriced=sum(COST_UNKNOWN in event.attributes for event in steps),
        p50_ms=_quantile_ms(took, 50),
        p95_ms=_quantile_ms(took, 95),
    )


def _is_end_of_run(event: Event) -> bool:
    """An agent with our SDK says that a run ended; of others the outermost span stands for it."""
    if event.kind is EventKind.RUN_ENDED:
        return True
    return event.kind is EventKind.AGENT_INVOKED and not event.parent_span_id and event.run_id == event.trace_id


def _quantile_ms(sorted_ns: list[int], percent: int) -> float | None:
    """The nearest rank: a time that was really measured.

    >>> _quantile_ms([1_000_000, 2_000_000, 9_000_000], 50), _quantile_ms([], 50)
    (2.0, None)
    """
    if not sorted_ns:
        return None
    return sorted_ns[-(-len(sorted_ns) * percent // 100) - 1] / 1_000_000
