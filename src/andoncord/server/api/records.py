"""The record over HTTP: telemetry, the journal, the figures."""

import asyncio
from typing import Any

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from andoncord.kernel.access import Scope
from andoncord.kernel.errors import NotFoundError
from andoncord.kernel.time import rfc3339
from andoncord.server.api.door import DEFAULT_LIMIT, ApiDoor, answer, bounded
from andoncord.server.live import LiveStreams
from andoncord.server.ports import JournalReader
from andoncord.telemetry.event import Event


class RecordApi:
    """Routes under `/api/v1`."""

    def __init__(self, door: ApiDoor, *, journal: JournalReader, live: LiveStreams) -> None:
        self._door = door
        self._control = door.control
        self._journal = journal
        self._live = live

    def router(self) -> APIRouter:
        """Every route, with its sentence for the OpenAPI document."""
        router = APIRouter()
        get = router.get
        get("/traces/{trace_id}")(self.trace)
        get("/kpis")(self.kpis)
        get("/ledger")(self.ledger)
        get("/journal")(self.journal)
        get("/stream")(self.stream)
        return router

    async def trace(self, request: Request, trace_id: str) -> Response:
        """Every event of one trace, by time."""
        await self._door.auth.require(request, Scope.READ)
        events = await asyncio.to_thread(self._control.telemetry.trace, trace_id.lower())
        if not events:
            raise NotFoundError(f"there is no trace {trace_id!r}")
        return answer({"trace_id": trace_id.lower(), "spans": [_span(event) for event in events]})

    async def kpis(self, request: Request) -> Response:
        """Figures over all incidents."""
        await self._door.auth.require(request, Scope.READ)
        return answer(self._control.kpis())

    async def ledger(self, request: Request) -> Response:
        """What became of everything that was accepted, and how much of it still waits to be read."""
        await self._door.auth.require(request, Scope.READ)
        telemetry = self._control.telemetry
        return answer({"items": [msgspec.to_builtins(line) for line in telemetry.ledger()], "lag": telemetry.lag()})

    async def journal(self, request: Request, after: int = 0, limit: int = DEFAULT_LIMIT) -> Response:
        """Entries of the journal, oldest first."""
        await self._door.auth.require(request, Scope.READ)
        wanted = bounded(limit)
        items: list[dict[str, Any]] = []
        for entry in self._journal.read(after):
            if len(items) == wanted:
                break
            items.append(msgspec.to_builtins(entry))
        return answer({"items": items, "next": items[-1]["seq"] if len(items) == wanted else None})

    async def stream(self, request: Request) -> Response:
        """Server-sent events: `incident` with the id of every incident that changes."""
        await self._door.auth.require(request, Scope.READ)
        return StreamingResponse(
            self._live.stream(),
            media_type="text/event-stream",
            headers={"X-Accel-Buffering": "no", "Cache-Control": "no-store"},
        )


def _span(event: Event) -> dict[str, Any]:
    """An event as the API shows it."""
    shown: dict[str, Any] = msgspec.to_builtins(event)
    shown["start_at"], shown["end_at"] = rfc3339(event.start_ns), rfc3339(event.end_ns) if event.end_ns else None
    return shown
