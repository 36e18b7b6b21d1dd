"""Slack's Socket Mode: clicks come in over a connection that we open, so nothing of ours has to be reachable from outside."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from andoncord.adapters.notify.slack import SlackApi, SlackError
from andoncord.kernel.time import SECOND_NS
from andoncord.respond.chat import Click

FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 60.0
OPEN_S = 10.0
PING_S = 20.0
MAX_BYTES = 1 << 20
ACK_WITHIN_S = 2.0
"""Slack takes a click for lost after 3 s; one that takes longer is acknowledged before it is done."""
MAX_CLICKS = 100
"""Clicks that are being looked at at once; more wait in the connection."""
logger = logging.getLogger(__name__)


class SlackSocket:
    """One connection of one app, opened again whenever it ends, with growing and scattered waits.

    Args:
        api: with the app-level token (`xapp-…`).
        on_click: takes a click; must not raise.
        chance: a number from 0 to 1, for the spread of waits.
        may_be_open: the connection may be unencrypted; for a server of this machine.
    """

    def __init__(
        self,
        api: SlackApi,
        *,
        on_click: Callable[[Click], Awaitable[None]],
        chance: Callable[[], float],
        may_be_open: bool = False,
    ) -> None:
        self._api = api
        self._on_click = on_click
        self._chance = chance
        self._may_be_open = may_be_open
        self._clicks: set[asyncio.Task[None]] = set()
        self.is_connected = False
        self.why = "not connected yet"
        """What keeps it from being connected."""

    async def run(self) -> None:
        """Stay connected until it is cancelled."""
        failures = 0
        try:
            while True:
                was_up = False
                try:
                    was_up = await self._hold()
                    self.why = "Slack asked for a new connection"
                except (SlackError, WebSocketException, OSError, TimeoutError, ValueError) as error:
                    was_up = self.is_connected
                    self.why = f"{type(error).__name__}: {error}"[:200]
                    logger.warning("no connection to Slack: %s", self.why)
                finally:
                    self.is_connected = False
                failures = 0 if was_up else failures + 1
                await asyncio.sleep(wait_s(failures, self._chance()))
        finally:
            for task in self._clicks:
                task.cancel()
            await asyncio.gather(*self._clicks, return_exceptions=True)

    async def _hold(self) -> bool:
        """Open a connection and hold it until its end; whether it was ever up."""
        url = str((await self._api.call("apps.connections.open", {})).get("url", ""))
        if urlsplit(url).scheme != "wss" and not (self._may_be_open and urlsplit(url).scheme == "ws"):
            raise ValueError("Slack named an address that is not encrypted")
        async with connect(
            url, open_timeout=OPEN_S, ping_interval=PING_S, ping_timeout=PING_S, max_size=MAX_BYTES, proxy=None
        ) as socket:
            async for raw in socket:
                envelope = _decoded(raw)
                kind = envelope.get("type")
                if kind == "hello":
                    self.is_connected, self.why = True, ""
                elif kind == "disconnect":
                    return self.is_connected
                elif envelope.get("envelope_id"):
                    while len(self._clicks) >= MAX_CLICKS:
                        await asyncio.wait(self._clicks, return_when=asyncio.FIRST_COMPLETED)
                    task = asyncio.create_task(self._take(socket, envelope))
                    self._clicks.add(task)
                    task.add_done_callback(self._clicks.discard)
        return self.is_connected

    async def _take(self, socket: ClientConnection, envelope: dict[str, Any]) -> None:
        """Do what a click asks for, and acknowledge its envelope, at the latest when Slack would take it for lost."""
        doing = [asyncio.create_task(self._do(click)) for click in clicks_of(envelope)]
        try:
            if doing:
                await asyncio.wait(doing, timeout=ACK_WITHIN_S)
            await socket.send(msgspec.json.encode({"envelope_id": envelope["envelope_id"]}).decode())
        except WebSocketException:
            pass  # Slack delivers it again, and it is known by its id.
        await asyncio.gather(*doing)

    async def _do(self, click: Click) -> None:
        try:
            await self._on_click(click)
        except Exception:
            logger.exception("a click in Slack could not be taken")


def wait_s(failures: int, chance: float) -> float:
    """How long until the next attempt.

    >>> wait_s(0, 1.0), wait_s(3, 1.0), wait_s(3, 0.0), wait_s(99, 1.0)
    (0.5, 4.0, 2.0, 60.0)
    """
    return min(LONGEST_WAIT_S, FIRST_WAIT_S * float(2 ** min(failures, 16))) * (0.5 + chance / 2)


def clicks_of(envelope: dict[str, Any]) -> list[Click]:
    """The clicks in an envelope; none where it is about something else, or not as Slack says."""
    payload = envelope.get("payload")
    if envelope.get("type") != "interactive" or not isinstance(payload, dict) or payload.get("type") != "block_actions":
        return []
    try:
        user, container = str(payload["user"]["id"]), payload["container"]
        message = f"{container['channel_id']}/{container['message_ts']}"
        return [
            Click(
                user=user,
                message=message,
                do=str(each["action_id"]),
                value=str(each.get("value", "")),
                at_ns=_at_ns(str(each["action_ts"])),
                id=f"{message}/{user}/{each['action_id']}/{each['action_ts']}",
            )
            for each in payload["actions"]
        ]
    except (KeyError, TypeError, ValueError):
        return []


def _at_ns(moment: str) -> int:
    """Slack's moments: seconds, a point, and six digits.

    >>> _at_ns("1548426417.840180")
    1548426417840180000
    """
    seconds, _, micros = moment.partition(".")
    return int(seconds) * SECOND_NS + int(micros[:6].ljust(6, "0") or 0) * 1_000


def _decoded(raw: str | bytes) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    return found if isinstance(found, dict) else {}
