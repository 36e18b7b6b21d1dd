"""Budgets: reserve before the call, settle after it. Integer micro-USD, tokens and calls, so nothing is lost to rounding."""

import threading
from decimal import ROUND_HALF_EVEN, Decimal
from typing import NamedTuple

MICRO_PER_USD = 1_000_000


class Amounts(NamedTuple):
    """How much of everything that a budget counts."""

    micro_usd: int = 0
    tokens: int = 0
    calls: int = 0


class Limits(NamedTuple):
    """The most of everything that a budget counts; None where it is not limited."""

    micro_usd: int | None = None
    tokens: int | None = None
    calls: int | None = None


UNLIMITED = Limits()


class Shortfall(NamedTuple):
    """What does not cover a call."""

    budget: "Budget"
    unit: str
    """A field of `Amounts`."""
    message: str


def micro_usd(usd: float | int | str) -> int:
    """US dollars in micro-USD; half a micro-dollar rounds to even.

    >>> micro_usd(0.00522), micro_usd("200")
    (5220, 200000000)
    """
    return int((Decimal(str(usd)) * MICRO_PER_USD).to_integral_value(rounding=ROUND_HALF_EVEN))


def cost_of(usd: float | int | str | None, *, unknown_micro_usd: int) -> int:
    """A cost as the agent states it. One that is missing, negative or not a number counts as unknown.

    >>> cost_of(0.25, unknown_micro_usd=9), cost_of(None, unknown_micro_usd=9)
    (250000, 9)
    """
    try:
        cost = unknown_micro_usd if usd is None else micro_usd(usd)
    except (ArithmeticError, ValueError, TypeError):
        return unknown_micro_usd
    return cost if cost >= 0 else unknown_micro_usd


class Reservation:
    """A part of a budget, and of every budget above it, that is held for one call until the call is settled."""

    __slots__ = ("_above", "_budget", "_open", "amounts")

    def __init__(self, budget: "Budget", amounts: Amounts, above: "Reservation | None") -> None:
        self._budget = budget
        self._above = above
        self._open = True
        self.amounts = amounts

    @property
    def amount_micro_usd(self) -> int:
        return self.amounts.micro_usd

    def settle(self, cost_micro_usd: int, tokens: int = 0) -> None:
        """Replace what was held by what the call really used. A second settling is ignored."""
        self._close(Amounts(cost_micro_usd, tokens, self.amounts.calls))

    def settle_usd(self, cost_usd: float) -> None:
        """`settle`, in US dollars; a cost that is no number counts as everything that was held."""
        self.settle(cost_of(cost_usd, unknown_micro_usd=self.amount_micro_usd))

    def release(self) -> None:
        """Give everything back: the call was never made."""
        self._close(Amounts())

    def _close(self, used: Amounts) -> None:
        self._budget._settle(self, used)
        if self._above is not None:
            self._above._close(used)


