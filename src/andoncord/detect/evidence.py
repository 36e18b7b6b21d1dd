"""Evidence for a change: bets that win only if the past no longer describes the present (DET-21).

A bet is a factor whose mean is at most 1 as long as nothing has changed. Each observation starts the bets anew with what it may
spend, and what all bets together have won is the evidence; at 1 there is an alarm. As long as nothing has changed, the expected
number of alarms up to any moment is at most what was spent up to then.
"""

from array import array
from collections.abc import Sequence
from math import inf, log, sqrt

LATEST_NS = 2**63 - 1
"""Emitters may claim any time; what is beyond 64 bits is the end of time."""
LIKELY = 20.0
"""How many times less likely than the likeliest a beginning may be and still be named: a support interval of 1/20."""
LIKELY_NATS = log(LIKELY)
STAKES = 6
"""Bets per direction, from the largest to the smallest: small changes need small bets, large ones large bets."""


class Wealth:
    """An e-detector of Shiryaev–Roberts form, its starts weighted by a budget.

    With every start weighing the same it is the e-detector of the source, whose average run length is at least one over the
    weight; unequal weights need no other proof: wealth less what was spent is a supermartingale, and an alarm takes 1 away.

    Cost: O(bets) time and memory per observation.
    Source: Shin, Ramdas, Rinaldo, "E-detectors: a nonparametric framework for sequential change detection", NEJSDS 2 (2024).

    >>> wealth = Wealth(1)
    >>> [wealth.update((4.0,), spend=0.01) >= 1 for _ in range(4)]
    [False, False, False, True]
    >>> wealth.since
    4
    """

    __slots__ = (
        "_began_ns",
        "_best",
        "_depth",
        "_from_ns",
        "_middle_depth",
        "_middle_ns",
        "_starts",
        "_until_ns",
        "_wealth",
        "seen",
    )

    def __init__(self, bets: int) -> None:
        self._wealth = array("d", bytes(8 * bets))
        self._best = array("d", bytes(8 * bets))
        self._starts = array("q", bytes(8 * bets))
        self._began_ns = array("q", bytes(8 * bets))
        self._from_ns, self._until_ns, self._middle_ns = (array("q", bytes(8 * bets)) for _ in range(3))
        self._depth, self._middle_depth = array("d", bytes(8 * bets)), array("d", bytes(8 * bets))
        self.seen = 0

    def reset(self) -> None:
        """Forget everything."""
        nothing = bytes(8 * len(self._wealth))
        self._wealth, self._best = array("d", nothing), array("d", nothing)
        self._starts, self._began_ns, self.seen = array("q", nothing), array("q", nothing), 0
        self._from_ns, self._until_ns, self._middle_ns = (array("q", nothing) for _ in range(3))
        self._depth, self._middle_depth = array("d", nothing), array("d", nothing)

    @property
    def evidence(self) -> float:
        """What the bets have won, as a share of what an alarm takes."""
        return sum(self._wealth)

    @property
    def leader(self) -> int:
        """The number of the bet that has won most since its likeliest start."""
        return max(range(len(self._best)), key=self._best.__getitem__)

    @property
    def since(self) -> int:
        """How many of the newest observations belong to the likeliest stretch after the change."""
        return self.seen - self._starts[self.leader]

    @property
    def began_ns(self) -> int:
        """When that stretch began."""
        return self._began_ns[self.leader]

    @property
    def began_between_ns(self) -> tuple[int, int]:
        """The earliest and the latest beginning that the evidence does not make twenty times less likely than the likeliest.

        The latest is exact; the earliest is no earlier than that, and no later than what is made five times less likely.
        """
        leader = self.leader
        return self._from_ns[leader], self._until_ns[leader]

    def _deepen(self, number: int, gap: float, at_ns: int) -> None:
        """The likeliest start moves to now: it has become likelier than the one before by `gap` nats."""
        if not self.seen:
            self._from_ns[number] = self._middle_ns[number] = at_ns
            return
        depth, middle = self._depth[number] + gap, self._middle_depth[number] + gap
        if depth > LIKELY_NATS:
            self._from_ns[number], depth = self._middle_ns[number], middle
            self._middle_ns[number], middle = at_ns, 0.0
            if depth > LIKELY_NATS:
                self._from_ns[number], depth = at_ns, 0.0
        elif middle > LIKELY_NATS / 2.0:
            self._middle_ns[number], middle = at_ns, 0.0
        self._depth[number], self._middle_depth[number] = depth, middle

    def update(self, factors: Sequence[float], *, spend: float, at_ns: int = 0) -> float:
        """Take the factors of one observation, one per bet; the evidence after it."""
        wealth, best, starts = self._wealth, self._best, self._starts
        at_ns = min(at_ns, LATEST_NS)
        start = spend / len(wealth)
        for number, factor in enumerate(factors):
            wealth[number] = (wealth[number] + start) * factor
            # The likeliest start is where this bet's winnings began: a product that falls below 1 starts anew.
            product = best[number]
            if product <= 1.0:
                self._deepen(number, -log(product) if product > 0.0 else LIKELY_NATS, at_ns)
                starts[number] = self.seen
                self._began_ns[number] = at_ns
                product = 1.0
            if product <= LIKELY:
                self._until_ns[number] = at_ns
            best[number] = product * factor
        self.seen += 1
        return sum(wealth)


