"""What each page shows, computed from the same JSON views that the API serves. Nothing here knows HTML."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from andoncord.kernel.vocabulary import IncidentState, SevLevel
from andoncord.respond.ladder import RUNGS
from andoncord.server.console.filters import duration

Json = Mapping[str, Any]

RUNG_WORDS = {
    "monitor": ("Watch", "denser heartbeats; nothing is stopped"),
    "restrict": ("Restrict", "only tools declared as reading are allowed"),
    "pause": ("Pause", "every guarded call is held until released"),
    "kill": ("Kill", "every guarded call is refused and the run ends"),
}
"""Each rung as a button, and what it does to the agent."""

CLOSED_STATES = frozenset({IncidentState.RESOLVED.value, IncidentState.REVIEWED.value})
STATE_FILTERS = ("open", "all", *(state.value for state in IncidentState))
DETAIL_LIMIT = 30
"""Incidents that the Now page reads whole, newest first: enough for who holds which agent, bounded for the page's cost."""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One step of the lifecycle stepper."""

    name: str
    place: str
    """`done`, `current` or `todo`."""


class AgentCell(msgspec.Struct, frozen=True, kw_only=True):
    """One agent of the fleet strip: a word, a sign and a tone that all say the same."""

    agent: str
    word: str
    sign: str
    tone: str
    detail: str


class Containment(msgspec.Struct, frozen=True, kw_only=True):
    """A rung that is in force now."""

    agent: str
    rung: str
    by: str
    at: str | None
    reason: str
    incident: str
    verdict: str | None


class Pill(msgspec.Struct, frozen=True, kw_only=True):
    """The state of everything in a few words."""

    text: str
    tone: str


def is_open(summary: Json) -> bool:
    """Not yet resolved."""
    return summary["state"] not in CLOSED_STATES


def worst_first(summaries: Iterable[Json]) -> list[Json]:
    """By SEV level, then what is not contained, then the oldest."""
    levels = [level.value for level in SevLevel]
    return sorted(
        summaries,
        key=lambda summary: (
            levels.index(summary["sev"]) if summary["sev"] in levels else len(levels),
            summary.get("containment") == "VERIFIED",
            -(summary.get("age_s") or 0),
        ),
    )


def pill(open_incidents: Sequence[Json]) -> Pill:
    """The global state pill.

    >>> pill([]).text
    'All quiet'
    >>> pill([{"sev": "SEV-1", "state": "triaged", "containment": "UNVERIFIED", "age_s": 3}]).text
    '1 open, worst SEV-1 · 1 not verified'
    """
    if not open_incidents:
        return Pill(text="All quiet", tone="ok")
    worst = worst_first(open_incidents)[0]["sev"]
    loose = sum(summary.get("containment") != "VERIFIED" for summary in open_incidents)
    tail = f"{loose} not verified" if loose else "all contained"
    return Pill(text=f"{len(open_incidents)} open, worst {worst} · {tail}", tone="bad" if loose else "warn")


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


HELD_WORDS = {"kill": ("killed", "✕"), "pause": ("paused", "‖"), "restrict": ("restricted", "◐")}


def fleet_cells(fleet: Iterable[Json], held: Iterable[Containment] = ()) -> list[AgentCell]:
    """The fleet strip, agents that need attention first.

    Args:
        held: what is in force, with its verdicts: an order is shown as obeyed only where a guard or a verdict says so.
    """
    proven = {one.agent for one in held if one.verdict == "VERIFIED"}
    order = {"bad": 0, "unknown": 1, "held": 2, "warn": 3, "ok": 4}
    return sorted((_cell(agent, proven) for agent in fleet), key=lambda cell: (order[cell.tone], cell.agent))


def _cell(agent: Json, proven: Collection[str]) -> AgentCell:
    name = agent["agent"]
    guards = [instance for instance in agent.get("instances") or () if instance.get("kind") != "supervisor"]
    connected = [guard for guard in guards if guard.get("connected")]
    rung = agent.get("rung") or "none"
    state = agent.get("state") or "unknown"
    obeyed = bool(connected) and all(_height(guard.get("rung")) >= _height(rung) for guard in connected)
    if rung in HELD_WORDS and (obeyed or name in proven):
        (word, sign), tone = HELD_WORDS[rung], "held"
    elif rung in HELD_WORDS:
        word, sign, tone = f"{rung} unconfirmed", "!", "bad"
    elif state == "silent":
        word, sign, tone = "silent", "?", "bad"
    elif state == "unknown":
        word, sign, tone = "unknown", "?", "unknown"
    elif rung == "monitor":
        word, sign, tone = "watched", "◉", "warn"
    else:
        word, sign, tone = "running", "▶", "ok"
    detail = f"{len(connected)} of {len(guards)} guards connected" if guards else "no guard has connected"
    return AgentCell(agent=name, word=word, sign=sign, tone=tone, detail=detail)


def _height(rung: Any) -> int:
    return RUNGS.index(rung) if rung in RUNGS else 0


def in_force(fleet: Iterable[Json], views: Iterable[Json]) -> list[Containment]:
    """Every rung above none, with who ordered it and when, from the incidents' orders."""
    by_id = {view["id"]: view for view in views}
    latest: dict[str, Json] = {}
    for view in by_id.values():
        for order in view.get("orders") or ():
            known = latest.get(order["agent"])
            if known is None or (order.get("at") or "") >= (known.get("at") or ""):
                latest[order["agent"]] = order
    held: list[Containment] = []
    for agent in fleet:
        rung = agent.get("rung") or "none"
        if rung == "none":
            continue
        order = latest.get(agent["agent"], {})
        incident = str(order.get("incident") or "")
        held.append(
            Containment(
                agent=agent["agent"],
                rung=rung,
                by=str(order.get("by") or ""),
                at=order.get("at"),
                reason=str(order.get("reason") or ""),
                incident=incident,
                verdict=_verdict_on(order, by_id.get(incident, {})),
            )
        )
    return sorted(held, key=lambda one: (-_height(one.rung), one.agent))


