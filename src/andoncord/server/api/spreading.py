"""What is downstream of a wrong datum, and who influences whom, over HTTP."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from andoncord.server.api.door import ApiDoor, answer
from andoncord.server.spreading import Spreading


class SpreadingApi:
    """Routes under `/api/v1`."""

    def __init__(self, door: ApiDoor, *, spreading: Spreading) -> None:
        self._door = door
        self._spreading = spreading

    def router(self) -> APIRouter:
        """Every route, with its sentence for the OpenAPI document."""
        router = APIRouter()
        router.get("/taint")(self.taint)
        router.get("/influence")(self.influence)
        return router

    async def taint(self, request: Request, datum: str = "", hours: int = 24) -> Response:
        """Runs, agents, decisions and effects downstream of a datum: for certain, and possibly."""
        return answer(await self._spreading.taint(datum, hours=hours))

    async def influence(self, request: Request, agent: str = "", minutes: int = 60) -> Response:
        """Who influences whom, with the gain of each edge and its interval, and the circles among them."""
        return answer(await self._spreading.influence(minutes=minutes, agent=agent))
