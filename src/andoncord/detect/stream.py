"""One number per run, watched for a lasting change against its own past, within a budget of false alarms (DET-1, DET-21)."""

from array import array
from collections import deque
from enum import StrEnum
from math import expm1, log1p, sqrt
from typing import NamedTuple

import msgspec

from andoncord.detect.evidence import RANK_BETS, Wealth, odds_factors, rank_factors
from andoncord.detect.profile import MIN_OWN, MIN_POOL, MIN_ROLE, PRIOR, Profile
from andoncord.kernel.time import DAY_NS, HOUR_NS

WARM_UP = 20
"""Values before the first judgement; a lent past counts. Ranks are exact from the first value on, but few cannot be extreme."""
HELD = 25
"""Newest values that are not yet part of the past, so that what is being noticed does not become normal meanwhile."""
BLOCK = 25
"""Values whose mean is judged as one where values come in bursts: of the lengths tried (25 and 50), the quicker one that keeps
the budget."""
HELD_BLOCKS = 4
MIN_BLOCKS = 4
EPISODES = 2
"""Alarms that went away by themselves after which the values count as bursty."""
FORGET_EPISODE = 4_000
"""Values after which one of them is forgotten. Chosen, with the line above, on generated streams: see the benchmark `nulls`."""
SETTLED = 50
"""Values in the past from which ranks are good enough to say whether their blocks vary too much."""
MANY_BLOCKS = 40
MAX_BLOCKS = 400
"""Blocks before values may be called bursty."""
CLEAR = 20
"""Newest values that must look like the past again for an alarm to be over."""
CLEAR_WITHIN = 0.19
"""How far their mean rank may be from one half: three standard errors of 20 uniform numbers."""
RELEARN = 200
"""Values after an alarm after which the new level is the normal one: nobody has called it wrong for so long. Chosen."""
MAX_SPANS = 8


class Side(StrEnum):
    """Which change matters."""

    UP = "up"
    DOWN = "down"
    BOTH = "both"


class Scale(msgspec.Struct, frozen=True, kw_only=True):
    """How a number is looked at."""

    per_unit: float
    """Bins per unit, after `is_log`."""
    is_log: bool = False
    """Differences matter by their ratio."""
    is_event: bool = False
    """It is 0 or 1: whether something happened."""
    is_daily: bool = False
    """It may depend on the hour of the day."""

    def of(self, value: float) -> float:
        """The number on its scale."""
        return log1p(value) if self.is_log else value

    def back(self, scaled: float) -> float:
        """The number that is `scaled` on the scale."""
        return expm1(scaled) if self.is_log else scaled


AMOUNT = Scale(per_unit=12.0, is_log=True, is_daily=True)
"""Costs, durations, counts, in bins of 8 per cent: the least change worth an alarm. Chosen."""
SHARE = Scale(per_unit=50.0)
"""Shares and scores between 0 and 1, in bins of a fiftieth."""
SURPRISE = Scale(per_unit=16.0)
"""Nats a step, in bins of a sixteenth."""
EVENT = Scale(per_unit=1.0, is_event=True)


class Alarm(NamedTuple):
    """What is known when the evidence is complete."""

    now: float
    """The middle of the newest values, as they were given."""
    before: float
    """The middle of the past."""
    runs: int
    """Values since the change, most likely."""
    of: int
    """The newest values that `now` is the middle of: no more than are held."""
    began_ns: int
    between_ns: tuple[int, int]
    """The earliest and the latest beginning that is not much less likely."""
    evidence: float
    """As a share of what an alarm takes."""
    by_block: bool


