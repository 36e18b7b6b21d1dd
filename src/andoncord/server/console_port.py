"""The console's only way to read and to act: the same control and the same checks as the API's."""

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request

from andoncord.kernel.errors import NotFoundError
from andoncord.server.auth import COOKIE, Auth
from andoncord.server.console.port import Session
from andoncord.server.control import Control
from andoncord.server.health import Health, shown_overdue
from andoncord.server.ordering import Ordering
from andoncord.server.reading import Reading

SHOWN_MINUTES = 60
"""Of an agent's figures, and of what it touched."""


class ServerConsolePort:
    """A `ConsolePort` over the running server."""

    cookie_name = COOKIE

    def __init__(self, *, control: Control, auth: Auth, reading: Reading, health: Health) -> None:
        self._control = control
        self._reading = reading
        self._health = health
        self._auth = auth
        self.environment = control.environment

    def now_ns(self) -> int:
        return self._control.clock.now()

    def new_key(self) -> str:
        return self._control.entropy.secret()

    def summaries(self, state: str) -> list[dict[str, Any]]:
        return self._control.summaries(state)

    def view(self, incident_id: str) -> dict[str, Any] | None:
        try:
            return self._control.view(incident_id)
        except NotFoundError:
            return None

    def fleet(self) -> list[dict[str, Any]]:
        return self._control.fleet()

    def kpis(self) -> dict[str, Any]:
        return self._control.kpis()

    def overdue(self) -> list[dict[str, Any]]:
        return [shown_overdue(each) for each in self._health.overdue()]

    async def fleet_map(self) -> list[dict[str, Any]]:
        return await self._reading.fleet()

    async def agent(self, name: str) -> dict[str, Any]:
        return await self._reading.agent(name)

    async def series(self, agent: str) -> dict[str, Any]:
        return await self._reading.series(agent, minutes=SHOWN_MINUTES)

    async def touched(self, agent: str) -> dict[str, Any]:
        return await self._reading.touched_by(agent, minutes=SHOWN_MINUTES)

    async def runs(self, agent: str) -> dict[str, Any]:
        return await self._reading.runs(agent, minutes=SHOWN_MINUTES)

    async def trace(self, trace_id: str) -> dict[str, Any]:
        return await self._reading.whole(trace_id)

    def session(self, request: Request) -> Session | None:
        principal = self._auth.session(request)
        return Session(name=principal.name, csrf=principal.csrf, scope=principal.scope.value) if principal else None

    def exchange(self, code: str) -> str | None:
        return self._auth.exchange(code)

    def forget(self, request: Request) -> None:
        self._auth.end_session(request)

    async def act(self, command: str, *, by: str, incident: str, agent: str, parameters: Mapping[str, Any], key: str) -> None:
        if command == "lift":
            parameters = {**parameters, "agents": Ordering(self._control).agents_of(str(parameters["order"]))}
        await self._control.ask(command, by=by, incident=incident, agent=agent, parameters=parameters, key=key)
