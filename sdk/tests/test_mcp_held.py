"""Calls behind the MCP proxy that a person has to let go: held, handed over, and made once over the proxy's own connection."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sdk.tests.test_handing import HOLD, Desk
from sdk.tests.wire_server import DEADLINE_S

from andoncord_sdk._platform import now_ns
from andoncord_sdk.mcp_proxy import main
from andoncord_sdk.side_effect import effect_digest

SERVER = Path(__file__).parent / "mcp_plain_server.py"
INITIALIZE = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
EVERYTHING = {"id": "ord_9", "rung": "none", "instead": "hand-over", "reason": "fraud"}


class Client:
    """Says one thing to a proxy after the other, and reads what comes back."""

    def __init__(self, proxy: "subprocess.Popen[bytes]") -> None:
        self.proxy = proxy

    def say(self, **message: Any) -> None:
        assert self.proxy.stdin is not None
        self.proxy.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
        self.proxy.stdin.flush()

    def ask(self, id_: int, method: str, params: dict[str, Any]) -> Any:
        assert self.proxy.stdout is not None
        self.say(id=id_, method=method, params=params)
        return json.loads(self.proxy.stdout.readline())["result"]


@contextmanager
def proxied(desk: Desk, notes: Path, *orders: dict[str, Any]) -> Iterator[Client]:
    """A client of a proxy that hears these orders from the first."""
    event = {"agent": "*", "rung": "none", "epoch": [1, 1], "reason": "fraud", "by": "x", "incident": "inc-1"}
    desk.in_force = {**event, "orders": list(orders)}
    ours = ["-m", "andoncord_sdk.mcp_proxy", "--agent", "refunds", "--server", desk.url, "--telemetry", desk.url]
    command = [sys.executable, *ours, "--effect", "echo", "--effect", "silent", "--", sys.executable, str(SERVER), str(notes)]
    environment = {"ANDON_TOKEN": "andon_sdk_test", "LANG": "C.UTF-8", "PATH": "/usr/bin:/bin"}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as proxy:
        try:
            yield Client(proxy)
        finally:
            assert proxy.stdin is not None
            proxy.stdin.close()
            proxy.wait(DEADLINE_S)


def released(tool: str, arguments: str) -> dict[str, Any]:
    """The event that lets a call go."""
    effect = {"id": "eff_1", "run_id": "r1", "tool": tool, "arguments": arguments}
    digest = effect_digest(agent="refunds", run_id="r1", tool=tool, arguments=arguments)
    return {"effect": {**effect, "digest": digest}, "until_ns": now_ns() + 60_000_000_000}


def calls(notes: Path) -> list[dict[str, Any]]:
    """The tool calls that reached the server."""
    said = [json.loads(line) for line in notes.read_text().splitlines()] if notes.exists() else []
    return [each["params"] for each in said if each["method"] == "tools/call"]


def test_a_call_that_is_held_is_made_once_by_the_proxy_when_it_is_let_go(tmp_path: Path) -> None:
    """With the arguments that were held; not before the session is open, not a second time; what is lost is not answered."""
    desk, notes = Desk(), tmp_path / "notes"
    try:
        with proxied(desk, notes, HOLD) as client:
            desk.wait(lambda: any("outbox" in each["capabilities"] for each in desk.reports))
            desk.wait_stream()
            early = desk.ack_of(desk.push("release", released("echo", '{"usd":1}')))
            assert (early["outcome"], early["detail"]["began"]) == ("failed", False)
            client.ask(1, "initialize", INITIALIZE)
            client.say(method="notifications/initialized")
            held = client.ask(2, "tools/call", {"name": "echo", "arguments": {"usd": 12.5}})
            assert (held["isError"], held["_meta"]["andoncord/decision"]["item"]) == (True, "eff_1")
            assert "held for a person (fraud), as eff_1: do not repeat it" in held["content"][0]["text"]
            assert (desk.filed[0][1]["arguments"], calls(notes)) == ('{"usd":12.5}', [])

            first = desk.push("release", released("echo", '{"usd":12.5}'))
            assert desk.ack_of(first)["detail"] == {"began": True, "ok": True}
            desk.acks.clear()
            desk.push("release", {**released("echo", '{"usd":12.5}'), "order_id": first})
            assert desk.ack_of(first)["outcome"] == "enforced"
            assert calls(notes) == [{"name": "echo", "arguments": {"usd": 12.5}}]

            lost = desk.push("release", released("silent", "{}"))
            desk.wait(lambda: len(calls(notes)) == 2 or None, timeout_s=DEADLINE_S)
        assert not any(ack["order_id"] == lost for ack in desk.acks)
    finally:
        desk.close()


def test_what_a_person_has_is_refused_with_its_number(tmp_path: Path) -> None:
    """A session that is handed over from its first moment exists, so that the client can read why nothing is called."""
    desk, notes = Desk(), tmp_path / "notes"
    desk.filing = (200, {"id": "hnd_1", "status": "waiting"})
    try:
        with proxied(desk, notes, EVERYTHING) as client:
            client.ask(1, "initialize", INITIALIZE)
            handed = client.ask(2, "tools/call", {"name": "echo", "arguments": {}})
            assert handed["_meta"]["andoncord/decision"] == {
                "code": "handed_over",
                "policy": "",
                "action": "stop_run",
                "item": "hnd_1",
            }
        assert calls(notes) == []
    finally:
        desk.close()


def test_over_http_nothing_is_held(capsys: pytest.CaptureFixture[str]) -> None:
    """It is refused before anything is started, rather than held where nobody could let it go."""
    with pytest.raises(SystemExit):
        main(["--agent", "a", "--http", "http://127.0.0.1:1/mcp", "--effect", "pay"])
    assert "over HTTP nothing is held" in capsys.readouterr().err
