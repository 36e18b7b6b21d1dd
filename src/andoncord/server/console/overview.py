"""What the Now and Incidents pages show, computed from the same JSON views that the API serves. Nothing here knows HTML."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import msgspec

from andoncord.kernel.vocabulary import IncidentState, SevLevel
from andoncord.respond.ladder import LADDER
from andoncord.server.console.filters import duration
from andoncord.server.console.room import Json, verdict_on

STATE_FILTERS = ("open", "all", *(state.value for state in IncidentState))
DETAIL_LIMIT = 30
"""Incidents that the Now page reads whole, newest first: enough for who holds which agent, bounded for the page's cost."""


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
    order: str = ""
    """The order that stands by itself; then `agent` is its scope in words."""


class Pill(msgspec.Struct, frozen=True, kw_only=True):
    """The state of everything in a few words."""

    text: str
    tone: str


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


HELD_WORDS = {
    "kill": ("killed", "✕"),
    "pause": ("paused", "‖"),
    "quarantine": ("quarantined", "⊘"),
    "restrict": ("restricted", "◐"),
    "throttle": ("throttled", "≈"),
}


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
    instances = agent.get("instances") or ()
    guards = [instance for instance in instances if instance.get("kind") != "supervisor"]
    holders = [instance for instance in instances if instance.get("enforces")]
    noun = "guards" if guards or not holders else "supervisors"
    guards = guards or holders
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
    detail = f"{len(connected)} of {len(guards)} {noun} connected" if guards else "no guard has connected"
    return AgentCell(agent=name, word=word, sign=sign, tone=tone, detail=detail)


def _height(rung: Any) -> int:
    return LADDER.index(rung) if rung in LADDER else 0


def in_force(fleet: Iterable[Json], views: Iterable[Json]) -> list[Containment]:
    """Every rung that holds an agent, and every order that stands by itself, with who gave it and when."""
    by_id = {view["id"]: view for view in views}
    latest: dict[str, Json] = {}
    standing: dict[str, Json] = {}
    for view in by_id.values():
        for order in view.get("orders") or ():
            if order.get("standing"):
                standing[order["standing"]] = order
                continue
            known = latest.get(order["agent"])
            if known is None or (order.get("at") or "") >= (known.get("at") or ""):
                latest[order["agent"]] = order
    held: list[Containment] = []
    for agent in fleet:
        rung = agent.get("rung") or "none"
        if rung == "none" or (agent.get("orders") and not agent.get("incident")):
            continue  # What only an order of its own holds is shown once, with that order.
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
                verdict=verdict_on(order, by_id.get(incident, {})),
            )
        )
    held += [
        Containment(
            agent=order["agent"],
            rung=order["what"],
            by=str(order.get("by") or ""),
            at=order.get("at"),
            reason=str(order.get("reason") or ""),
            incident=str(order.get("incident") or ""),
            verdict=None,
            order=order["standing"],
        )
        for order in standing.values()
    ]
    return sorted(held, key=lambda one: (bool(one.order), -_height(one.rung), one.agent))


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
            if receipt.get("kind") != "order" or receipt.get("rung") != "kill":
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
