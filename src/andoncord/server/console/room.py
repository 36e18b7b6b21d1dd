"""What the incident room shows, computed from the same JSON views that the API serves. Nothing here knows HTML."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from andoncord.kernel.vocabulary import IncidentState
from andoncord.respond.ladder import RUNGS

Json = Mapping[str, Any]

RUNG_WORDS = {
    "monitor": ("Watch", "denser heartbeats; nothing is stopped"),
    "restrict": ("Restrict", "only tools declared as reading are allowed"),
    "pause": ("Pause", "every guarded call is held until released"),
    "kill": ("Kill", "every guarded call is refused and the run ends"),
}
"""Each rung as a button, and what it does to the agent."""

CLOSED_STATES = frozenset({IncidentState.RESOLVED.value, IncidentState.REVIEWED.value})


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One step of the lifecycle stepper."""

    name: str
    place: str
    """`done`, `current` or `todo`."""


def is_open(summary: Json) -> bool:
    """Not yet resolved."""
    return summary["state"] not in CLOSED_STATES


def steps(state: str) -> tuple[Step, ...]:
    """The lifecycle with the present state marked.

    >>> [step.place for step in steps("contained")][:4]
    ['done', 'done', 'current', 'todo']
    """
    names = [known.value for known in IncidentState]
    here = names.index(state) if state in names else 0
    return tuple(
        Step(name=name, place="done" if index < here else "current" if index == here else "todo")
        for index, name in enumerate(names)
    )


def verdict_on(order: Json, view: Json) -> str | None:
    """The latest verdict on this order: an earlier one says nothing about it."""
    for given in reversed(view.get("verdicts") or ()):
        if given.get("agent") in (None, "", order.get("agent")) and (given.get("at") or "") >= (order.get("at") or ""):
            return str(given["verdict"])
    return None


def unjudged(view: Json) -> list[Json]:
    """Orders of this incident that hold an agent and that no verdict speaks about yet."""
    return [order for order in view["orders"] if _holds(order, view) and verdict_on(order, view) is None]


def _holds(order: Json, view: Json) -> bool:
    """Whether this incident holds its agent by it: a view also shows what others ordered, and orders of their own."""
    return not order.get("standing") and order["rung"] != "none" and order.get("incident") in (None, "", view["id"])


def rungs(view: Json) -> list[Json]:
    """The ladder as buttons: what was proposed is left out, the rest in order of force."""
    proposed = (view.get("next") or {}).get("rung")
    offered = {item["rung"]: item for item in view.get("alternatives") or () if item["rung"] in RUNG_WORDS}
    return [offered[rung] for rung in RUNGS if rung in offered and rung != proposed]


def current_agent(view: Json) -> str:
    """The agent that the actions of the room are about."""
    proposed = (view.get("next") or {}).get("agent")
    agents = view.get("agents") or ()
    return str(proposed or (agents[0] if agents else ""))


def held_agents(view: Json) -> list[str]:
    """Agents that this incident holds, and may therefore release."""
    return sorted({order["agent"] for order in view["orders"] if _holds(order, view)})


def told(view: Json) -> list[Json]:
    """Every message about the incident and what became of it, the newest first."""
    sent: list[Json] = [
        {**each, "at": receipt["at"]}
        for receipt in view.get("receipts", ())
        if receipt["kind"] == "notify"
        for each in receipt["detail"].get("deliveries", ())
    ]
    return sent[::-1]


def suspects(view: Json) -> list[Json]:
    """The steps worth looking at: at most three, and none that the ranking gives no weight."""
    return [suspect for suspect in view["responsible"][:3] if suspect["score"] >= 0.005]


def strength(score: float) -> str:
    """A ranking's score as a word. Chosen cuts; the figure is printed beside it.

    >>> [strength(score) for score in (0.9, 0.5, 0.1)]
    ['strong', 'some', 'weak']
    """
    return "strong" if score >= 0.66 else "some" if score >= 0.33 else "weak"


