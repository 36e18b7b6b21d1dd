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
