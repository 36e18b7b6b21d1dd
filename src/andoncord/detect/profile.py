"""What is normal for one number of an agent's runs, learned from its past (DET-1)."""

from array import array
from math import sqrt

BINS = 256
HALF = BINS // 2
KEPT = 8_192
"""Observations after which old ones begin to weigh less: all counts are halved. Chosen: weeks of a busy agent."""
HOURS = 24
MIN_HOURS = 6
"""Hours of the day that must have been seen before the day may matter."""
MIN_PER_HOUR = 4
"""Values they must hold on average."""
MIN_FOR_ECHO = 30
"""Observations before dependence on the one before is believed."""
PRIOR = 20
"""Observations that a new agent is given from those of its role. Chosen: forgotten within a few dozen runs of its own."""
MIN_POOL = 100
"""Observations that a role needs before it can lend any. Chosen."""
MAX_ECHO = 0.95
_WORD = 0xFFFFFFFFFFFFFFFF
PARTS = 6
"""Parts of a day in which something may happen more or less often: of four hours, so that rare events are still counted."""
SEASON_EVERY = 64
"""Values between two looks at whether it does."""


MIN_OWN = 8
"""Own cases from which an agent may be judged by what its role shows besides. Chosen."""
MIN_ROLE = 200
"""Cases of a role from which its share is known well enough: ten times the least past of an agent. Chosen."""
FULL = 400
"""Own cases from which an agent needs nobody else's. Chosen."""
TIMES = 10
"""Cases of the role that one own case brings along at most, so that a new agent is not judged as if it were old. Chosen, with
the lines above, on generated fleets: 15 alarms on nothing where 48 were paid for. The same for costs, durations and
scores, around each agent's own level, was quicker and alarmed twice as often as paid for; it is left out."""


class Draws:
    """A fixed sequence of numbers in (0, 1): nothing depends on chance, so replay is identity.

    Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA (2014): splitmix64.
    """

    __slots__ = ("_state",)

    def __init__(self, seed: int) -> None:
        self._state = seed & _WORD

    def next(self) -> float:
        """The next number."""
        self._state = mixed = (self._state + 0x9E3779B97F4A7C15) & _WORD
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _WORD
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _WORD
        return (((mixed ^ (mixed >> 31)) >> 11) + 0.5) / 9007199254740992.0