def dry_run_text(dry_run: Any) -> str:
    """The dry run in one line, whether it came as a sentence or as a record.

    >>> dry_run_text({"text": "stops 1 run", "undo": "release"})
    'stops 1 run · undo: release'
    """
    if not dry_run:
        return ""
    if not isinstance(dry_run, Mapping):
        return str(dry_run)
    parts = [str(dry_run.get("text") or "").rstrip(".")]
    if dry_run.get("instances") is not None:
        parts.append(f"{_counted(dry_run['instances'], 'guard')}, {_counted(dry_run.get('in_flight') or 0, 'call')} in flight")
    if dry_run.get("undo"):
        parts.append(f"undo: {dry_run['undo']}")
    return " · ".join(part for part in parts if part)


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


MOMENT_LIMIT = 120
"""Rows of the timeline on the page. Chosen: a screenful or five; the whole of it is in the record."""


class ShownMoment(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the timeline, with the number that makes its anchor."""

    index: int
    at: str
    kind: str
    text: str
    agent: str
    key: bool
    id: str = ""
    starred_by: str = ""


def shown_moments(timeline: Sequence[Json]) -> list[ShownMoment]:
    """Every key moment and the newest of the rest, at most `MOMENT_LIMIT`, oldest first."""
    numbered = list(enumerate(timeline))
    key = [index for index, moment in numbered if moment.get("key")][-MOMENT_LIMIT:]
    room = MOMENT_LIMIT - len(key)
    others = [index for index, moment in numbered if not moment.get("key")]
    kept = {*key, *(others[-room:] if room else ())}
    return [
        ShownMoment(
            index=index,
            at=str(moment.get("at") or ""),
            kind=str(moment.get("kind") or ""),
            text=str(moment.get("text") or ""),
            agent=str(moment.get("agent") or ""),
            key=bool(moment.get("key")),
            id=str(moment.get("id") or ""),
            starred_by=str(moment.get("starred_by") or ""),
        )
        for index, moment in numbered
        if index in kept
    ]


def anchor(view: Json, span_id: str) -> str:
    """Where on the page the step with this span is: its row of the timeline when it has one there, else the timeline.

    >>> row = {"at": "", "kind": "", "text": "", "agent": "", "span_id": "a1", "key": False}
    >>> anchor({"timeline": [row]}, "a1"), anchor({"timeline": []}, "a1")
    ('moment-0', 'timeline')
    """
    for moment in shown_moments(view["timeline"]):
        if span_id and view["timeline"][moment.index].get("span_id") == span_id:
            return f"moment-{moment.index}"
    return "timeline"


REACHED = (
    ("Runs", "runs"),
    ("Agents", "agents"),
    ("Decisions", "decisions"),
    ("Effects", "effects"),
    ("Data derived", "data"),
    ("Files", "files"),
    ("Systems", "systems"),
)
"""Rows of the blast radius: what each is called, and its name in the record."""


def how_many(value: Any) -> int:
    """How many: of a list, or the number itself."""
    return len(value) if isinstance(value, list | tuple) else int(value)


ROOM_DEFAULTS: Json = {
    **dict.fromkeys(("onset_at", "detected_at", "contained_at", "resolved_at", "detected_in_s", "contained_in_s")),
    **dict.fromkeys(("next", "impact", "recovery", "review", "containment", "awaiting", "disposition")),
    **dict.fromkeys(("verdicts", "orders", "receipts", "pending", "alternatives", "findings", "responsible"), ()),
    **dict.fromkeys(
        ("root_causes", "factors", "timeline", "notes", "grouped", "crew", "merged", "changes", "tickets", "categories"), ()
    ),
    **dict.fromkeys(("blast_radius", "onset_earliest_at", "onset_latest_at", "onset_basis")),
    **dict.fromkeys(("merged_into", "split_from", "acknowledged_by", "acknowledged_at")),
    "environment": "",
}


def room(view: Json) -> Json:
    """A view in which every part of the incident room is present, empty where the record has nothing."""
    return {**ROOM_DEFAULTS, **{name: value for name, value in view.items() if value is not None}}
