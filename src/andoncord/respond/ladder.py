"""The isolation ladder (RSP-3, RSP-5): what can be ordered, mildest first.

| rung | holds | the agent | undone by |
|---|---|---|---|
| monitor | nothing; heartbeats come more often | goes on | lifting it |
| throttle | calls beyond a part of their usual rate | goes on, slower | lifting it |
| restrict | tools that write, or all that the order does not name | goes on with the others | lifting it |
| quarantine | messages to and from others | goes on, alone | lifting it: what was held is sent, or dropped |
| pause | every call | stands, and can go on where it stood | lifting it |
| kill | every call; runs end | is stopped | lifting it lets new runs start; ended ones stay ended |

An incident's response moves a whole agent along `RUNGS`, where each rung holds everything that the one below it holds, so that
raising never lets anything go. Throttle and quarantine hold something else than their neighbours: they only come as orders of
their own, beside the others, and the strictest that concerns a call decides.
"""

LADDER = ("none", "monitor", "throttle", "restrict", "quarantine", "pause", "kill")
RUNGS = ("none", "monitor", "restrict", "pause", "kill")
"""Rungs of a response to an incident: each holds more than the one below it."""
FENCING = frozenset({"pause", "kill"})
"""Rungs under which no further guarded call starts."""


def height(rung: str) -> int:
    """Position on the ladder, 0 for `none`.

    >>> height("pause") > height("quarantine") > height("restrict") > height("throttle")
    True
    """
    return LADDER.index(rung)


def raises(rung: str, *, above: str) -> bool:
    """Whether `rung` holds more than `above`. The severity tree only ever raises (RSP-15)."""
    return height(rung) > height(above)
