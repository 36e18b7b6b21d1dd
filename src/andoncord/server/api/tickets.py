"""Tickets over HTTP: where those of an incident are, opening one, and whether a tracker would take one."""

from fastapi import APIRouter
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from andoncord.engine.ticketing import ticket_views
from andoncord.kernel.errors import CallerError, NotFoundError
from andoncord.server.api.door import ApiDoor, answer
from andoncord.server.requests import MAX_NAME, Body
from andoncord.server.tickets import TicketPerformer


class Opening(Body):
    """A ticket about an incident; without a tracker in the first one of the settings."""

    tracker: str = Field(default="", max_length=MAX_NAME)


class TicketApi:
    """Routes under `/api/v1`.

    Args:
        tickets: opens tickets, and knows the trackers.
    """

    def __init__(self, door: ApiDoor, *, tickets: TicketPerformer) -> None:
        self._door = door
        self._tickets = tickets

    def router(self) -> APIRouter:
        """Every route, with its sentence for the OpenAPI document."""
        router = APIRouter()
        router.get("/trackers")(self.trackers)
        router.post("/trackers/{tracker}/check")(self.check)
        router.get("/incidents/{incident}/tickets")(self.tickets)
        router.post("/incidents/{incident}/tickets", status_code=202)(self.open)
        return router

    async def trackers(self, request: Request) -> Response:
        """Where tickets can go; the first one is where they go that do not say where."""
        return answer({"items": list(self._tickets.trackers)})

    async def check(self, request: Request, tracker: str) -> Response:
        """See whether a tracker can be reached and takes the token; no ticket is made."""
        self._refuse_unknown(tracker)
        why = await self._tickets.check(tracker)
        return answer({"tracker": tracker, "fine": not why, "why": why})

    async def tickets(self, request: Request, incident: str) -> Response:
        """The tickets of an incident."""
        state = self._door.control.state
        return answer({"items": ticket_views(state, state.incident(incident).id)})

    async def open(self, request: Request, incident: str, body: Opening) -> Response:
        """Open a ticket about an incident, unless there is one in this tracker."""
        if body.tracker:
            self._refuse_unknown(body.tracker, error=CallerError)
        return await self._door.do(request, "open_ticket", incident=incident, parameters={"tracker": body.tracker})

    def _refuse_unknown(self, tracker: str, *, error: type[CallerError] = NotFoundError) -> None:
        if tracker not in self._tickets.trackers:
            known = ", ".join(self._tickets.trackers) or "none: name one under trackers in andon.yaml"
            raise error(f"there is no tracker {tracker!r}", place="tracker", remedy=f"known: {known}")
