"""A clock that stands still until it is moved."""

from andoncord.kernel.time import SECOND_NS, Instant

OPENING = Instant(1_767_603_600 * SECOND_NS)
"""2026-01-05T09:00:00Z, a Monday: where simulated time begins."""


class SimClock:
    """A `Clock` for tests and the simulator; time passes only by `move_to`.

    >>> clock = SimClock()
    >>> clock.move_to(Instant(clock.now() + 5))
    >>> clock.now() - OPENING
    5
    """

    def __init__(self, now: Instant = OPENING) -> None:
        self._now = now

    def now(self) -> Instant:
        return self._now

    def move_to(self, now: Instant) -> None:
        """Let time pass; it never goes back."""
        assert now >= self._now, "time goes forward"
        self._now = now