class Bursts:
    """Whether something that happens in a share of the cases comes in bursts.

    Either sign is enough: it follows itself more often than chance, or blocks vary more. A wrong yes
    makes the judgement slower, no more.

    >>> bursts = Bursts()
    >>> for number in range(400):
    ...     bursts.learn(number % 100 < 10)
    >>> bursts.seen
    True
    """

    __slots__ = ("_held", "_in_block", "_square", "_total", "blocks", "count", "events", "followed", "newest")

    def __init__(self) -> None:
        self.count = self.events = self.followed = self._in_block = 0
        self.newest = False
        self.blocks = 0
        self._total = self._square = 0.0
        self._held: deque[bool] = deque()

    def learn(self, happened: bool) -> None:
        """Take a case. The newest are held back: they may be a lasting change and not a burst."""
        self._held.append(happened)
        if len(self._held) > HELD_BLOCKS * BLOCK:
            self._take(self._held.popleft())

    def settle(self) -> None:
        """What was held back was no lasting change after all."""
        while self._held:
            self._take(self._held.popleft())

    def drop(self) -> None:
        """What was held back is a lasting change."""
        self._held.clear()

    def _take(self, happened: bool) -> None:
        self.count += 1
        self.events += happened
        self.followed += happened and self.newest
        self.newest = happened
        self._in_block += happened
        if self.count % BLOCK:
            return
        share, self._in_block = self._in_block / BLOCK, 0
        self.blocks += 1
        self._total += share
        self._square += share * share
        if self.blocks >= MAX_BLOCKS:
            self.count, self.events, self.followed = self.count // 2, self.events // 2, self.followed // 2
            self.blocks, self._total, self._square = self.blocks // 2, self._total / 2, self._square / 2

    @property
    def seen(self) -> bool:
        """Whether the past shows bursts."""
        if self.blocks < MIN_BLOCKS or not self.events:
            return False
        share = self.events / self.count
        expected = self.events * share
        if self.followed > expected + 2.0 * sqrt(expected) + 1.0:
            return True
        mean = self._total / self.blocks
        independent = mean * (1.0 - mean) / BLOCK
        return (
            self._square / self.blocks - mean * mean
            > independent * (1.0 + _errors(self.blocks) * sqrt(2.0 / self.blocks))
            > 0.0
        )


