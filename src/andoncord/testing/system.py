"""The server's clock and entropy, by hand."""

from andoncord.kernel.time import Instant
from andoncord.testing.clock import SimClock


class HandClock(SimClock):
    """A clock for the server's tests: time passes only by `move_by`.

    >>> clock = HandClock()
    >>> clock.move_by(7)
    >>> clock.monotonic_ns()
    7
    """

    def __init__(self) -> None:
        super().__init__()
        self._began = self.now()

    def monotonic_ns(self) -> int:
        return self.now() - self._began

    def move_by(self, ns: int) -> None:
        """Let `ns` nanoseconds pass."""
        self.move_to(Instant(self.now() + ns))


class CountedEntropy:
    """Secrets and ids that count up, so that a test can name them.

    >>> CountedEntropy().identifier("grd")
    'grd_1'
    """

    def __init__(self) -> None:
        self._count = 0

    def secret(self) -> str:
        self._count += 1
        return f"secret-{self._count}"

    def identifier(self, prefix: str) -> str:
        self._count += 1
        return f"{prefix}_{self._count}"
