"""What the console needs from the server it is mounted in. The console has no other way to read or to act."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import Response

from andoncord.server.console.desk_port import DeskPort
from andoncord.server.console.people_port import PeoplePort, Session

PutCookies = Callable[[Response], None]
"""Gives a browser its session, or takes it back."""


class ConsolePort(PeoplePort, Protocol):
    """Reads return the JSON views of the API; `act` is the one way to change anything."""

    environment: str
    """`demo` puts the banner of a simulated fleet on every page."""
    provider: str
    """What the button of the identity provider says; empty where there is none."""

    @property
    def desk(self) -> DeskPort:
        """What waits for a person because an agent may not do it."""
        ...

    @property
    def has_passwords(self) -> bool:
        """Whether people sign in with a password here, besides one-time codes."""
        ...

    def now_ns(self) -> int: ...

    def new_key(self) -> str:
        """A fresh idempotency key for one rendered form."""
        ...

    def summaries(self, state: str) -> Sequence[Mapping[str, Any]]:
        """Incidents that are `open`, in one state of the lifecycle, or `all`."""
        ...

    def view(self, incident_id: str) -> Mapping[str, Any] | None: ...

    def fleet(self) -> Sequence[Mapping[str, Any]]: ...

    def kpis(self) -> Mapping[str, Any]: ...

    def overdue(self) -> Sequence[Mapping[str, Any]]:
        """Promises that were not kept."""
        ...

    async def fleet_map(self) -> Sequence[Mapping[str, Any]]:
        """One line for each agent that is declared or was seen."""
        ...

    async def agent(self, name: str) -> Mapping[str, Any]:
        """Everything about one agent.

        Raises:
            NotFoundError: there is none.
        """
        ...

    async def series(self, agent: str) -> Mapping[str, Any]:
        """An agent's figures of the last hour, by the minute."""
        ...

    async def touched(self, agent: str) -> Mapping[str, Any]:
        """What an agent touched in the last hour."""
        ...

    async def runs(self, agent: str) -> Mapping[str, Any]:
        """An agent's runs of the last hour."""
        ...

    async def answers(self, agent: str) -> Mapping[str, Any]:
        """How good an agent's answers are, its canary tasks, and what is predicted of it."""
        ...

    async def influence(self, agent: str) -> Mapping[str, Any]:
        """Who influenced whom in the last hour; with an agent, what it is part of."""
        ...

    async def taint(self, datum: str, hours: int) -> Mapping[str, Any]:
        """What is downstream of a datum.

        Raises:
            CallerError: there is no such datum or time.
        """
        ...

    async def trace(self, trace_id: str) -> Mapping[str, Any]:
        """One trace: `spans` with their depth, its `steps` as a transcript, what it `touched`.

        Raises:
            NotFoundError: there is none.
        """
        ...

    def session(self, request: Request) -> Session | None: ...

    def exchange(self, request: Request, code: str) -> PutCookies | None:
        """Begin a session for a one-time login code; None when the code is not valid (any more)."""
        ...

    async def sign_in(self, request: Request, name: str, password: str) -> PutCookies | None:
        """Begin a session of an account; None when name and password do not belong together.

        Raises:
            CallerError: too many failed before.
        """
        ...

    async def send_elsewhere(self, request: Request, after: str) -> tuple[str, PutCookies]:
        """Begin to sign in at the provider: where the browser goes, and what it has to bring back.

        Raises:
            CallerError: there is no provider, or it does not answer.
        """
        ...

    async def back_from_elsewhere(self, request: Request) -> tuple[str, PutCookies]:
        """Begin a session for who comes back: where they wanted to go, and their cookies.

        Raises:
            CallerError: they cannot come in.
        """
        ...

    def forget(self, request: Request) -> PutCookies:
        """End the session of this request."""
        ...

    async def act(
        self, command: str, *, who: Session, incident: str, agent: str, parameters: Mapping[str, Any], key: str
    ) -> None:
        """Do one command of `forms.COMMANDS` once for each key.

        Raises:
            CallerError: it cannot be done; says why and what to do instead.
        """
        ...
