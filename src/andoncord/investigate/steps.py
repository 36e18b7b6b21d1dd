"""The steps of a case in order, and who made whom act: the graph that suspicion flows back along (INV-3, INV-5)."""

from collections import defaultdict, deque
from collections.abc import Iterable, Sequence

import msgspec

from andoncord.telemetry.event import Event, EventKind

MODEL_KINDS = frozenset({EventKind.MODEL_COMPLETED, EventKind.MODEL_FAILED})
TOOL_KINDS = frozenset({EventKind.TOOL_COMPLETED, EventKind.TOOL_FAILED, EventKind.GUARD_DENIED})
STEP_KINDS = MODEL_KINDS | TOOL_KINDS | {EventKind.STEP_STARTED}
MAX_STEPS = 20_000
"""Steps of one case that are looked at: the latest ones."""
LINK_LENGTH = 12
"""Characters from which a value that turns up again counts as taken from where it stood. Chosen: longer than common words."""
MAX_LINKED_CALLS = 2_000
"""Tool calls, the latest, whose arguments are traced back to where they were read; the search is the dearest part."""
MAX_LINK_RESULTS = 20
"""Results before a call, in its trace, that are searched."""
MAX_LINK_VALUES = 8
MAX_LINK_TEXT = 8_000


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """A candidate: something an agent said or did, with the step that asked for it."""

    event: Event
    index: int
    """Position among the steps of the case, 0 first."""
    maker: int
    """The step whose decision this one carries out; itself for a model step. A tool call is made by the model step before
    it."""
    reads: tuple[int, ...] = ()
    """Steps whose result stands in this call's arguments: where its data came from."""

    @property
    def is_open(self) -> bool:
        """It began, and its end was never seen."""
        return self.event.kind is EventKind.STEP_STARTED

    @property
    def is_model(self) -> bool:
        """Somebody spoke or decided."""
        return self.event.kind in MODEL_KINDS


def in_order(events: Iterable[Event]) -> tuple[Event, ...]:
    """Events by the time they began; those of the same moment stay as they came."""
    return tuple(sorted(events, key=lambda event: (event.start_ns or event.at_ns, event.at_ns)))


def steps_of(events: Iterable[Event]) -> tuple[Step, ...]:
    """The steps of a case, oldest first, each with its maker; a step that began and never ended is one of them.

    A tool call is made by the latest model step of the same agent in the same trace; when that agent never speaks there
    (a terminal that only runs what others wrote), by the latest model step of anybody in the trace; else by itself.
    """
    ordered = [event for event in in_order(events) if event.kind in STEP_KINDS]
    ended = {event.span_id for event in ordered if event.kind is not EventKind.STEP_STARTED}
    chosen = [event for event in ordered if event.kind is not EventKind.STEP_STARTED or event.span_id not in ended][-MAX_STEPS:]
    speakers = {(event.trace_id, event.agent) for event in chosen if event.kind in MODEL_KINDS}
    spoke_last: dict[tuple[str, str], int] = {}
    steps: list[Step] = []
    links = _links(chosen)
    for index, event in enumerate(chosen):
        maker = index
        if event.kind in MODEL_KINDS:
            spoke_last[event.trace_id, event.agent] = index
            spoke_last[event.trace_id, ""] = index
        else:
            whose = event.agent if (event.trace_id, event.agent) in speakers else ""
            maker = spoke_last.get((event.trace_id, whose), index)
        steps.append(Step(event=event, index=index, maker=maker, reads=links.get(index, ())))
    return tuple(steps)


def _links(events: Sequence[Event]) -> dict[int, tuple[int, ...]]:
    """For each call, the earlier results that hold one of its longer argument values. O(calls x results), both bounded."""
    calls = [(index, event) for index, event in enumerate(events) if event.kind in TOOL_KINDS][-MAX_LINKED_CALLS:]
    results: dict[str, deque[tuple[int, str]]] = defaultdict(lambda: deque(maxlen=MAX_LINK_RESULTS))
    links: dict[int, tuple[int, ...]] = {}
    for index, event in calls:
        values = [value for value in _values(event.arguments) if len(value) >= LINK_LENGTH] if event.arguments else []
        found = [at for at, text in results[event.trace_id] if any(value in text for value in values)] if values else []
        if found:
            links[index] = tuple(found)
        if event.result:
            results[event.trace_id].append((index, event.result[:MAX_LINK_TEXT]))
    return links


def _values(arguments: str) -> list[str]:
    try:
        decoded = msgspec.json.decode(arguments[:MAX_LINK_TEXT])
    except msgspec.DecodeError:
        return [arguments[:200]]
    stack, values = [decoded], list[str]()
    while stack and len(values) < MAX_LINK_VALUES:
        value = stack.pop()
        if isinstance(value, dict):
            stack.extend(value.values())
        elif isinstance(value, list):
            stack.extend(value[:20])
        elif isinstance(value, str):
            values.append(value[:200])
    return values
