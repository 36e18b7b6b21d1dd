"""Canary tasks over HTTP: how they stand, and asking one now."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from andoncord.server.api.door import answer
from andoncord.server.canaries import Canaries


class CanaryApi:
    """Routes under `/api/v1`."""

    def __init__(self, *, canaries: Canaries) -> None:
        self._canaries = canaries

    def router(self) -> APIRouter:
        """Every route, with its sentence for the OpenAPI document."""
        router = APIRouter()
        router.get("/canaries")(self.canaries)
        router.post("/canaries/{name}", status_code=202)(self.ask)
        return router

    async def canaries(self, request: Request) -> Response:
        """Tasks with known answers: what came of the last time each was asked, and when it is due again."""
        return answer({"items": self._canaries.standings()})

    async def ask(self, request: Request, name: str) -> Response:
        """Ask one task now, out of turn. What comes of it is a score, as always."""
        return answer(self._canaries.ask_now(name), 202)
