"""Incidents as a whole over HTTP: merged, split, assigned, with moments marked."""

from fastapi import APIRouter
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from andoncord.incident.changes import Role
from andoncord.server.api.door import ApiDoor
from andoncord.server.requests import MAX_NAME, MAX_TEXT, Body

MAX_MOVED = 10_000


class Merging(Body):
    """Another incident becomes part of this one."""

    other: str = Field(min_length=1, max_length=MAX_NAME)
    reason: str = Field(min_length=1, max_length=MAX_TEXT)


class Splitting(Body):
    """Findings get an incident of their own: those that are named, and all about `agent`."""

    findings: list[str] = Field(default_factory=list, max_length=MAX_MOVED)
    agent: str = Field(default="", max_length=MAX_NAME)
    title: str = Field(default="", max_length=MAX_NAME)
    reason: str = Field(min_length=1, max_length=MAX_TEXT)


class Assigning(Body):
    """Who has a role; an empty person leaves it open."""

    role: Role
    person: str = Field(default="", max_length=64)
    reason: str = Field(default="", max_length=MAX_TEXT)


class Starring(Body):
    """A moment of the timeline is marked, or not any more."""

    moment: str = Field(min_length=1, max_length=MAX_NAME)
    star: bool = True


class LifecycleApi:
    """Routes under `/api/v1`."""

    def __init__(self, door: ApiDoor) -> None:
        self._door = door

    def router(self) -> APIRouter:
        """Every route, with its sentence for the OpenAPI document."""
        router = APIRouter()
        router.post("/incidents/{incident}/merge", status_code=202)(self.merge)
        router.post("/incidents/{incident}/split", status_code=201)(self.split)
        router.post("/incidents/{incident}/crew", status_code=202)(self.assign)
        router.post("/incidents/{incident}/stars", status_code=202)(self.star)
        return router

    async def merge(self, request: Request, incident: str, body: Merging) -> Response:
        """Make another incident part of this one; the other closes as duplicate, and what it held goes on being held."""
        parameters = {"from": body.other, "reason": body.reason}
        return await self._door.do(request, "merge", incident=incident, parameters=parameters)

    async def split(self, request: Request, incident: str, body: Splitting) -> Response:
        """Give findings an incident of their own; the answer names it."""
        parameters = {"findings": body.findings, "title": body.title, "reason": body.reason}
        return await self._door.do(request, "split", incident=incident, agent=body.agent, parameters=parameters, status=201)

    async def assign(self, request: Request, incident: str, body: Assigning) -> Response:
        """Say who commands, tells others, or works on the agents."""
        parameters = {"role": body.role.value, "person": body.person, "reason": body.reason}
        return await self._door.do(request, "assign", incident=incident, parameters=parameters)

    async def star(self, request: Request, incident: str, body: Starring) -> Response:
        """Mark a moment of the timeline, or take the mark away."""
        return await self._door.do(request, "star", incident=incident, parameters={"moment": body.moment, "star": body.star})