def _verdict_on(order: Json, view: Json) -> str | None:
    """The latest verdict on this order: an earlier one says nothing about it."""
    for given in reversed(view.get("verdicts") or ()):
        if given.get("agent") in (None, "", order.get("agent")) and (given.get("at") or "") >= (order.get("at") or ""):
            return str(given["verdict"])
    return None


def unjudged(view: Json) -> list[Json]:
    """Orders of this incident that hold an agent and that no verdict speaks about yet."""
    return [order for order in view["orders"] if _holds(order, view) and _verdict_on(order, view) is None]


def _holds(order: Json, view: Json) -> bool:
    """Whether this incident ordered it and it holds its agent: a view also shows what others ordered for the same agents."""
    return order["rung"] != "none" and order.get("incident") in (None, "", view["id"])


class ProvenKill(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """A kill that was verified."""

    at: str
    agent: str
    incident: str


def last_verified_kill(views: Iterable[Json]) -> ProvenKill | None:
    """The latest kill that ended in a verdict VERIFIED, or None."""
    proven: list[ProvenKill] = []
    for view in views:
        for receipt in view.get("receipts") or ():
            # The orders of a view are those in force; a kill that was released since is known by its receipt.
            if receipt.get("wanted") != f"order kill to {receipt['target']}":
                continue
            for verdict in view.get("verdicts") or ():
                same = verdict.get("agent") in (None, "", receipt["target"])
                if same and verdict["verdict"] == "VERIFIED" and verdict["at"] >= receipt["at"]:
                    proven.append(ProvenKill(at=verdict["at"], agent=receipt["target"], incident=view["id"]))
    return max(proven, default=None)


def next_steps(views: Iterable[Json]) -> dict[str, str]:
    """What is asked of a person, by incident."""
    return {view["id"]: asked for view in views if (asked := _asked(view))}


class Wait(msgspec.Struct, frozen=True, kw_only=True):
    """Something that goes no further until a person decides."""

    incident: str
    sev: str
    title: str
    what: str


def waits(views: Iterable[Json]) -> list[Wait]:
    """What a person is asked for, the worst incident first."""
    return [
        Wait(incident=view["id"], sev=view["sev"], title=view["title"], what=_asked(view))
        for view in worst_first(views)
        if view.get("awaiting") or _asked(view)
    ]


def _asked(view: Json) -> str:
    proposed = view.get("next") or {}
    return "" if proposed.get("action") in (None, "none") else str(proposed.get("title") or "")


def chosen(summaries: Iterable[Json], *, sev: str, agent: str, text: str) -> list[Json]:
    """The summaries that the filters of the Incidents page let through."""
    wanted = text.casefold()
    return [
        summary
        for summary in summaries
        if (not sev or summary["sev"] == sev)
        and (not agent or agent in summary["agents"])
        and (not wanted or wanted in f"{summary['id']} {summary['title']} {summary['pattern']}".casefold())
    ]


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


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One figure of the Now page, with what it means and what it rests on."""

    name: str
    text: str
    target: str
    definition: str
    incidents: tuple[str, ...]


FIGURE_NAMES = {
    "mttd": "Time to detect",
    "mttc": "Time to contain",
    "mttr": "Time to resolve",
    "containment": "Verified containments",
    "recovery": "Clean recoveries",
    "false_stops": "False stops",
}


def figures(kpis: Json) -> list[Figure]:
    """The figures that have been measured; what has not been is left out, since nothing measured is not zero."""
    return [
        Figure(
            name=name,
            text=_amount(figure["value"], figure["unit"]),
            target=_target(figure),
            definition=figure["definition"],
            incidents=tuple(figure["incidents"]),
        )
        for key, name in FIGURE_NAMES.items()
        if (figure := kpis.get(key)) and figure["value"] is not None and figure["n"]
    ]


def _amount(value: float, unit: str) -> str:
    return duration(value) if unit == "s" else f"{value:.0%}" if unit == "ratio" else f"{value:g}"


def _target(figure: Json) -> str:
    if figure.get("target") is None:
        return ""
    limit = _amount(figure["target"], figure["unit"])
    bound = {"s": f"under {limit}", "ratio": f"over {limit}"}.get(figure["unit"], limit)
    return f"target {bound}: {'met' if figure.get('met') else 'missed'}"


ROOM_DEFAULTS: Json = {
    **dict.fromkeys(("onset_at", "detected_at", "contained_at", "resolved_at", "detected_in_s", "contained_in_s")),
    **dict.fromkeys(("next", "impact", "recovery", "review", "containment", "awaiting", "disposition")),
    **dict.fromkeys(("verdicts", "orders", "receipts", "pending", "alternatives", "findings", "responsible"), ()),
    **dict.fromkeys(("root_causes", "factors", "timeline", "notes"), ()),
    "environment": "",
}


def room(view: Json) -> Json:
    """A view in which every part of the incident room is present, empty where the record has nothing."""
    return {**ROOM_DEFAULTS, **{name: value for name, value in view.items() if value is not None}}
