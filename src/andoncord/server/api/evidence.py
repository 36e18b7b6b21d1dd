"""Sealed evidence over HTTP."""

import asyncio

from fastapi import APIRouter
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from andoncord.kernel.errors import NotFoundError
from andoncord.server.api.door import ApiDoor, answer
from andoncord.server.capture import EvidenceFolder, captures_of
from andoncord.server.requests import MAX_TEXT, Body


class Capturing(Body):
    """Why evidence is sealed."""

    reason: str = Field(default="", max_length=MAX_TEXT)


class EvidenceApi:
    """Routes under `/api/v1`."""

    def __init__(self, door: ApiDoor, *, folder: EvidenceFolder) -> None:
        self._door = door
        self._folder = folder

    def router(self) -> APIRouter:
        """Every route, with its sentence for the OpenAPI document."""
        router = APIRouter()
        router.get("/incidents/{incident}/evidence")(self.evidence)
        router.get("/incidents/{incident}/evidence/{intent}/archive")(self.archive)
        router.post("/agents/{agent}/evidence", status_code=202)(self.capture)
        return router

    async def evidence(self, request: Request, incident: str) -> Response:
        """The bundles that were sealed for an incident, and whether each still is what was sealed."""
        captures = captures_of(self._door.control.state, incident)
        return answer({"items": await asyncio.to_thread(lambda: [self._folder.told(each) for each in captures])})

    async def capture(self, request: Request, agent: str, body: Capturing) -> Response:
        """Seal evidence about an agent as it is now: in its open incident, or in one that is opened for it."""
        return await self._door.do(request, "capture", agent=agent, parameters={"reason": body.reason})

    async def archive(self, request: Request, incident: str, intent: str) -> Response:
        """One bundle as a ZIP archive, as it is on disk."""
        if intent not in {each.id for each in captures_of(self._door.control.state, incident)}:
            raise NotFoundError(f"{incident} has no evidence {intent!r}")
        content = await asyncio.to_thread(self._folder.archive, incident, intent)
        headers = {"Content-Disposition": f'attachment; filename="{intent}.evidence.zip"'}
        return Response(content, media_type="application/zip", headers=headers)
