"""What the page about spreading shows, computed from the JSON of the API. Nothing here knows HTML."""

from collections.abc import Mapping
from typing import Any

import msgspec

Json = Mapping[str, Any]

HOURS = (1, 24, 72, 168, 720)
ROWS_LIMIT = 60
EDGES_LIMIT = 40


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What the address of the page asks for."""

    datum: str
    hours: int
    agent: str


def asked(parameters: Mapping[str, str]) -> Asked:
    """What the address asks for; what cannot be asked for is the default.

    >>> asked({"datum": " x ", "hours": "9"})
    Asked(datum='x', hours=24, agent='')
    """
    hours = parameters.get("hours", "")
    known = {str(each): each for each in HOURS}
    return Asked(
        datum=parameters.get("datum", "").strip()[:200],
        hours=known.get(hours, 24),
        agent=parameters.get("agent", "").strip()[:200],
    )


def first_agent(taint: Json) -> str:
    """The agent that an incident about it is opened for; empty where nobody is downstream."""
    agents = taint["exact"]["agents"] or taint["possible"]["agents"]
    return str(agents[0]) if agents else ""


def between(each: Json) -> str:
    """The bounds of a gain in words.

    >>> between({"at_least": 0.5, "at_most": 1.25}), between({"at_least": 0.0, "at_most": None})
    ('0.5 to 1.25', 'too few messages to bound it')
    """
    if each["at_most"] is None:
        return "too few messages to bound it"
    return f"{each['at_least']:.3g} to {each['at_most']:.3g}"


def summary(taint: Json) -> str:
    """The bounds in one sentence, as the reason of an incident."""
    told = [f"{bound['runs']} runs of {len(bound['agents'])} agents" for bound in (taint["exact"], taint["possible"])]
    return f"Downstream of it for certain: {told[0]}; possibly: {told[1]}."
