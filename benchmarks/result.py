"""What a benchmark hands back."""

from collections.abc import Sequence

import msgspec


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of one run, the baselines measured beside them, and a table for people.

    Keys end in their unit (`check_us_p50`, `spans_per_s`); a baseline is measured in the same run, never remembered.
    """

    figures: dict[str, float]
    baselines: dict[str, float]
    columns: tuple[str, ...] = ()
    """Headings of `rows`. Without rows the table is made from the figures and baselines."""
    rows: tuple[tuple[str | float, ...], ...] = ()
    notes: tuple[str, ...] = ()
    """What a reader must know to judge the figures: machine, sizes, what was left out."""


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which `share` (0 to 1) of `values` lies: the nearest rank, no interpolation.

    >>> quantile([5, 1, 4, 2, 3], 0.5), quantile([1, 2], 0.99)
    (3, 2)
    """
    if not values:
        raise ValueError("a quantile needs at least one value")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
