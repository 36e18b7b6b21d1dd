"""What the orders in force do to each call: refuse it, let it wait, let it go on at its turn."""

import threading
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from andoncord_sdk import _platform
from andoncord_sdk.errors import AgentStopped, CallDenied, GuardError, RunStopped
from andoncord_sdk.ladder import NS, Measure, Rung, Throttle, matcher, throttle_for
from andoncord_sdk.orders import Gate, Order

if TYPE_CHECKING:
    from andoncord_sdk.run import Run
    from andoncord_sdk.step import GuardedCall

OUTBOX_MAX = 256
"""Messages held at once; further ones are refused, so that a quarantine cannot fill the memory."""
TURN_MAX_S = 120.0
"""A throttled call whose turn is further away is refused instead of held: chosen, longer than clients commonly wait."""
MESSAGE_TOOLS = (
    "message.send",
    "message.receive",
    "message/send",
    "message/stream",
    "send_message*",
    "*.send_message",
    "receive_message*",
    "transfer_to_*",
    "handoff*",
    "hand_off*",
    "delegate_*",
    "Delegate work to coworker",
    "Ask question to coworker",
    "ask_question_to_coworker",
    "ask_agent*",
    "call_agent*",
    "Task",
    "Agent",
    "SendMessage",
)
"""Names by which hand-offs, messages and calls between agents are recognised, beside those that are declared: what the
frameworks with an adapter call theirs, the Agent2Agent protocol, and plain usage."""


