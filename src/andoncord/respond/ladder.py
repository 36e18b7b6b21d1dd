"""The isolation ladder (RSP-3): each rung holds more than the one below it."""

RUNGS = ("none", "monitor", "restrict", "pause", "kill")
FENCING = frozenset({"pause", "kill"})
"""Rungs under which no further guarded call starts."""


def height(rung: str) -> int:
    """Position on the ladder, 0 for `none`.

    >>> height("pause") > height("restrict")
    True
    """
    return RUNGS.index(rung)


def raises(rung: str, *, above: str) -> bool:
    """Whether `rung` holds more than `above`. The severity tree only ever raises (RSP-15)."""
    return height(rung) > height(above)