def onset_facts(between_ns: tuple[int, int]) -> dict[str, int]:
    """What a finding says about when it began, beside the estimate."""
    earliest_ns, latest_ns = between_ns
    return {"onset_from_ns": earliest_ns, "onset_until_ns": latest_ns} if earliest_ns else {}


def mean_stakes(allowed: float) -> tuple[float, ...]:
    """Stakes for the claim that the mean of numbers in [0, 1] is at most `allowed`, largest first."""
    return tuple(0.9 * 2.0**-number / allowed for number in range(STAKES))


def mean_factors(excess: float, stakes: Sequence[float]) -> list[float]:
    """Factors of one number that is `excess` above the allowed mean."""
    return [1.0 + stake * excess for stake in stakes]


_SLOPES = (0.9, 0.5, 0.25)
_POWERS = (0.1, 0.3, 0.6)
RANK_BETS = len(_SLOPES) + len(_POWERS)


def rank_factors(rank: float, among: float = inf) -> list[float]:
    """Bets that ranks have become larger, for a rank that is uniform in (0, 1) while nothing changes.

    Half of them grow with the rank, for changes of a part of the spread; half are calibrators of p-values, for large ones. All
    give away a standard error of the past: where a value stands among so many is known no better, and what is wrong about the
    past is wrong in each of many ranks.

    Args:
        rank: of the newest value.
        among: how many values it is the rank among.

    Source: Vovk, Wang, "E-values: calibration, combination and applications", Annals of Statistics 49 (2021).

    >>> steps = 10_000
    >>> ranks = [(number + 0.5) / steps for number in range(steps)]
    >>> [round(sum(rank_factors(rank)[bet] for rank in ranks) / steps, 1) for bet in range(1, RANK_BETS)]
    [1.0, 1.0, 0.7, 1.0, 1.0]
    """
    error = sqrt(rank * (1.0 - rank) / among)
    slope = 2.0 * (rank - error) - 1.0
    tail = max(1.0 - rank + error, 1e-9)
    return [*[1.0 + stake * slope for stake in _SLOPES], *[power * tail ** (power - 1.0) for power in _POWERS]]


_ODDS = (1.5, 2.0, 3.0, 6.0, 12.0, 40.0)


def odds_factors(rank: float, share: float) -> list[float]:
    """Bets that something which happened in a `share` of the past has become more likely, by its rank with ties drawn.

    Each multiplies the odds. A step in the rank has mean 1 wherever it stands, as ranks are uniform while nothing changes.

    >>> [round(factor, 2) for factor in (*odds_factors(0.95, 0.1)[:2], *odds_factors(0.2, 0.1)[:2])]
    [1.43, 1.82, 0.95, 0.91]
    """
    happened = rank >= 1.0 - share
    return [(odds if happened else 1.0) / (1.0 + (odds - 1.0) * share) for odds in _ODDS]
