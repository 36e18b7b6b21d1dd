"""What the Fleet page and an agent's page show, computed from the JSON of the API. Nothing here knows HTML."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

Json = Mapping[str, Any]

STATES = {
    "contained": ("contained", "‖", "held"),
    "running": ("running", "▶", "ok"),
    "reporting": ("reporting, no guard", "◌", "warn"),
    "unknown": ("unknown", "?", "unknown"),
}
"""State → word, sign, tone. Unknown is never the colour of health."""
STATE_FILTERS = ("any", *STATES)
ATTENTION = ("contained", "unknown", "reporting", "running")
ROWS_LIMIT = 300
EDGES_LIMIT = 100


class State(msgspec.Struct, frozen=True, kw_only=True):
    """A state as a page shows it: a word, a sign and a tone that all say the same."""

    word: str
    sign: str
    tone: str


def state(agent: Json) -> State:
    """The state of an agent as a page shows it.

    >>> state({"state": "unknown"}).tone, state({"state": "contained", "rung": "pause"}).word
    ('unknown', 'contained: pause')
    """
    word, sign, tone = STATES.get(agent["state"], STATES["unknown"])
    if agent["state"] == "contained":
        word = f"contained: {agent['rung']}"
    return State(word=word, sign=sign, tone=tone)


def chosen(fleet: Iterable[Json], *, wanted: str, text: str) -> list[Json]:
    """The agents that the filters let through, those that need attention first."""
    words = text.casefold()
    found = [
        agent
        for agent in fleet
        if wanted in ("any", agent["state"])
        and words in f"{agent['agent']} {agent['owner']} {agent['team']} {agent['role']} {agent['environment']}".casefold()
    ]
    return sorted(found, key=lambda agent: (ATTENTION.index(agent["state"]), _weight(agent["criticality"]), agent["agent"]))


def counts(fleet: Iterable[Json]) -> list[tuple[State, int]]:
    """How many agents are in each state, those that need attention first; states without any are left out."""
    listed = list(fleet)
    found = []
    for name in ATTENTION:
        many = sum(agent["state"] == name for agent in listed)
        if many:
            word, sign, tone = STATES[name]
            found.append((State(word=word, sign=sign, tone=tone), many))
    return found


def _weight(criticality: str) -> int:
    order = ("critical", "high", "medium", "low")
    return order.index(criticality) if criticality in order else len(order)


def edge_text(edge: Json) -> str:
    """One edge in words.

    >>> edge_text({"how": "called", "count": 2, "declared": False}), edge_text({"how": "", "count": 0, "declared": True})
    ('called 2 times, not declared', 'declared, never seen')
    """
    if not edge["count"]:
        return "declared, never seen"
    times = f"{edge['how']} {edge['count']} time{'s' if edge['count'] != 1 else ''}"
    return f"{times}, not declared" if edge.get("declared") is False else times


def version_text(agent: Json) -> str:
    """The version that was seen, and where it is not the declared one."""
    seen, wanted = agent["version"], agent["version_declared"]
    if seen and wanted and seen != wanted:
        return f"{seen}, while {wanted} is declared"
    return str(seen or (f"{wanted} declared, none seen" if wanted else "unknown"))


SPANS_LIMIT = 500
STEPS_LIMIT = 200
DEEPEST = 12
"""Levels that still move to the right."""
KIND_WORDS = {
    "agent.invoked": "agent",
    "model.completed": "model",
    "model.failed": "model",
    "tool.completed": "tool",
    "tool.failed": "tool",
}


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """A trace in a few figures."""

    agents: tuple[str, ...]
    began_at: str
    took_s: float
    steps: int
    failed: int
    tokens: int
    cost_micro_usd: int
    unpriced: int
    folded: int


def trace(found: Json) -> Told:
    """The figures of one trace: each token and each cent once, as its spans carry them."""
    spans = found["spans"]
    own = [span for span in spans if span["kind"] in KIND_WORDS or span["kind"] == "other"]
    ends = [span["end_ns"] or span["start_ns"] for span in spans]
    began = min(spans, key=lambda span: span["start_ns"])
    return Told(
        agents=tuple(dict.fromkeys(span["agent"] for span in spans if span["agent"])),
        began_at=began["start_at"],
        took_s=max(0.0, (max(ends) - began["start_ns"]) / 1_000_000_000),
        steps=sum(span["kind"].startswith(("model.", "tool.")) for span in own),
        failed=sum(not span["ok"] for span in own),
        tokens=sum(span["input_tokens"] + span["output_tokens"] for span in own),
        cost_micro_usd=sum(span["cost_micro_usd"] for span in own),
        unpriced=sum(bool(span["attributes"].get("cost_unknown")) for span in own),
        folded=sum(int(span["attributes"].get("folded", 0)) for span in own),
    )


def kind(span: Json) -> str:
    """What a span is, in a word."""
    return KIND_WORDS.get(span["kind"], "" if span["kind"] == "other" else str(span["kind"]).replace(".", " "))


def level(span: Json) -> int:
    """How far a span stands to the right.

    >>> level({"depth": 3}), level({"depth": 400})
    (3, 12)
    """
    return min(int(span["depth"]), DEEPEST)


def took_s(span: Json) -> float | None:
    """How long a span took; None where it has no end."""
    return (span["end_ns"] - span["start_ns"]) / 1_000_000_000 if span["end_ns"] and span["end_ns"] > span["start_ns"] else None
