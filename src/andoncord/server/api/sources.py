"""What other systems say about agents, over HTTP: signed webhooks and alerts."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from andoncord.server.api.door import answer
from andoncord.server.problems import problem
from andoncord.server.sources import SourceAwayError, Sources

RETRY_AFTER_S = 5


class SourceApi:
    """Routes under `/api/v1`. They take no token of ours: each source proves itself with its own secret."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._clock = sources.clock

    def router(self) -> APIRouter:
        """Every route, with its sentence for the OpenAPI document."""
        router = APIRouter()
        router.post("/sources/{source}/events", status_code=202)(self.event)
        router.post("/sources/{source}/alerts", status_code=202)(self.alerts)
        return router

    async def event(self, request: Request, source: str) -> Response:
        """Take one event signed after Standard Webhooks: a change that was made, or a finding."""
        sender = self._sources.find(source, "webhook")
        body, now_ns = await request.body(), self._clock.now()
        number = sender.check_signature(request.headers, body, now_ns=now_ns)
        try:
            return answer({"taken": await self._sources.take_event(sender, number, body, now_ns=now_ns)}, 202)
        except SourceAwayError:
            away = problem(503, "not possible now", "the event could not be stored; send it again")
            away.headers["Retry-After"] = str(RETRY_AFTER_S)
            return away

    async def alerts(self, request: Request, source: str) -> Response:
        """Take what Alertmanager's webhook receiver sends, version 4, with the source's bearer token."""
        sender = self._sources.find(source, "alertmanager")
        sender.check_bearer(request.headers.get("authorization", ""))
        return answer(await self._sources.take_alerts(sender, await request.body(), now_ns=self._clock.now()), 202)
