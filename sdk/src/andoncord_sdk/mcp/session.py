"""One client and one server of the Model Context Protocol, with a guard between them. One session is one run of the agent."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from andoncord_sdk.errors import AgentStopped, CallDenied, GuardError, RunStopped
from andoncord_sdk.guard import Guard
from andoncord_sdk.mcp import messages
from andoncord_sdk.mcp.messages import Answer, Message, Notification, Request, RequestId, UnreadableError, failed
from andoncord_sdk.mcp.pins import Pins
from andoncord_sdk.otlp import Attributes
from andoncord_sdk.run import Run
from andoncord_sdk.step import Step

AWAITED_MAX = 512
"""Requests of either side that wait for an answer; further ones are refused."""
CALLS_MAX = 64
"""Tool calls of a client that are held or under way; further ones are refused."""
HELD_NOTICE_FIRST_S = 0.25
HELD_NOTICE_S = 5.0
"""While a call is held, a client that asked for progress hears of it this often, so that it does not give up."""
HELD_PROGRESS = 1e-6
"""Progress must grow, and the server's own begins after ours: ours counts in millionths."""

FROM_CLIENT = frozenset(
    {
        "initialize", "ping", "server/discover", "logging/setLevel", "tools/list", "resources/list", "resources/templates/list",
        "resources/unsubscribe", "prompts/list", "subscriptions/listen",
    }
)  # fmt: skip
"""Requests that have no effect of their own. What is not known is not passed: it might be another way to call a tool."""
ONLY_WHILE_FREE = frozenset({"resources/read", "resources/subscribe", "prompts/get", "completion/complete"})
"""Requests that are refused while the agent is paused or stopped."""
NOTIFICATIONS_FROM_CLIENT = frozenset(
    {"notifications/initialized", "notifications/progress", "notifications/roots/list_changed"}
)
OF_CAPABILITY = {"sampling": "sampling/createMessage", "roots": "roots/list", "elicitation": "elicitation/create"}
"""What a server may ask of a client, by the client's capability, and only where that is allowed."""
CALL_PARAMS = frozenset({"name", "arguments", "_meta", "inputResponses", "requestState"})
CAPABILITIES_KEY = "io.modelcontextprotocol/clientCapabilities"
VERSION_KEY = "io.modelcontextprotocol/protocolVersion"
"""Since version 2026-07-28 these come with every request instead of once."""
DECISION_KEY = "andoncord/decision"
"""In `_meta` of a result: which check refused the call."""

Send = Callable[[bytes], Awaitable[None]]


class ServerLostError(Exception):
    """No answer to this call will come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What this enforcement point adds to what the guard enforces."""

    tools: frozenset[str] | None = None
    """The declared ones, which alone are listed; None lists all."""
    allowed_requests: frozenset[str] = frozenset()
    """Capabilities of the client that the server may use: sampling, roots, elicitation."""
    calls_max: int | None = None
    """Tool calls in one session."""


@dataclass(slots=True)
class _Call:
    """A tool call of the client that has not been answered."""

    request: Request
    step: "McpStep"
    task: asyncio.Task[None] | None = None
    answer: asyncio.Future[Answer] | None = None
    """Set once the call has been passed to the server."""


class McpStep(Step):
    """A tool call that says which message it came with."""

    attributes: Attributes

    def _end_attributes(self) -> Attributes:
        return {**super()._end_attributes(), **self.attributes}


