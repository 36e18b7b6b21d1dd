"""The orders in force: fenced by one epoch, waited on by held calls.

The gate and the count of calls in flight share one lock. So when an order is applied, every guarded call has either
been counted as in flight or will meet the order: the acknowledgement cannot miss one.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from andoncord_sdk import _platform
from andoncord_sdk.ladder import Measure, Measures, Rung

Epoch = tuple[int, int]
"""(generation, counter). Only a greater one changes anything."""
RECENT_MAX = 256
"""Latest calls kept, from which the usual rate is told."""


def parse_epoch(value: object) -> Epoch:
    """An epoch as it comes over the wire.

    >>> parse_epoch([2, 7])
    (2, 7)
    """
    if isinstance(value, list | tuple) and len(value) == 2 and all(type(part) is int for part in value):
        return (value[0], value[1])
    raise ValueError(f"epoch must be [generation, counter], got {value!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What the control plane, or nobody, asks of this agent: every order in force for it, under one epoch.

    Attributes:
        rung: the strictest that is about every call of the agent.
        parts: each order in force. Where only a rung is given, that one.
        dropped: quarantines that ended with the messages they held being dropped.
        measures: the parts that have a say about calls; None where there is none, which is all that a call has to ask.

    >>> Order(rung=Rung.MONITOR).measures is None, Order(rung=Rung.PAUSE).measures is None
    (True, False)
    """

    rung: Rung = Rung.NONE
    epoch: Epoch | None = None
    reason: str = ""
    by: str = ""
    incident: str = ""
    parts: tuple[Measure, ...] = ()
    dropped: frozenset[str] = frozenset()
    measures: Measures | None = field(init=False, compare=False, default=None)

    def __post_init__(self) -> None:
        parts = self.parts
        if self.rung > max((part.rung for part in parts if part.is_whole), default=Rung.NONE):
            # What holds the agent as a whole is never less than what the order says in one word.
            parts = (*parts, Measure(rung=self.rung, reason=self.reason, by=self.by))
            object.__setattr__(self, "parts", parts)
        concerned = [part for part in parts if part.rung > Rung.MONITOR or part.breaker or part.instead]
        object.__setattr__(self, "measures", Measures(concerned) if concerned else None)


class InFlight(NamedTuple):
    """A guarded call that was let through and has not ended."""

    tool: str
    run_id: str
    span_id: str
    started_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The gate at one instant."""

    order: Order
    in_flight: tuple[InFlight, ...]
    steps_started: int
    steps_ended: int


@dataclass(slots=True)
class Gate:
    """Lets guarded calls through, holds them, or names the order that forbids them. Thread-safe."""

    order: Order = field(default_factory=Order)
    recent: deque[tuple[str, str, str, int]] = field(default_factory=lambda: deque(maxlen=RECENT_MAX))
    """The fields of an `InFlight` for each of the latest calls."""
    _in_flight: dict[str, tuple[str, str, str, int]] = field(default_factory=dict)
    """The fields of an `InFlight` by span; they are named only when somebody asks."""
    _started: int = 0
    _ended: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _changed: threading.Condition = field(init=False)
    """Over the same lock, which the way of a call takes directly: that is the faster one."""
    _waiters: set[Callable[[], None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._changed = threading.Condition(self._lock)

    def apply(self, order: Order) -> tuple[bool, Snapshot]:
        """Put `order` in force if its epoch is greater. Says whether it is in force now, and the gate at that instant.

        An equal epoch has been applied already; a lower or missing one is refused.

        >>> gate = Gate()
        >>> gate.apply(Order(rung=Rung.KILL, epoch=(1, 2)))[0], gate.apply(Order(rung=Rung.NONE, epoch=(1, 1)))[0]
        (True, False)
        >>> gate.order.rung.word
        'kill'
        """
        with self._changed:
            current = self.order.epoch
            is_newer = order.epoch is not None and (current is None or order.epoch > current)
            if is_newer:
                self.order = order
                self._changed.notify_all()
                waiters, self._waiters = self._waiters, set()
            else:
                waiters = set()
            snapshot = self._snapshot()
        for wake in waiters:
            wake()
        return is_newer or order.epoch == current, snapshot

    def enter(self, call: tuple[str, str, str, int], seen: Order) -> bool:
        """Count `call`, the fields of an `InFlight`, unless the order in force is no longer the one it was checked against."""
        with self._lock:
            if self.order is not seen:
                return False
            self._started += 1
            self._in_flight[call[2]] = call
            self.recent.append(call)
            return True

    def touch(self) -> None:
        """Let every held call check again, under the same order."""
        with self._changed:
            self.order = replace(self.order)
            self._changed.notify_all()
            waiters, self._waiters = self._waiters, set()
        for wake in waiters:
            wake()

    def leave(self, span_id: str) -> None:
        """The call is over."""
        with self._lock:
            if self._in_flight.pop(span_id, None) is not None:
                self._ended += 1

    def snapshot(self) -> Snapshot:
        with self._changed:
            return self._snapshot()

    def wait_change(self, seen: Order, timeout_s: float | None) -> bool:
        """Block until the order in force is not `seen`. False if `timeout_s` passed first."""
        with self._changed:
            return self._changed.wait_for(lambda: self.order is not seen, timeout_s)

    async def wait_change_async(self, seen: Order, timeout_s: float | None) -> bool:
        """Like `wait_change`, without blocking the event loop."""
        loop = asyncio.get_running_loop()
        changed = loop.create_future()

        def settle() -> None:
            if not changed.done():
                changed.set_result(True)

        def wake() -> None:
            try:
                loop.call_soon_threadsafe(settle)
            except RuntimeError:
                pass  # The loop has closed: nobody waits any more.

        with self._changed:
            if self.order is not seen:
                return True
            self._waiters.add(wake)
        try:
            async with asyncio.timeout(timeout_s):
                return bool(await changed)
        except TimeoutError:
            return False
        finally:
            with self._changed:
                self._waiters.discard(wake)

    def wait_below(self, rung: Rung, timeout_s: float | None) -> bool:
        """Block until the order in force is milder than `rung`. False if `timeout_s` passed first."""
        deadline_s = None if timeout_s is None else _platform.monotonic_s() + timeout_s
        while (order := self.order).rung >= rung:
            left_s = None if deadline_s is None else deadline_s - _platform.monotonic_s()
            if left_s is not None and left_s <= 0:
                return False
            self.wait_change(order, left_s)
        return True

    def forget_other_threads(self) -> None:
        """In a forked child only the forking thread exists: renew what the others may have held."""
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._waiters = set()
        self._in_flight = {}
        self._started = self._ended = 0

    def _snapshot(self) -> Snapshot:
        return Snapshot(
            order=self.order,
            in_flight=tuple(map(InFlight._make, self._in_flight.values())),
            steps_started=self._started,
            steps_ended=self._ended,
        )
