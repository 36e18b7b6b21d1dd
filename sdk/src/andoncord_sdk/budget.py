"""A run's cost budget: reserve before the call, settle after it. Integer micro-USD, so nothing is lost to rounding."""

import threading
from decimal import ROUND_HALF_EVEN, Decimal

MICRO_PER_USD = 1_000_000


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
    """A part of a budget that is held for one call until the call is settled. Settle it exactly once."""

    __slots__ = ("_budget", "_open", "amount_micro_usd")

    def __init__(self, budget: "Budget", amount_micro_usd: int) -> None:
        self._budget = budget
        self._open = True
        self.amount_micro_usd = amount_micro_usd

    def settle(self, cost_micro_usd: int) -> None:
        """Replace the held amount by what the call really cost; 0 if it was never made. A second settling is ignored."""
        self._budget._settle(self, cost_micro_usd)

    def settle_usd(self, cost_usd: float) -> None:
        """`settle`, in US dollars; a cost that is no number counts as everything that was held."""
        self.settle(cost_of(cost_usd, unknown_micro_usd=self.amount_micro_usd))


class Budget:
    """What one run may spend. Thread-safe.

    A call that states its highest cost is admitted only if everything spent, everything held and that cost fit the limit.
    A call that states none is held at the dearest call the run has made so far, and refused once nothing is left.

    Args:
        limit_micro_usd: the most the run may spend; None for no limit.

    >>> budget = Budget(1_000_000)
    >>> first = budget.reserve(600_000)
    >>> budget.reserve(600_000) is None
    True
    >>> first.settle(100_000)
    >>> budget.spent_micro_usd, budget.reserve(600_000) is None
    (100000, False)
    """

    def __init__(self, limit_micro_usd: int | None = None) -> None:
        self.limit_micro_usd = limit_micro_usd
        self._lock = threading.Lock()
        self._spent = 0
        self._held = 0
        self._dearest = 0

    @property
    def spent_micro_usd(self) -> int:
        return self._spent

    @property
    def held_micro_usd(self) -> int:
        return self._held

    @property
    def is_exceeded(self) -> bool:
        return self.limit_micro_usd is not None and self._spent > self.limit_micro_usd

    def reserve(self, amount_micro_usd: int | None) -> Reservation | None:
        """Hold `amount_micro_usd` (None: not known), or return None because it does not fit."""
        with self._lock:
            amount = self._dearest if amount_micro_usd is None else amount_micro_usd
            if self.limit_micro_usd is not None:
                committed = self._spent + self._held
                nothing_left = amount_micro_usd is None and committed >= self.limit_micro_usd
                if nothing_left or committed + amount > self.limit_micro_usd:
                    return None
            self._held += amount
            return Reservation(self, amount)

    def charge(self, cost_micro_usd: int) -> None:
        """Count a cost that was incurred outside any reservation."""
        with self._lock:
            self._spend(cost_micro_usd)

    def _settle(self, reservation: Reservation, cost_micro_usd: int) -> None:
        with self._lock:
            if not reservation._open:
                return
            reservation._open = False
            self._held -= reservation.amount_micro_usd
            self._spend(cost_micro_usd)

    def _spend(self, cost_micro_usd: int) -> None:
        self._spent += cost_micro_usd
        self._dearest = max(self._dearest, cost_micro_usd)

    def forget_other_threads(self) -> None:
        """In a forked child: the lock is renewed, whoever held it."""
        self._lock = threading.Lock()
