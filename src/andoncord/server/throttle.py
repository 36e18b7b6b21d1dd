"""How often somebody may try: failed sign-ins, and requests.

Nothing here can be used to lock another out. Failures count for the account *and* where they come from; a browser that signed
in before has a count of its own; and a one-time link from the terminal always works.
"""

from collections.abc import Callable
from typing import NamedTuple

from andoncord.kernel.errors import CallerError
from andoncord.kernel.time import HOUR_NS, MINUTE_NS, SECOND_NS

FREE_FAILURES = 5
"""Failures for one account from one place before the first wait."""
FIRST_WAIT_NS = 30 * SECOND_NS
LONGEST_WAIT_NS = 15 * MINUTE_NS
FORGET_NS = HOUR_NS
PLACE_FAILURES = 50
"""Failures from one place, over all accounts, before it has to wait."""
ACCOUNT_FAILURES = 100
"""Failures for one account from everywhere, before browsers that are new to it have to wait. Source: NIST SP 800-63B."""
MAX_COUNTED = 10_000


class TooManyError(CallerError):
    """Somebody asks too often.

    Args:
        retry_s: whole seconds after which it may work again.
    """

    def __init__(self, message: str, *, retry_s: int) -> None:
        super().__init__(message, remedy=f"try again in {retry_s} s")
        self.retry_s = retry_s


class _Count(NamedTuple):
    failures: int
    last_ns: int
    until_ns: int


class LoginThrottle:
    """Makes guessing passwords slow.

    Args:
        now_ns: a clock that never goes back.
    """

    def __init__(self, now_ns: Callable[[], int]) -> None:
        self._now_ns = now_ns
        self._counts: dict[tuple[str, ...], _Count] = {}

    def check(self, account: str, address: str, *, device: str = "") -> None:
        """Whether another try may be made.

        Args:
            device: names a browser that has signed in to this account before; empty for all others.

        Raises:
            TooManyError: not yet.
        """
        now = self._now_ns()
        until = max(
            (self._counts[key].until_ns for key in self._keys(account, address, device) if key in self._counts), default=0
        )
        if until > now:
            raise TooManyError("too many failed sign-ins", retry_s=-(-(until - now) // SECOND_NS))

    def failed(self, account: str, address: str, *, device: str = "") -> None:
        """Count a failure."""
        now = self._now_ns()
        for key, free in self._keys(account, address, device).items():
            known = self._counts.pop(key, None)
            failures = known.failures + 1 if known and now - known.last_ns < FORGET_NS else 1
            wait_ns = min(FIRST_WAIT_NS << min(failures - free, 10), LONGEST_WAIT_NS) if failures >= free else 0
            while len(self._counts) >= MAX_COUNTED:
                del self._counts[next(iter(self._counts))]
            self._counts[key] = _Count(failures, now, now + wait_ns)

    def succeeded(self, account: str, address: str, *, device: str = "") -> None:
        """Forget what was counted for who it was. What a place has failed at over all accounts stays."""
        for key in self._keys(account, address, device):
            if key[0] in ("device", "pair"):
                self._counts.pop(key, None)

    def _keys(self, account: str, address: str, device: str) -> dict[tuple[str, ...], int]:
        """What is counted, with how often each may fail before the first wait."""
        if device:
            return {("device", account, device): FREE_FAILURES}
        return {
            ("pair", account, address): FREE_FAILURES,
            ("place", address): PLACE_FAILURES,
            ("account", account): ACCOUNT_FAILURES,
        }


class RequestThrottle:
    """A bucket of requests for everybody who was recognized, so that one broken script leaves room for the others.

    Args:
        per_s: requests a second that go on for ever.
        burst: requests at once.
        now_ns: a clock that never goes back.
    """

    def __init__(self, *, per_s: float, burst: int, now_ns: Callable[[], int]) -> None:
        self._per_ns = per_s / SECOND_NS
        self._burst = float(burst)
        self._now_ns = now_ns
        self._left: dict[str, tuple[float, int]] = {}

    def take(self, who: str) -> None:
        """Count one request.

        Raises:
            TooManyError: the bucket is empty.
        """
        now = self._now_ns()
        left, since = self._left.pop(who, (self._burst, now))
        left = min(self._burst, left + (now - since) * self._per_ns)
        while len(self._left) >= MAX_COUNTED:
            del self._left[next(iter(self._left))]
        if left < 1.0:
            self._left[who] = (left, now)
            raise TooManyError("too many requests", retry_s=max(1, round((1.0 - left) / self._per_ns / SECOND_NS)))
        self._left[who] = (left - 1.0, now)
