"""The record over HTTP: telemetry, the journal, the figures."""

import asyncio
from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from andoncord.kernel.errors import CallerError
from andoncord.server.api.door import DEFAULT_LIMIT, MAX_LIMIT, ApiDoor, answer, bounded
from andoncord.server.live import LiveStreams
from andoncord.server.ports import JournalReader
from andoncord.server.reading import Reading, shown_event
from andoncord.server.reconcile import reconcile

Item = TypeVar("Item")


class RecordApi:
    """Routes under `/api/v1`."""

    def __init__(self, door: ApiDoor, *, reading: Reading, journal: JournalReader, live: LiveStreams) -> None:
        self._door = door
        self._control = door.control
        self._reading = reading
        self._journal = journal
        self._live = live

    def router(self) -> APIRouter:
        """Every route, with its sentence for the OpenAPI document."""
        router = APIRouter()
        get = router.get
        get("/traces/{trace_id}")(self.trace)
        get("/traces/{trace_id}/transcript")(self.transcript)
        get("/traces/{trace_id}/touched")(self.touched)
        get("/kpis")(self.kpis)
        get("/ledger")(self.ledger)
        get("/journal")(self.journal)
        get("/stream")(self.stream)
        return router

    async def trace(
        self, request: Request, trace_id: str, fold: bool = False, after: int = 0, limit: int = MAX_LIMIT
    ) -> Response:
        """The events of one trace by start; with `fold`, without the spans of frameworks that only wrap others."""
        events = await self._reading.trace(trace_id, folded=fold)
        page, further = _page(events, after, limit)
        spans = [shown_event(event) for event in page]
        return answer({"trace_id": trace_id.lower(), "spans": spans, "next": further, "total": len(events)})

    async def transcript(
        self, request: Request, trace_id: str, run: str = "", after: int = 0, limit: int = MAX_LIMIT
    ) -> Response:
        """What the models of a trace saw and said, and what their tools were given and gave, step by step."""
        steps = await self._reading.transcript(trace_id, run=run)
        page, further = _page(steps, after, limit)
        return answer({"trace_id": trace_id.lower(), "steps": page, "next": further, "total": len(steps)})

    async def touched(self, request: Request, trace_id: str, run: str = "") -> Response:
        """Files changed, commands run and systems reached in one trace."""
        return answer(await self._reading.touched_in_trace(trace_id, run=run))

    async def kpis(self, request: Request) -> Response:
        """Figures over all incidents."""
        return answer(self._control.kpis())

    async def ledger(self, request: Request, deep: bool = False) -> Response:
        """What became of everything that was accepted, whether it adds up with the store, and how much waits to be read."""
        found = await asyncio.to_thread(reconcile, self._control.telemetry, deep=deep)
        shown: dict[str, Any] = msgspec.to_builtins(found)
        return answer({"items": shown.pop("lines"), **shown})

    async def journal(self, request: Request, after: int = 0, limit: int = DEFAULT_LIMIT) -> Response:
        """Entries of the journal, oldest first."""
        wanted = bounded(limit)
        items: list[dict[str, Any]] = []
        for entry in self._journal.read(after):
            if len(items) == wanted:
                break
            items.append(msgspec.to_builtins(entry))
        return answer({"items": items, "next": items[-1]["seq"] if len(items) == wanted else None})

    async def stream(self, request: Request) -> Response:
        """Server-sent events: `incident` with the id of every incident that changes."""
        return StreamingResponse(
            self._live.stream(is_welcome=lambda: self._door.auth.still(request)),
            media_type="text/event-stream",
            headers={"X-Accel-Buffering": "no", "Cache-Control": "no-store"},
        )


def _page(items: Sequence[Item], after: int, limit: int) -> tuple[Sequence[Item], int | None]:
    """A page of what is all there, and where the next begins."""
    if after < 0:
        raise CallerError("is not negative", place="after")
    end = after + bounded(limit)
    return items[after:end], end if end < len(items) else None
