"""How good answers are, and whether evaluators do their work, over HTTP."""

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from andoncord.detect.declared import Declarations, Declared
from andoncord.kernel.errors import CallerError
from andoncord.kernel.time import DAY_NS
from andoncord.learn.judged import judged_quality
from andoncord.server.api.door import ApiDoor, answer
from andoncord.server.evaluators import Evaluators
from andoncord.telemetry.event import EventKind

MAX_SCORES = 100_000
MAX_DAYS = 90
KINDS = (EventKind.QUALITY_SCORED.value,)


class QualityApi:
    """Routes under `/api/v1`.

    Args:
        declared: what the settings declare about agents: their objectives.
    """

    def __init__(self, door: ApiDoor, *, declared: Mapping[str, Declared], evaluators: Evaluators) -> None:
        self._door = door
        self._declarations = Declarations(dict(declared))
        self._evaluators = evaluators

    def router(self) -> APIRouter:
        """Every route, with its sentence for the OpenAPI document."""
        router = APIRouter()
        router.get("/quality")(self.quality)
        router.get("/evaluators")(self.evaluators)
        return router

    async def quality(self, request: Request, agent: str = "", days: int = 7) -> Response:
        """Pass rates by agent and evaluator: as judged, and corrected for the judge's errors where people labelled enough."""
        if not 1 <= days <= MAX_DAYS:
            raise CallerError(f"is 1 to {MAX_DAYS}", place="days")
        return answer(await asyncio.to_thread(self._read, agent, days))

    async def evaluators(self, request: Request) -> Response:
        """What each evaluator did since the start of the server: drawn, judged, failed, left out, what it cost."""
        return answer({"items": self._evaluators.standings()})

    def _read(self, agent: str, days: int) -> dict[str, Any]:
        control = self._door.control
        until_ns = control.clock.now()
        agents = [agent] if agent else [name for name, _ in control.telemetry.fleet()]
        events = control.telemetry.of_agents(
            agents, since_ns=until_ns - days * DAY_NS, until_ns=until_ns, limit=MAX_SCORES, kinds=KINDS
        )
        found = judged_quality(events, self._objective)
        return {"items": msgspec.to_builtins(found), "days": days, "is_cut": len(events) >= MAX_SCORES}

    def _objective(self, agent: str) -> float | None:
        objective = self._declarations.of(agent).objective
        return objective.quality if objective else None
