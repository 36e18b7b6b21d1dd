"""Telling people: who is meant now, over which channels, tried until it is taken, and written down for each of them."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from andoncord.kernel.effect import Effect, Outcome, Receipt
from andoncord.kernel.time import SECOND_NS
from andoncord.respond.notice import Delivery, Notice, Said, compose, trial
from andoncord.respond.oncall import Oncall
from andoncord.server.ports import ServerClock

FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 8.0
MAX_ATTEMPTS = 20
LAST_TRY_S = 1.0
"""Attempts that would begin later than this before the deadline are not begun."""
TEST_MS = 7_000
"""Shorter than a client waits."""
NOBODY = "nobody is configured: name people and an escalation under oncall in andon.yaml"


class Channel(Protocol):
    """One way to tell somebody."""

    async def send(self, notice: Notice, *, replies_to: str) -> Said:
        """Send it; `replies_to` is what the provider called the first message of the same thread, empty for none."""
        ...


class DeliveryStore(Protocol):
    """What became of every notice on its way to every target."""

    def queue(self, deliveries: Sequence[Delivery]) -> None:
        """Keep them, unless they are there already."""
        ...

    def save(self, delivery: Delivery) -> None: ...

    def of_intent(self, intent: str) -> tuple[Delivery, ...]: ...

    def of_incident(self, incident: str) -> tuple[Delivery, ...]: ...


class NotifyPerformer:
    """Tells whoever a notice is for.

    Whom that is is written down before the first message goes out, so that after a crash the same people are told, and nobody
    who was told already. A message whose sending a crash cut off is sent again, with the same id: rather twice than not at all.

    Args:
        chance: a number from 0 to 1, for the spread of waits.
        link: where the console is; empty where nobody said.
    """

    def __init__(
        self,
        *,
        oncall: Oncall,
        channels: Mapping[str, Channel],
        deliveries: DeliveryStore,
        clock: ServerClock,
        chance: Callable[[], float],
        link: str,
    ) -> None:
        self.oncall = oncall
        self.channels = dict(channels)
        self.connections: dict[str, Callable[[], str]] = {}
        """Connections that stand all the time, and what keeps each from standing; empty where nothing does."""
        self.answerers: dict[str, str] = {}
        """Accounts that have to be able to answer, and why."""
        self.answerers |= dict.fromkeys(oncall.people, "is on call")
        self.deliveries = deliveries
        self._clock = clock
        self._chance = chance
        self._link = link.rstrip("/")

    async def perform(self, intent: str, effect: Effect) -> Receipt:
        """Send one notice to everybody it is for now."""
        names = effect.parameters["to"]
        if not names:
            return self._receipt(intent, Outcome.FAILED, {"reached": [], "missing": NOBODY})
        incident = f"{self._link}/incidents/{effect.incident}" if self._link and effect.incident else self._link
        notice = compose(effect.parameters, key=effect.key, incident=effect.incident, link=incident)
        return await self._tell(intent, notice, names, deadline_ms=effect.deadline_ms)

    async def test(self, key: str, *, to: str, by: str) -> Receipt:
        """Send a test to a rota, a person or a channel; where `to` is empty to everybody, and the escalation's channels."""
        names = [to] if to else self._everybody()
        return await self._tell(key, trial(key=key, by=by, to=to or "everybody"), names, deadline_ms=TEST_MS)

    def _everybody(self) -> list[str]:
        levels = self.oncall.escalation.levels if self.oncall.escalation else ()
        named = [name for level in levels for name in level.who if name in self.channels]
        return [*self.oncall.people, *dict.fromkeys(named)]

    async def _tell(self, intent: str, notice: Notice, names: Sequence[str], *, deadline_ms: int) -> Receipt:
        missing: list[str] = []
        queued = self.deliveries.of_intent(intent)
        if not queued:
            targets, missing = self.oncall.targets(names, self._clock.now())
            unknown = [channel for channel, _ in targets if channel not in self.channels]
            missing += [f"there is no channel {name!r} any more" for name in dict.fromkeys(unknown)]
            queued = tuple(
                self._queued(intent, notice, channel, person) for channel, person in targets if channel in self.channels
            )
            self.deliveries.queue(queued)
        until_ns = self._clock.monotonic_ns() + deadline_ms * 1_000_000
        came = await asyncio.gather(*(self._deliver(each, notice, until_ns) for each in queued))
        missing += [f"{_who(each)}: {each.why}" for each in came if each.why]
        reached = [_who(each) for each in came if each.is_settled]
        outcome = Outcome.FAILED if not reached else Outcome.PARTIAL if missing else Outcome.DONE
        detail: dict[str, Any] = {"reached": reached, "deliveries": [_shown(each) for each in came]}
        return self._receipt(intent, outcome, {**detail, **({"missing": missing} if missing else {})})

    async def _deliver(self, delivery: Delivery, notice: Notice, until_ns: int) -> Delivery:
        """Try until it is taken, refused for good, or the time is up."""
        if delivery.is_settled:
            return delivery
        channel = self.channels.get(delivery.channel)
        if channel is None:
            return self._keep(delivery, Said(state="failed", why="the channel is not in the settings any more"), 0)
        replies_to = self._first_of_thread(delivery)
        for attempt in range(1, MAX_ATTEMPTS + 1):
            said = await self._send(channel, notice, replies_to, until_ns)
            if said.state == "failed" and not said.is_final and attempt < MAX_ATTEMPTS:
                wait_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** (attempt - 1)) * (0.5 + self._chance() / 2)
                if self._clock.monotonic_ns() + int((wait_s + LAST_TRY_S) * SECOND_NS) < until_ns:
                    await asyncio.sleep(wait_s)
                    continue
            break
        return self._keep(delivery, said, attempt)

    async def _send(self, channel: Channel, notice: Notice, replies_to: str, until_ns: int) -> Said:
        left_s = max(0.1, (until_ns - self._clock.monotonic_ns()) / SECOND_NS)
        try:
            async with asyncio.timeout(left_s):
                return await channel.send(notice, replies_to=replies_to)
        except TimeoutError:
            return Said(state="failed", why=f"no answer within {left_s:.0f} s")
        except Exception as error:
            # One channel that breaks must not keep the others from being used.
            return Said(state="failed", why=f"{type(error).__name__}: {error}", is_final=True)

    def _first_of_thread(self, delivery: Delivery) -> str:
        if not delivery.incident:
            return ""
        sent = [
            each
            for each in self.deliveries.of_incident(delivery.incident)
            if each.channel == delivery.channel and each.is_settled and each.provider_id
        ]
        return min(sent, key=lambda each: each.at_ns).provider_id if sent else ""

    def _keep(self, delivery: Delivery, said: Said, attempts: int) -> Delivery:
        kept = msgspec.structs.replace(
            delivery,
            state=said.state,
            attempts=delivery.attempts + attempts,
            provider_id=said.provider_id,
            why=said.why,
            at_ns=self._clock.now(),
        )
        self.deliveries.save(kept)
        return kept

    def _queued(self, intent: str, notice: Notice, channel: str, person: str) -> Delivery:
        return Delivery(
            key=f"{intent}/{channel}/{person}",
            intent=intent,
            incident=notice.incident,
            channel=channel,
            person=person,
            state="queued",
            attempts=0,
            provider_id="",
            why="",
            at_ns=self._clock.now(),
        )

    def _receipt(self, intent: str, outcome: Outcome, detail: dict[str, Any]) -> Receipt:
        return Receipt(intent=intent, outcome=outcome, at_ns=self._clock.now(), detail=detail)


def _who(delivery: Delivery) -> str:
    return f"{delivery.person} by {delivery.channel}" if delivery.person else delivery.channel


def _shown(delivery: Delivery) -> dict[str, Any]:
    shown: dict[str, Any] = msgspec.to_builtins(delivery)
    return {name: shown[name] for name in ("channel", "person", "state", "attempts", "provider_id", "why")}
