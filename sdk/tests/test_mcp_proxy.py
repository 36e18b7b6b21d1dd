"""The MCP proxy between the real client and real servers, all of them processes of their own."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from sdk.tests.wire_server import DEADLINE_S, WireServer, attributes

from andoncord_sdk import Guard
from andoncord_sdk.mcp import messages
from andoncord_sdk.mcp.pins import Pins
from andoncord_sdk.mcp.rules import Rules
from andoncord_sdk.mcp.session import Session
from andoncord_sdk.mcp_proxy import main
from andoncord_sdk.proctree import read_process

HERE = Path(__file__).parent
TOOLS = ("--allow", "look=read", "--allow", "crash=write", "--allow", "stay=read")

Conversation = Callable[[Client], Awaitable[None]]


def proxied(wire: WireServer, *options: str, server: str, trace: Path) -> list[str]:
    """The command that puts a proxy before one of our servers."""
    ours = ["-m", "andoncord_sdk.mcp_proxy", "--agent", "mcp-agent", "--server", wire.url, "--telemetry", wire.url, *options]
    return [sys.executable, *ours, "--", sys.executable, str(HERE / server), str(trace)]


def converse(
    wire: WireServer, traces: Path, conversation: Conversation, *, mode: str = "auto", errors: Any = sys.stderr
) -> None:
    """Have the real client talk to the real server through a proxy."""
    command = proxied(wire, *TOOLS, server="mcp_server.py", trace=traces)
    environment = {"ANDON_TOKEN": "andon_sdk_test", "CANARY": "1", "LANG": "C.UTF-8"}
    transport = stdio_client(StdioServerParameters(command=command[0], args=command[1:], env=environment), errlog=errors)

    async def talk() -> None:
        async with Client(transport, mode=mode) as client:
            await conversation(client)

    asyncio.run(asyncio.wait_for(talk(), 3 * DEADLINE_S))


def text_of(result: Any) -> str:
    return "\n".join(block.text for block in result.content)


@pytest.mark.parametrize("mode", ["legacy", "auto"])
def test_list_call_and_deny(wire: WireServer, tmp_path: Path, mode: str) -> None:
    """In both eras of the protocol: what is not declared is neither listed nor called, and every call is on record."""

    async def conversation(client: Client) -> None:
        assert [tool.name for tool in (await client.list_tools()).tools] == ["look", "crash", "stay"]
        assert text_of(await client.call_tool("look", {"order": 17})) == "paid"
        assert (await client.read_resource("orders://all")).contents
        denied = await client.call_tool("pay", {"order": 17})
        assert denied.is_error
        assert "not among its declared tools" in text_of(denied)
        again = await client.call_tool("look", {"order": 18})
        assert again.is_error
        assert "session is over" in text_of(again)

    with (tmp_path / "stderr").open("w+") as errors:
        converse(wire, tmp_path, conversation, mode=mode, errors=errors)

    assert (tmp_path / "looked").read_text() == "17\n"
    assert not (tmp_path / "paid").exists()
    span = attributes(wire.wait_span("execute_tool look"))
    assert (span["mcp.method.name"], span["network.transport"], span["gen_ai.agent.name"]) == (
        "tools/call",
        "pipe",
        "mcp-agent",
    )
    assert span["mcp.protocol.version"].startswith("20")
    assert wire.wait_log("andoncord.guard.denied")["andoncord.decision.code"] == "scope"
    environment = (tmp_path / "environment").read_text().split()
    assert {"PATH", "LANG"} <= set(environment)
    assert not {"ANDON_TOKEN", "CANARY"} & set(environment)
    assert "up \\x1b[31mred" in (tmp_path / "stderr").read_text()


def test_pause_holds_and_resume_lets_go(wire: WireServer, tmp_path: Path) -> None:
    """A paused call waits, says so to a client that asks for progress, and is made after the release; lists go on meanwhile."""

    async def conversation(client: Client) -> None:
        told = asyncio.Event()
        why: list[str | None] = []

        async def hear(progress: float, total: float | None, message: str | None) -> None:
            why.append(message)
            told.set()

        await ordered(wire, "pause", (1, 1))
        held = asyncio.create_task(client.call_tool("look", {"order": 17}, progress_callback=hear))
        await told.wait()
        assert "paused: test" in str(why[0])
        assert (await client.list_tools()).tools
        assert not (tmp_path / "looked").exists()
        with pytest.raises(Exception, match="paused"):
            await client.read_resource("orders://all")

        await ordered(wire, "none", (1, 2))
        assert text_of(await held) == "paid"

    converse(wire, tmp_path, conversation)


def test_a_call_is_held_until_somebody_approves_it(wire: WireServer, tmp_path: Path) -> None:
    """The client hears what is waited for; approved, the call is made once; denied, it is refused; taken back, it is gone."""
    owed = {"require_approval": {"role": "finance"}}
    wire.policies = [{"id": "ask", "effect": "forbid", "tool": "look", "message": "ask first", "obligations": [owed]}]

    async def asked(order: int) -> str:
        def found() -> str:
            return next((digest for digest, each in wire.actions.items() if str(order) in each["arguments"]), "")

        return str(await asyncio.to_thread(wire.wait, found))

    async def conversation(client: Client) -> None:
        told = asyncio.Event()
        why: list[str | None] = []

        async def hear(progress: float, total: float | None, message: str | None) -> None:
            why.append(message)
            told.set()

        held = asyncio.create_task(client.call_tool("look", {"order": 17}, progress_callback=hear))
        digest = await asked(17)
        await told.wait()
        assert why[0] == f"held, not made yet: waiting for the approval of finance (digest {digest})"
        assert (await client.list_tools()).tools
        assert not (tmp_path / "looked").exists()
        wire.approvals[digest] = "granted"
        assert text_of(await held) == "paid"

        denied = asyncio.create_task(client.call_tool("look", {"order": 18}))
        wire.approvals[await asked(18)] = "denied"
        assert "needs the approval of finance, and it was denied" in text_of(await denied)

        dropped = asyncio.create_task(client.call_tool("look", {"order": 19}))
        digest = await asked(19)
        dropped.cancel()
        await client.list_tools()
        wire.approvals[digest] = "granted"
        again = asyncio.create_task(client.call_tool("look", {"order": 20}))
        wire.approvals[await asked(20)] = "granted"
        assert text_of(await again) == "paid"

    converse(wire, tmp_path, conversation)
    assert (tmp_path / "looked").read_text() == "17\n20\n"


def test_a_loop_ends_the_session(wire: WireServer, tmp_path: Path) -> None:
    """The third repetition is nudged, the fourth is not made, and nothing after it."""

    async def conversation(client: Client) -> None:
        answers = [await client.call_tool("look", {"order": 17}) for _ in range(5)]
        assert [answer.is_error for answer in answers] == [False, False, False, True, True]
        assert "repeated 3 times" in text_of(answers[2])
        assert "without progress" in text_of(answers[3])

    converse(wire, tmp_path, conversation)
    assert (tmp_path / "looked").read_text() == "17\n" * 3


def test_kill_refuses_every_further_call(wire: WireServer, tmp_path: Path) -> None:
    """Also after the order is lifted: a stopped session stays stopped. What was in flight is in the acknowledgement."""

    async def conversation(client: Client) -> None:
        staying = asyncio.create_task(client.call_tool("stay"))
        await asyncio.to_thread(wire.wait_log, "andoncord.step.started")
        ack = await ordered(wire, "kill", (1, 1))
        assert [call["tool"] for call in ack["state"]["in_flight"]] == ["stay"]
        killed = await client.call_tool("look", {"order": 17})
        assert killed.is_error
        assert "stopped: test" in text_of(killed)
        await ordered(wire, "none", (1, 2))
        assert (await client.call_tool("look", {"order": 17})).is_error
        staying.cancel()

    converse(wire, tmp_path, conversation)
    assert not (tmp_path / "looked").exists()


def test_a_server_that_crashes_is_told_apart_from_a_refusal(wire: WireServer, tmp_path: Path) -> None:
    """The call that it took with it ends with an error that does not claim to know what became of it."""

    async def conversation(client: Client) -> None:
        lost = await client.call_tool("crash")
        assert lost.is_error
        assert "whether the call had an effect is not known" in text_of(lost)

    converse(wire, tmp_path, conversation)
    span = wire.wait_span("execute_tool crash")
    assert attributes(span)["error.type"] == "ServerLostError"


async def ordered(wire: WireServer, rung: str, epoch: tuple[int, int]) -> dict[str, Any]:
    """Give an order and wait until the proxy has it in force."""
    ack: dict[str, Any] = await asyncio.to_thread(wire.ack_of, wire.order(rung, epoch))
    return ack


# --------------------------------------------------------------------------------------------------- a client of our own


class Wired:
    """A proxy before the plain server, and what it says; for messages that no real client would send."""

    def __init__(self, wire: WireServer, trace: Path, *options: str) -> None:
        self.trace = trace
        command = proxied(wire, *options, server="mcp_plain_server.py", trace=trace)
        environment = {**os.environ, "ANDON_TOKEN": "andon_sdk_test"}
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)

    def send(self, *lines: bytes | dict[str, Any]) -> None:
        assert self.process.stdin is not None
        for line in lines:
            text = line if isinstance(line, bytes) else json.dumps({"jsonrpc": "2.0", **line}).encode()
            self.process.stdin.write(text + b"\n")
        self.process.stdin.flush()

    def receive(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        said: dict[str, Any] = json.loads(self.process.stdout.readline())
        return said

    def call(self, id_: int, tool: str, **arguments: Any) -> dict[str, Any]:
        return {"id": id_, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}

    def ask(self, line: bytes | dict[str, Any]) -> dict[str, Any]:
        self.send(line)
        return self.receive()

    def reached_server(self) -> str:
        return self.trace.read_text() if self.trace.exists() else ""

    def close(self) -> int:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        code = self.process.wait(DEADLINE_S)
        self.process.stdout.close()
        return code


@pytest.fixture
def start(wire: WireServer, tmp_path: Path) -> Iterator[Callable[..., Wired]]:
    """Starts proxies before the plain server, and ends what is left of them."""
    started: list[Wired] = []

    def start_one(*options: str) -> Wired:
        started.append(Wired(wire, tmp_path / "calls", *options))
        return started[-1]

    def end_all() -> None:
        for each in started:
            each.process.kill()

    watchdog = threading.Timer(3 * DEADLINE_S, end_all)
    watchdog.start()
    yield start_one
    watchdog.cancel()
    for each in started:
        assert each.process.stdout is not None
        if not each.process.stdout.closed:
            each.close()


Start = Callable[..., Wired]


def test_what_is_not_read_is_not_passed(start: Start) -> None:
    """Ambiguous, oversized and unknown messages get an error, do not reach the server, and cost nobody else anything."""
    proxy = start()
    double = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"a":1,"a":2}}}'
    refused = proxy.ask(double)
    assert (refused["id"], refused["error"]["code"]) == (1, messages.PARSE_ERROR)
    assert "twice" in refused["error"]["message"]
    assert proxy.ask(b'[{"jsonrpc":"2.0","id":2,"method":"ping"}]')["error"]["code"] == messages.INVALID_REQUEST
    assert "longer than" in proxy.ask(b'{"x":"' + b"a" * messages.MESSAGE_MAX_BYTES + b'"}')["error"]["message"]
    assert proxy.ask({"id": 3, "method": "tasks/run"})["error"]["code"] == messages.NO_SUCH_METHOD
    assert "task" in proxy.ask({"id": 4, "method": "tools/call", "params": {"name": "echo", "task": {}}})["error"]["message"]
    assert "case" in proxy.ask(proxy.call(5, "echo", path="/a", Path="/b"))["error"]["message"]
    proxy.send({"method": "tools/call", "params": {"name": "echo", "arguments": {}}})
    proxy.send({"id": 99, "result": {}})

    assert proxy.ask(proxy.call(6, "echo", a=1)) == {
        "jsonrpc": "2.0", "id": 6, "result": {"content": [], "structuredContent": {"a": 1}},
    }  # fmt: skip
    assert proxy.close() == 0
    assert [json.loads(line)["id"] for line in proxy.reached_server().splitlines()] == [6]


def test_the_server_is_not_trusted_either(start: Start) -> None:
    """Its ambiguous answers become errors, its unasked answers and questions reach nobody, and noise is dropped."""
    proxy = start()
    proxy.send(proxy.call(1, "say", text='{"jsonrpc":"2.0","id":1,"result":{"isError":true,"isError":false}}'))
    assert "twice" in proxy.receive()["error"]["message"]
    noise = 'debug output\n{"jsonrpc":"2.0","id":77,"result":{}}\n{"jsonrpc":"2.0","id":2,"result":{}}'
    assert proxy.ask(proxy.call(2, "say", text=noise)) == {"jsonrpc": "2.0", "id": 2, "result": {}}
    question = '{"jsonrpc":"2.0","id":5,"method":"sampling/createMessage","params":{}}\n{"jsonrpc":"2.0","id":3,"result":{}}'
    assert proxy.ask(proxy.call(3, "say", text=question))["id"] == 3
    assert proxy.ask({"id": 4, "method": "ping"})["id"] == 4
    answers = [json.loads(line) for line in proxy.reached_server().splitlines()]
    assert [answer["error"]["message"] for answer in answers if "error" in answer] == [
        "sampling/createMessage is not allowed by this enforcement point"
    ]


def test_a_server_that_does_not_read_any_more_has_ended(start: Start) -> None:
    """Nobody waits for its answers, though its process lives on."""
    proxy = start()
    assert proxy.ask(proxy.call(1, "deaf"))["result"] == {"content": []}
    assert "not known" in proxy.ask(proxy.call(2, "echo"))["result"]["content"][0]["text"]
    assert proxy.process.wait(DEADLINE_S) == 128 + signal.SIGTERM


def test_an_answer_that_is_too_long_leaves_nobody_waiting(start: Start) -> None:
    """Nobody can say whose answer it was, so everybody who waits is told that it was refused."""
    proxy = start()
    proxy.send(proxy.call(1, "silent"))
    lost = [proxy.ask(proxy.call(2, "say", text="", padding=messages.MESSAGE_MAX_BYTES + 1)), proxy.receive()]
    assert {answer["id"] for answer in lost} == {1, 2}
    assert all("longer than" in answer["result"]["content"][0]["text"] for answer in lost)
    assert proxy.ask({"id": 3, "method": "ping"})["id"] == 3


def test_a_server_may_ask_what_is_allowed(start: Start) -> None:
    """With an option, the client is asked, and its answer reaches the server. Without it, the capability is not even told."""
    proxy = start("--let", "roots")
    capabilities = {"capabilities": {"roots": {}, "sampling": {}}, "protocolVersion": "2025-11-25"}
    proxy.ask({"id": 1, "method": "initialize", "params": capabilities})
    assert json.loads(proxy.reached_server())["params"]["capabilities"] == {"roots": {}}

    assert proxy.ask(proxy.call(2, "say", text='{"jsonrpc":"2.0","id":"s1","method":"roots/list"}'))["id"] == "s1"
    proxy.send({"id": "s1", "result": {"roots": []}})
    proxy.ask({"id": 3, "method": "ping"})
    assert json.loads(proxy.reached_server().splitlines()[-2]) == {"jsonrpc": "2.0", "id": "s1", "result": {"roots": []}}


def test_a_changed_description_is_reported(wire: WireServer, start: Start) -> None:
    """The listing goes on, and the change is told with both digests."""
    proxy = start()
    for id_ in (1, 2):
        listed = proxy.ask({"id": id_, "method": "tools/list"})["result"]["tools"]
        assert [tool["name"] for tool in listed] == ["echo", "say"]
    change = wire.wait_log("andoncord.change")
    assert change["andoncord.change.kind"] == "tool"
    assert change["andoncord.change.from"].startswith("echo@sha256:")
    assert change["andoncord.change.from"] != change["andoncord.change.to"]
    assert "isError" not in proxy.ask(proxy.call(3, "echo"))["result"]


def test_strict_pins_refuse_a_changed_tool(wire: WireServer, start: Start) -> None:
    """It is neither listed nor called any more, and the rest of the session goes on."""
    proxy = start("--pin", "strict")
    proxy.ask({"id": 1, "method": "tools/list"})
    assert "isError" not in proxy.ask(proxy.call(2, "echo"))["result"]
    listed = proxy.ask({"id": 3, "method": "tools/list"})["result"]["tools"]
    assert [tool["name"] for tool in listed] == ["say"]
    assert proxy.ask(proxy.call(4, "echo"))["result"]["isError"]
    assert wire.wait_log("andoncord.guard.denied")["andoncord.decision.policy"] == "mcp-pin"


def test_calls_are_counted(wire: WireServer, start: Start) -> None:
    """The one after the last allowed ends the session, as spending too much does."""
    proxy = start("--max-calls", "2")
    answers = [proxy.ask(proxy.call(id_, "echo", n=id_))["result"] for id_ in (1, 2, 3)]
    assert ["isError" in answer for answer in answers] == [False, False, True]
    assert wire.wait_log("andoncord.guard.denied")["andoncord.decision.code"] == "budget"


def test_a_tool_that_fails_is_left_alone(wire: WireServer, start: Start) -> None:
    """Two failed calls open its breaker; the third does not reach the server, and another tool does."""
    proxy = start("--breaker", "say=calls_min:2,open_s:60")
    for id_ in (1, 2):
        failed = json.dumps({"jsonrpc": "2.0", "id": id_, "result": {"content": [], "isError": True}})
        assert proxy.ask(proxy.call(id_, "say", text=failed))["result"]["isError"] is True
    refused = proxy.ask(proxy.call(3, "say", text="{}"))["result"]
    assert "2 of 2 calls failed" in refused["content"][0]["text"]
    assert refused["_meta"]["andoncord/decision"]["code"] == "breaker"
    assert proxy.ask(proxy.call(4, "echo"))["result"]["content"] == []
    assert [json.loads(line)["id"] for line in proxy.reached_server().splitlines()] == [1, 2, 4]
    assert wire.wait_log("andoncord.guard.degraded")["andoncord.decision.code"] == "breaker_open"
    assert "model_calls" not in wire.wait(lambda: wire.reports)[-1]["capabilities"]


def test_the_obligations_of_policies_are_met_before_the_server_is_asked(wire: WireServer, start: Start) -> None:
    """What has to be masked reaches it masked; what needs an approval does not reach it, and says what would be approved."""
    card = {"redact": {"paths": ["card.number"]}}
    wire.policies = [
        {"id": "cards", "effect": "forbid", "tool": "echo", "message": "no cards", "obligations": [card]},
        {
            "id": "big",
            "effect": "forbid",
            "tool": "say",
            "message": "ask",
            "obligations": [{"require_approval": {"role": "boss", "hold_s": 0}}],
        },
    ]
    proxy = start()
    echoed = proxy.ask(proxy.call(1, "echo", card={"number": "4111", "name": "Ada"}))["result"]["structuredContent"]
    assert echoed["card"] == {"number": "[redacted]", "name": "Ada"}
    assert "4111" not in proxy.reached_server()
    decision = proxy.ask(proxy.call(2, "say", text="{}"))["result"]["_meta"]["andoncord/decision"]
    assert (decision["code"], decision["policy"], len(decision["action_digest"])) == ("approval", "big", 64)
    assert proxy.ask(proxy.call(3, "echo"))["result"]["content"] == []
    assert [json.loads(line)["id"] for line in proxy.reached_server().splitlines()] == [1, 3]


def test_an_order_about_one_tool_leaves_the_session_alone(wire: WireServer, start: Start) -> None:
    """Its calls are refused with the reason; the others go on."""
    killed = {"id": "o1", "rung": "kill", "scope": {"tool": "say"}, "reason": "fraud"}
    wire.in_force = {"rung": "none", "epoch": [1, 1], "reason": "", "orders": [killed]}
    proxy = start()
    assert "may not be called: fraud" in str(proxy.ask(proxy.call(1, "say", text="{}"))["result"]["content"])
    assert proxy.ask(proxy.call(2, "echo"))["result"]["content"] == []


def test_a_held_call_can_be_taken_back(wire: WireServer, start: Start) -> None:
    """The server never hears of it, before or after the release."""
    wire.in_force = {"rung": "pause", "epoch": [1, 1], "reason": "test"}
    proxy = start()
    held = proxy.call(1, "echo")
    held["params"]["_meta"] = {"progressToken": "p"}
    assert proxy.ask(held)["method"] == "notifications/progress"
    proxy.send({"method": "notifications/cancelled", "params": {"requestId": 1}})
    proxy.ask({"id": 2, "method": "ping"})
    wire.ack_of(wire.order("none", (1, 2)))
    assert proxy.ask(proxy.call(3, "echo"))["id"] == 3
    assert [json.loads(line)["id"] for line in proxy.reached_server().splitlines()] == [2, 3]

    proxy.send(proxy.call(4, "echo"), {"method": "notifications/cancelled", "params": {"requestId": 4}})
    assert proxy.ask({"id": 5, "method": "ping"})["id"] == 5
    assert proxy.ask(proxy.call(4, "echo"))["id"] == 4


def test_a_hold_is_bounded(wire: WireServer, start: Start) -> None:
    """A call that has been held as long as it may be is refused, and not made later."""
    wire.in_force = {"rung": "pause", "epoch": [1, 1], "reason": "test"}
    proxy = start("--hold-max", "0.05")
    refused = proxy.ask(proxy.call(1, "echo"))["result"]
    assert "held for 0.05 s" in refused["content"][0]["text"]
    assert proxy.reached_server() == ""


@pytest.mark.skipif(sys.platform != "linux", reason="process trees need Linux")
@pytest.mark.parametrize("by_signal", [False, True])
def test_nothing_is_left_of_the_server(start: Start, by_signal: bool) -> None:
    """When the client goes, the server and what it started in other sessions are ended, though a call is under way."""
    proxy = start()
    child = int(proxy.ask(proxy.call(1, "spawn"))["result"]["content"][0]["text"])
    assert read_process(child) is not None
    proxy.send(proxy.call(2, "silent"))
    if by_signal:
        proxy.process.send_signal(signal.SIGTERM)
    assert proxy.close() == (128 + signal.SIGTERM if by_signal else 0)
    process = read_process(child)
    assert process is None or process.state == "Z"


# ---------------------------------------------------------------------------------------------------------- in this process


@pytest.mark.parametrize("part", ["policies", "state", "step"])
def test_a_broken_guard_passes_nothing(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever breaks in the check of a call, the call is not made, the client is told, and lists go on."""

    class Broken:
        def __getattr__(self, name: str) -> Any:
            raise RuntimeError("broken")

    said: list[Any] = []
    passed: list[Any] = []

    async def talk() -> None:
        async def to_client(message: messages.Message) -> None:
            said.append(message)

        async def to_server(message: messages.Message) -> None:
            passed.append(message)

        guard = Guard("mcp-agent")
        session = Session(
            guard, Rules(), Pins("report"), task="", to_client=to_client, to_server=to_server, note=lambda _: None
        )
        if part == "policies":
            guard._admission.policies = Broken()  # type: ignore[assignment]
        elif part == "state":
            monkeypatch.setattr(Guard, "state", Broken())
            monkeypatch.setattr(session.run, "admission", Broken())
        else:
            monkeypatch.setattr(session, "run", Broken())
            monkeypatch.setattr(session.calls, "run", Broken())
        await session.from_client(b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"pay"}}')
        if part != "policies":
            await session.from_client(b'{"jsonrpc":"2.0","id":2,"method":"resources/read","params":{"uri":"a:b"}}')
        await session.from_client(b'{"jsonrpc":"2.0","id":3,"method":"tools/list"}')
        await asyncio.gather(*(call.task for call in session.calls.open.values() if call.task), return_exceptions=True)

    asyncio.run(asyncio.wait_for(talk(), DEADLINE_S))
    assert [request.id for request in passed] == [3]
    assert {answer.id for answer in said} == ({1} if part == "policies" else {1, 2})
    assert all(answer.error or answer.result["isError"] for answer in said)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--agent", "a"], "after --"),
        (["--", "server"], "name the agent"),
        (["--agent", "a", "--env", "ANDON_TOKEN", "--", "server"], "not passed"),
        (["--agent", "a", "--env", "COPIED", "--", "server"], "holds a token"),
        (["--agent", "a", "--token-env", "MINE", "--env", "MINE", "--", "server"], "not passed"),
        (["--agent", "a", "--", "server", "andon_pat_x"], "holds a token"),
        (["--agent", "a", "--allow", "look", "--", "server"], "TOOL=read"),
        (["--agent", "a", "--allow", "look=all", "--", "server"], "read"),
        (["--agent", "a", "--breaker", "pay=trials:0", "--", "server"], "trials is 1 to"),
    ],
)
def test_wrong_options_start_nothing(
    arguments: list[str], why: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are named, with the exit code for wrong usage."""
    monkeypatch.delenv("ANDON_AGENT", raising=False)
    monkeypatch.setenv("COPIED", "x andon_sdk_y")
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert why in capsys.readouterr().err
