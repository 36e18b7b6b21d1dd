"""The machine's clock."""

import time

from andoncord.kernel.time import Instant


class SystemClock:
    """Wall-clock time in nanoseconds UTC, and a monotonic clock for measuring how long something took."""

    def now(self) -> Instant:
        return Instant(time.time_ns())

    def monotonic_ns(self) -> int:
        """Nanoseconds on a clock that never goes back; only differences mean anything."""
        return time.monotonic_ns()
