"""Keeps a prediction: made anew every hour, on a thread, from the stored history and the journal's incidents."""

import asyncio
import logging
from collections.abc import Callable

from andoncord.detect.ports import TelemetryReader
from andoncord.engine.state import State
from andoncord.kernel.time import DAY_NS, HOUR_NS
from andoncord.kernel.vocabulary import Disposition
from andoncord.learn.risk import Prediction, Seen
from andoncord.server.ports import ServerClock
from andoncord.telemetry.event import EventKind

logger = logging.getLogger(__name__)

DAYS = 60
"""Of history that is looked at, where so much is kept."""
EVERY_S = 3_600.0
FIRST_S = 300.0
"""After a start others come first."""
MAX_AGE_NS = HOUR_NS
MAX_CHANGES = 50_000
MAX_FINDINGS = 200_000
FINDINGS_PER_READ = 5_000
MAX_POINTS = 300_000
"""Agent-hours that are looked at: a minute of one core. Of larger fleets fewer days are."""


class Predictions:
    """What is predicted, as of the last hour.

    Args:
        state: the engine's, for the incidents.
    """

    def __init__(self, *, telemetry: TelemetryReader, state: Callable[[], State], clock: ServerClock) -> None:
        self._telemetry, self._state, self._clock = telemetry, state, clock
        self._turn = asyncio.Lock()
        self.latest: Prediction | None = None

    async def run(self) -> None:
        """Predict every hour until cancelled."""
        await asyncio.sleep(FIRST_S)
        while True:
            try:
                await self.fresh()
            except Exception:
                logger.exception("no prediction could be made")
            await asyncio.sleep(EVERY_S)

    async def fresh(self) -> Prediction:
        """A prediction that is no older than an hour."""
        async with self._turn:
            now = self._clock.now()
            if self.latest is None or now - self.latest.at_ns >= MAX_AGE_NS:
                incidents = self._incidents()
                self.latest = await asyncio.to_thread(self._predict, incidents, now)
            return self.latest

    def _incidents(self) -> list[Seen]:
        """Every real incident, once for each of its agents. Read on the event loop, where it changes."""
        return [
            Seen(agent=agent, detected_ns=each.detected_ns, until_ns=each.resolved_ns or each.last_finding_ns + HOUR_NS)
            for each in self._state().incidents.values()
            if each.disposition is Disposition.REAL and each.detected_ns
            for agent in each.agents
        ]

    def _predict(self, incidents: list[Seen], now: int) -> Prediction:
        # Needs numpy, which takes a third of a second to load: only who is asked pays for it.
        from andoncord.learn.hazard import predict  # noqa: PLC0415

        agents = [name for name, _ in self._telemetry.fleet()]
        days = max(1, min(DAYS, MAX_POINTS // (24 * max(1, len(agents)))))
        since_ns = now - days * DAY_NS
        points = self._telemetry.series((), since_ns=since_ns, until_ns=now, step_ns=HOUR_NS) if agents else ()
        kinds = (EventKind.CHANGE_MADE.value,)
        changes = self._telemetry.of_agents(agents, since_ns=since_ns, until_ns=now, limit=MAX_CHANGES, kinds=kinds)
        return predict(
            points,
            [each for each in incidents if each.detected_ns >= since_ns],
            [(event.agent, event.at_ns) for event in changes],
            [(agent, at_ns) for agent, at_ns in self._findings() if at_ns >= since_ns],
            since_ns=since_ns,
            now_ns=now,
        )

    def _findings(self) -> list[tuple[str, int]]:
        found: list[tuple[str, int]] = []
        after = 0
        while len(found) < MAX_FINDINGS:
            page = self._telemetry.findings(after=after, limit=FINDINGS_PER_READ)
            found += [(finding.agent, finding.at_ns) for _, finding in page]
            if len(page) < FINDINGS_PER_READ:
                break
            after = page[-1][0]
        return found
