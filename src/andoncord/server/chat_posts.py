"""Messages in chat that are kept true: requests for approvals are shown, and every message says what became of it and by whom.

What is shown follows from the state, not from the click, so that what was done in the console stands in chat as well.
"""

import asyncio
import logging
from collections.abc import Mapping

import msgspec

from andoncord.engine.state import Intent, State
from andoncord.incident.incident import Incident
from andoncord.kernel.effect import EffectKind
from andoncord.kernel.journal import Entry
from andoncord.kernel.time import DAY_NS, rfc3339
from andoncord.respond.approval import Request
from andoncord.respond.chat import Doing
from andoncord.respond.ladder import height
from andoncord.respond.notice import Delivery, Said, compose
from andoncord.server.chat import PAUSE, Dresser, Room
from andoncord.server.control import Control
from andoncord.server.notices import DeliveryStore

SWEEP_S = 10.0
"""How often what could not be shown is tried again."""
SETTLE_S = 0.2
"""How long is waited after a change, so that what belongs together is shown at once."""
MAX_TRIES = 10
"""Attempts to change a message; then it stays as it is, and a click on it is answered all the same."""
MAX_PAGES = 50
"""Messages about one incident that are kept true in each conversation: the newest."""
TOLD = ("incident.acknowledged", "incident.moved", "incident.merged", "incident.absorbed")
logger = logging.getLogger(__name__)


class ChatPosts:
    """Keeps messages true, for as long as it runs.

    Args:
        rooms: by the names of their channels.
        link: where the console is; empty where nobody said.
    """

    def __init__(
        self, *, control: Control, deliveries: DeliveryStore, rooms: Mapping[str, Room], dresser: Dresser, link: str
    ) -> None:
        self._control = control
        self._deliveries = deliveries
        self._rooms = dict(rooms)
        self._dresser = dresser
        self._link = link.rstrip("/")
        self._stale: dict[str, int] = {}
        """What is to be shown anew, and how often that was tried: an incident or a request."""
        self._shown: set[str] = set()
        """Requests that stand wherever they belong."""
        self._woken = asyncio.Event()

    async def run(self) -> None:
        """Run until it is cancelled."""
        now = self._control.clock.now()
        lately = [each.id for each in self._control.state.approvals.requests.values() if each.until_ns > now - DAY_NS]
        self._stale |= dict.fromkeys(lately, 0)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listen())
            group.create_task(self._show())

    async def _listen(self) -> None:
        while True:
            async for entry in self._control.engine.subscribe():
                if about := _about(entry):
                    self._stale[about] = 0
                    self._woken.set()
            await asyncio.sleep(SETTLE_S)  # Too slow, or over: what was missed is found by the sweep or the next change.

    async def _show(self) -> None:
        while True:
            for about in list(self._stale):
                tries = self._stale.pop(about)
                try:
                    is_true = await self._show_one(about)
                except Exception:
                    # One message that breaks must not keep the others from being shown.
                    logger.exception("%s could not be shown in chat", about)
                    is_true = False
                if not is_true and tries < MAX_TRIES:
                    self._stale.setdefault(about, tries + 1)
            self._woken.clear()
            try:
                async with asyncio.timeout(SWEEP_S):
                    await self._woken.wait()
            except TimeoutError:
                requests = self._control.state.approvals.requests.values()
                waiting = (each.id for each in requests if each.status == "waiting" and each.id not in self._shown)
                self._stale |= dict.fromkeys(waiting, 0)
                continue
            await asyncio.sleep(SETTLE_S)

    async def _show_one(self, about: str) -> bool:
        state = self._control.state
        if request := state.approvals.requests.get(about):
            return await self._show_request(request)
        incident = state.incidents.get(about)
        return incident is None or await self._show_pages(state, incident)

    async def _show_request(self, request: Request) -> bool:
        """Show a request where it is not shown yet, and what became of it where it is."""
        intent, is_open = f"approval/{request.id}", request.status == "waiting"
        post = self._dresser.request(request, is_open=is_open, status=request_status(request))
        known = {each.channel: each for each in self._deliveries.of_intent(intent)}
        is_true = True
        for name, room in self._rooms.items():
            delivery = known.get(name)
            if delivery is not None and delivery.is_settled:
                is_true = not await room.port.change(delivery.provider_id, post) and is_true
            elif is_open and room.takes_approvals:
                kept = delivery or self._queued(intent, name)
                said: Said = await room.port.show(post)
                self._keep(kept, said)
                is_true = is_true and said.state != "failed"
        if is_true:
            self._shown.add(request.id)
        return is_true

    async def _show_pages(self, state: State, incident: Incident) -> bool:
        doing, status = page_status(state, incident)
        found = [each for each in self._deliveries.of_incident(incident.id) if each.channel in self._rooms and each.is_settled]
        is_true = True
        for delivery in sorted(found, key=lambda each: each.at_ns)[-MAX_PAGES:]:
            intent = state.intents.get(delivery.intent)
            if intent is None or not _is_page(intent):
                continue
            link = f"{self._link}/incidents/{incident.id}" if self._link else ""
            notice = compose(intent.effect.parameters, key=intent.effect.key, incident=incident.id, link=link)
            post = self._dresser.page(notice, doing=doing, status=status)
            is_true = not await self._rooms[delivery.channel].port.change(delivery.provider_id, post) and is_true
        return is_true

    def _queued(self, intent: str, channel: str) -> Delivery:
        queued = Delivery(
            key=f"{intent}/{channel}",
            intent=intent,
            incident="",
            channel=channel,
            person="",
            state="queued",
            attempts=0,
            provider_id="",
            why="",
            at_ns=self._control.clock.now(),
        )
        self._deliveries.queue((queued,))
        return queued

    def _keep(self, delivery: Delivery, said: Said) -> None:
        changes = {"state": said.state, "provider_id": said.provider_id, "why": said.why, "at_ns": self._control.clock.now()}
        self._deliveries.save(msgspec.structs.replace(delivery, attempts=delivery.attempts + 1, **changes))


