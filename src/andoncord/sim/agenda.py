"""Virtual time: what happens next, in a fixed order."""

import heapq
from collections.abc import Callable

from andoncord.kernel.time import SECOND_NS, Instant
from andoncord.testing.clock import SimClock

Act = Callable[[], None]


class Agenda:
    """Acts in the order of their time; of equal times the one entered first.

    >>> agenda, seen = Agenda(SimClock()), []
    >>> agenda.after(2.0, lambda: seen.append("later"))
    >>> agenda.after(1.0, lambda: seen.append("sooner"))
    >>> agenda.run(3.0)
    >>> seen
    ['sooner', 'later']
    """

    def __init__(self, clock: SimClock) -> None:
        self._clock = clock
        self._acts: list[tuple[int, int, Act]] = []
        self._entered = 0

    @property
    def now(self) -> int:
        """Nanoseconds UTC."""
        return self._clock.now()

    def after(self, delay_s: float, act: Act) -> None:
        """Do something so many seconds from now."""
        self.at(self.now + round(delay_s * SECOND_NS), act)

    def at(self, at_ns: int, act: Act) -> None:
        """Do something at a given time, which is not over yet."""
        self._entered += 1
        heapq.heappush(self._acts, (at_ns, self._entered, act))

    def run(self, seconds: float) -> None:
        """Let so much time pass."""
        end = self.now + round(seconds * SECOND_NS)
        while self._acts and self._acts[0][0] <= end:
            at, _, act = heapq.heappop(self._acts)
            self._clock.move_to(Instant(at))
            act()
        self._clock.move_to(Instant(end))