class Enforcer:
    """Holds the turns of throttled calls and the messages of a quarantined agent. Thread-safe.

    Args:
        agent: the agent's name.
        gate: where the orders in force are, and the latest calls.
        is_read: whether a call is to a tool that is declared to read.
        messages: globs over the tools that send or take messages, beside those that are recognised.
        clock_ns: a clock that never steps back, nanoseconds.
        wall_ns: the clock that the start of calls is noted on.
    """

    def __init__(
        self,
        *,
        agent: str,
        gate: Gate,
        is_read: Callable[["GuardedCall"], bool],
        messages: Sequence[str] = (),
        clock_ns: Callable[[], int] = _platform.boot_ns,
        wall_ns: Callable[[], int] = _platform.now_ns,
    ) -> None:
        self.outbox: dict[str, frozenset[str]] = {}
        """The messages that wait, oldest first: span of the call, and the orders that held it."""
        self._agent = agent
        self._gate = gate
        self._is_read = is_read
        self._is_message_tool = [matcher(glob) for glob in (*MESSAGE_TOOLS, *messages)]
        self._clock_ns = clock_ns
        self._wall_ns = wall_ns
        self.turns: dict[str, dict[str, int]] = {}
        """By span of a call that waits for its turns: when they are, by the orders that throttle it."""
        self._throttles: dict[str, Throttle] = {}
        self._seen: Order | None = None
        self._lock = threading.Lock()

    def check(self, run: "Run", call: "GuardedCall", order: Order) -> Order | None:
        """Whether `call` may start under `order`: None; or `order`, for the call to wait on.

        Raises:
            CallDenied: it is refused.
            RunStopped: it is refused, and the run is over.
        """
        if order is not self._seen:
            self._take(order)
        measures = () if order.measures is None else order.measures.of(call.name, run.id)
        quarantines: set[str] = set()
        turn_ns = 0
        for measure in measures:
            if measure.rung is Rung.KILL:
                raise self._killed(measure, call)
            if measure.rung is Rung.PAUSE:
                return order
            if measure.rung is Rung.QUARANTINE:
                if self.is_message(call):
                    quarantines.add(measure.id)
            elif quarantines:
                break  # What waits is not asked what milder orders make of it before it is let go.
            elif measure.rung is Rung.RESTRICT:
                self._check_restriction(measure, call)
            elif measure.rung is Rung.THROTTLE:
                turn_ns = max(turn_ns, self._turn_ns(measure, call))
            elif measure.breaker == "open":
                raise _held_open(call, measure)
        if (quarantines or self.outbox) and self.is_message(call) and self._is_queued(call, frozenset(quarantines), order):
            return order
        return order if turn_ns > self._clock_ns() else None

    def check_probe(self, call: "GuardedCall", order: Order) -> None:
        """A probe works while its agent is held, but what is ordered about single tools binds it too.

        Raises:
            CallDenied: it is refused. A probe does not wait.
        """
        if order.measures is None:
            return
        for measure in order.measures.of(call.name, ""):
            if measure.tool == "*":
                continue
            if measure.rung >= Rung.QUARANTINE:
                raise CallDenied("order", f"{call.name} is under an order ({measure.rung.word}): {measure.why}", tool=call.name)
            if measure.rung is Rung.RESTRICT:
                self._check_restriction(measure, call)
            if measure.breaker == "open":
                raise _held_open(call, measure)

    def is_message(self, call: "GuardedCall") -> bool:
        """Whether a call sends or takes a message, or hands the task to another agent."""
        return call.is_message or (call.is_tool and any(matches(call.name) for matches in self._is_message_tool))

    def wait_s(self, call: "GuardedCall") -> float | None:
        """Seconds until the turn of a call that is throttled; None for any other."""
        turns = self.turns.get(call.span_id)
        return None if not turns else max(0.0, (max(turns.values()) - self._clock_ns()) / NS)

    def over(self, call: "GuardedCall") -> None:
        """The call was let through, or will not be made: it waits no more, and the message behind it may go."""
        if not self.turns and not self.outbox:
            return
        with self._lock:
            self.turns.pop(call.span_id, None)
            was_queued = self.outbox.pop(call.span_id, None) is not None
        if was_queued and self.outbox:
            self._gate.touch()

    def throttled(self) -> dict[str, dict[str, float | bool]]:
        """Each throttle that has been used: calls a second, and whether that comes from a rate that was seen."""
        return {name: {"per_s": each.per_s, "usual_known": each.is_usual_known} for name, each in self._throttles.items()}

    def forget_other_threads(self) -> None:
        """In a forked child nobody waits."""
        self._lock = threading.Lock()
        self.outbox, self.turns = {}, {}

    def _take(self, order: Order) -> None:
        """An order kept through a change of the others keeps its bucket."""
        kept = {measure.id for measure in order.parts}
        with self._lock:
            self._throttles = {name: each for name, each in self._throttles.items() if name in kept}
            self._seen = order

    def _killed(self, measure: Measure, call: "GuardedCall") -> GuardError:
        if measure.tool != "*":
            return CallDenied("order", f"{call.name} may not be called: {measure.why}", tool=call.name)
        if measure.run:
            return RunStopped("order", f"this run of {self._agent} is stopped: {measure.why}", tool=call.name)
        return AgentStopped("order", f"{self._agent} is stopped: {measure.why}", tool=call.name)

    def _check_restriction(self, measure: Measure, call: "GuardedCall") -> None:
        if not call.is_tool:
            return
        if not measure.allow:
            if not self._is_read(call):
                message = f"{self._agent} is restricted to tools that only read: {measure.why}"
                raise CallDenied("order", message, tool=call.name)
        elif not any(fnmatchcase(call.name, glob) for glob in measure.allow):
            message = f"{self._agent} is restricted to {', '.join(measure.allow[:5])}: {measure.why}"
            raise CallDenied("order", message, tool=call.name)

    def _turn_ns(self, measure: Measure, call: "GuardedCall") -> int:
        """When it is the call's turn; taken once.

        Raises:
            CallDenied: it is too far away.
        """
        with self._lock:
            turns = self.turns.get(call.span_id, {})
            if measure.id in turns:
                return turns[measure.id]
            throttle = self._throttles.get(measure.id)
            if throttle is None:
                throttle = self._throttles[measure.id] = throttle_for(measure, self._gate.recent, self._wall_ns())
            now_ns = self._clock_ns()
            away_s = (throttle.next_ns(now_ns) - now_ns) / NS
            if away_s > TURN_MAX_S:
                message = f"{call.name} is throttled to {throttle.per_s:.3g} calls a second: its turn is {away_s:.0f} s away"
                raise CallDenied("order", f"{message} ({measure.why})", tool=call.name)
            turn_ns = turns[measure.id] = throttle.take(now_ns)
            self.turns[call.span_id] = turns
            return turn_ns

    def _is_queued(self, call: "GuardedCall", quarantines: frozenset[str], order: Order) -> bool:
        """Whether a message waits: for a release, or for one that was there before it.

        Raises:
            CallDenied: it was dropped, or there is no room for it.
        """
        with self._lock:
            held_by = self.outbox.get(call.span_id)
            if held_by is not None and held_by & order.dropped:
                raise CallDenied("order", f"{call.name} was held and then dropped: it was not sent", tool=call.name)
            if not quarantines and call.span_id == next(iter(self.outbox), call.span_id):
                return False
            if held_by is None and len(self.outbox) >= OUTBOX_MAX:
                message = f"{self._agent} is quarantined and {OUTBOX_MAX} of its messages are held already"
                raise CallDenied("order", message, tool=call.name)
            self.outbox[call.span_id] = quarantines | (held_by or frozenset())
            return True


def _held_open(call: "GuardedCall", measure: Measure) -> CallDenied:
    return CallDenied("breaker", f"{call.name} is not called: its breaker is held open: {measure.why}", tool=call.name)
