"""Circuit breakers on the way of a call: asked before it, told of its end."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, get_type_hints

from andoncord_sdk import _platform
from andoncord_sdk.breaker import Breaker, Breakers, BreakerSettings, Ticket
from andoncord_sdk.errors import CallDenied
from andoncord_sdk.orders import Order

if TYPE_CHECKING:
    from andoncord_sdk.step import GuardedCall

SAYS_NOTHING = frozenset(
    ("CancelledError", "KeyboardInterrupt", "SystemExit", "GeneratorExit", "CallDenied", "RunStopped", "AgentStopped")
)
"""Ends that say nothing about what was called: the caller gave up, or a guard refused something inside the call."""


class Breaking:
    """Lets calls pass the breakers of one guard. Thread-safe.

    Args:
        breakers: one for each name, and one for the agent.
        clock_ns: a clock that never steps back, nanoseconds.
    """

    def __init__(self, breakers: Breakers, *, clock_ns: Callable[[], int] = _platform.boot_ns) -> None:
        self.breakers = breakers
        self._clock_ns = clock_ns
        self._open: dict[str, tuple[int, list[tuple[Breaker, Ticket]]]] = {}
        """By span of the call: since when it is let through, and the tickets."""

    def admit(self, call: "GuardedCall", order: Order) -> None:
        """Let a call pass, unless a breaker is open; one that an order holds closed is not asked.

        Raises:
            CallDenied: it must not be made now.
        """
        breakers = self.breakers.of(call.name)
        if not breakers or call.span_id in self._open:
            return
        if order.measures is not None:
            held_closed = any(measure.breaker == "closed" for measure in order.measures.of(call.name, call.run.id))
            if held_closed:
                return
        now_ns = self._clock_ns()
        tickets: list[tuple[Breaker, Ticket]] = []
        for breaker in breakers:
            ticket = breaker.admit(now_ns)
            if ticket is None:
                for passed, given in tickets:
                    passed.abandon(given)
                raise _refusal(call, breaker, now_ns)
            tickets.append((breaker, ticket))
        self._open[call.span_id] = (now_ns, tickets)

    def ended(self, call: "GuardedCall") -> None:
        """What came of a call that was made."""
        since_ns, tickets = self._open.pop(call.span_id, (0, ()))
        now_ns = self._clock_ns()
        for breaker, ticket in tickets:
            if call.error_type in SAYS_NOTHING:
                breaker.abandon(ticket)
            else:
                breaker.ended(ticket, now_ns, failed=bool(call.error_type), took_ns=now_ns - since_ns)

    def give_up(self, call: "GuardedCall") -> None:
        """The call is not made after all."""
        for breaker, ticket in self._open.pop(call.span_id, (0, ()))[1]:
            breaker.abandon(ticket)

    def forget_other_threads(self) -> None:
        """In a forked child: the calls of the other threads do not exist."""
        self._open = {}
        self.breakers.forget_other_threads()


def settings_in(content: Any) -> dict[str, BreakerSettings]:
    """Settings of breakers as they come over the wire.

    Raises:
        ValueError: they are none.

    >>> settings_in({"payments.*": {"failure_ratio": 0.2}})["payments.*"].failure_ratio
    0.2
    """
    known = get_type_hints(BreakerSettings)
    if not isinstance(content, Mapping) or not all(isinstance(each, Mapping) for each in content.values()):
        raise ValueError(f"breakers are an object of objects, got {str(content)[:200]}")
    if unknown := {name for each in content.values() for name in each} - known.keys():
        raise ValueError(f"a breaker has no {min(unknown)!r}")
    return {str(glob): BreakerSettings(**each) for glob, each in content.items()}


def _refusal(call: "GuardedCall", breaker: Breaker, now_ns: int) -> CallDenied:
    if breaker.state == "half_open":
        why = "it is being tried with a few calls, which have not ended"
    else:
        why = f"{breaker.why}; it is tried again in {breaker.opens_in_s(now_ns):.0f} s"
    about = call.name if breaker.name == call.name else f"{call.name} (breaker {breaker.name})"
    return CallDenied("breaker", f"{about} is not called for now: {why}", tool=call.name)
