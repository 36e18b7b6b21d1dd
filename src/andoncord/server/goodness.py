"""What is known about how good an agent's answers are: pass rates, canary tasks, and what is predicted of it."""

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec

from andoncord.detect.declared import Declarations, Declared
from andoncord.kernel.errors import CallerError
from andoncord.kernel.time import DAY_NS
from andoncord.learn.judged import judged_quality
from andoncord.server.canaries import Canaries
from andoncord.server.control import Control
from andoncord.server.evaluators import Evaluators
from andoncord.server.predictions import Predictions
from andoncord.telemetry.event import EventKind

MAX_SCORES = 100_000
MAX_DAYS = 90
SHOWN_DAYS = 7
KINDS = (EventKind.QUALITY_SCORED.value,)


class Goodness:
    """What API, console and command line read. The store is asked on a thread.

    Args:
        declared: what the settings declare about agents: their objectives.
    """

    def __init__(
        self,
        *,
        control: Control,
        declared: Mapping[str, Declared],
        evaluators: Evaluators,
        canaries: Canaries,
        predictions: Predictions,
    ) -> None:
        self._control = control
        self._declarations = Declarations(dict(declared))
        self.evaluators, self.canaries, self.predictions = evaluators, canaries, predictions

    async def rates(self, agent: str = "", *, days: int = SHOWN_DAYS) -> dict[str, Any]:
        """Pass rates by agent and evaluator, as judged and corrected.

        Raises:
            CallerError: so many days are not looked at.
        """
        if not 1 <= days <= MAX_DAYS:
            raise CallerError(f"is 1 to {MAX_DAYS}", place="days")
        return await asyncio.to_thread(self._read, agent, days)

    async def of(self, agent: str) -> dict[str, Any]:
        """Everything about one agent. What is predicted is that of the last hour: nobody waits for a new one."""
        rates = await self.rates(agent)
        latest = self.predictions.latest
        risk = next((each for each in latest.risks if each.agent == agent), None) if latest else None
        return {
            "rates": rates["items"],
            "days": rates["days"],
            "canaries": [each for each in self.canaries.standings() if each["agent"] == agent],
            "risk": None if risk is None else msgspec.to_builtins(risk),
            "why_no_risk": "" if risk else _why_not(latest is not None and latest.is_on, latest.why_off if latest else ""),
        }

    def _read(self, agent: str, days: int) -> dict[str, Any]:
        telemetry = self._control.telemetry
        until_ns = self._control.clock.now()
        agents = [agent] if agent else [name for name, _ in telemetry.fleet()]
        since_ns = until_ns - days * DAY_NS
        events = telemetry.of_agents(agents, since_ns=since_ns, until_ns=until_ns, limit=MAX_SCORES, kinds=KINDS)
        found = judged_quality(events, self._objective)
        return {"items": msgspec.to_builtins(found), "days": days, "is_cut": len(events) >= MAX_SCORES}

    def _objective(self, agent: str) -> float | None:
        objective = self._declarations.of(agent).objective
        return objective.quality if objective else None


def _why_not(is_on: bool, why_off: str) -> str:
    if is_on:
        return "it was not at work in the last day, or is in an incident"
    return why_off or "nothing was predicted since the start of the server"
