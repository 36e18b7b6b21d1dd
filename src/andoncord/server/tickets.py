"""Tickets: opened once in each tracker, however often that is tried, and told when the incident is over."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import msgspec

from andoncord.kernel.effect import Effect, Outcome, Receipt
from andoncord.kernel.time import SECOND_NS
from andoncord.respond.ticket import Ticket, TicketText, Tracker, TrackerError, compose
from andoncord.server.errands import EffectLedger
from andoncord.server.ports import ServerClock

FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 8.0
MAX_ATTEMPTS = 20
LAST_TRY_S = 1.0
"""Attempts that would begin later than this before the deadline are not begun."""
LOOKS = 3
"""How often a ticket is looked for that may have been made before a crash. Chosen: what was made is found in seconds."""
CHECK_S = 7.0
"""Shorter than a client waits."""
Answer = TypeVar("Answer")


class TicketPerformer:
    """Opens tickets, and says in them that it is over.

    A ticket is looked for by its marker before one is made. That one is about to be made is written down first: where a crash
    or a lost answer leaves open whether it was, it is looked for several times, since a tracker may find a ticket later than it
    made it.

    Args:
        ledger: what was begun.
        chance: a number from 0 to 1, for the spread of waits.
        link: where the console is; empty where nobody said.
        look_again_s: how long is waited before a ticket is looked for again.
    """

    def __init__(
        self,
        trackers: Mapping[str, Tracker],
        *,
        ledger: EffectLedger,
        clock: ServerClock,
        chance: Callable[[], float],
        link: str,
        look_again_s: float = 2.0,
    ) -> None:
        self.trackers = dict(trackers)
        self._ledger = ledger
        self._clock = clock
        self._chance = chance
        self._link = link.rstrip("/")
        self._look_again_s = look_again_s

    async def perform(self, intent: str, effect: Effect) -> Receipt:
        """Open the ticket of an incident, or say in it that the incident is over."""
        name = str(effect.parameters["tracker"])
        tracker = self.trackers.get(name)
        if tracker is None:
            return self._receipt(intent, Outcome.FAILED, {"missing": f"the settings name no tracker {name!r}"})
        link = f"{self._link}/incidents/{effect.incident}" if self._link else ""
        text = compose(effect.parameters, incident=effect.incident, link=link)
        until_ns = self._clock.monotonic_ns() + effect.deadline_ms * 1_000_000
        try:
            if effect.parameters["kind"] == "resolve":
                known = msgspec.convert(effect.parameters["ticket"], Ticket)
                await self._until(until_ns, lambda: tracker.resolve(known.id, text))
                return self._done(intent, name, known)
            opening = _Opening(tracker, text, again=not self._begin(name, text), wait_s=self._look_again_s)
            return self._done(intent, name, await self._until(until_ns, opening.once), was_there=opening.was_there)
        except TrackerError as error:
            return self._receipt(intent, Outcome.FAILED, {"tracker": name, "missing": str(error)})

    async def check(self, name: str) -> str:
        """What keeps tickets from being made in a tracker; empty when nothing is known to."""
        try:
            async with asyncio.timeout(CHECK_S):
                await self.trackers[name].check()
        except TimeoutError:
            return f"no answer within {CHECK_S:g} s"
        except TrackerError as error:
            return str(error)
        return ""

    def _begin(self, name: str, text: TicketText) -> bool:
        return self._ledger.begin(f"ticket {name} {text.marker}", now_ns=self._clock.now())

    async def _until(self, until_ns: int, act: Callable[[], Awaitable[Answer]]) -> Answer:
        """Try until it works, is refused for good, or the time is up."""
        for attempt in range(1, MAX_ATTEMPTS + 1):
            try:
                async with asyncio.timeout(max(0.1, (until_ns - self._clock.monotonic_ns()) / SECOND_NS)):
                    return await act()
            except TimeoutError:
                raise TrackerError("no answer in time") from None
            except TrackerError as error:
                backoff_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** (attempt - 1)) * (0.5 + self._chance() / 2)
                wait_s = max(error.wait_s, backoff_s)
                is_late = self._clock.monotonic_ns() + int((wait_s + LAST_TRY_S) * SECOND_NS) >= until_ns
                if error.is_final or is_late or attempt == MAX_ATTEMPTS:
                    raise
            await asyncio.sleep(wait_s)
        raise AssertionError("the last attempt returns or raises")

    def _done(self, intent: str, name: str, ticket: Ticket, *, was_there: bool = False) -> Receipt:
        detail = {"tracker": name, "ticket": msgspec.to_builtins(ticket), "was_there": was_there}
        return self._receipt(intent, Outcome.DONE, detail)

    def _receipt(self, intent: str, outcome: Outcome, detail: dict[str, Any]) -> Receipt:
        return Receipt(intent=intent, outcome=outcome, at_ns=self._clock.now(), detail=detail)


class _Opening:
    """The opening of one ticket over several attempts.

    Args:
        again: one may have been made before, by an attempt whose answer nobody has.
    """

    def __init__(self, tracker: Tracker, text: TicketText, *, again: bool, wait_s: float) -> None:
        self._tracker = tracker
        self._text = text
        self._looks = LOOKS if again else 1
        self._wait_s = wait_s
        self.was_there = False

    async def once(self) -> Ticket:
        """Look for it, and make it where it is not there."""
        for look in range(self._looks):
            if look:
                await asyncio.sleep(self._wait_s)
            if (found := await self._tracker.find(self._text)) is not None:
                self.was_there = True
                return found
        self._looks = LOOKS  # From here on nobody knows for certain that there is none.
        return await self._tracker.open(self._text)
