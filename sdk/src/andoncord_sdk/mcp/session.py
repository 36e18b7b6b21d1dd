"""One client and one server of the Model Context Protocol, with a guard between them. One session is one run of the agent."""

import asyncio
from collections.abc import Callable
from typing import Any

from andoncord_sdk.errors import AgentStopped, RunHandedOver
from andoncord_sdk.guard import Guard
from andoncord_sdk.lease import READS_S
from andoncord_sdk.mcp import messages
from andoncord_sdk.mcp.calls import Calls, Send
from andoncord_sdk.mcp.messages import Answer, Message, Notification, Request, RequestId, UnreadableError, failed
from andoncord_sdk.mcp.pins import Pins
from andoncord_sdk.mcp.released import ReleasedCalls
from andoncord_sdk.mcp.rules import FROM_CLIENT, NOTIFICATIONS_FROM_CLIENT, ONLY_WHILE_FREE, VERSION_KEY, Problem, Rules

AWAITED_MAX = 512
"""Requests of either side that wait for an answer; further ones are refused."""


class Session:
    """Decides about every message. Made where an event loop runs, and everything happens in it.

    Under a kill order, or when a person has the work, a session exists all the same, and every call in it is refused.

    Args:
        guard: decides about tool calls, and reports them.
        rules: what else is to be kept.
        pins: tool descriptions as they were first seen.
        task: names the run.
        to_client: writes to the client. Never raises.
        to_server: writes to the server. Never raises.
        note: takes a sentence for whoever reads the log.
    """

    def __init__(
        self,
        guard: Guard,
        rules: Rules,
        pins: Pins,
        *,
        task: str,
        to_client: Send,
        to_server: Send,
        note: Callable[[str], None],
    ) -> None:
        self._guard = guard
        self._rules = rules
        self._pins = pins
        self._to_client = to_client
        self._to_server = to_server
        self._note = note
        self.version = ""
        """Of the protocol, as client and server have agreed."""
        self._client_waits: dict[RequestId, str] = {}
        """Methods of the client's requests other than calls, by id."""
        self._server_waits: set[RequestId] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self.run = guard.run(task)
        try:
            self.run.begin()
        except (AgentStopped, RunHandedOver) as stopped:
            self.run.stop(stopped)
        self.calls = Calls(
            run=self.run,
            rules=rules,
            pins=pins,
            to_client=to_client,
            to_server=to_server,
            note=note,
            why_not_free=self._why_not_free,
            ended=self._look_idle,
        )
        self.released = ReleasedCalls(rules, pins, to_server=to_server, ended=self._look_idle)
        """Calls that were held, and that are made now because a person let them go."""

    @property
    def is_idle(self) -> bool:
        """Whether no request of the client waits for an answer."""
        return self._idle.is_set()

    async def wait_idle(self) -> None:
        """Until no request of the client waits for an answer."""
        await self._idle.wait()

    async def lose_server(self, why: str) -> None:
        """Nothing will come any more: answer everything that waits for it."""
        self.released.lose(why, over=True)
        await asyncio.gather(*await self._fail_waiting(why), return_exceptions=True)

    async def lose_answer(self, id: RequestId, why: str) -> None:  # noqa: A002
        """Nothing more will come in answer to one request. If it has been answered, nothing is to be done."""
        self.calls.lose(why, id)
        if self._client_waits.pop(id, None) is not None:
            await self._to_client(failed(id, messages.REFUSED, why))
            self._look_idle()

    def is_waiting(self, id: RequestId) -> bool:  # noqa: A002
        """Whether a request of the client has not been answered."""
        return id in self._client_waits or id in self.calls.open

    async def end(self) -> None:
        """The client has gone: nothing that is held is made any more, what is under way is no longer waited for."""
        self.released.lose("the session is over", over=True)
        await asyncio.gather(*self.calls.cancel(), return_exceptions=True)
        self.run.end()

    # ------------------------------------------------------------------------------------------------- from the client

    async def from_client(self, line: bytes | None) -> None:
        """Take one line; None stands for one that was too long."""
        try:
            message = _read(line)
        except UnreadableError as broken:
            self._note(f"refused a message of the client: {broken.message}")
            await self._to_client(failed(broken.id, broken.code, broken.message))
            return
        await self.take(message)

    async def take(self, message: Message) -> None:
        """A message of the client that has been read."""
        try:
            if isinstance(message, Request):
                await self._requested(message)
            elif isinstance(message, Notification):
                await self._notified(message)
            elif message.id in self._server_waits:
                self._server_waits.discard(message.id)
                await self._to_server(message)
            else:
                self._note("dropped an answer of the client to a question that nobody asked")
        except Exception as fault:  # Ours: this message is not passed, the next ones are.
            self._note(f"a message of the client could not be judged: {type(fault).__name__}: {fault}")
            if isinstance(message, Request):
                await self._to_client(failed(message.id, messages.INTERNAL_ERROR, "the message could not be judged"))

    async def _requested(self, request: Request) -> None:
        version = ((request.params or {}).get("_meta") or {}).get(VERSION_KEY)
        if isinstance(version, str):
            self.version = version
        problem = self._problem(request)
        if problem is None and request.method == "tools/call":
            problem = self.calls.start(request, self.version)
        elif problem is None:
            self._client_waits[request.id] = request.method
        if problem is not None:
            await self._to_client(failed(request.id, *problem))
            return
        self._idle.clear()
        self.released.heard(request)
        if request.method != "tools/call":
            await self._to_server(self._rules.without_capabilities(request))

    def _problem(self, request: Request) -> Problem | None:
        if request.id in self._client_waits or request.id in self.calls.open or self.released.owns(request.id):
            return messages.INVALID_REQUEST, "a request with this id has not been answered yet"
        if len(self._client_waits) >= AWAITED_MAX:
            return messages.REFUSED, f"{AWAITED_MAX} requests are waiting for an answer"
        if request.method in ONLY_WHILE_FREE:
            why = self._why_not_free()
            return None if why is None else (messages.REFUSED, why)
        if request.method != "tools/call" and request.method not in FROM_CLIENT:
            return messages.NO_SUCH_METHOD, f"{request.method[:80]} is not passed on by this enforcement point"
        return None

    async def _notified(self, notification: Notification) -> None:
        if notification.method == "notifications/cancelled":
            asked = (notification.params or {}).get("requestId")
            is_ours = isinstance(asked, str | int) and self.calls.take_back(asked)
            if not is_ours:  # The server knows nothing of a call that was held.
                await self._to_server(notification)
        elif notification.method in NOTIFICATIONS_FROM_CLIENT:
            await self._to_server(notification)
            self.released.heard(notification)
        else:
            self._note(f"dropped a notification of the client: {notification.method!r}")

    def _why_not_free(self) -> str | None:
        """Why nothing may be done now, or None."""
        if self.run.stopped is not None:
            return self.run.stopped.message
        state = self._guard.state
        if state.rung in ("pause", "kill"):
            word = "paused" if state.rung == "pause" else "stopped"
            return f"{self._guard.agent} is {word}: {state.reason or 'no reason given'}"
        if state.lease_left_s is not None and state.lease_left_s <= -READS_S:
            return f"{self._guard.agent} has had no lease from its control plane for {-state.lease_left_s:.1f} s"
        return None

    # ------------------------------------------------------------------------------------------------- from the server

    async def from_server(self, line: bytes | None) -> None:
        """Take one line; None stands for one that was too long."""
        try:
            message = _read(line)
        except UnreadableError as broken:
            self._note(f"refused a message of the server: {broken.message}")
            why = f"the server's answer was refused: {broken.message}"
            if line is None:  # An answer, most likely, but nobody can say to what.
                await self._fail_waiting(why)
            elif broken.id is not None:
                await self._answered(failed(broken.id, messages.REFUSED, why))
            return
        try:
            if isinstance(message, Answer):
                await self._answered(message)
            elif isinstance(message, Request):
                await self._server_requested(message)
            elif message.method.startswith("notifications/"):
                await self._to_client(message)
            else:
                self._note(f"dropped a notification of the server: {message.method!r}")
        except Exception as fault:
            self._note(f"a message of the server could not be judged: {type(fault).__name__}: {fault}")
            if isinstance(message, Answer):
                await self._to_client(failed(message.id, messages.INTERNAL_ERROR, "the server's answer could not be judged"))

    async def _answered(self, answer: Answer) -> None:
        if self.calls.answered(answer) or self.released.answered(answer):
            return
        method = None if answer.id is None else self._client_waits.pop(answer.id, None)
        if method is None:
            self._note("dropped an answer of the server to a question that nobody asked, or that was taken back")
            return
        self._look_idle()
        judged = self._rules.judged(answer)
        if judged.error is None:
            judged = Answer(answer.id, self._seen_by_client(method, judged.result))
        await self._to_client(judged)

    def _seen_by_client(self, method: str, result: dict[str, Any]) -> dict[str, Any]:
        if method == "tools/list":
            tools = result.get("tools")
            shown = [tool for tool in tools if self._is_shown(tool)] if isinstance(tools, list) else []
            self._pins.save()
            return {**result, "tools": shown}
        if method in ("initialize", "server/discover"):
            if isinstance(version := result.get("protocolVersion"), str):
                self.version = version
            if isinstance(capabilities := result.get("capabilities"), dict):
                return {**result, "capabilities": {key: each for key, each in capabilities.items() if key != "tasks"}}
        return result

    def _is_shown(self, tool: Any) -> bool:
        """Whether a listed tool is for this agent. A change of what it says is reported."""
        if not isinstance(tool, dict) or not isinstance(name := tool.get("name"), str):
            self._note("left a tool without a name out of the list")
            return False
        if self._rules.tools is not None and name not in self._rules.tools:
            return False
        if (change := self._pins.look(tool)) is not None:
            self._note(f"the description of {name!r} has changed")
            self._guard.change("tool", *(f"{name}@sha256:{digest}" for digest in change))
        return self._pins.refusal(name) is None

    async def _server_requested(self, request: Request) -> None:
        why = None
        if request.method != "ping":
            allowed = self._rules.may_ask(request.method)
            why = self._why_not_free() if allowed else f"{request.method[:80]} is not allowed by this enforcement point"
        if request.id in self._server_waits or len(self._server_waits) >= AWAITED_MAX:
            why = "too many requests are waiting for an answer, or one with this id"
        if why is None:
            self._server_waits.add(request.id)
            await self._to_client(request)
        else:
            self._note(f"refused a request of the server: {request.method!r}")
            await self._to_server(failed(request.id, messages.REFUSED, why))

    async def _fail_waiting(self, why: str) -> list[asyncio.Task[None]]:
        """Tell everybody who waits for the server that nothing comes; the tasks that tell it for calls."""
        tasks = self.calls.lose(why)
        self.released.lose(why)
        for each in list(self._client_waits):
            self._client_waits.pop(each)
            await self._to_client(failed(each, messages.REFUSED, why))
        self._look_idle()
        return tasks

    def _look_idle(self) -> None:
        if not self.calls.open and not self._client_waits and self.released.is_idle:
            self._idle.set()


def _read(line: bytes | None) -> Message:
    if line is None:
        raise UnreadableError(messages.INVALID_REQUEST, f"a message is longer than {messages.MESSAGE_MAX_BYTES} bytes")
    return messages.read(line)
