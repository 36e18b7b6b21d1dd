"""Socket Mode against a Slack of this machine."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from socket import SHUT_RDWR

import pytest
from tests.adapters.slack_server import Slack, eventually, slack_server

from andoncord.adapters.notify.slack import SlackApi
from andoncord.adapters.notify.slack_socket import SlackSocket, clicks_of
from andoncord.respond.chat import Click


@pytest.fixture
def slack() -> Iterator[Slack]:
    with slack_server() as found:
        yield found


async def until(holds: Callable[[], bool]) -> None:
    await asyncio.to_thread(eventually, holds)


def socket_of(slack: Slack, tmp_path: Path, clicks: list[Click], *, may_be_open: bool = True) -> SlackSocket:
    (tmp_path / "app.token").write_text("xapp-1\n")

    async def take(click: Click) -> None:
        clicks.append(click)
        if click.user == "U0BROKEN":
            raise RuntimeError("a click that breaks")

    api = SlackApi(url=slack.url, token_file=tmp_path / "app.token")
    return SlackSocket(api, on_click=take, chance=lambda: 0.0, may_be_open=may_be_open)


def test_clicks_come_in_and_are_acknowledged_over_every_new_connection(slack: Slack, tmp_path: Path) -> None:
    """What is no click, or no JSON, is left alone; a click that breaks ends nothing; a lost connection is opened again."""
    clicks: list[Click] = []
    socket = socket_of(slack, tmp_path, clicks)
    slack.messages["17.1"] = {"blocks": []}
    slack.refuse["apps.connections.open"] = "internal_error"

    async def story() -> None:
        running = asyncio.create_task(socket.run())
        try:
            await until(lambda: "internal_error" in socket.why)
            del slack.refuse["apps.connections.open"]
            await until(lambda: socket.is_connected)
            slack.deliver("no JSON")
            slack.deliver({"type": "interactive", "envelope_id": "odd", "payload": {"type": "block_actions"}})
            slack.click("U0BROKEN", "17.1", "acknowledge", value="v", envelope="e1")
            await until(lambda: "e1" in slack.acknowledged)

            slack.deliver({"type": "disconnect", "reason": "refresh_requested"})
            await until(lambda: slack.connections == 2 and socket.is_connected)
            slack.click("U0ADA", "17.1", "pause", value="v", at_s=1_548_426_417.84018, envelope="e2")
            await until(lambda: "e2" in slack.acknowledged)

            slack.connected[-1].socket.shutdown(SHUT_RDWR)  # Without a word, as when a network goes away.
            await until(lambda: slack.connections == 3)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    asyncio.run(story())

    assert [click.user for click in clicks] == ["U0BROKEN", "U0ADA"]
    assert (clicks[1].message, clicks[1].do, clicks[1].at_ns) == ("C024BE91L/17.1", "pause", 1_548_426_417_840_180_000)
    assert slack.acknowledged == ["odd", "e1", "e2"]


def test_an_open_wire_is_refused(slack: Slack, tmp_path: Path) -> None:
    """An address that is not encrypted is taken from a server of this machine only."""
    socket = socket_of(slack, tmp_path, [], may_be_open=False)

    async def story() -> None:
        running = asyncio.create_task(socket.run())
        await until(lambda: "not encrypted" in socket.why)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(story())
    assert slack.connections == 0


def test_what_is_no_click_gives_none() -> None:
    """Other payloads of the same envelope are nobody's click."""
    assert clicks_of({"type": "events_api", "payload": {"type": "block_actions"}}) == []
    assert clicks_of({"type": "interactive", "payload": {"type": "view_submission"}}) == []
    assert clicks_of({"type": "interactive", "payload": []}) == []
