"""Clicks in chat: who it was, whether they may, and doing it once.

Chat is no place of trust: a click says who clicked, and what they may do is looked up here at that moment. A click that comes
again, or too late, changes nothing and says so to who clicked.
"""

from collections.abc import Mapping
from typing import Any, Literal, Protocol

import msgspec

from andoncord.kernel.access import Actor
from andoncord.kernel.canon import digest
from andoncord.kernel.errors import CallerError, ConflictError
from andoncord.kernel.time import DAY_NS, MINUTE_NS
from andoncord.respond.approval import ApprovalSettings, Request
from andoncord.respond.chat import (
    CLICK_NS,
    Button,
    Click,
    Doing,
    Post,
    Sealed,
    approval_post,
    opened,
    page_post,
    seal,
    whole_text,
)
from andoncord.respond.ladder import height
from andoncord.respond.notice import Notice, Said
from andoncord.server.auth import ForbiddenError
from andoncord.server.control import Control
from andoncord.server.ports import ServerClock

PAGE_BUTTONS_NS = DAY_NS
"""How long the buttons of a page are good. Chosen: a page that is a day old was followed by others."""
SKEW_NS = MINUTE_NS
"""How far ahead chat's clock may be."""
PAUSE: Literal["pause"] = "pause"


class ChatRoom(Protocol):
    """One conversation in chat."""

    async def show(self, post: Post, *, replies_to: str = "", is_loud: bool = False) -> Said: ...

    async def change(self, message: str, post: Post) -> str: ...

    async def whisper(self, user: str, message: str, text: str) -> None: ...


class People(Protocol):
    """Whoever knows accounts."""

    def actor_named(self, name: str, *, via: str) -> Actor: ...


class Record(Protocol):
    """Where it is written down who was let through, and who was not."""

    def changed(self, actor: Actor, what: str, about: str) -> None: ...

    def refused(self, *, who: str, via: str, address: str, what: str, about: str, why: str) -> None: ...


class Room(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation of the settings."""

    port: Any
    """A `ChatRoom`."""
    people: dict[str, str] = {}
    """Who somebody in chat is: their id there, and the name of their account."""
    takes_approvals: bool = False
    """Requests for approvals are shown in it."""


class Dresser:
    """Notices and requests as they are shown, with buttons that carry our seal.

    Args:
        key: what seals are made with.
        link: where the console is; empty where nobody said.
    """

    def __init__(self, *, key: bytes, clock: ServerClock, link: str) -> None:
        self._key = key
        self._clock = clock
        self._link = link.rstrip("/")

    def notice(self, notice: Notice) -> Post:
        """A notice as it is first shown."""
        return self.page(notice, doing=("acknowledge", PAUSE)) if notice.kind == "page" else page_post(notice)

    def page(self, notice: Notice, *, doing: tuple[Doing, ...], status: tuple[str, ...] = ()) -> Post:
        """A page with these buttons."""
        until_ns = self._clock.now() + PAGE_BUTTONS_NS
        buttons = tuple(self._button(each, notice.incident, until_ns=until_ns) for each in doing)
        return page_post(notice, buttons=buttons, status=status)

    def request(self, request: Request, *, is_open: bool, status: tuple[str, ...] = ()) -> Post:
        """A request for an approval; with buttons while it waits."""
        until_ns, shown = request.until_ns, request.digest
        doing: tuple[Doing, ...] = ("grant", "deny") if is_open else ()
        buttons = tuple(self._button(each, request.id, until_ns=until_ns, digest=shown) for each in doing)
        link = f"{self._link}/approvals/{request.id}" if self._link else ""
        return approval_post(request, link=link, buttons=buttons, status=status)

    def read(self, click: Click) -> Sealed:
        """What a click says.

        Raises:
            CallerError: it is none of ours, or its time is over.
        """
        now = self._clock.now()
        if not now - CLICK_NS <= click.at_ns <= now + SKEW_NS:
            raise ConflictError("this click came too late", remedy="click again")
        return opened(self._key, click.value, do=click.do, now_ns=now)

    def _button(self, do: Doing, about: str, *, until_ns: int, digest: str = "") -> Button:
        sealed = seal(self._key, Sealed(do=do, about=about, digest=digest, until_ns=until_ns))
        confirm = f"Every agent of {about} is held, until somebody lets it go." if do == PAUSE else ""
        return Button(do=do, value=sealed, confirm=confirm)


class ChatDesk:
    """Takes clicks.

    Args:
        rooms: by the names of their channels.
    """

    def __init__(
        self,
        *,
        control: Control,
        people: People,
        record: Record,
        rooms: Mapping[str, Room],
        dresser: Dresser,
        approvals: ApprovalSettings,
    ) -> None:
        self._control = control
        self._people = people
        self._record = record
        self._rooms = dict(rooms)
        self._dresser = dresser
        self._approvals = approvals

    async def clicked(self, room: str, click: Click) -> None:
        """Do what a click asks for, or tell who clicked why not. Never raises for what people do."""
        via = f"slack {room}"
        name = self._rooms[room].people.get(click.user, "")
        try:
            if not name:
                raise ForbiddenError(f"nobody here is {click.user}", remedy=f"name them under channels.{room}.people")
            sealed = self._dresser.read(click)
            key = f"chat/{digest(click.id.encode())}"
            if key in self._control.state.wishes:
                raise ConflictError("this click was taken before")
            actor = self._people.actor_named(name, via=via)
            await self._do(sealed, actor, key)
        except CallerError as error:
            about = click.message
            self._record.refused(who=name or click.user, via=via, address="", what=click.do, about=about, why=str(error))
            await self._rooms[room].port.whisper(click.user, click.message, str(error))
            return
        self._record.changed(actor, sealed.do, sealed.about)

    async def _do(self, sealed: Sealed, actor: Actor, key: str) -> None:
        match sealed.do:
            case "acknowledge":
                await self._ask("acknowledge", actor, key, incident=sealed.about, note="in chat")
            case "pause":
                await self._pause(sealed.about, actor, key)
            case "grant":
                request = self._control.state.approvals.get(sealed.about)
                if not whole_text(request):
                    raise ConflictError("what is not shown whole here cannot be approved here", remedy="use the console")
                roles, use_within_s = self._approvals.roles, self._approvals.use_within_s
                given: dict[str, Any] = {"request": request.id, "digest": sealed.digest, "reason": "in chat"}
                await self._ask("grant_approval", actor, key, **given, roles=roles, use_within_s=use_within_s)
            case "deny":
                given = {"request": sealed.about, "reason": "in chat", "roles": self._approvals.roles}
                await self._ask("deny_approval", actor, key, **given)

    async def _pause(self, incident_id: str, actor: Actor, key: str) -> None:
        """Hold every agent of an incident that is not held so far."""
        state = self._control.state
        free = [each for each in state.incident(incident_id).agents if height(state.rung_of(each)) < height(PAUSE)]
        if not free:
            raise ConflictError("its agents are held already")
        for number, agent in enumerate(free):
            own_key = f"{key}/{number}" if number else key
            await self._ask("contain", actor, own_key, incident=incident_id, agent=agent, rung=PAUSE, reason="paused in chat")

    async def _ask(
        self, command: str, actor: Actor, key: str, *, incident: str = "", agent: str = "", **parameters: Any
    ) -> None:
        await self._control.ask(command, who=actor, incident=incident, agent=agent, parameters=parameters, key=key)
