"""The API that guards and supervisors use: register, listen for orders, acknowledge."""

from typing import Any

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from andoncord.kernel.access import covered
from andoncord.kernel.errors import CallerError
from andoncord.respond.ladder import LADDER
from andoncord.server.api.door import answer
from andoncord.server.auth import Auth, ForbiddenError, Principal
from andoncord.server.budgets import Asked, BudgetOffice
from andoncord.server.control import Control
from andoncord.server.leases import LeaseOffice
from andoncord.server.points import Ack, Force, Guard, Registration
from andoncord_sdk.lease import orders_digest

PREFIX = "/api/v1/guards"
MAX_BODY = 4 * 1024 * 1024
MAX_NONCE = 100
MAX_EPOCH = 2**40
"""Far beyond what orders can reach; a guard that claims more is not believed."""
STREAM_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


class GuardReport(msgspec.Struct, frozen=True, kw_only=True):
    """A guard says what has changed."""

    capabilities: tuple[str, ...]
    state: dict[str, Any] = {}


class LeaseRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A guard wants its lease renewed."""

    nonce: str
    budget: Asked | None = None


class GuardApi:
    """Routes under `PREFIX`. A token reaches only the guards that it registered, for agents it is bound to."""

    def __init__(self, *, control: Control, auth: Auth, leases: LeaseOffice, budgets: BudgetOffice) -> None:
        self._budgets = budgets
        self._control = control
        self._auth = auth
        self._leases = leases

    def router(self) -> APIRouter:
        """Every route."""
        router = APIRouter(prefix=PREFIX)
        router.post("", status_code=201)(self.register)
        router.get("/{guard_id}/orders")(self.orders)
        router.post("/{guard_id}/acks", status_code=204)(self.acknowledge)
        router.post("/{guard_id}/report", status_code=204)(self.report)
        router.post("/{guard_id}/lease")(self.lease)
        router.get("/{guard_id}/config")(self.configuration)
        router.delete("/{guard_id}", status_code=204)(self.depart)
        return router

    async def register(self, request: Request) -> Response:
        """Take in a guard or supervisor, and tell it what is in force."""
        token = self._auth.require_agent(request)
        registration = await _body(request, Registration)
        if not token.covers(registration.agent):
            self._auth.note_misuse(Principal(name=token.name, may=covered(token.scopes), token=token), request)
            raise ForbiddenError(f"this token is bound to {token.agent!r}, not to {registration.agent!r}")
        _check_epoch(registration)
        guard = self._control.hub.register(registration, token_id=token.id)
        enforces = registration.kind == "guard" or {"pause", "kill"} & set(registration.capabilities)
        if enforces and registration.epoch:
            await self._control.note_epoch(registration.agent, registration.instance, registration.epoch, registration.rung)
        force = self._control.force(guard.agent)
        return answer(
            {
                "guard_id": guard.id,
                "agent": guard.agent,
                "instance": guard.instance,
                "epoch": list(force.epoch),
                "rung": force.rung,
                "reason": force.reason,
                "by": force.by,
                "incident": force.incident,
                "orders": list(force.orders),
                "dropped": list(force.dropped),
                "role": self._control.declared_role(guard.agent),
                "breakers": self._control.breakers_of(guard.agent),
                "policies": self._control.policies(),
                "prices": self._control.prices,
                "config": self._control.configuration(guard.agent),
                "heartbeat_s": self._control.heartbeat_s,
                "flag": self._control.hub.flag_for(guard),
                "shares_budget": self._budgets.covers(guard.agent),
                "lease": self._leases.offer(**_terms(guard, force, registration.nonce)) if registration.nonce else None,
            },
            201,
        )

    async def lease(self, request: Request, guard_id: str) -> Response:
        """A lease for the next seconds, and the order that it goes with."""
        guard = self._guard(request, guard_id)
        wanted = await _body(request, LeaseRequest)
        force = self._control.force(guard.agent)
        orders = orders_digest(force.orders, force.dropped)
        granted = self._leases.give(**_terms(guard, force, wanted.nonce), orders=orders)
        body = {**self._control.hub.order_body(guard.agent, force), **granted}
        if wanted.budget is not None:
            body["budget"] = await self._budgets.give(
                wanted.budget,
                agent=guard.agent,
                instance=guard.holder,
                guard=guard.id,
                key=self._leases.key_of(guard.id),
                nonce=wanted.nonce,
            )
        return answer(body)

    async def orders(self, request: Request, guard_id: str) -> Response:
        """Server-sent events: what is in force, then every order as it is given."""
        guard = self._guard(request, guard_id)
        return StreamingResponse(self._control.hub.stream(guard), media_type="text/event-stream", headers=STREAM_HEADERS)

    async def acknowledge(self, request: Request, guard_id: str) -> Response:
        """What a guard made of an order."""
        guard = self._guard(request, guard_id)
        self._control.hub.acknowledge(guard, await _body(request, Ack))
        return Response(status_code=204)

    async def report(self, request: Request, guard_id: str) -> Response:
        """What has changed about a guard since it registered: what it can do, and its state."""
        guard = self._guard(request, guard_id)
        said = await _body(request, GuardReport)
        self._control.hub.update(guard, capabilities=said.capabilities, state=said.state)
        return Response(status_code=204)

    async def configuration(self, request: Request, guard_id: str) -> Response:
        """The active registry version of the guard's agent, or null."""
        return answer(self._control.configuration(self._guard(request, guard_id).agent))

    async def depart(self, request: Request, guard_id: str) -> Response:
        """A guard that ends in good order is not waited for any more."""
        self._control.hub.depart(self._guard(request, guard_id))
        return Response(status_code=204)

    def _guard(self, request: Request, guard_id: str) -> Guard:
        return self._control.hub.guard(guard_id, token_id=self._auth.require_agent(request).id)


def _check_epoch(registration: Registration) -> None:
    """Refuse what no guard can have in force.

    Raises:
        CallerError: says what.
    """
    if registration.epoch and not all(0 <= part <= MAX_EPOCH for part in registration.epoch):
        raise CallerError(f"the parts of an epoch are 0 to {MAX_EPOCH}", place="epoch")
    if registration.rung not in LADDER:
        raise CallerError(f"unknown rung {registration.rung!r}", place="rung", remedy=f"use one of: {', '.join(LADDER)}")


def _terms(guard: Guard, force: Force, nonce: str) -> dict[str, Any]:
    """What a lease is about.

    Raises:
        CallerError: the nonce is none.
    """
    if not 0 < len(nonce) <= MAX_NONCE:
        raise CallerError(f"a nonce has 1 to {MAX_NONCE} characters", place="nonce")
    return {
        "guard": guard.id,
        "agent": guard.agent,
        "instance": guard.instance,
        "epoch": force.epoch,
        "rung": force.rung,
        "nonce": nonce,
    }


async def _body(request: Request, kind: type[Any]) -> Any:
    """The request's JSON as a record.

    Raises:
        CallerError: it is not one.
    """
    whole = bytearray()
    async for part in request.stream():
        whole += part
        if len(whole) > MAX_BODY:
            raise CallerError(f"the body is larger than {MAX_BODY} bytes")
    try:
        return msgspec.json.decode(bytes(whole), type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CallerError(f"the body is not as described: {error}") from None
