"""Loops in a live run: which call the guard must not let through any more."""

import threading
from collections import deque
from collections.abc import Collection
from typing import Any

from andoncord_sdk.loop import MAX_PERIOD, STUCK_CALLS, LoopDetector, Repeat

RUN_CALLS = STUCK_CALLS - 1
"""So many identical calls without progress are made; the next is refused."""


class LoopWatch:
    """Counts one run's calls. Thread-safe.

    One call that repeats is known before it is made; a longer cycle is known once it has been gone through often enough,
    and then the call that would go on with it is refused.

    Args:
        exempt: tools that poll or wait by declaration.

    >>> watch = LoopWatch()
    >>> for _ in range(3):
    ...     nudged = watch.observe("search", '{"q":"refund"}', "nothing found", False)
    >>> nudged, watch.repeats_before("search", '{"q":"refund"}'), watch.repeats_before("search", '{"q":"order"}')
    (3, 3, None)
    """

    def __init__(self, *, exempt: Collection[str] = ()) -> None:
        self._lock = threading.Lock()
        self._exempt = exempt
        self._detector = LoopDetector(exempt=exempt)
        self._recent: deque[tuple[str, str, str]] = deque(maxlen=MAX_PERIOD)
        self._cycle: Repeat | None = None
        self._is_at_limit = False
        """Once more of the call that was made last would be too often; only then is the next one compared before it is made."""

    @property
    def is_suspicious(self) -> bool:
        """Some next call would be refused. Otherwise there is nothing to compare, and `repeats_before` need not be asked.

        Read without the lock: a call that is checked while another one ends was checked before it ended.
        """
        return self._is_at_limit or self._cycle is not None

    def suspects(self, tool: str, arguments: Any, state: str = "") -> bool:
        """Whether `repeats_before` may refuse this call; if not, its arguments need not be made text.

        Args:
            arguments: as they are.
        """
        if not self.is_suspicious:
            return False
        with self._lock:
            if (cycle := self._cycle) is not None and self._recent[-cycle.period][0] == tool:
                return True
            return self._is_at_limit and not self._detector.plainly_differs(tool, arguments, state=state)

    def repeats_before(self, tool: str, arguments: str, state: str = "") -> int | None:
        """How often this call, or the cycle it would go on with, has repeated, if that is too often; otherwise None.

        Args:
            state: the version of what the call acts on; under another one it is another call.
        """
        if not self.is_suspicious:
            return None
        with self._lock:
            repeat = self._detector.would_repeat(tool, arguments, state=state) if self._is_at_limit else None
            if repeat is not None and repeat.repeats >= RUN_CALLS:
                return repeat.repeats
            cycle = self._cycle
            if cycle is not None and self._recent[-cycle.period] == (tool, arguments, state):
                return cycle.repeats
            return None

    def observe(self, tool: str, arguments: str, result: str, failed: bool, state: str = "") -> int | None:
        """Count a call that has been made. The number of repetitions, at the moment when a word to the model is due."""
        with self._lock:
            self._recent.append((tool, arguments, state))
            repeat = self._detector.observe(tool, arguments, result, failed, state=state)
            again = self._detector.would_repeat(tool, arguments, state=state)
            repeats = 0 if again is None else again.repeats
            self._is_at_limit = repeats >= RUN_CALLS
            known = self._cycle
            self._cycle = repeat if repeat is not None and repeat.period > 1 else None
            if self._cycle is not None:
                return None if known is not None else self._cycle.repeats
            return repeats if repeats == RUN_CALLS else None

    def reset(self) -> None:
        """Begin afresh."""
        with self._lock:
            self._detector = LoopDetector(exempt=self._exempt)
            self._recent.clear()
            self._cycle = None
            self._is_at_limit = False

    def forget_other_threads(self) -> None:
        """In a forked child: the lock is renewed, whoever held it."""
        self._lock = threading.Lock()
