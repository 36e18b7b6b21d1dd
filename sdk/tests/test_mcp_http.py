"""The MCP proxy before a real server behind HTTP, with the real client; and what a web page or a broken client may try."""

import asyncio
import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mcp.client.client import Client
from mcp_types import ElicitResult
from sdk.tests.wire_server import DEADLINE_S, WireServer, attributes

HERE = Path(__file__).parent


@pytest.fixture
def port(wire: WireServer, tmp_path: Path) -> Iterator[int]:
    """Where a proxy listens that stands before a real server."""
    server = subprocess.Popen([sys.executable, str(HERE / "mcp_http_server.py"), str(tmp_path)], stdout=subprocess.PIPE)
    assert server.stdout is not None
    url = f"http://127.0.0.1:{int(server.stdout.readline())}/mcp"
    options = [
        "--http",
        url,
        "--allow",
        "look=read",
        "--allow",
        "count=read",
        "--allow",
        "ask=read",
        "--let",
        "elicitation",
        "--upstream-token-env",
        "ORDERS_TOKEN",
    ]
    ours = ["-m", "andoncord_sdk.mcp_proxy", "--agent", "mcp-agent", "--server", wire.url, "--telemetry", wire.url]
    environment = {**os.environ, "ANDON_TOKEN": "andon_sdk_test", "ORDERS_TOKEN": "secret"}
    proxy = subprocess.Popen([sys.executable, *ours, *options], stderr=subprocess.PIPE, env=environment)
    assert proxy.stderr is not None
    try:
        yield int(proxy.stderr.readline().rsplit(b":", 1)[1].split(b"/")[0])
        proxy.send_signal(signal.SIGTERM)
        assert proxy.wait(DEADLINE_S) == 128 + signal.SIGTERM
    finally:
        for process, stream in ((proxy, proxy.stderr), (server, server.stdout)):
            process.kill()
            process.wait(DEADLINE_S)
            stream.close()


def test_calls_over_http_pass_the_guard(wire: WireServer, port: int, tmp_path: Path) -> None:
    """Listed, called, told of progress, asked back, held, let go, denied: as over standard streams."""

    async def explain(context: object, params: object) -> ElicitResult:
        return ElicitResult(action="accept", content={"reason": "because"})

    async def conversation() -> None:
        async with Client(f"http://127.0.0.1:{port}/mcp", elicitation_callback=explain) as client:
            assert [tool.name for tool in (await client.list_tools()).tools] == ["look", "count", "ask"]
            assert (await client.call_tool("look", {"order": 17})).content[0].text == "paid"  # type: ignore[union-attr]
            heard: list[float] = []

            async def hear(progress: float, total: float | None, message: str | None) -> None:
                heard.append(progress)

            await client.call_tool("count", progress_callback=hear)
            assert heard == [1]
            assert (await client.call_tool("ask")).content[0].text == "because"  # type: ignore[union-attr]

            await asyncio.to_thread(wire.ack_of, wire.order("pause", (1, 1)))
            told = asyncio.Event()

            async def wait(progress: float, total: float | None, message: str | None) -> None:
                assert "paused" in str(message)
                told.set()

            held = asyncio.create_task(client.call_tool("look", {"order": 18}, progress_callback=wait))
            await told.wait()
            assert (await client.list_tools()).tools
            await asyncio.to_thread(wire.ack_of, wire.order("none", (1, 2)))
            assert not (await held).is_error

            assert (await client.call_tool("pay", {"order": 17})).is_error
            assert (await client.call_tool("look", {"order": 19})).is_error

    asyncio.run(asyncio.wait_for(conversation(), 3 * DEADLINE_S))
    assert (tmp_path / "looked").read_text() == "17\n18\n"
    assert not (tmp_path / "paid").exists()
    assert attributes(wire.wait_span("execute_tool look"))["network.transport"] == "tcp"
    assert wire.wait_log("andoncord.run.ended")["andoncord.task"].startswith("MCP session with http://127.0.0.1:")
    requests = [line.split() for line in (tmp_path / "headers").read_text().splitlines()]
    assert {request[0] for request in requests} == {"POST", "DELETE"}
    assert {(request[1], request[2]) for request in requests} == {("Bearer", "secret")}


