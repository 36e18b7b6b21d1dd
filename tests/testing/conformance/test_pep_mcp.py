"""The MCP proxy is an enforcement point as `andoncord.testing.conformance.pep` wants it."""

import asyncio
from collections.abc import Callable

from andoncord.testing.conformance.pep import EnforcementPointContract
from andoncord_sdk import Guard
from andoncord_sdk.admission import ToolKind
from andoncord_sdk.mcp.messages import Answer, Message, Request, write
from andoncord_sdk.mcp.pins import Pins
from andoncord_sdk.mcp.rules import Rules
from andoncord_sdk.mcp.session import Session


class SessionPoint:
    """A guard behind MCP sessions, each with a single call; the server answers whatever reaches it."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    def read(self) -> bool:
        return asyncio.run(self._is_made("look"))

    def write(self) -> bool:
        return asyncio.run(self._is_made("pay"))

    def close(self) -> None:
        self._guard.close()

    async def _is_made(self, tool: str) -> bool:
        reached: list[Message] = []

        async def to_server(message: Message) -> None:
            reached.append(message)
            await session.from_server(write(Answer(1, {"content": []})))

        async def to_client(message: Message) -> None:
            assert isinstance(message, Answer)
            assert bool(message.result.get("isError")) is not bool(reached)

        def note(text: str) -> None:
            raise AssertionError(text)

        session = Session(self._guard, Rules(), Pins("report"), task="", to_client=to_client, to_server=to_server, note=note)
        await session.take(Request(1, "tools/call", {"name": tool}))
        await session.wait_idle()
        await session.end()
        return bool(reached)


class TestMcpSession(EnforcementPointContract):
    """Every case of the contract, on a session."""

    def make(self, *, url: str, telemetry: str, token: str, clock_ns: Callable[[], int]) -> SessionPoint:
        tools: dict[str, ToolKind] = {"look": "read", "pay": "write"}
        guard = Guard("a", server=url, telemetry=telemetry, token=token, tools=tools, hold_max_s=0.0, clock_ns=clock_ns)
        return SessionPoint(guard)
