"""How good answers are, and whether evaluators do their work, over HTTP."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from andoncord.server.api.door import answer
from andoncord.server.goodness import SHOWN_DAYS, Goodness


class QualityApi:
    """Routes under `/api/v1`."""

    def __init__(self, *, answers: Goodness) -> None:
        self._answers = answers

    def router(self) -> APIRouter:
        """Every route, with its sentence for the OpenAPI document."""
        router = APIRouter()
        router.get("/quality")(self.quality)
        router.get("/evaluators")(self.evaluators)
        return router

    async def quality(self, request: Request, agent: str = "", days: int = SHOWN_DAYS) -> Response:
        """Pass rates by agent and evaluator: as judged, and corrected for the judge's errors where people labelled enough."""
        return answer(await self._answers.rates(agent, days=days))

    async def evaluators(self, request: Request) -> Response:
        """What each evaluator did since the start of the server: drawn, judged, failed, left out, what it cost."""
        return answer({"items": self._answers.evaluators.standings()})