class _Nothing(Reservation):
    """Holds nothing: what a call that costs nothing gets where calls are not limited."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(Budget(), Amounts(), None)

    def _close(self, used: Amounts) -> None:
        pass


class Budget:
    """What a run, or all runs of a guard together, may spend. Thread-safe.

    A call that states its highest cost is admitted only if everything spent, everything held and that cost fit the limit, here
    and in the budget above. A call that states none is held at the dearest call so far, and refused once nothing is left.

    Args:
        limit_micro_usd: the most that may be spent; None for no limit. Likewise the tokens of model calls, and the calls.
        above: a budget that this one is a part of.
        name: how messages call it.

    >>> budget = Budget(1_000_000)
    >>> first = budget.reserve(600_000)
    >>> budget.reserve(600_000) is None
    True
    >>> first.settle(100_000)
    >>> budget.spent_micro_usd, budget.reserve(600_000) is None
    (100000, False)
    """

    __slots__ = ("_dearest", "_held", "_is_over", "_lock", "_spent", "above", "limits", "name")

    def __init__(
        self,
        limit_micro_usd: int | None = None,
        *,
        limit_tokens: int | None = None,
        limit_calls: int | None = None,
        above: "Budget | None" = None,
        name: str = "the run's budget",
    ) -> None:
        self.limits = Limits(limit_micro_usd, limit_tokens, limit_calls)
        self.above = above
        self.name = name
        self._lock = threading.Lock()
        self._spent = self._held = self._dearest = Amounts()
        self._is_over = False
        """More is spent and held than the limits allow: not even a call that costs nothing fits."""

    @property
    def spent(self) -> Amounts:
        return self._spent

    @property
    def held(self) -> Amounts:
        return self._held

    @property
    def limit_micro_usd(self) -> int | None:
        return self.limits.micro_usd

    @property
    def spent_micro_usd(self) -> int:
        return self._spent.micro_usd

    @property
    def held_micro_usd(self) -> int:
        return self._held.micro_usd

    @property
    def is_limited(self) -> bool:
        """Anything is, here or above."""
        return any(limit is not None for limit in self.limits) or (self.above is not None and self.above.is_limited)

    @property
    def limits_cost(self) -> bool:
        """Money is limited, here or above: an unknown price must not count as free."""
        return self.limits.micro_usd is not None or (self.above is not None and self.above.limits_cost)

    def reserve_free(self) -> Reservation | None:
        """Hold one call that costs nothing, or return None because not even that fits.

        Cost: takes no lock where calls are not limited. Spent and held change in one assignment each and what the two exceed
        in another, so what is seen is how things were at some moment of the question.
        """
        level: Budget | None = self
        while level is not None:
            if level._is_over:
                return None
            if level.limits.calls is not None:
                return self.reserve(0)
            level = level.above
        return NOTHING

    def reserve(self, amount_micro_usd: int | None, tokens: int | None = 0) -> Reservation | None:
        """Hold one call of `amount_micro_usd` and `tokens` (None: not known), or return None because it does not fit."""
        with self._lock:
            amounts = self._wanted(amount_micro_usd, tokens)
            if self._lacking(amounts, amount_micro_usd, tokens) is not None:
                return None
            above = None
            if self.above is not None and (above := self.above.reserve(amount_micro_usd, tokens)) is None:
                return None
            self._held = _sum(self._held, amounts)
            self._judge()
            return Reservation(self, amounts, above)

    def shortfall(self, amount_micro_usd: int | None, tokens: int | None = 0) -> Shortfall | None:
        """Which budget does not cover such a call, and of what; None if by now it would be."""
        with self._lock:
            unit = self._lacking(self._wanted(amount_micro_usd, tokens), amount_micro_usd, tokens)
            if unit is not None:
                limit, spent, held = (getattr(each, unit) for each in (self.limits, self._spent, self._held))
                told = f"{_shown(limit, unit)} does not cover this call: {_shown(spent, unit)} spent, {_shown(held, unit)} held"
                return Shortfall(self, unit, f"{self.name} of {told}")
        return None if self.above is None else self.above.shortfall(amount_micro_usd, tokens)

    def charge(self, cost_micro_usd: int, tokens: int = 0) -> None:
        """Count what was used outside any reservation."""
        with self._lock:
            self._use(Amounts(cost_micro_usd, tokens, 0))
        if self.above is not None:
            self.above.charge(cost_micro_usd, tokens)

    def limit_to(self, limits: Limits) -> Limits:
        """Put other limits in force, none below what is already spent and held; what they are now."""
        with self._lock:
            spent, held = self._spent, self._held
            self.limits = Limits._make(
                None if limit is None else max(limit, spent[index] + held[index]) for index, limit in enumerate(limits)
            )
            self._judge()
            return self.limits

    def begin_again(self) -> None:
        """In a forked child: nothing of what the parent spent and holds is the child's to account for."""
        self._lock = threading.Lock()
        self._spent = self._held = Amounts()
        self._is_over = False

    def forget_other_threads(self) -> None:
        """In a forked child: the lock is renewed, whoever held it."""
        self._lock = threading.Lock()

    def _settle(self, reservation: Reservation, used: Amounts) -> None:
        with self._lock:
            if not reservation._open:
                return
            reservation._open = False
            # Never below nothing: a forked child settles what its parent reserved.
            self._held = Amounts._make(max(0, held - was) for held, was in zip(self._held, reservation.amounts, strict=True))
            self._use(used)

    def _use(self, used: Amounts) -> None:
        self._spent = _sum(self._spent, used)
        self._dearest = Amounts(max(self._dearest.micro_usd, used.micro_usd), max(self._dearest.tokens, used.tokens))
        self._judge()

    def _judge(self) -> None:
        self._is_over = any(
            limit is not None and spent + held > limit
            for limit, spent, held in zip(self.limits, self._spent, self._held, strict=True)
        )

    def _wanted(self, amount_micro_usd: int | None, tokens: int | None) -> Amounts:
        return Amounts(
            self._dearest.micro_usd if amount_micro_usd is None else amount_micro_usd,
            self._dearest.tokens if tokens is None else tokens,
            1,
        )

    def _lacking(self, amounts: Amounts, amount_micro_usd: int | None, tokens: int | None) -> str | None:
        """The unit that does not fit."""
        is_unknown = (amount_micro_usd is None, tokens is None, False)
        for index, limit in enumerate(self.limits):
            if limit is not None:
                committed = self._spent[index] + self._held[index]
                if committed + amounts[index] > limit or (is_unknown[index] and committed >= limit):
                    return Limits._fields[index]
        return None


NOTHING = _Nothing()


def _sum(left: Amounts, right: Amounts) -> Amounts:
    return Amounts(left.micro_usd + right.micro_usd, left.tokens + right.tokens, left.calls + right.calls)


def _shown(amount: int, unit: str) -> str:
    return f"${amount / MICRO_PER_USD:.4f}" if unit == "micro_usd" else f"{amount} {unit}"
