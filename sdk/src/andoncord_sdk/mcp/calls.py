"""Tool calls on their way through the guard: admitted or refused, held, passed on, answered, taken back."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from andoncord_sdk.errors import CallDenied, CallHeld, GuardError, HandedOver, RunStopped
from andoncord_sdk.mcp import messages
from andoncord_sdk.mcp.messages import Answer, Message, Notification, Request, RequestId
from andoncord_sdk.mcp.pins import Pins
from andoncord_sdk.mcp.rules import VERSION_KEY, Problem, Rules, problem_of_call
from andoncord_sdk.otlp import Attributes
from andoncord_sdk.run import Run
from andoncord_sdk.step import Step

CALLS_MAX = 64
"""Tool calls of a client that are held or under way; further ones are refused."""
HELD_NOTICE_FIRST_S = 0.25
HELD_NOTICE_S = 5.0
"""While a call is held, a client that asked for progress hears of it this often, so that it does not give up."""
HELD_PROGRESS = 1e-6
"""Progress must grow, and the server's own begins after ours: ours counts in millionths."""
DECISION_KEY = "andoncord/decision"
"""In `_meta` of a result: which check refused the call."""

Send = Callable[[Message], Awaitable[None]]


class ServerLostError(Exception):
    """No answer to this call will come."""


class McpStep(Step):
    """A tool call that says which message it came with."""

    attributes: Attributes

    def _end_attributes(self) -> Attributes:
        return {**super()._end_attributes(), **self.attributes}


@dataclass(slots=True)
class Call:
    """A tool call of the client that has not been answered."""

    request: Request
    step: McpStep
    task: asyncio.Task[None] | None = None
    answer: asyncio.Future[Answer] | None = None
    """Set once the call is passed to the server."""


