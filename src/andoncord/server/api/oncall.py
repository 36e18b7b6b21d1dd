"""Who is on call, telling them, and saying that one looks after an incident."""

from typing import Any

import msgspec
from fastapi import APIRouter
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from andoncord.kernel.errors import CallerError
from andoncord.kernel.time import DAY_NS, rfc3339
from andoncord.respond.notice import Delivery
from andoncord.respond.oncall import TOGETHER
from andoncord.respond.rota import AHEAD_NS, person_at, spans
from andoncord.server import reachable
from andoncord.server.api.door import ApiDoor, answer
from andoncord.server.notices import NotifyPerformer
from andoncord.server.requests import MAX_NAME, MAX_TEXT, Body

MAX_DAYS = 60


class Acknowledging(Body):
    """Say that one looks after an incident."""

    note: str = Field(default="", max_length=MAX_TEXT)


class Testing(Body):
    """Send a test."""

    to: str = Field(default="", max_length=MAX_NAME)
    """A rota, a person or a channel; empty for everybody and every channel of the escalation."""


class OncallApi:
    """Routes under `/api/v1`.

    Args:
        notices: tells people, and knows what became of it.
    """

    def __init__(self, door: ApiDoor, *, notices: NotifyPerformer) -> None:
        self._door = door
        self._notices = notices

    def router(self) -> APIRouter:
        """Every route, with its sentence for the OpenAPI document."""
        router = APIRouter()
        router.get("/oncall")(self.oncall)
        router.post("/oncall/test")(self.test)
        router.get("/incidents/{incident}/deliveries")(self.deliveries)
        router.post("/incidents/{incident}/acknowledge", status_code=202)(self.acknowledge)
        return router

    async def oncall(self, request: Request, days: int = 0) -> Response:
        """Who is on call now in each rota, with the shifts of the days ahead, the escalation, and what will hurt."""
        if not 0 <= days <= MAX_DAYS:
            raise CallerError(f"is 0 to {MAX_DAYS}", place="days")
        oncall, now = self._notices.oncall, self._door.control.clock.now()
        rotas: list[dict[str, Any]] = []
        for name, rota in oncall.rotas.items():
            ahead = spans(rota, now, now + (days * DAY_NS or AHEAD_NS))
            shown = [
                {"from": rfc3339(each.start_ns), "until": rfc3339(each.end_ns), "person": each.person or None} for each in ahead
            ]
            person = person_at(rota, now)
            channels = list(oncall.people[person].channels) if person else []
            more = {"shifts": shown} if days else {"until": shown[0]["until"]}
            rotas.append({"rota": name, "person": person or None, "channels": channels, **more})
        found = reachable.doubts(self._notices, self._door.auth, now_ns=now)
        doubts = [{"text": text, "remedy": remedy} for text, remedy in found]
        escalation = msgspec.to_builtins(oncall.escalation) if oncall.escalation else None
        channels = sorted(self._notices.channels)
        return answer({"rotas": rotas, "escalation": escalation, "channels": channels, "doubts": doubts})

    async def test(self, request: Request, body: Testing) -> Response:
        """Send a test to a rota, a person, a channel or everybody, and say what became of it."""
        principal = self._door.principal(request)
        oncall = self._notices.oncall
        known = (*oncall.people, *oncall.rotas, *self._notices.channels)
        if body.to not in ("", *known) or not known:
            shown = ", ".join(sorted(known)) or "nobody is configured"
            raise CallerError(f"there is no rota, person or channel {body.to!r}", place="to", remedy=f"known: {shown}")
        key = self._door.control.entropy.identifier("test")
        receipt = await self._notices.test(key, to=body.to, by=principal.by)
        return answer({"outcome": receipt.outcome, **receipt.detail})

    async def deliveries(self, request: Request, incident: str) -> Response:
        """What became of every notice about an incident on its way to every target."""
        found = self._door.control.state.incident(incident)
        items = [
            _shown(each, found.acknowledged_by, found.acknowledged_ns)
            for each in self._notices.deliveries.of_incident(incident)
        ]
        return answer({"items": items})

    async def acknowledge(self, request: Request, incident: str, body: Acknowledging) -> Response:
        """Say that one looks after an incident: its pages stop, until that has grown stale."""
        return await self._door.do(request, "acknowledge", incident=incident, parameters={"note": body.note})


def _shown(delivery: Delivery, acknowledged_by: str, acknowledged_ns: int) -> dict[str, Any]:
    """A delivery; `read` where the person it went to has answered since."""
    shown: dict[str, Any] = msgspec.to_builtins(delivery)
    by = acknowledged_by.removeprefix("person:")
    answered = by and by in delivery.person.split(TOGETHER) and acknowledged_ns >= delivery.at_ns
    state = "read" if answered and delivery.is_settled else delivery.state
    return {**shown, "state": state, "at": rfc3339(delivery.at_ns)}
