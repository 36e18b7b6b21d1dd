"""The dead man's switch: a sign of life to somebody else, sent only while everything that must work was seen to work (KPI-2).

A process that is there and stuck sends nothing: each beat asks the engine for its turn, the worker for its progress and the
auditor for promises of ours that were not kept. Whoever is at the other end raises the alarm when the beats stop; that is the
whole idea, since nobody can report their own death.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Protocol

import msgspec

from andoncord.engine.audit import OURS, Overdue, about, late_effects
from andoncord.engine.run import Engine
from andoncord.kernel.ports import Clock
from andoncord.kernel.time import rfc3339

logger = logging.getLogger(__name__)

TURN_S = 2.0
"""How long the engine may take to give a turn. Taking in a fact takes milliseconds."""
MAX_LAG = 100
"""Unread batches above which detection is behind."""
LOOKED_AT = 200
"""Incidents that are audited at a stretch: a few milliseconds."""


class DeadmanSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Section `deadman` of `andon.yaml`: who is told that Andoncord works. Without a file and an address nobody is."""

    every_s: Annotated[float, msgspec.Meta(ge=1, le=3_600)] = 30.0
    """Seconds between two beats."""
    file: str = ""
    """A file that is replaced at each beat; somebody else watches its age. Relative to the data directory."""
    url: str = ""
    """An address that gets a POST at each beat, such as that of a dead man's switch service."""


class BeatTarget(Protocol):
    """Somebody who is told that Andoncord works."""

    name: str

    async def beat(self, body: bytes) -> str:
        """Tell them; why it did not work, empty where it did."""
        ...


class Deadman:
    """Beats while all is well.

    Args:
        lag: batches that are accepted and not read.
        is_worker_up: whether the ingest worker is there and ready.
        targets: who is told.
    """

    def __init__(
        self,
        *,
        engine: Engine,
        lag: Callable[[], int],
        clock: Clock,
        is_worker_up: Callable[[], bool],
        targets: Sequence[BeatTarget],
        every_s: float,
    ) -> None:
        self._engine = engine
        self._lag = lag
        self._clock = clock
        self._is_worker_up = is_worker_up
        self._targets = tuple(targets)
        self._every_s = every_s
        self.sent_ns = 0
        """When every target was last told."""
        self.silent_because = ""
        """Why the last beat was not sent; empty where it was."""
        self.failing: dict[str, str] = {}
        """Targets that could not be told, and why."""

    @property
    def is_set_up(self) -> bool:
        """Whether there is anybody to tell."""
        return bool(self._targets)

    async def run(self) -> None:
        """Beat until cancelled."""
        while True:
            await self.beat()
            await asyncio.sleep(self._every_s)

    async def beat(self) -> bool:
        """Look, and tell; whether all is well and every target was told."""
        try:
            why = await self.trouble()
        except Exception as error:
            # A look that breaks must neither count as health nor take the server with it.
            logger.exception("looking for trouble broke")
            why = f"it could not be looked at: {type(error).__name__}: {error}"
        if why != self.silent_because:
            (logger.error if why else logger.warning)("the heartbeat %s", f"stops: {why}" if why else "goes on")
        self.silent_because = why
        if why:
            return False
        body = msgspec.json.encode(self._body())
        answers = await asyncio.gather(*(_told(target, body) for target in self._targets))
        self.failing = {target.name: said for target, said in zip(self._targets, answers, strict=True) if said}
        if not self.failing:
            self.sent_ns = self._clock.now()
        return not self.failing

    async def trouble(self) -> str:
        """What does not work; empty where all does."""
        try:
            async with asyncio.timeout(TURN_S):
                if not await self._engine.is_turning():
                    return "the journal does not end where the engine's state does"
        except TimeoutError:
            return f"the engine gave no turn within {TURN_S:g} s"
        if not self._is_worker_up():
            return "the ingest worker is not up, or hangs"
        lag = await asyncio.to_thread(self._lag)
        if lag > MAX_LAG:
            return f"detection is {lag} batches behind"
        late = await self._late()
        return f"{late.text} ({late.incident})" if late else ""

    async def _late(self) -> Overdue | None:
        """What of our own machinery is overdue the longest. Incidents are looked at a few at a time: others have to go on."""
        now, state = self._clock.now(), self._engine.state
        late = list(late_effects(state, now=now))
        known = list(state.incidents)
        for start in range(0, len(known), LOOKED_AT):
            for incident in known[start : start + LOOKED_AT]:
                late += (each for each in about(state, state.incidents[incident], now=now) if each.fault in OURS)
            await asyncio.sleep(0)
        return min(late, key=lambda each: each.since_ns, default=None)

    def _body(self) -> dict[str, Any]:
        state = self._engine.state
        return {
            "at": rfc3339(self._clock.now()),
            "every_s": self._every_s,
            "journal_entries": state.seq,
            "journal_head": state.head.digest if state.head else "",
            "open_incidents": sum(incident.is_open for incident in state.incidents.values()),
        }


async def _told(target: BeatTarget, body: bytes) -> str:
    """Tell one target; why it did not work. One that breaks keeps nobody else from being told."""
    try:
        return await target.beat(body)
    except Exception as error:
        logger.exception("the target %s broke", target.name)
        return f"{type(error).__name__}: {error}"
