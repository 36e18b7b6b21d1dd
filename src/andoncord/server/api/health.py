"""Andoncord's own health over HTTP: is it alive, is it ready, what is wrong with it, and its figures."""

import asyncio

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from andoncord.kernel.time import rfc3339
from andoncord.server.api.door import ApiDoor, answer
from andoncord.server.deadman import MAX_LAG
from andoncord.server.health import Health, Verdict, shown_overdue
from andoncord.server.leases import LeaseOffice
from andoncord.server.metrics import CONTENT_TYPE, render


class HealthApi:
    """Routes under `/api/v1`, and those that machines ask at the root."""

    def __init__(self, door: ApiDoor, *, health: Health, leases: LeaseOffice, version: str) -> None:
        self._door = door
        self._health = health
        self._leases = leases
        self._version = version
        self._telemetry = door.control.telemetry

    def router(self) -> APIRouter:
        """Every route, with its sentence for the OpenAPI document."""
        router = APIRouter()
        router.get("/health")(self.health)
        router.get("/overdue")(self.overdue)
        return router

    def root(self) -> APIRouter:
        """What probes and Prometheus ask."""
        router = APIRouter(include_in_schema=False)
        router.get("/livez")(self.livez)
        router.get("/readyz")(self.readyz)
        router.get("/metrics")(self.metrics)
        return router

    async def health(self, request: Request) -> Response:
        """Every check that `andon doctor` makes of a running server, each with what to do about it."""
        checks = await self._health.checks()
        ok = not any(check.verdict is Verdict.FAIL for check in checks)
        return answer({"ok": ok, "at": rfc3339(self._door.control.clock.now()), "checks": checks})

    async def overdue(self, request: Request) -> Response:
        """Promises that were not kept: late effects, unconfirmed orders, people who did not answer, reviews."""
        return answer({"items": [shown_overdue(each) for each in self._health.overdue()]})

    async def livez(self) -> Response:
        """Whether the process turns."""
        return PlainTextResponse("ok\n")

    async def readyz(self) -> Response:
        """Whether telemetry is received and read in time."""
        lag = await asyncio.to_thread(self._telemetry.lag)
        up, _ = self._health.worker()
        text = f"{lag} unread batches\n" if up else "the ingest worker is not up\n"
        return PlainTextResponse(text, 200 if up and lag <= MAX_LAG else 503)

    async def metrics(self, request: Request) -> Response:
        """Figures about Andoncord itself, for Prometheus; needs a token that may read."""
        store = await self._health.reconciled()
        body = render(self._health, self._leases, store=store, version=self._version)
        return Response(body, media_type=CONTENT_TYPE)