def test_what_is_held_for_a_client_that_hangs_up_is_not_made(wire: WireServer, port: int, tmp_path: Path) -> None:
    """Nobody would hear the answer: an approval that comes later is not even used up. The session goes on."""
    owed = {"require_approval": {"role": "finance"}}
    policy = {"id": "ask", "effect": "forbid", "tool": "look", "message": "ask first", "obligations": [owed]}
    wire.wait_stream()
    wire.ack_of(wire.push("policies", {"policies": [policy]}))

    def post(id_: int | None, method: str, params: dict[str, Any], **headers: str) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)
        message = {"jsonrpc": "2.0", "method": method, "params": params, **({} if id_ is None else {"id": id_})}
        connection.request("POST", "/mcp", json.dumps(message), headers)
        return connection

    def look(id_: int, order: int) -> http.client.HTTPConnection:
        return post(id_, "tools/call", {"name": "look", "arguments": {"order": order}}, **session)

    client = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    with contextlib.closing(post(1, "initialize", client)) as opening:
        response = opening.getresponse()
        session = {"Mcp-Session-Id": str(response.headers["Mcp-Session-Id"])}
        response.read()
    with contextlib.closing(post(None, "notifications/initialized", {}, **session)) as initialized:
        initialized.getresponse().read()

    gone = look(2, 17)
    digest = wire.wait_action()
    gone.close()
    with contextlib.closing(look(3, 18)) as staying:
        wire.wait(lambda: len(wire.actions) == 2)
        (other,) = wire.actions.keys() - {digest}
        wire.wait(lambda: wire.asked_last == {other})
        wire.approvals.update({digest: "granted", other: "granted"})
        assert b"paid" in staying.getresponse().read()
    assert ((tmp_path / "looked").read_text(), wire.approvals[digest]) == ("18\n", "granted")


def test_what_is_refused_over_http(port: int) -> None:
    """Web pages, other hosts, messages without a session, ambiguous and unbounded ones; nobody hears of the server."""

    def ask(body: str = "{}", *, method: str = "POST", path: str = "/mcp", **headers: str) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        answer = json.loads(response.read())
        connection.close()
        return response.status, answer

    ping = '{"jsonrpc":"2.0","id":1,"method":"ping"}'
    assert ask(ping, Origin="http://127.0.0.1")[0] == 403
    assert ask(ping, Host="example.org")[0] == 421
    assert ask(ping, path="/other")[0] == 404
    assert ask(ping, Mcp_Session_Id="made-up")[0] == 404
    assert ask("", method="DELETE", Mcp_Session_Id="made-up")[0] == 404
    assert ask("", method="GET")[0] == 405
    assert ask(ping, Content_Length="99999999")[0] == 413
    status, answer = ask(ping)
    assert (status, answer["id"]) == (400, 1)
    status, answer = ask('{"jsonrpc":"2.0","id":1,"method":"initialize","method":"ping"}')
    assert (status, "twice" in answer["error"]["message"]) == (400, True)


def test_a_server_that_cannot_be_reached_is_told(wire: WireServer) -> None:
    """The client gets an error and no session; the proxy goes on."""
    command = ["-m", "andoncord_sdk.mcp_proxy", "--offline", "--agent", "a", "--http", "http://127.0.0.1:1/mcp"]
    proxy = subprocess.Popen([sys.executable, *command], stderr=subprocess.PIPE)
    assert proxy.stderr is not None
    try:
        port = int(proxy.stderr.readline().rsplit(b":", 1)[1].split(b"/")[0])
        for _ in range(2):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)
            connection.request("POST", "/mcp", '{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}')
            response = connection.getresponse()
            assert "cannot be reached" in json.loads(response.read())["error"]["message"]
            assert response.headers["Mcp-Session-Id"] is None
            connection.close()
    finally:
        proxy.kill()
        proxy.wait(DEADLINE_S)
        proxy.stderr.close()