class Profile:
    """The past of one number: its level, its day, its echo, and how the rest is spread.

    From each value the mean of its hour of the day is taken, then what the value before it foretells (AR(1)), as far as the
    past shows either; what is left is ranked among all that was left before. While nothing changes, that rank is uniform in
    (0, 1) and independent of those before, whatever the distribution.

    Args:
        per_unit: bins per unit of the number. Differences below a bin are not seen: the least effect worth an alarm.
        daily: whether the hour of the day matters.

    Cost: O(bins) time per value; about 1 kB.
    Source: conformal prediction, Vovk, Gammerman, Shafer, "Algorithmic Learning in a Random World" (2005), ch. 2.
    """

    __slots__ = (
        "_anchor",
        "_counts",
        "_draws",
        "_hour_counts",
        "_hour_sums",
        "_learned",
        "_part_counts",
        "_part_events",
        "_product",
        "_season_weight",
        "_seasonal",
        "_square",
        "before",
        "count",
        "daily",
        "mean",
        "per_unit",
    )

    def __init__(self, *, per_unit: float, daily: bool, seed: int = 1) -> None:
        self.per_unit, self.daily = per_unit, daily
        self.count = 0
        self.mean = self._anchor = 0.0
        self._counts = array("H", bytes(2 * BINS))
        self._hour_sums = array("d", bytes(8 * HOURS)) if daily else None
        self._hour_counts = array("d", bytes(8 * HOURS)) if daily else None
        self._square = self._product = 0.0
        self._learned = 0.0
        self._part_counts: list[float] = []
        self._part_events: list[float] = []
        self._seasonal = False
        self._season_weight = 0.0
        self.before = 0.0
        """The newest deviation."""
        self._draws = Draws(seed)

    @property
    def echo(self) -> float:
        """How much of a deviation the next value repeats: the lag-one correlation, 0 where the past does not show one."""
        if self.count < MIN_FOR_ECHO or self._square <= 0.0:
            return 0.0
        echo = self._product / self._square
        return min(MAX_ECHO, echo) if echo > 2.0 / sqrt(self.count) else 0.0

    @property
    def events_share(self) -> float:
        """Of a number that is 0 or 1: how often it was 1."""
        return self._counts[HALF + 1] / max(1, sum(self._counts))

    def share(self, hour: int, role: "Profile | None" = None) -> float:
        """Of a number that is 0 or 1: how often it was 1, so that a rank above one minus this says that it is."""
        count, events = self._of_hour(hour, role)
        return (events + 1.0) / (count + 1.0)

    def rank_event(self, happened: float, hour: int, role: "Profile | None" = None) -> float:
        """The rank of a number that is 0 or 1 among those before, of the same part of the day where the past shows parts.

        With a role, what its agents show counts as well, as long as this one's own past agrees with it.
        """
        count, events = self._of_hour(hour, role)
        if happened > 0.5:
            return (count - events + self._draws.next() * (events + 1)) / (count + 1)
        return self._draws.next() * (count - events + 1) / (count + 1)

    @property
    def is_seasonal(self) -> bool:
        """Of a number that is 0 or 1: whether the part of the day matters (chi-squared, three deviations above its mean)."""
        if not self._part_counts or not 0 < self._counts[HALF + 1] < self.count:
            return False
        counted, happened = sum(self._part_counts), sum(self._part_events)
        share = happened / counted if counted else 0.0
        if not 0.0 < share < 1.0:
            return False
        squares = sum(
            (events - count * share) ** 2 / (count * share * (1.0 - share))
            for count, events in zip(self._part_counts, self._part_events, strict=True)
            if count
        )
        return squares > (PARTS - 1) + 3.0 * sqrt(2.0 * (PARTS - 1))

    def _of_hour(self, hour: int, role: "Profile | None" = None) -> tuple[float, float]:
        if self._seasonal:
            part = hour * PARTS // HOURS
            return self._part_counts[part], self._part_events[part]
        count, events = float(sum(self._counts)), float(self._counts[HALF + 1])
        if role is None or role.is_seasonal:
            return count, events
        return pooled(count, events, share=role.events_share, known=float(role.count))

    def deviation(self, value: float, hour: int) -> float:
        """How far a value is from the level of its hour."""
        season = 0.0
        if self._hour_sums is not None and self._hour_counts is not None:
            weight, count = self._season_weight, self._hour_counts[hour]
            season = (self._hour_sums[hour] - count * self.mean) / (count + weight) if weight else 0.0
        return value - self.mean - season

    def rank(self, left: float) -> float:
        """The rank, in (0, 1), of what is left of a value among the same of all before; a fixed sequence breaks ties."""
        counts, place = self._counts, self._place(left)
        total = sum(counts)
        below = sum(counts[:place])
        return (below + self._draws.next() * (counts[place] + 1)) / (total + 1)

    def left(self, deviation: float) -> float:
        """What is left of a deviation when the echo of the one before is taken away, as a distance from the first value."""
        return deviation + self.mean - self._anchor - self.echo * self.before

    def follow(self, deviation: float) -> None:
        """Say what the newest deviation is, for the echo of the next."""
        self.before = deviation

    def learn(self, value: float, hour: int) -> None:
        """Take a value into the past."""
        if not self.count:
            self._anchor = value
        self.count += 1
        self.mean += (value - self.mean) / min(self.count, KEPT)
        if self._hour_sums is not None and self._hour_counts is not None:
            self._hour_sums[hour] += value
            self._hour_counts[hour] += 1.0
        deviation = self.deviation(value, hour)
        before, self._learned = self._learned, deviation
        self._counts[self._place(deviation + self.mean - self._anchor - self.echo * before)] += 1
        self._square += deviation * deviation
        self._product += deviation * before
        if self.daily and self.count % SEASON_EVERY == 0:
            self._season_weight = self._weigh_season()
        if self.count % KEPT == 0:
            self._age()

    def learn_event(self, happened: float, hour: int) -> None:
        """Take a number that is 0 or 1 into the past."""
        if not self._part_counts:
            self._part_counts, self._part_events = [0.0] * PARTS, [0.0] * PARTS
        part = hour * PARTS // HOURS
        self._part_counts[part] += 1.0
        self._part_events[part] += happened
        self.learn_block(happened)
        if self.count % SEASON_EVERY == 0:
            self._seasonal = self.is_seasonal

    def learn_block(self, mean: float) -> None:
        """Take a number into the past as it is, without level, day or echo."""
        self.count += 1
        self._counts[self._place(mean)] += 1
        if self.count % KEPT == 0:
            self._age()

    def _weigh_season(self) -> float:
        """How many values an hour needs until its own mean counts for half; 0 where the day does not show.

        The variance between hours beyond chance, against that within them (James and Stein), if it is significant at all.
        """
        if self._hour_sums is None or self._hour_counts is None:
            return 0.0
        counts = [count for count in self._hour_counts if count > 0.0]
        hours, total = len(counts), sum(counts)
        within = self._square / max(1, min(self.count, 2 * KEPT))
        if hours < MIN_HOURS or total < MIN_PER_HOUR * hours or within <= 0.0:
            return 0.0
        between = sum(
            (each - count * self.mean) ** 2 / count
            for each, count in zip(self._hour_sums, self._hour_counts, strict=True)
            if count > 0.0
        )
        ratio = between / within
        if ratio <= hours + 3.0 * sqrt(2.0 * hours):
            return 0.0
        return max(1.0, total / (ratio - hours))

    def lend(self, seed: int) -> "Profile":
        """A beginning for another agent of the role: the level, the day, the echo, and `PRIOR` values spread like these."""
        lent = Profile(per_unit=self.per_unit, daily=self.daily, seed=seed)
        lent.count, lent.mean, lent._anchor = PRIOR, self.mean, self._anchor
        share = PRIOR / max(1, self.count)
        if lent._hour_sums is not None and lent._hour_counts is not None and self._hour_sums and self._hour_counts:
            for hour in range(HOURS):
                lent._hour_sums[hour] = self._hour_sums[hour] * share
                lent._hour_counts[hour] = self._hour_counts[hour] * share
            lent._season_weight = self._season_weight
        lent._square, lent._product = self._square * share, self._product * share
        total, passed, given = sum(self._counts), 0, 0
        for place, here in enumerate(self._counts):
            passed += here
            while given < PRIOR and (given + 0.5) * total <= passed * PRIOR:
                lent._counts[place] += 1
                given += 1
        return lent

    def _place(self, left: float) -> int:
        return max(0, min(BINS - 1, int(left * self.per_unit + HALF + 0.5)))

    def _age(self) -> None:
        self._counts = array("H", [here // 2 for here in self._counts])
        if self._hour_sums is not None and self._hour_counts is not None:
            self._hour_sums = array("d", [each / 2 for each in self._hour_sums])
            self._hour_counts = array("d", [each / 2 for each in self._hour_counts])
        self._part_counts = [each / 2 for each in self._part_counts]
        self._part_events = [each / 2 for each in self._part_events]
        self._square, self._product = self._square / 2, self._product / 2


def pooled(count: float, events: float, *, share: float, known: float) -> tuple[float, float]:
    """Cases and events of an agent, and those of its role that it is judged by besides; its own alone where they disagree.

    >>> pooled(40.0, 0.0, share=0.02, known=2_000.0)
    (400.0, 7.2)
    >>> pooled(40.0, 9.0, share=0.02, known=2_000.0)
    (40.0, 9.0)
    """
    if not MIN_OWN <= count < FULL or known < MIN_ROLE:
        return count, events
    if abs(events - count * share) > 2.0 * sqrt(count * share * (1.0 - share)) + 1.0:
        return count, events
    lent = min(TIMES * count, FULL - count)
    return count + lent, events + lent * share
