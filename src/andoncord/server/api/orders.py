"""Orders over HTTP: what is in force, giving an order for a scope, lifting one; circuit breakers."""

from typing import Literal

from fastapi import APIRouter
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from andoncord.server.api.door import ApiDoor, answer
from andoncord.server.ordering import Ordering
from andoncord.server.requests import MAX_NAME, MAX_TEXT, Body

MAX_ALLOWED = 256


class OrderScope(Body):
    """Which calls: those that every part fits. Without any part, every call of the fleet."""

    agent: str = Field(default="*", max_length=MAX_NAME)
    """A glob over agents."""
    role: str = Field(default="*", max_length=MAX_NAME)
    """A glob over the roles of agents."""
    tool: str = Field(default="*", max_length=MAX_NAME)
    """A glob over tools."""
    run: str = Field(default="", max_length=MAX_NAME)
    """One run."""


class OrderBody(Body):
    """An order for a scope. It stands beside every other until it is lifted or its time is over."""

    scope: OrderScope
    rung: Literal["monitor", "throttle", "restrict", "quarantine", "pause", "kill"] | None = None
    breaker: Literal["open", "closed"] | None = None
    """Instead of a rung: hold the circuit breakers of these calls open, or closed."""
    instead: Literal["hand-over", "hold"] | None = None
    """Instead of a rung: what becomes of these calls. A person does them, or declared side effects are held as they are."""
    rate: float | None = Field(default=None, gt=0, le=1)
    """For throttle: the share of the usual rate; 0.1 when it is left out."""
    allow: list[str] = Field(default=[], max_length=MAX_ALLOWED)
    """For restrict: globs over the tools that may be called; those declared to read when it is left out."""
    reason: str = Field(default="", max_length=MAX_TEXT)
    lasts_s: int | None = Field(default=None, gt=0)
    """After so many seconds it ends by itself."""


class LiftBody(Body):
    """Take one order out of force."""

    reason: str = Field(min_length=1, max_length=MAX_TEXT)
    messages: Literal["deliver", "drop"] = "deliver"
    """What becomes of the messages that a quarantine held."""


class OrderApi:
    """Routes under `/api/v1`."""

    def __init__(self, door: ApiDoor) -> None:
        self._door = door
        self._ordering = Ordering(door.control)

    def router(self) -> APIRouter:
        """Every route, with its sentence for the OpenAPI document."""
        router = APIRouter()
        router.get("/orders")(self.orders)
        router.post("/orders", status_code=202)(self.order)
        router.post("/orders/{order_id}/lift", status_code=202)(self.lift)
        router.get("/breakers")(self.breakers)
        return router

    async def orders(self, request: Request) -> Response:
        """Every order in force, with scope, author, reason, end and how it is undone."""
        return answer({"items": self._ordering.in_force()})

    async def order(self, request: Request, body: OrderBody) -> Response:
        """Put an order in force for a scope; an answer without a known agent is 404 and orders nothing."""
        return await self._door.do(request, "order", parameters=self._ordering.prepared(body.model_dump()))

    async def lift(self, request: Request, order_id: str, body: LiftBody) -> Response:
        """Take one order out of force, and no other. An incident's rung is let go by the incident's release."""
        agents = self._ordering.agents_of(order_id)
        parameters = {"order": order_id, "agents": agents, "reason": body.reason, "messages": body.messages}
        return await self._door.do(request, "lift", parameters=parameters)

    async def breakers(self, request: Request) -> Response:
        """Circuit breakers that are not closed, as their guards reported them, and those that an order holds."""
        return answer({"items": self._ordering.breakers()})
