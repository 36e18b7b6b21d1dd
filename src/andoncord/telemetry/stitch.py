"""Who did it: agent, run and task of a step that does not say so itself come from the nearest ancestor that does.

Most emitters name the agent on `invoke_agent` spans alone, and parents end, hence arrive, after their children.
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from andoncord.telemetry.event import Event, EventKind

MAX_CLIMB = 256
"""Ancestors looked at; a chain of parents that is longer, or a circle, ends the search."""

INFERRED = "agent_inferred"
"""Attribute of an event whose agent is the name of its service, for want of anything better so far."""

_LOGGED = frozenset(
    {
        EventKind.RUN_STARTED,
        EventKind.RUN_ENDED,
        EventKind.STEP_STARTED,
        EventKind.GUARD_DENIED,
        EventKind.GUARD_DEGRADED,
        EventKind.HEARTBEAT,
        EventKind.QUALITY_SCORED,
        EventKind.CHANGE_MADE,
    }
)
"""Kinds that come as log records: they carry the id of a span without being one."""

_MODELS = frozenset({EventKind.MODEL_COMPLETED, EventKind.MODEL_FAILED})
_COUNTED = ("input_tokens", "output_tokens", "cost_micro_usd")
_SAID = ("input_text", "output_text", "instructions")
_HANDED_DOWN = ("agent", "run_id", "task", "session_id", "environment")
Inherited = dict[str, str]
"""Fields that a span takes from its ancestors, and what they say."""


def settle(drafts: list[dict[str, Any]], fallbacks: list[str]) -> None:
    """Fill in, in place, what drafts of one batch leave open.

    Args:
        drafts: fields of events; `agent` is present, empty where the span does not name one.
        fallbacks: for each draft the agent that its resource names, or ''.
    """
    by_span: dict[tuple[str, str], dict[str, Any]] | None = None
    above: dict[tuple[str, str], Inherited] = {}
    for draft in drafts:
        if draft["agent"] and draft.get("run_id") and draft.get("task"):
            continue
        if by_span is None:
            by_span = {
                (other["trace_id"], other["span_id"]): other
                for other in drafts
                if "parent_span_id" in other and other["span_id"]
            }
        _inherit(draft, by_span, above)
    if by_span is None:
        by_span = {}
    wrapped = _wrapped(drafts, by_span) if not all(draft["agent"] for draft in drafts) else {}
    for draft, fallback in zip(drafts, fallbacks, strict=True):
        if not draft["agent"]:
            draft["agent"] = fallback or wrapped.get(id(draft)) or draft.get("system", "")
            if not fallback:
                draft["attributes"][INFERRED] = True
        if not draft.get("run_id"):
            draft["run_id"] = draft["trace_id"]
    _count_once(drafts)


def _wrapped(drafts: list[dict[str, Any]], by_span: dict[tuple[str, str], dict[str, Any]]) -> dict[int, str]:
    """For each draft that wraps the work of one agent and no other, by its identity: that agent."""
    found: dict[int, str] = {}
    for draft in drafts:
        agent = draft["agent"]
        above = draft.get("parent_span_id")
        for _ in range(MAX_CLIMB):
            ancestor = by_span.get((draft["trace_id"], above)) if agent and above else None
            if ancestor is None or ancestor["agent"]:
                break
            known = found.setdefault(id(ancestor), agent)
            if known != agent:
                found[id(ancestor)] = ""
            above = ancestor.get("parent_span_id")
    return found


def _count_once(drafts: list[dict[str, Any]]) -> None:
    """Of a model call inside of a model call, which is how two layers of a framework show one call, only the inner counts."""
    models = {(draft["trace_id"], draft["span_id"]): draft for draft in drafts if draft["kind"] in _MODELS}
    if len(models) < 2:
        return
    # Who counts is settled before any count is taken away: of three layers the outer two go.
    counting = [draft for draft in models.values() if draft.get("input_tokens") or draft.get("output_tokens")]
    for inner in counting:
        outer = models.get((inner["trace_id"], inner.get("parent_span_id", "")))
        if outer is None or outer is inner:
            continue
        for name in _COUNTED:
            amount = outer.pop(name, 0)
            if amount:
                outer["attributes"][f"total_{name}"] = amount
        for name in _SAID:
            if outer.get(name) and not inner.get(name):
                inner[name] = outer[name]
        if outer["kind"] is EventKind.MODEL_COMPLETED:
            outer["kind"] = EventKind.OTHER


def _inherit(
    draft: dict[str, Any], by_span: dict[tuple[str, str], dict[str, Any]], above: dict[tuple[str, str], Inherited]
) -> None:
    # A log record hangs on the span it was written in; a span hangs on its parent.
    place = (draft["trace_id"], draft.get("parent_span_id", draft["span_id"]))
    given = above.get(place)
    if given is None:
        given = _given_by(place, by_span, above)
    for name, value in given.items():
        if not draft.get(name):
            draft[name] = value


def _given_by(
    place: tuple[str, str], by_span: dict[tuple[str, str], dict[str, Any]], above: dict[tuple[str, str], Inherited]
) -> Inherited:
    """What whoever hangs on a span inherits of it and its ancestors, each field from the nearest that has it."""
    path: list[tuple[str, str]] = []
    given: Inherited = {}
    step = place
    while step in by_span and step not in path and len(path) < MAX_CLIMB:
        if step in above:
            given = above[step]
            break
        path.append(step)
        step = (step[0], by_span[step].get("parent_span_id", ""))
    for step in reversed(path):
        own = by_span[step]
        given = given | {name: own[name] for name in _HANDED_DOWN if own.get(name)}
        above[step] = given
    above.setdefault(place, given)
    return given


def stitch(events: Iterable[Event]) -> tuple[Event, ...]:
    """Attribute again the events that had to guess their agent, now that more of their traces is known.

    An event that moves to another agent stays trusted only if the ancestor that named the agent is trusted too.

    >>> from andoncord.telemetry.event import EventKind
    >>> child = Event(
    ...     kind=EventKind.TOOL_COMPLETED,
    ...     trace_id="t",
    ...     span_id="b",
    ...     parent_span_id="a",
    ...     agent="shop",
    ...     attributes={"agent_inferred": True},
    ... )
    >>> parent = Event(kind=EventKind.AGENT_INVOKED, trace_id="t", span_id="a", agent="refunds")
    >>> [event.agent for event in stitch([child, parent])]
    ['refunds', 'refunds']
    """
    listed = list(events)
    by_span = {(event.trace_id, event.span_id): event for event in listed if event.span_id and event.kind not in _LOGGED}
    settled = [_again(event, by_span) if INFERRED in event.attributes else event for event in listed]
    return tuple(_counted_once(_named_by_their_work(settled)))


def _named_by_their_work(events: list[Event]) -> list[Event]:
    """As `_wrapped`, for spans around the work of one agent that came in another batch than that work."""
    guessed = {
        (event.trace_id, event.span_id): event for event in events if INFERRED in event.attributes and event.kind not in _LOGGED
    }
    found: dict[tuple[str, str], Event | None] = {}
    for event in events if guessed else ():
        if INFERRED in event.attributes or event.kind in _LOGGED:
            continue
        key = (event.trace_id, event.parent_span_id)
        for _ in range(MAX_CLIMB):
            if key not in guessed:
                break
            known = found.setdefault(key, event)
            if known is not None and known.agent != event.agent:
                found[key] = None
            key = (event.trace_id, guessed[key].parent_span_id)
    return [
        msgspec.structs.replace(event, agent=inner.agent, trusted=event.trusted and inner.trusted)
        if (event.trace_id, event.span_id) in guessed and (inner := found.get((event.trace_id, event.span_id))) is not None
        else event
        for event in events
    ]


def _counted_once(events: list[Event]) -> list[Event]:
    """As `_count_once`, for calls whose two spans came in different batches."""
    places = {(event.trace_id, event.span_id): place for place, event in enumerate(events) if event.kind in _MODELS}
    for inner in [events[place] for place in places.values()]:
        place = places.get((inner.trace_id, inner.parent_span_id))
        if place is None or inner.parent_span_id == inner.span_id or not (inner.input_tokens or inner.output_tokens):
            continue
        outer = events[place]
        if outer.trusted and not inner.trusted:
            # Whoever has no token does not take away what somebody with one has counted.
            continue
        sums = {f"total_{name}": amount for name in _COUNTED if (amount := getattr(outer, name))}
        kind = EventKind.OTHER if outer.kind is EventKind.MODEL_COMPLETED else outer.kind
        none = dict.fromkeys(_COUNTED, 0)
        events[place] = msgspec.structs.replace(outer, kind=kind, attributes={**outer.attributes, **sums}, **none)
    return events


def _again(event: Event, by_span: dict[tuple[str, str], Event]) -> Event:
    above = event.span_id if event.kind in _LOGGED else event.parent_span_id
    for _ in range(MAX_CLIMB):
        ancestor = by_span.get((event.trace_id, above))
        if ancestor is None:
            return event
        if ancestor.agent and INFERRED not in ancestor.attributes:
            return _handed_down(event, ancestor)
        above = ancestor.parent_span_id
    return event


def _handed_down(event: Event, ancestor: Event) -> Event:
    """What an event that had to guess its agent takes from the ancestor that names it."""
    is_own_run = event.run_id not in ("", event.trace_id)
    return msgspec.structs.replace(
        event,
        agent=ancestor.agent,
        run_id=event.run_id if is_own_run else ancestor.run_id or event.run_id,
        task=event.task or ancestor.task,
        session_id=event.session_id or ancestor.session_id,
        environment=event.environment or ancestor.environment,
        trusted=event.trusted and ancestor.trusted,
        attributes={name: value for name, value in event.attributes.items() if name != INFERRED},
    )