@dataclass(slots=True, kw_only=True)
class Calls:
    """The tool calls of one session. Everything happens in one event loop.

    Args:
        run: what they are steps of.
        rules: what else is to be kept.
        pins: tool descriptions as they were first seen.
        to_client: writes to the client. Never raises.
        to_server: writes to the server. Never raises.
        note: takes a sentence for whoever reads the log.
        why_not_free: says why nothing may be done now.
        ended: called when a call is over.
    """

    run: Run
    rules: Rules
    pins: Pins
    to_client: Send
    to_server: Send
    note: Callable[[str], None]
    why_not_free: Callable[[], str | None]
    ended: Callable[[], None]
    open: dict[RequestId, Call] = field(default_factory=dict)
    _begun: int = 0

    def start(self, request: Request, version: str) -> Problem | None:
        """Let a call begin; or say why it is none that could be judged."""
        params = request.params or {}
        if (problem := problem_of_call(params)) is not None:
            return problem
        if len(self.open) >= CALLS_MAX:
            return messages.REFUSED, f"{CALLS_MAX} calls are under way"
        step = McpStep(self.run, params["name"], params.get("arguments") or {}, can_replace=True)
        step.attributes = {
            "mcp.method.name": request.method,
            "mcp.protocol.version": version,
            "jsonrpc.request.id": str(request.id),
            "network.transport": self.rules.transport,
        }
        call = self.open[request.id] = Call(request, step)
        call.task = asyncio.create_task(self._make(call))
        # Not in the task itself: one that is taken back before it begins never runs.
        call.task.add_done_callback(lambda _: self._over(request.id))
        return None

    def take_back(self, id: RequestId) -> bool:  # noqa: A002
        """The client does not want it any more. Whether the server knows nothing of it."""
        call = self.open.get(id)
        if call is None or call.task is None:
            return False
        call.task.cancel()
        return call.answer is None

    def abandon(self, id: RequestId) -> None:  # noqa: A002
        """Nobody waits for this answer any more: unless the server has the call already, it is not made."""
        call = self.open.get(id)
        if call is not None and call.task is not None and call.answer is None:
            call.task.cancel()

    def answered(self, answer: Answer) -> bool:
        """Take the server's answer, if it is to a call."""
        call = None if answer.id is None else self.open.get(answer.id)
        if call is None or call.answer is None:
            return False
        if not call.answer.done():
            call.answer.set_result(answer)
        return True

    def lose(self, why: str, only: RequestId | None = None) -> list[asyncio.Task[None]]:
        """No answers come any more, or not to the one; the tasks that tell so."""
        lost = [call for call in self.open.values() if call.answer is not None and only in (None, call.request.id)]
        for call in lost:
            if call.answer is not None and not call.answer.done():
                call.answer.set_exception(ServerLostError(f"{why}; whether the call had an effect is not known"))
        return [call.task for call in lost if call.task is not None]

    def cancel(self) -> list[asyncio.Task[None]]:
        """Give every call up; the tasks that end with it."""
        tasks = [call.task for call in self.open.values() if call.task is not None]
        for task in tasks:
            task.cancel()
        return tasks

    def _over(self, id: RequestId) -> None:  # noqa: A002
        self.open.pop(id, None)
        self.ended()

    async def _make(self, call: Call) -> None:
        """From the check to the answer. Whatever breaks before the call is passed on, it is not passed on."""
        try:
            result = await self._result(call)
        except GuardError as refusal:
            result = Answer(call.request.id, _refused(call.request, refusal))
        except ServerLostError as lost:
            result = Answer(call.request.id, _error_result(call.request, str(lost)))
        except Exception as fault:
            self.note(f"a call broke: {type(fault).__name__}: {fault}")
            made = "whether it had an effect is not known" if call.answer is not None else "it was not made"
            broken = CallDenied("guard_error", f"the enforcement point failed in this call; {made}", tool=call.step.name)
            result = Answer(call.request.id, _refused(call.request, broken))
        try:
            await self.to_client(result)
        except Exception as fault:  # Such as a result that is nested too deeply to be written again.
            self.note(f"an answer could not be written: {type(fault).__name__}: {fault}")
            unwritten = messages.failed(call.request.id, messages.INTERNAL_ERROR, "the answer could not be written")
            await self.to_client(unwritten)

    async def _result(self, call: Call) -> Answer:
        """The server's answer to an admitted call.

        Raises:
            GuardError: it is not admitted.
            ServerLostError: there will be none.
        """
        await self._admit(call.step)
        await self._begin(call)
        error: BaseException | None = None
        try:
            call.answer = asyncio.get_running_loop().create_future()
            await self.to_server(self.rules.without_capabilities(_as_admitted(call)))
            answer = await call.answer
            _tell(call.step, answer)
        except BaseException as raised:
            error = raised
            raise
        finally:
            call.step.end(error)
        return _with_nudge(self.rules.judged(answer), call.step.nudge)

    async def _admit(self, step: McpStep) -> None:
        """What the guard does not check by itself.

        Raises:
            GuardError: the call may not be made.
        """
        limit = self.rules.calls_max
        refusal: GuardError | None = None
        if why := self.pins.refusal(step.name):
            refusal = CallDenied("policy", why, tool=step.name, policy="mcp-pin")
        elif limit is not None and self._begun >= limit:
            refusal = RunStopped("budget", f"the session's {limit} calls have been used", tool=step.name)
        if refusal is not None and self.run.stopped is None:  # Of a run that is over, the guard says why.
            self.run.admission.refuse(self.run, step, refusal)
            raise refusal

    async def _begin(self, call: Call) -> None:
        """`step.begin_async`, telling the client while the call is held."""
        self._begun += 1
        begin = asyncio.ensure_future(call.step.begin_async())
        notices = 0
        try:
            while not (await asyncio.wait({begin}, timeout=HELD_NOTICE_S if notices else HELD_NOTICE_FIRST_S))[0]:
                notices += 1
                await self._tell_held(call, notices)
            begin.result()
        except BaseException as ended:
            self._begun -= 1
            begin.cancel()
            with contextlib.suppress(asyncio.CancelledError, GuardError):
                await begin
                call.step.end(ended)  # It was let through in the last moment.
            raise

    async def _tell_held(self, call: Call, notices: int) -> None:
        token = ((call.request.params or {}).get("_meta") or {}).get("progressToken")
        if isinstance(token, str | int):
            waits_for = self.run.admission.duties.approvals.waits_for(call.step)
            why = self.why_not_free() or (f"waiting for {waits_for}" if waits_for else "waiting for the guard")
            why = f"held, not made yet: {why}"
            progress = {"progressToken": token, "progress": notices * HELD_PROGRESS, "message": why}
            await self.to_client(Notification("notifications/progress", progress))


def _as_admitted(call: Call) -> Request:
    """The request as the guard let it through: a policy may have had some of its arguments masked."""
    params = call.request.params or {}
    if call.step.arguments is call.step.given or "arguments" not in params:
        return call.request
    return Request(call.request.id, call.request.method, {**params, "arguments": dict(call.step.arguments)})


def _tell(step: McpStep, answer: Answer) -> None:
    """What the guard learns of an answer."""
    if answer.error is not None:
        step.error_type, step.result = f"jsonrpc {answer.error['code']}", answer.error.get("message")
    elif isinstance(answer.result, dict):
        step.result = {key: value for key, value in answer.result.items() if key != "_meta"}
        if answer.result.get("isError") is True:
            step.error_type = "tool_error"
    else:
        step.error_type = "malformed"


def _refused(request: Request, refusal: GuardError) -> dict[str, Any]:
    """A refusal as the result of a call: the model reads why, and the client does not take it for a broken connection."""
    over = " This session is over: every further call in it will be refused." if isinstance(refusal, RunStopped) else ""
    decided = f"{refusal.code} {refusal.policy}".strip()
    decision = {"code": refusal.code, "policy": refusal.policy, "action": refusal.action}
    item = refusal.item if isinstance(refusal, CallHeld | HandedOver) else ""
    more = {"action_digest": refusal.action_digest, "item": item}
    return {
        **_error_result(request, f"Denied by Andoncord ({decided}): {refusal.message}.{over}"),
        "_meta": {DECISION_KEY: {**decision, **{key: value for key, value in more.items() if value}}},
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
