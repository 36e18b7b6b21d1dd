"""Watches orders about one tool or one run for as long as they are in force: what their verdict said has to stay true."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Protocol

from andoncord.detect.ports import TelemetryReader
from andoncord.engine.facts import OrderBroken
from andoncord.engine.proving import judged_orders
from andoncord.engine.state import Intent, State
from andoncord.kernel.time import SECOND_NS, rfc3339
from andoncord.server.ports import ServerClock
from andoncord.server.within import STEP_KINDS, is_within, words
from andoncord.telemetry.event import Event

LOOK_EVERY_S = 2.0
LATE_NS = 60 * SECOND_NS
"""Telemetry that comes so much later than its step is still looked at. Chosen: longer than exporters commonly keep a batch."""
UNANSWERED_NS = 10 * SECOND_NS
"""What a process that has not answered begins so long after the order is held against it: by then its guard has heard of the
order, with its next lease at the latest, or has no lease any more."""
MAX_ORDERS = 200
"""Looked at in one round; the next round begins with the others."""
MAX_EVENTS = 2_000

logger = logging.getLogger(__name__)


class Decider(Protocol):
    """The engine: what is in force, and what follows from a fact."""

    @property
    def state(self) -> State: ...

    async def submit(self, fact: OrderBroken) -> object: ...


class StandingWatch:
    """Tells the engine of calls that began although an order in force holds them. Runs beside everything else."""

    def __init__(self, *, engine: Decider, telemetry: TelemetryReader, clock: ServerClock) -> None:
        self._engine = engine
        self._telemetry = telemetry
        self._clock = clock
        self._next = 0

    async def run(self) -> None:
        """Look again and again."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                await self.look()
            except Exception:  # This round is lost; what it would have seen is there in the next one.
                logger.exception("orders in force could not be watched")

    async def look(self) -> None:
        """Look at each order once, or at as many as fit into a round."""
        orders = list(judged_orders(self._engine.state))
        if self._next >= len(orders):
            self._next = 0
        turn, self._next = orders[self._next : self._next + MAX_ORDERS], self._next + MAX_ORDERS
        for order in turn:
            if (why := await self._broken(order)) is not None:
                await self._engine.submit(OrderBroken(order=order.id, why=why, now_ns=self._clock.now()))

    async def _broken(self, order: Intent) -> str | None:
        """A call that the order does not allow, in words; None where there is none."""
        within = order.effect.parameters["within"]
        if not words(within) or order.receipt is None:
            return None
        answered = {
            str(ack["instance"]): int(ack["at_ns"])
            for ack in order.receipt.detail.get("acks", ())
            if ack.get("outcome", "enforced") == "enforced"
        }
        since_ns = max(min([*answered.values(), order.issued_ns]), self._clock.now() - LATE_NS)
        events = await asyncio.to_thread(
            self._telemetry.of_kind_since, order.effect.target, kinds=STEP_KINDS, after_ns=since_ns, limit=MAX_EVENTS
        )
        for event in events:
            from_ns = answered.get(event.instance, order.issued_ns + UNANSWERED_NS)
            if event.trusted and event.start_ns > from_ns and is_within(event, within):
                return _sentence(event, within)
        return None


def _sentence(event: Event, within: Mapping[str, object]) -> str:
    return f"{event.instance} began a call of {within['text']} at {rfc3339(event.start_ns)}, while the order was in force"