class Stream:
    """The past of one number of one agent, and the evidence that it has changed.

    Values are judged one by one by their ranks. Where the past shows bursts (the means of blocks vary more than those of
    independent values would) blocks are judged instead, which is slower and keeps the budget.

    Args:
        scale: how to look at the number.
        side: which change matters.
        seed: breaks ties; any number, the same on replay.
        past: lent by agents of the same role; None to begin with nothing.

    Cost: O(1) per value but for a rank among 256 bins; about 4 kB.
    """

    __slots__ = (
        "_block_sum",
        "_block_wealth",
        "_blocks",
        "_bursts",
        "_episodes",
        "_fresh",
        "_held",
        "_held_blocks",
        "_in_block",
        "_lent",
        "_past",
        "_rank_sum",
        "_ranks",
        "_saved",
        "_scale",
        "_seed",
        "_side",
        "_since_raised",
        "_spans",
        "_spread",
        "_spread_blocks",
        "_wealth",
        "first_ns",
        "is_raised",
    )

    def __init__(self, scale: Scale, side: Side, *, seed: int, past: Profile | None = None) -> None:
        self._scale, self._side, self._seed = scale, side, seed
        self._lent = past is not None
        self._past = past or Profile(per_unit=scale.per_unit, daily=scale.is_daily, seed=seed)
        self._blocks: Profile | None = None
        self._wealth = Wealth(RANK_BETS * (2 if side is Side.BOTH else 1))
        self._block_wealth: Wealth | None = None
        """Both made when the first block is judged or learned: most streams never need them."""
        self._bursts = Bursts() if scale.is_event else None
        self._held = array("d")
        self._held_blocks: list[tuple[float, float]] = []
        self._spans: list[str] = []
        self._block_sum = self._rank_sum = self._saved = 0.0
        self._in_block = 0
        self._spread, self._spread_blocks = 0.0, 0
        self._ranks: list[float] = []
        self._fresh: Profile | None = None
        self._since_raised = 0
        self._episodes = 0
        self.first_ns = 0
        self.is_raised = False

    @property
    def count(self) -> int:
        """Values in the past."""
        return self._past.count

    @property
    def is_bursty(self) -> bool:
        """Whether the past shows that values depend on those before them in ways that ranks still show."""
        blocks = self._spread_blocks
        if self._episodes >= EPISODES or (self._bursts is not None and self._bursts.seen):
            return True
        return blocks >= MIN_BLOCKS and self._spread / blocks > 1.0 + _errors(blocks) * sqrt(2.0 / blocks)

    @property
    def evidence(self) -> float:
        """The evidence for a change, as a share of what an alarm takes; while raised, how far the newest values still are."""
        if self.is_raised:
            return abs(2.0 * sum(self._ranks) / len(self._ranks) - 1.0) if self._ranks else 1.0
        wealth = self._block_wealth if self.is_bursty else self._wealth
        return wealth.evidence if wealth else 0.0

    @property
    def spans(self) -> tuple[str, ...]:
        """Where the newest values came from."""
        return tuple(self._spans)

    def is_judged(self, at_ns: int, role: Profile | None = None) -> bool:
        """Whether a value that comes now is judged: nothing is raised, and its own past or its role's is enough."""
        if self.is_raised:
            return False
        is_helped = role is not None and role.count >= MIN_ROLE and self._past.count >= MIN_OWN
        if self._past.count < WARM_UP and not is_helped:
            return False
        return self._lent or not self._scale.is_daily or at_ns - self.first_ns >= DAY_NS

    def update(self, value: float, *, at_ns: int, span_id: str, spend: float, role: Profile | None = None) -> Alarm | None:
        """Take one value; what is known when it completes the evidence for a change.

        Args:
            value: the number.
            at_ns: when it was seen; time does not run backwards for long.
            span_id: where it came from.
            spend: by how much this may add to the expected false alarms; 0 where nothing is judged.
            role: of something that happens or not: how often it does in the role.
        """
        scaled = self._scale.of(value)
        hour = (at_ns // HOUR_NS) % 24
        past = self._past
        deviation = scaled if self._scale.is_event else past.deviation(scaled, hour)
        left = scaled if self._scale.is_event else past.left(deviation)
        rank = past.rank_event(scaled, hour, role) if self._scale.is_event else past.rank(left)
        past.follow(deviation)
        self._spans.append(span_id)
        if len(self._spans) > MAX_SPANS:
            del self._spans[0]
        self.first_ns = self.first_ns or at_ns
        if self.is_raised:
            self._recover(scaled, hour, rank)
            return None
        is_judged = self.is_judged(at_ns, role)
        spend = spend if is_judged else 0.0
        alarmed = past.count >= SETTLED and self._note_block(left, rank, at_ns, spend)
        if is_judged and not self.is_bursty:
            alarmed = self._wealth.update(self._factors(rank, past, hour, role), spend=spend, at_ns=at_ns) >= 1.0
        self._hold(scaled, hour)
        if not alarmed:
            return None
        alarm = self._alarm()
        if self._is_over(alarm.runs):
            # Evidence goes down slowly: what it is about came and went before it was complete.
            self.forgive()
            return None
        self._raise()
        return alarm

    def forgive(self) -> None:
        """Begin anew: the agent was changed, or somebody said that this is normal."""
        self.is_raised = False
        self._fresh = None
        self._wealth.reset()
        self._block_wealth = None

    def _factors(self, rank: float, past: Profile, hour: int, role: Profile | None) -> list[float]:
        if self._scale.is_event:
            return odds_factors(rank, past.share(hour, role))
        up = rank_factors(rank, past.count) if self._side is not Side.DOWN else []
        return up if self._side is Side.UP else [*up, *rank_factors(1.0 - rank, past.count)]

    def _note_block(self, left: float, rank: float, at_ns: int, spend: float) -> bool:
        self._block_sum += left
        self._rank_sum += rank
        self._saved += spend
        self._in_block += 1
        if self._in_block < BLOCK:
            return False
        mean, ranks = self._block_sum / BLOCK, self._rank_sum / BLOCK
        saved, self._saved = self._saved, 0.0
        self._block_sum = self._rank_sum = 0.0
        self._in_block = 0
        alarmed = False
        if self.is_bursty:
            rank = self._of_blocks().rank(mean)
            up = rank_factors(rank) if self._side is not Side.DOWN else []
            factors = up if self._side is Side.UP else [*up, *rank_factors(1.0 - rank)]
            if self._block_wealth is None:
                self._block_wealth = Wealth(len(factors))
            alarmed = self._block_wealth.update(factors, spend=saved, at_ns=at_ns) >= 1.0
        self._held_blocks.append((mean, ranks))
        if len(self._held_blocks) > HELD_BLOCKS:
            self._learn_block(*self._held_blocks.pop(0))
        return alarmed

    def _of_blocks(self) -> Profile:
        if self._blocks is None:
            per_unit = float(BLOCK) if self._scale.is_event else 4.0 * self._scale.per_unit
            self._blocks = Profile(per_unit=per_unit, daily=False, seed=self._seed + 2)
        return self._blocks

    def _learn_block(self, mean: float, ranks: float) -> None:
        self._of_blocks().learn_block(mean)
        # The mean of 25 independent uniform numbers has variance 1 / 300.
        self._spread += (ranks - 0.5) ** 2 * 12.0 * BLOCK
        self._spread_blocks += 1

    def _hold(self, scaled: float, hour: int) -> None:
        held = self._held
        held.extend((scaled, float(hour)))
        if len(held) > 2 * min(HELD, self._past.count):
            self._learn(self._past, held[0], int(held[1]))
            if self._past.count % FORGET_EPISODE == 0:
                self._episodes = max(0, self._episodes - 1)
            del held[:2]

    def _learn(self, past: Profile, scaled: float, hour: int) -> None:
        if self._scale.is_event:
            past.learn_event(scaled, hour)
            if self._bursts is not None and past is self._past:
                self._bursts.learn(scaled > 0.5)
        else:
            past.learn(scaled, hour)

    def _alarm(self) -> Alarm:
        by_block = self.is_bursty
        wealth = self._block_wealth if by_block and self._block_wealth else self._wealth
        runs = wealth.since * BLOCK if by_block else wealth.since
        newest = self._held[0::2][-max(1, runs) :]
        middle = self._past.events_share if self._scale.is_event else self._past.mean
        return Alarm(
            now=self._scale.back(sum(newest) / max(1, len(newest))),
            before=self._scale.back(middle),
            runs=runs,
            of=len(newest),
            began_ns=wealth.began_ns,
            between_ns=wealth.began_between_ns,
            evidence=wealth.evidence,
            by_block=by_block,
        )

    def _is_over(self, runs: int) -> bool:
        """Whether the newest values are not, on average, on the side of the past that the evidence speaks of."""
        wealth = self._block_wealth if self.is_bursty and self._block_wealth else self._wealth
        is_up = self._side is Side.UP or (self._side is Side.BOTH and wealth.leader < RANK_BETS)
        held, past = self._held[-2 * max(1, runs) :], self._past
        how_far = sum(
            scaled - past.share(int(hour)) if self._scale.is_event else past.deviation(scaled, int(hour))
            for scaled, hour in zip(held[0::2], held[1::2], strict=True)
        )
        return how_far <= 0.0 if is_up else how_far >= 0.0

    def _raise(self) -> None:
        self.is_raised = True
        self._since_raised = 0
        self._fresh = Profile(per_unit=self._scale.per_unit, daily=self._scale.is_daily, seed=self._seed + 4)
        self._ranks.clear()
        self._held = array("d")
        self._block_sum = self._rank_sum = self._saved = 0.0
        self._in_block = 0

    def _recover(self, scaled: float, hour: int, rank: float) -> None:
        """Look for the end of what was raised: back to the past, or so long that it is the new normal."""
        self._since_raised += 1
        self._ranks = [*self._ranks[1 - CLEAR :], rank]
        if self._fresh is not None:
            self._learn(self._fresh, scaled, hour)
        is_back = len(self._ranks) == CLEAR and abs(sum(self._ranks) / CLEAR - 0.5) < CLEAR_WITHIN
        if is_back:
            self._episodes = min(2 * EPISODES, self._episodes + 1)
            # It came and went: that is how much blocks vary, though not the level.
            for mean, ranks in self._held_blocks:
                self._learn_block(mean, ranks)
            self._held_blocks.clear()
            if self._bursts is not None:
                self._bursts.settle()
            self.forgive()
        elif self._since_raised >= RELEARN and self._fresh is not None:
            self._past = self._fresh
            self._held_blocks.clear()
            self._blocks = None
            self._spread, self._spread_blocks = 0.0, 0
            if self._bursts is not None:
                self._bursts.drop()
            self.forgive()


def _errors(blocks: int) -> float:
    """Standard errors by which blocks must vary too much: more as long as they would be poor judges themselves."""
    return 2.0 if blocks >= MANY_BLOCKS else 3.0


def lendable(pool: Profile | None) -> bool:
    """Whether a role's pool has enough to lend."""
    return pool is not None and pool.count >= MIN_POOL


assert PRIOR >= WARM_UP, "an agent with a lent past is judged from its first run"