def page_status(state: State, incident: Incident) -> tuple[tuple[Doing, ...], tuple[str, ...]]:
    """Which buttons a page still has, and what it says about who did what."""
    status: list[str] = []
    if incident.acknowledged_by:
        status.append(f"{_person(incident.acknowledged_by)} looks after it since {rfc3339(incident.acknowledged_ns)}")
    held = 0
    for agent in incident.agents:
        control = state.controls.get(agent)
        if control is not None and control.rung != "none":
            status.append(f"{agent}: {control.rung}, by {_person(control.by)} since {rfc3339(control.since_ns)}")
            held += height(control.rung) >= height(PAUSE)
    if not incident.is_open:
        status.append(f"{incident.state.value}" + (f", merged into {incident.merged_into}" if incident.merged_into else ""))
        return (), tuple(status)
    asked_ns = max((page.last_ns for page in state.notices.pages.values() if page.incident == incident.id), default=0)
    doing: list[Doing] = ["acknowledge"] if asked_ns >= incident.acknowledged_ns or not incident.acknowledged_by else []
    if held < len(incident.agents):
        doing.append(PAUSE)
    return tuple(doing), tuple(status)


def request_status(request: Request) -> tuple[str, ...]:
    """What became of a request."""
    if request.status == "waiting":
        said = f"{len(request.approved_by)} of {request.people} approved: {', '.join(map(_person, request.approved_by))}"
        return (said,) if request.approved_by else ()
    by = f" by {_person(request.by)}" if request.by else ""
    return (f"{request.status}{by}" + (f": {request.reason}" if request.reason else ""),)


def _about(entry: Entry) -> str:
    """The incident or the request whose messages an entry makes untrue; empty for none."""
    if entry.kind.startswith("approval."):
        return str(entry.body.get("id", ""))
    if entry.kind in TOLD:
        return entry.incident
    is_order = entry.kind == "intent.issued" and entry.body["effect"]["kind"] == EffectKind.ORDER
    return entry.incident if is_order else ""


def _is_page(intent: Intent) -> bool:
    return intent.effect.kind is EffectKind.NOTIFY and intent.effect.parameters["kind"] == "page"


def _person(by: str) -> str:
    return by.removeprefix("person:")
