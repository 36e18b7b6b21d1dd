"""Incidents over HTTP: reading them, and what people do about them."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from andoncord.kernel.errors import CallerError, NotFoundError
from andoncord.kernel.vocabulary import IncidentState
from andoncord.server import requests as bodies
from andoncord.server.api.door import DEFAULT_LIMIT, ApiDoor, answer, bounded

STATES = frozenset(("open", "all", *(state.value for state in IncidentState)))


class IncidentApi:
    """Routes under `/api/v1`."""

    def __init__(self, door: ApiDoor) -> None:
        self._door = door
        self._control = door.control

    def router(self) -> APIRouter:
        """Every route, with its sentence for the OpenAPI document."""
        router = APIRouter()
        get, post = router.get, router.post
        get("/incidents")(self.incidents)
        get("/incidents/{incident}")(self.incident)
        get("/incidents/{incident}/review")(self.review)
        get("/incidents/{incident}/receipts/{intent}")(self.receipt)
        post("/incidents", status_code=201)(self.declare)
        post("/incidents/{incident}/containments", status_code=202)(self.contain)
        post("/incidents/{incident}/recoveries", status_code=202)(self.recover)
        post("/incidents/{incident}/release", status_code=202)(self.release)
        post("/incidents/{incident}/disposition", status_code=202)(self.dispose)
        post("/incidents/{incident}/notes", status_code=201)(self.note)
        post("/incidents/{incident}/proposal/apply", status_code=202)(self.apply_proposal)
        post("/incidents/{incident}/review", status_code=202)(self.answer_review)
        return router

    async def incidents(self, request: Request, state: str = "all", limit: int = DEFAULT_LIMIT, after: str = "") -> Response:
        """Incidents, the worst and newest first."""
        if state not in STATES:
            raise CallerError(f"unknown state {state!r}", place="state", remedy=f"use one of: {', '.join(sorted(STATES))}")
        ids = self._control.listed(state)
        if after and after not in ids:
            raise CallerError("the page it continued is gone", place="after", remedy="start from the first page")
        start = ids.index(after) + 1 if after else 0
        limit = bounded(limit)
        page = ids[start : start + limit]
        return answer({"items": self._control.page(page), "next": page[-1] if start + limit < len(ids) else None})

    async def incident(self, request: Request, incident: str) -> Response:
        """Everything about one incident."""
        return answer(self._control.view(incident))

    async def review(self, request: Request, incident: str) -> Response:
        """The post-incident review as Markdown."""
        review = self._control.view(incident)["review"]
        if review is None:
            raise NotFoundError("there is no review yet", remedy="it is drafted when the incident is resolved")
        return Response(review["markdown"], media_type="text/markdown; charset=utf-8")

    async def receipt(self, request: Request, incident: str, intent: str) -> Response:
        """What came of one act: 200 with the receipt, 202 while it is under way."""
        found = self._control.receipt(incident, intent)
        return answer(found) if found else answer({"intent": intent, "outcome": None}, 202)

    async def declare(self, request: Request, body: bodies.Declaration) -> Response:
        """Open an incident by hand. Nothing is stopped by it."""
        parameters = {"title": body.title, "severity": body.severity, "reason": body.reason}
        return await self._door.do(request, "declare", agent=body.agent, parameters=parameters, status=201)

    async def contain(self, request: Request, incident: str, body: bodies.Containment) -> Response:
        """Put a rung in force for an agent of the incident; with `dry_run`, say what that would do."""
        if body.dry_run:
            return answer({"dry_run": self._control.dry_run(incident, body.rung, body.agent)})
        parameters = {"rung": body.rung, "reason": body.reason, "lasts_s": body.lasts_s}
        return await self._door.do(request, "contain", incident=incident, agent=body.agent, parameters=parameters)

    async def recover(self, request: Request, incident: str, body: bodies.Reasoned) -> Response:
        """Approve the recovery plan."""
        return await self._door.do(request, "approve_recovery", incident=incident, parameters={"reason": body.reason})

    async def release(self, request: Request, incident: str, body: bodies.Release) -> Response:
        """Let an agent go on, without a verified recovery."""
        parameters = {"reason": body.reason}
        return await self._door.do(request, "release", incident=incident, agent=body.agent, parameters=parameters)

    async def dispose(self, request: Request, incident: str, body: bodies.DispositionBody) -> Response:
        """Say what the incident turned out to be."""
        parameters = {"disposition": body.disposition, "reason": body.reason}
        return await self._door.do(request, "dispose", incident=incident, parameters=parameters)

    async def note(self, request: Request, incident: str, body: bodies.NoteBody) -> Response:
        """Add a note to the record."""
        return await self._door.do(request, "note", incident=incident, parameters={"text": body.text}, status=201)

    async def apply_proposal(self, request: Request, incident: str, body: bodies.Reasoned) -> Response:
        """Activate the policy that the review proposes."""
        return await self._door.do(request, "apply_proposal", incident=incident, parameters={"reason": body.reason})

    async def answer_review(self, request: Request, incident: str, body: bodies.Answers) -> Response:
        """Answer open questions of the review."""
        return await self._door.do(request, "answer_review", incident=incident, parameters={"answers": body.answers})
