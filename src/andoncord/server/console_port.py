"""The console's only way to read and to act: the same control and the same checks as the API's."""

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request

from andoncord.kernel.access import Actor, Scope
from andoncord.kernel.errors import NotFoundError
from andoncord.respond.approval import ApprovalSettings
from andoncord.server.console.people_port import Session
from andoncord.server.console.port import PutCookies
from andoncord.server.control import Control
from andoncord.server.desk_reads import DeskReads
from andoncord.server.elsewhere import Elsewhere
from andoncord.server.goodness import Goodness
from andoncord.server.health import Health, shown_overdue
from andoncord.server.identity import Identity
from andoncord.server.ordering import Ordering
from andoncord.server.people_port import ServerPeople
from andoncord.server.reading import Reading
from andoncord.server.signing_in import STATE_COOKIE, SignedIn
from andoncord.server.spreading import Spreading
from andoncord.server.vault import Vault

SHOWN_MINUTES = 60
SHOWN_RUNS = 500
"""Of an agent's figures, and of what it touched."""


class ServerConsolePort(ServerPeople):
    """A `ConsolePort` over the running server."""

    def __init__(
        self,
        *,
        control: Control,
        identity: Identity,
        approvals: ApprovalSettings,
        vault: Vault,
        reading: Reading,
        health: Health,
        spreading: Spreading,
        answers: Goodness,
        desk: DeskReads,
    ) -> None:
        super().__init__(control=control, identity=identity, approvals=approvals, vault=vault)
        self.desk = desk
        self._control = control
        self._spreading = spreading
        self._answers = answers
        self._reading = reading
        self._health = health
        self._auth = identity.auth
        self._signing_in = identity.signing_in
        self._elsewhere = identity.elsewhere
        oidc = identity.settings.oidc
        self.provider = oidc.label if oidc else ""
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
        return await self._reading.runs(agent, minutes=SHOWN_MINUTES, limit=SHOWN_RUNS)

    async def answers(self, agent: str) -> dict[str, Any]:
        return await self._answers.of(agent)

    async def influence(self, agent: str) -> dict[str, Any]:
        return await self._spreading.influence(agent=agent, minutes=SHOWN_MINUTES)

    async def taint(self, datum: str, hours: int) -> dict[str, Any]:
        return await self._spreading.taint(datum, hours=hours)

    async def trace(self, trace_id: str) -> dict[str, Any]:
        return await self._reading.whole(trace_id)

    def session(self, request: Request) -> Session | None:
        principal = self._auth.session(request)
        if principal is None:
            return None
        may = frozenset(scope.value for scope in principal.may)
        return Session(
            name=principal.name, csrf=principal.csrf, scope=principal.scope.value, may=may, address=principal.address
        )

    @property
    def has_passwords(self) -> bool:
        return self._signing_in.has_passwords

    def exchange(self, request: Request, code: str) -> PutCookies | None:
        return self._putting(request, self._signing_in.with_code(request, code))

    async def sign_in(self, request: Request, name: str, password: str) -> PutCookies | None:
        return self._putting(request, await self._signing_in.with_password(request, name, password))

    async def send_elsewhere(self, request: Request, after: str) -> tuple[str, PutCookies]:
        sent = await self._provider.begin(request, after=after)
        return sent.address, lambda response: self._signing_in.put_state(request, response, sent.cookie)

    async def back_from_elsewhere(self, request: Request) -> tuple[str, PutCookies]:
        begun, after = await self._provider.back(request, cookie=request.cookies.get(STATE_COOKIE, ""))
        return after, lambda response: self._signing_in.put_cookies(request, response, begun)

    @property
    def _provider(self) -> Elsewhere:
        if self._elsewhere is None:
            raise NotFoundError("no identity provider is set up here", remedy="sign in with a code from `andon login`")
        return self._elsewhere

    def forget(self, request: Request) -> PutCookies:
        self._signing_in.out(request)
        return lambda response: self._signing_in.drop_cookies(request, response)

    def _putting(self, request: Request, begun: SignedIn | None) -> PutCookies | None:
        return (lambda response: self._signing_in.put_cookies(request, response, begun)) if begun else None

    async def act(
        self, command: str, *, who: Session, incident: str, agent: str, parameters: Mapping[str, Any], key: str
    ) -> None:
        if command in ("grant_approval", "deny_approval"):
            parameters = self.grant_parameters(dict(parameters))
        parameters = self.desk.completed(command, incident, parameters)
        if command == "lift":
            parameters = {**parameters, "agents": Ordering(self._control).agents_of(str(parameters["order"]))}
        await self._control.ask(command, who=_actor(who), incident=incident, agent=agent, parameters=parameters, key=key)


def _actor(session: Session) -> Actor:
    may = frozenset(Scope(word) for word in session.may)
    return Actor(name=session.name, may=may, via="console", address=session.address)
