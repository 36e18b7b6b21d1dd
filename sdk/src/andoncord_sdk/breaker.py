"""Circuit breakers: a dependency that fails or drags is left alone for a while, then tried again with a few calls.

| state | calls | goes to |
|---|---|---|
| closed | all are made | open, once enough of the calls in the window failed or were slow |
| open | none is made | half-open, when its time is over |
| half-open | a few are made, as trials | closed, when all of them were well; open, at the first that was not |

Pure but for its lock: the time comes in with every call, so the same calls at the same times give the same states.
"""

import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal, NamedTuple

NS = 1_000_000_000
WINDOW_MAX = 1_000
"""Calls remembered by one breaker; a window with more of them looks at the latest."""
BREAKERS_MAX = 1_000
"""Names that have a breaker of their own; calls of further names share one, so that no agent can grow without bound."""
AGENT = "agent"
"""The name under which every call of the agent counts, whatever it calls."""
OTHERS = "(others)"

BreakerState = Literal["closed", "open", "half_open"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerSettings:
    """When a breaker opens, and how it closes again. The defaults are chosen, not measured.

    Attributes:
        failure_ratio: share of failed calls in the window that opens it.
        window_s: length of the sliding window, seconds.
        calls_min: calls in the window below which nothing is concluded.
        slow_s: a call that takes longer is slow; None where slowness does not count.
        slow_ratio: share of slow calls in the window that opens it.
        open_s: how long it stays open before the first trial.
        trials: calls made as trials, all of which must be well.
    """

    failure_ratio: float = 0.5
    window_s: float = 60.0
    calls_min: int = 10
    slow_s: float | None = None
    slow_ratio: float = 0.8
    open_s: float = 30.0
    trials: int = 3

    def __post_init__(self) -> None:
        for name in ("failure_ratio", "slow_ratio"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name} is greater than 0 and at most 1, got {getattr(self, name)}")
        for name in ("window_s", "open_s"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is greater than 0, got {getattr(self, name)}")
        if self.slow_s is not None and not self.slow_s > 0:
            raise ValueError(f"slow_s is greater than 0, got {self.slow_s}")
        for name, most in (("calls_min", WINDOW_MAX), ("trials", WINDOW_MAX)):
            if not 1 <= getattr(self, name) <= most:
                raise ValueError(f"{name} is 1 to {most}, got {getattr(self, name)}")


class Ticket(NamedTuple):
    """Lets one call through. What comes of it counts only while the breaker is in the era that it was given in."""

    era: int


class Changed(NamedTuple):
    """A breaker went from one state to another."""

    name: str
    before: BreakerState
    after: BreakerState
    why: str


@dataclass(slots=True)
class Breaker:
    """One breaker. Thread-safe.

    >>> breaker = Breaker("payments", BreakerSettings(calls_min=2, open_s=30, trials=1))
    >>> for second in (1, 2):
    ...     breaker.ended(breaker.admit(second * NS), second * NS, failed=True, took_ns=0)
    >>> breaker.state, breaker.admit(3 * NS)
    ('open', None)
    >>> trial = breaker.admit(32 * NS)
    >>> breaker.ended(trial, 33 * NS, failed=False, took_ns=0)
    >>> breaker.state
    'closed'
    """

    name: str
    settings: BreakerSettings
    changed: Callable[[Changed], None] | None = None
    """Told of every change, after it; never while the lock is held."""
    state: BreakerState = "closed"
    why: str = ""
    """What opened it last."""
    _since_ns: int = 0
    _era: int = 0
    _window: deque[tuple[int, bool, bool]] = field(default_factory=lambda: deque(maxlen=WINDOW_MAX))
    _out: int = 0
    _well: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def admit(self, now_ns: int) -> Ticket | None:
        """A ticket for one call; None while none may be made."""
        change = None
        with self._lock:
            if self.state == "open" and now_ns >= self._since_ns + int(self.settings.open_s * NS):
                change = self._go("half_open", now_ns, "its time was over: trials are made")
            if self.state == "open":
                return None
            if self.state == "half_open":
                if self._out + self._well >= self.settings.trials:
                    if now_ns < self._since_ns + int(self.settings.open_s * NS):
                        return None
                    # Trials whose end was never told must not keep it half-open for ever: other calls take their place.
                    self._begin(now_ns)
                self._out += 1
            ticket = Ticket(self._era)
        self._tell(change)
        return ticket

    def ended(self, ticket: Ticket, now_ns: int, *, failed: bool, took_ns: int) -> None:
        """What came of a call. Nothing follows from a call of an era that is over."""
        change = None
        slow_s = self.settings.slow_s
        slow = slow_s is not None and took_ns > slow_s * NS
        with self._lock:
            if ticket.era != self._era:
                return
            if self.state == "half_open":
                self._out -= 1
                if failed or slow:
                    change = self._go("open", now_ns, f"a trial {'failed' if failed else 'was slow'}")
                else:
                    self._well += 1
                    if self._well >= self.settings.trials:
                        change = self._go("closed", now_ns, f"{self._well} trials were well")
            else:
                self._window.append((now_ns, failed, slow))
                if why := self._too_bad(now_ns):
                    change = self._go("open", now_ns, why)
        self._tell(change)

    def abandon(self, ticket: Ticket) -> None:
        """The call was not made after all, or says nothing about the dependency."""
        with self._lock:
            if ticket.era == self._era and self.state == "half_open":
                self._out -= 1

    def opens_in_s(self, now_ns: int) -> float:
        """Seconds until the next trial may be made; 0 where one may be made now."""
        if self.state == "closed":
            return 0.0
        return max(0.0, (self._since_ns + self.settings.open_s * NS - now_ns) / NS)

    def forget_other_threads(self) -> None:
        """In a forked child: the lock may have been held by a thread that does not exist there."""
        self._lock = threading.Lock()

    def _too_bad(self, now_ns: int) -> str:
        horizon = now_ns - int(self.settings.window_s * NS)
        while self._window and self._window[0][0] <= horizon:
            self._window.popleft()
        calls = len(self._window)
        if calls < self.settings.calls_min:
            return ""
        failures = sum(failed for _, failed, _ in self._window)
        slow = sum(slow for _, _, slow in self._window)
        if failures >= self.settings.failure_ratio * calls:
            return f"{failures} of {calls} calls failed within {self.settings.window_s:g} s"
        if self.settings.slow_s is not None and slow >= self.settings.slow_ratio * calls:
            return f"{slow} of {calls} calls took longer than {self.settings.slow_s:g} s"
        return ""

    def _go(self, state: BreakerState, now_ns: int, why: str) -> Changed:
        change = Changed(self.name, self.state, state, why)
        self.state = state
        if state == "open":
            self.why = why
        self._begin(now_ns)
        return change

    def _begin(self, now_ns: int) -> None:
        self._since_ns = now_ns
        self._era += 1
        self._out = self._well = 0
        self._window.clear()

    def _tell(self, change: Changed | None) -> None:
        if change is not None and self.changed is not None:
            self.changed(change)


class Breakers:
    """The breakers of one guard: one for each name that is called and matches a glob, and one for the agent.

    Args:
        settings: by glob over the names of tools and models; `agent` stands for every call together. Where several globs
            match a name, the longest decides.
        changed: told of every change of any breaker.

    >>> breakers = Breakers({"payments.*": BreakerSettings(calls_min=3)})
    >>> [breaker.name for breaker in breakers.of("payments.refund")], breakers.of("search")
    (['payments.refund'], ())
    """

    def __init__(self, settings: Mapping[str, BreakerSettings], *, changed: Callable[[Changed], None] | None = None) -> None:
        self.settings = {glob: settings[glob] for glob in sorted(settings, key=lambda glob: (-len(glob), glob))}
        self._changed = changed
        self._agent = self._made(AGENT, settings[AGENT]) if AGENT in settings else None
        self._named: dict[str, Breaker] = {}
        self._of: dict[str, tuple[Breaker, ...]] = {}

    def of(self, name: str) -> tuple[Breaker, ...]:
        """The breakers that a call of `name` has to pass."""
        found = self._of.get(name)
        if found is None:
            own = self._own(name)
            found = tuple(breaker for breaker in (self._agent, own) if breaker is not None)
            if len(self._of) < BREAKERS_MAX:
                self._of[name] = found
        return found

    def all(self) -> tuple[Breaker, ...]:
        """Every breaker that has been needed so far."""
        return tuple(breaker for breaker in (self._agent, *list(self._named.values())) if breaker is not None)

    def not_closed(self) -> dict[str, str]:
        """The state of every breaker that is not closed, by name."""
        return {breaker.name: breaker.state for breaker in self.all() if breaker.state != "closed"}

    def forget_other_threads(self) -> None:
        """In a forked child: locks that other threads held are renewed."""
        for breaker in self.all():
            breaker.forget_other_threads()

    def _own(self, name: str) -> Breaker | None:
        glob = next((glob for glob in self.settings if glob != AGENT and fnmatchcase(name, glob)), None)
        if glob is None:
            return None
        if name not in self._named and len(self._named) >= BREAKERS_MAX:
            name = OTHERS
        return self._named.setdefault(name, self._made(name, self.settings[glob]))

    def _made(self, name: str, settings: BreakerSettings) -> Breaker:
        return Breaker(name, settings, self._changed)
