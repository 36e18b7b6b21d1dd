"""A trace without the machinery of frameworks, so that the same story reads alike whoever recorded it."""

from collections.abc import Iterable, Mapping

import msgspec

from andoncord.telemetry.batch import SPAN_KINDS
from andoncord.telemetry.event import Event, EventKind

MAX_CLIMB = 256
"""Ancestors looked at; a longer chain of parents, or a circle, ends the search."""

FOLDED = "folded"
"""Attribute of a span: how many spans around and below it were folded into it."""


def fold(events: Iterable[Event]) -> tuple[Event, ...]:
    """The events of one trace without spans that only wrap others: nodes and turns of a framework, an agent inside of itself.

    What hung on a folded span hangs on the next one above that is left. A failure is never folded away: a wrapper that failed
    while nothing below it did stays. Where no span says that an agent worked, the outermost wrapper stands for it.

    >>> spans = [
    ...     Event(kind=EventKind.OTHER, span_id="a", agent="bot", name="graph"),
    ...     Event(kind=EventKind.OTHER, span_id="b", parent_span_id="a", agent="bot", name="node"),
    ...     Event(kind=EventKind.TOOL_COMPLETED, span_id="c", parent_span_id="b", agent="bot", name="search"),
    ... ]
    >>> [(each.kind.value, each.name, each.parent_span_id) for each in fold(spans)]
    [('agent.invoked', 'bot', ''), ('tool.completed', 'search', 'a')]
    """
    listed = list(events)
    spans = {event.span_id: event for event in listed if event.kind in SPAN_KINDS and event.span_id}
    failing = _with_failure_below(spans)
    left = {key: span for key, span in spans.items() if not _is_machinery(span, key in failing)}
    left |= _standing_for_agents(spans, left)
    for key in [key for key, span in left.items() if span.kind is EventKind.AGENT_INVOKED]:
        above = _above(spans, left, key)
        if above and _is_inside_itself(left[key], left[above], key in failing):
            del left[key]
            left[above] = msgspec.structs.replace(left[above], name=left[above].agent)
    counts: dict[str, int] = {}
    for key in spans:
        if key not in left:
            home = _above(spans, left, key)
            counts[home] = counts.get(home, 0) + 1
    return tuple(_placed(event, spans, left, counts) for event in listed if _stays(event, left))


def levels(events: Iterable[Event]) -> list[tuple[int, Event]]:
    """The spans of one trace as a tree from top to bottom, each with its depth; records stand below the span they came in.

    Nothing is left out: a span whose parent was not seen stands at the top, a circle of parents is cut open.

    >>> spans = [Event(kind=EventKind.OTHER, span_id=key, parent_span_id=above) for key, above in (("b", "a"), ("a", ""))]
    >>> [(depth, event.span_id) for depth, event in levels(spans)]
    [(0, 'a'), (1, 'b')]
    """
    listed = sorted(events, key=lambda event: event.start_ns)
    ended = {event.span_id for event in listed if event.kind in SPAN_KINDS}
    listed = [event for event in listed if event.kind is not EventKind.STEP_STARTED or event.span_id not in ended]
    below: dict[str, list[int]] = {}
    tops: list[int] = []
    known = {event.span_id for event in listed if event.kind in SPAN_KINDS and event.span_id}
    for place, event in enumerate(listed):
        parent = event.parent_span_id if event.kind in SPAN_KINDS else event.span_id
        (
            below.setdefault(parent, [])
            if parent in known and (event.kind not in SPAN_KINDS or parent != event.span_id)
            else tops
        ).append(place)
    found: list[tuple[int, Event]] = []
    shown: set[int] = set()
    for first in [*tops, *range(len(listed))]:
        waiting = [(first, 0)]
        while waiting:
            place, depth = waiting.pop()
            if place in shown:
                continue
            shown.add(place)
            event = listed[place]
            found.append((depth, event))
            if event.kind in SPAN_KINDS:
                waiting += [(child, depth + 1) for child in reversed(below.get(event.span_id, ()))]
    return found


def _is_machinery(span: Event, fails_below: bool) -> bool:
    return span.kind is EventKind.OTHER and (span.ok or fails_below)


def _is_inside_itself(inner: Event, outer: Event, fails_below: bool) -> bool:
    return outer.kind is EventKind.AGENT_INVOKED and inner.agent == outer.agent and (inner.ok or not outer.ok or fails_below)


def _stays(event: Event, left: Mapping[str, Event]) -> bool:
    return event.kind not in SPAN_KINDS or not event.span_id or event.span_id in left


def _placed(event: Event, spans: Mapping[str, Event], left: Mapping[str, Event], counts: Mapping[str, int]) -> Event:
    """The event where it hangs now."""
    if event.kind not in SPAN_KINDS or not event.span_id:
        if event.span_id in left or event.span_id not in spans:
            return event
        return msgspec.structs.replace(event, span_id=_above(spans, left, event.span_id))
    placed = left[event.span_id]
    parent = placed.parent_span_id
    if parent in spans and parent not in left:
        parent = _above(spans, left, event.span_id)
    count = counts.get(event.span_id, 0)
    attributes = {**placed.attributes, FOLDED: count} if count else placed.attributes
    return msgspec.structs.replace(placed, parent_span_id=parent, attributes=attributes)


def _above(spans: Mapping[str, Event], left: Mapping[str, Event], key: str) -> str:
    """The next span above that is left; '' where there is none, as in a circle."""
    start = key
    for _ in range(MAX_CLIMB):
        span = spans.get(key)
        if span is None or span.parent_span_id == start:
            return ""
        key = span.parent_span_id
        if key in left:
            return key
    return ""


def _with_failure_below(spans: Mapping[str, Event]) -> set[str]:
    """The spans below which something failed."""
    found: set[str] = set()
    for span in spans.values():
        key = "" if span.ok else span.parent_span_id
        for _ in range(MAX_CLIMB):
            if key not in spans or key in found:
                break
            found.add(key)
            key = spans[key].parent_span_id
    return found


def _standing_for_agents(spans: Mapping[str, Event], left: Mapping[str, Event]) -> dict[str, Event]:
    """The outermost wrappers of work that no agent's span is above, as spans of their agents."""
    found: dict[str, Event] = {}
    for span in left.values():
        if span.kind is EventKind.AGENT_INVOKED:
            continue
        top, key = "", span.span_id
        for _ in range(MAX_CLIMB):
            parent = spans[key].parent_span_id
            if parent not in spans:
                break
            if parent in left and left[parent].kind is EventKind.AGENT_INVOKED:
                top = ""
                break
            key = parent
            if spans[key].kind is EventKind.OTHER and spans[key].agent == span.agent:
                top = key
        if top:
            found[top] = msgspec.structs.replace(spans[top], kind=EventKind.AGENT_INVOKED, name=span.agent)
    return found