@dataclass(slots=True)
class Session:
    """Decides about every message. Everything happens in one event loop.

    Args:
        guard: decides about tool calls, and reports them.
        rules: what else is to be kept.
        pins: tool descriptions as they were first seen.
        task: names the run.
        to_client: writes to the client. Never raises.
        to_server: writes to the server. Never raises.
        note: takes a sentence for whoever reads the log.
    """

    guard: Guard
    rules: Rules
    pins: Pins
    task: str
    to_client: Send
    to_server: Send
    note: Callable[[str], None]
    run: Run = field(init=False)
    _version: str = ""
    _calls_begun: int = 0
    _calls: dict[RequestId, _Call] = field(default_factory=dict)
    _client_waits: dict[RequestId, str] = field(default_factory=dict)
    """Methods of the client's other requests, by id."""
    _server_waits: set[RequestId] = field(default_factory=set)
    _idle: asyncio.Event = field(default_factory=asyncio.Event)

    def begin(self) -> Self:
        """Open the run. Under a kill order the session exists all the same, and every call in it is refused."""
        self.run = self.guard.run(self.task)
        try:
            self.run.begin()
        except AgentStopped as stopped:
            self.run.stop(stopped)
        self._idle.set()
        return self

    async def wait_idle(self) -> None:
        """Until no request of the client waits for an answer."""
        await self._idle.wait()

    async def end(self) -> None:
        """The client has gone: nothing that is held is made any more, what is under way is no longer waited for."""
        tasks = [call.task for call in self._calls.values() if call.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.run.end()

    # ------------------------------------------------------------------------------------------------- from the client

    async def from_client(self, line: bytes | None) -> None:
        """Take one line; None stands for one that was too long."""
        try:
            message = _read(line)
        except UnreadableError as broken:
            self.note(f"refused a message of the client: {broken.message}")
            await self._answer(failed(broken.id, broken.code, broken.message))
            return
        try:
            if isinstance(message, Request):
                await self._requested(message)
            elif isinstance(message, Notification):
                await self._notified(message)
            elif message.id in self._server_waits:
                self._server_waits.discard(message.id)
                await self._pass_on(message)
            else:
                self.note("dropped an answer of the client to a question that nobody asked")
        except Exception as fault:  # Ours: this message is not passed, the next ones are.
            self.note(f"a message of the client could not be judged: {type(fault).__name__}: {fault}")
            if isinstance(message, Request):
                await self._answer(failed(message.id, messages.INTERNAL_ERROR, "the message could not be judged"))

    async def _requested(self, request: Request) -> None:
        problem: tuple[int, str] | None = None
        if request.id in self._client_waits or request.id in self._calls:
            problem = messages.INVALID_REQUEST, "a request with this id has not been answered yet"
        elif len(self._client_waits) >= AWAITED_MAX:
            problem = messages.REFUSED, f"{AWAITED_MAX} requests are waiting for an answer"
        elif request.method == "tools/call":
            problem = self._problem_of_call(request.params or {})
        elif request.method in ONLY_WHILE_FREE:
            if why := self._why_not_free():
                problem = messages.REFUSED, why
        elif request.method not in FROM_CLIENT:
            problem = messages.NO_SUCH_METHOD, f"{request.method[:80]} is not passed on by this enforcement point"
        if problem is not None:
            await self._answer(failed(request.id, *problem))
        elif request.method == "tools/call":
            call = _Call(request, self._step(request))
            self._calls[request.id] = call
            self._idle.clear()
            call.task = asyncio.create_task(self._call(call))
        else:
            self._client_waits[request.id] = request.method
            self._idle.clear()
            await self._pass_on(self._without_capabilities(request))

    async def _notified(self, notification: Notification) -> None:
        if notification.method in NOTIFICATIONS_FROM_CLIENT:
            await self._pass_on(notification)
        elif notification.method == "notifications/cancelled":
            asked = (notification.params or {}).get("requestId")
            call = self._calls.get(asked) if isinstance(asked, str | int) else None
            if call is not None and call.task is not None:
                call.task.cancel()
            if call is None or call.answer is not None:  # The server knows nothing of a call that was held.
                await self._pass_on(notification)
        else:
            self.note(f"dropped a notification of the client: {notification.method!r}")

    def _problem_of_call(self, params: dict[str, Any]) -> tuple[int, str] | None:
        arguments = params.get("arguments")
        if "task" in params:
            return messages.INVALID_PARAMS, "calls as tasks are not passed on by this enforcement point: call without one"
        if foreign := params.keys() - CALL_PARAMS:
            return messages.INVALID_PARAMS, f"{min(foreign)[:80]!r} does not belong into a call"
        if not isinstance(params.get("name"), str):
            return messages.INVALID_PARAMS, "a call needs the name of a tool"
        if "arguments" in params and not isinstance(arguments, dict):
            return messages.INVALID_PARAMS, "the arguments of a call must be an object"
        if len({key.casefold() for key in arguments or {}}) != len(arguments or {}):
            # Some servers read "Path" as "path", and would act on the one that was not judged.
            return messages.INVALID_PARAMS, "two arguments differ only in upper and lower case"
        if len(self._calls) >= CALLS_MAX:
            return messages.REFUSED, f"{CALLS_MAX} calls are under way"
        return None

    def _without_capabilities(self, request: Request) -> Request:
        """The request, with the capabilities left out that the server is not allowed to use."""
        params = request.params or {}
        meta = params.get("_meta") or {}
        if request.method == "initialize" and "capabilities" in params:
            params = {**params, "capabilities": self._allowed(params["capabilities"])}
        if CAPABILITIES_KEY in meta:
            params = {**params, "_meta": {**meta, CAPABILITIES_KEY: self._allowed(meta[CAPABILITIES_KEY])}}
        if isinstance(version := meta.get(VERSION_KEY), str):
            self._version = version
        return request if request.params is None else Request(request.id, request.method, params)

    def _allowed(self, capabilities: Any) -> Any:
        if not isinstance(capabilities, dict):
            return capabilities
        left_out = (OF_CAPABILITY.keys() - self.rules.allowed_requests) | {"tasks"}
        return {key: value for key, value in capabilities.items() if key not in left_out}

    def _why_not_free(self) -> str | None:
        """Why nothing may be done now, or None."""
        if self.run.stopped is not None:
            return self.run.stopped.message
        state = self.guard.state
        if state.rung in ("pause", "kill"):
            word = "paused" if state.rung == "pause" else "stopped"
            return f"{self.guard.agent} is {word}: {state.reason or 'no reason given'}"
        return None

    # ------------------------------------------------------------------------------------------------- one tool call

    def _step(self, request: Request) -> McpStep:
        params = request.params or {}
        step = McpStep(self.run, params["name"], params.get("arguments") or {})
        step.attributes = {
            "mcp.method.name": request.method,
            "mcp.protocol.version": self._version,
            "jsonrpc.request.id": str(request.id),
            "network.transport": "pipe",
        }
        return step

    async def _call(self, call: _Call) -> None:
        """From the check to the answer. Whatever breaks before the call is passed on, it is not passed on."""
        request, step = call.request, call.step
        try:
            try:
                await self._admit(call)
            except GuardError as refusal:
                await self._answer(Answer(request.id, _refused(request, refusal)))
                return
            error: BaseException | None = None
            try:
                call.answer = asyncio.get_running_loop().create_future()
                await self._pass_on(self._without_capabilities(request))
                answer = self._judged(await call.answer, step)
            except BaseException as raised:
                error = raised
                raise
            finally:
                step.end(error)
            await self._answer(_with_nudge(answer, step.nudge))
        except ServerLostError as lost:
            await self._answer(Answer(request.id, _error_result(request, str(lost))))
        except Exception as fault:
            self.note(f"a call broke: {type(fault).__name__}: {fault}")
            made = "whether it had an effect is not known" if call.answer is not None else "it was not made"
            broken = CallDenied("guard_error", f"the enforcement point failed in this call; {made}", tool=step.name)
            await self._answer(Answer(request.id, _refused(request, broken)))
        finally:
            self._calls.pop(request.id, None)
            self._look_idle()

    async def _admit(self, call: _Call) -> None:
        """Wait until the call may be made.

        Raises:
            GuardError: it may not.
        """
        step, limit = call.step, self.rules.calls_max
        refusal: GuardError | None = None
        if self.run.stopped is None:
            if why := self.pins.refusal(step.name):
                refusal = CallDenied("policy", why, tool=step.name, policy="mcp-pin")
            elif limit is not None and self._calls_begun >= limit:
                refusal = RunStopped("budget", f"the session's {limit} calls have been used", tool=step.name)
        if refusal is not None:
            self.run.admission.refuse(self.run, step, refusal)
            raise refusal
        self._calls_begun += 1
        try:
            await self._begin(call)
        except BaseException:
            self._calls_begun -= 1
            raise

    async def _begin(self, call: _Call) -> None:
        """`step.begin_async`, telling the client while the call is held."""
        begin = asyncio.ensure_future(call.step.begin_async())
        token = ((call.request.params or {}).get("_meta") or {}).get("progressToken")
        notices = 0
        try:
            while not (await asyncio.wait({begin}, timeout=HELD_NOTICE_S if notices else HELD_NOTICE_FIRST_S))[0]:
                notices += 1
                if isinstance(token, str | int):
                    progress = {"progressToken": token, "progress": notices * HELD_PROGRESS, "message": self._why_held()}
                    await self.to_client(messages.write(Notification("notifications/progress", progress)))
            begin.result()
        except BaseException as ended:
            begin.cancel()
            with contextlib.suppress(asyncio.CancelledError, GuardError):
                await begin
                call.step.end(ended)  # It was let through in the last moment.
            raise

    def _why_held(self) -> str:
        return f"held, not made yet: {self._why_not_free() or 'waiting for the guard'}"

    def _judged(self, answer: Answer, step: McpStep) -> Answer:
        """What the client may see of a tool's answer; and what the guard learns from it."""
        if answer.error is not None:
            step.error_type, step.result = f"jsonrpc {answer.error['code']}", answer.error.get("message")
            return answer
        if not isinstance(answer.result, dict):
            step.error_type = "malformed"
            return failed(answer.id, messages.INTERNAL_ERROR, "the server's result was not an object")
        step.result = {key: value for key, value in answer.result.items() if key != "_meta"}
        if answer.result.get("isError") is True:
            step.error_type = "tool_error"
        return self._asking(answer)

    def _asking(self, answer: Answer) -> Answer:
        """Since version 2026-07-28 a server asks by a result: that passes only if what it asks for is allowed."""
        result = answer.result
        if not isinstance(result, dict) or result.get("resultType") != "input_required":
            return answer
        asked = result.get("inputRequests") or {}
        asks = asked.values() if isinstance(asked, dict) else [None]
        if all(isinstance(each, dict) and self._may_ask(each.get("method")) for each in asks):
            return answer
        return failed(answer.id, messages.REFUSED, "the server asked the client for what this enforcement point does not allow")

    # ------------------------------------------------------------------------------------------------- from the server

    async def from_server(self, line: bytes | None) -> None:
        """Take one line; None stands for one that was too long."""
        try:
            message = _read(line)
        except UnreadableError as broken:
            await self._server_was_unreadable(broken, is_lost=line is None)
            return
        try:
            if isinstance(message, Answer):
                await self._answered(message)
            elif isinstance(message, Request):
                await self._server_requested(message)
            elif message.method.startswith("notifications/"):
                await self.to_client(messages.write(message))
            else:
                self.note(f"dropped a notification of the server: {message.method!r}")
        except Exception as fault:
            self.note(f"a message of the server could not be judged: {type(fault).__name__}: {fault}")
            if isinstance(message, Answer):
                await self._answer(failed(message.id, messages.INTERNAL_ERROR, "the server's answer could not be judged"))

    async def lose_server(self, why: str) -> None:
        """Nothing will come any more: answer everything that waits for it."""
        await self._fail_waiting(why)
        tasks = [call.task for call in self._calls.values() if call.task is not None and call.answer is not None]
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _fail_waiting(self, why: str) -> None:
        for call in list(self._calls.values()):
            if call.answer is not None and not call.answer.done():
                call.answer.set_exception(ServerLostError(f"{why}; whether the call had an effect is not known"))
        for each in list(self._client_waits):
            self._client_waits.pop(each)
            await self._answer(failed(each, messages.REFUSED, why))
        self._look_idle()

    async def _answered(self, answer: Answer) -> None:
        call = None if answer.id is None else self._calls.get(answer.id)
        if call is not None and call.answer is not None:
            if not call.answer.done():
                call.answer.set_result(answer)
            return
        method = None if answer.id is None else self._client_waits.pop(answer.id, None)
        self._look_idle()
        if method is None:
            self.note("dropped an answer of the server to a question that nobody asked, or that was taken back")
            return
        if answer.error is None and not isinstance(answer.result, dict):
            answer = failed(answer.id, messages.INTERNAL_ERROR, "the server's result was not an object")
        elif answer.error is None:
            answer = self._asking(Answer(answer.id, self._seen_by_client(method, answer.result)))
        await self._answer(answer)

    def _seen_by_client(self, method: str, result: dict[str, Any]) -> dict[str, Any]:
        if method == "tools/list":
            tools = result.get("tools")
            shown = [tool for tool in tools if self._is_shown(tool)] if isinstance(tools, list) else []
            self.pins.save()
            return {**result, "tools": shown}
        if method in ("initialize", "server/discover"):
            if isinstance(version := result.get("protocolVersion"), str):
                self._version = version
            if isinstance(capabilities := result.get("capabilities"), dict):
                return {**result, "capabilities": {key: each for key, each in capabilities.items() if key != "tasks"}}
        return result

    def _is_shown(self, tool: Any) -> bool:
        """Whether a listed tool is for this agent. A change of what it says is reported."""
        if not isinstance(tool, dict) or not isinstance(name := tool.get("name"), str):
            self.note("left a tool without a name out of the list")
            return False
        if self.rules.tools is not None and name not in self.rules.tools:
            return False
        if (change := self.pins.look(tool)) is not None:
            self.note(f"the description of {name!r} has changed")
            self.guard.change("tool", *(f"{name}@sha256:{digest}" for digest in change))
        return self.pins.refusal(name) is None

    async def _server_requested(self, request: Request) -> None:
        why = self._why_not_free() if request.method != "ping" else None
        if request.method != "ping" and not self._may_ask(request.method):
            why = f"{request.method[:80]} is not allowed by this enforcement point"
        elif request.id in self._server_waits or len(self._server_waits) >= AWAITED_MAX:
            why = "too many requests are waiting for an answer, or one with this id"
        if why is not None:
            self.note(f"refused a request of the server: {request.method!r}")
            await self.to_server(messages.write(failed(request.id, messages.REFUSED, why)))
            return
        self._server_waits.add(request.id)
        await self.to_client(messages.write(request))

    async def _server_was_unreadable(self, broken: UnreadableError, *, is_lost: bool) -> None:
        self.note(f"refused a message of the server: {broken.message}")
        if is_lost:  # An answer, most likely, but nobody can say to what.
            await self._fail_waiting(f"an answer of the server was refused ({broken.message})")
        elif broken.id is not None:
            await self._answered(failed(broken.id, messages.REFUSED, f"the server's answer was refused: {broken.message}"))

    def _may_ask(self, method: object) -> bool:
        return method in {OF_CAPABILITY[capability] for capability in self.rules.allowed_requests}

    # ------------------------------------------------------------------------------------------------- both

    def _look_idle(self) -> None:
        if not self._calls and not self._client_waits:
            self._idle.set()

    async def _pass_on(self, message: Message) -> None:
        await self.to_server(messages.write(message))

    async def _answer(self, answer: Answer) -> None:
        await self.to_client(messages.write(answer))


def _read(line: bytes | None) -> Message:
    if line is None:
        raise UnreadableError(messages.INVALID_REQUEST, f"a message is longer than {messages.MESSAGE_MAX_BYTES} bytes")
    return messages.read(line)


def _refused(request: Request, refusal: GuardError) -> dict[str, Any]:
    """A refusal as the result of a call: the model reads why, and the client does not take it for a broken connection."""
    over = " This session is over: every further call in it will be refused." if isinstance(refusal, RunStopped) else ""
    decided = f"{refusal.code} {refusal.policy}".strip()
    return {
        **_error_result(request, f"Denied by Andoncord ({decided}): {refusal.message}.{over}"),
        "_meta": {DECISION_KEY: {"code": refusal.code, "policy": refusal.policy, "action": refusal.action}},
    }


def _error_result(request: Request, text: str) -> dict[str, Any]:
    # From this version on a result has to say what it is; older clients do not know the word.
    meta: Mapping[str, Any] = (request.params or {}).get("_meta") or {}
    kind = {"resultType": "complete"} if VERSION_KEY in meta else {}
    return {**kind, "content": [{"type": "text", "text": text}], "isError": True}


def _with_nudge(answer: Answer, nudge: str | None) -> Answer:
    """The answer, with a word to the model at the third repetition."""
    content = answer.result.get("content") if isinstance(answer.result, dict) else None
    if nudge is None or not isinstance(content, list):
        return answer
    return Answer(answer.id, {**answer.result, "content": [*content, {"type": "text", "text": nudge}]})
