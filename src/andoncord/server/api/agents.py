"""Agents over HTTP: what is in force for them, their registry and the policies."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from andoncord.engine.gate import deploy_gate
from andoncord.kernel.time import rfc3339
from andoncord.server import requests as bodies
from andoncord.server.api.door import ApiDoor, answer


class AgentApi:
    """Routes under `/api/v1`."""

    def __init__(self, door: ApiDoor) -> None:
        self._door = door
        self._control = door.control

    def router(self) -> APIRouter:
        """Every route, with its sentence for the OpenAPI document."""
        router = APIRouter()
        get, post = router.get, router.post
        get("/agents")(self.agents)
        post("/agents/{agent}/orders", status_code=202)(self.order)
        post("/fleet/orders", status_code=202)(self.fleet_order)
        get("/registry/{agent}/versions")(self.versions)
        post("/registry/{agent}/versions", status_code=201)(self.publish)
        post("/registry/{agent}/active", status_code=202)(self.activate)
        get("/policies")(self.policies)
        get("/deploy-gate")(self.deploy_gate)
        return router

    async def agents(self, request: Request) -> Response:
        """Every agent that is declared or was heard of."""
        return answer({"items": self._control.fleet()})

    async def order(self, request: Request, agent: str, body: bodies.AgentOrder) -> Response:
        """Put a rung in force for an agent; declares an incident when none is open."""
        parameters = {"rung": body.rung, "reason": body.reason, "lasts_s": body.lasts_s}
        return await self._door.do(request, "contain", agent=agent, parameters=parameters)

    async def fleet_order(self, request: Request, body: bodies.FleetOrder) -> Response:
        """Put a rung in force for every agent that matches; an answer without a match is 404 and orders nothing."""
        agents = self._control.matching(body.agents)
        return await self._door.do(
            request, "contain_fleet", parameters={"agents": agents, "rung": body.rung, "reason": body.reason}
        )

    async def versions(self, request: Request, agent: str) -> Response:
        """The registry's versions of an agent, oldest first."""
        registry = self._control.state.registry
        active = registry.active(agent)
        items = [
            {
                "version": each.version,
                "values": each.values,
                "note": each.note,
                "good": each.good,
                "published_at": rfc3339(each.published_ns),
                "by": each.by,
            }
            for each in registry.versions(agent)
        ]
        return answer({"items": items, "active": active.version if active else None})

    async def publish(self, request: Request, agent: str, body: bodies.VersionBody) -> Response:
        """Add a version. The first of an agent becomes active."""
        parameters = {"values": body.values, "version": body.version, "note": body.note, "good": body.good}
        return await self._door.do(request, "publish_version", agent=agent, parameters=parameters, status=201)

    async def activate(self, request: Request, agent: str, body: bodies.Activation) -> Response:
        """Make a version the active one and have the guards take it."""
        parameters = {"version": body.version, "reason": body.reason}
        return await self._door.do(request, "activate_version", agent=agent, parameters=parameters)

    async def policies(self, request: Request) -> Response:
        """The policies in force, in the form that guards load."""
        return answer({"items": self._control.policies()})

    async def deploy_gate(self, request: Request, agent: str) -> Response:
        """Whether the code of an agent may be deployed now, and why not."""
        return answer(deploy_gate(self._control.state, agent))
