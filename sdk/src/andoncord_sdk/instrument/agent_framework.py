"""Microsoft Agent Framework: every chat request and every function call of an agent goes through a guard.

```python
guarded = AgentGuard(Guard("refund-agent", server=…, tools={"refund": "write"}))
agent = Agent(client, tools=[…], middleware=[…, *guarded.middleware])
with guarded.open("refund order 17"):
    result = await agent.run("refund order 17")
```

* A denied tool call is not made; the model reads why instead of a result, and the run goes on.
* Out of scope, over budget, looping, stopped: the run ends with `RunStopped` or `AgentStopped`.
* While the agent is paused, the next model or tool call waits; the event loop does not.
* A guard that breaks ends the run.

How: function and chat middleware. The framework makes a result of every exception of function middleware and goes on, except
`MiddlewareFailure`: so nothing else leaves it here. Tools that the service executes (hosted tools) never reach the middleware
and cannot be held. Where the service keeps the conversation, the framework makes one more request after a stop, to settle it.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from andoncord_sdk.guard import Guard
from andoncord_sdk.instrument._calls import (
    MAX_MESSAGES,
    Calls,
    Prices,
    admit_async,
    cut,
    ending,
    optional,
    replaced,
    tool_call,
    tool_response,
    with_nudge,
)
from andoncord_sdk.run import Run
from andoncord_sdk.step import ModelStep

with optional("'andoncord-sdk[agent-framework]'"):
    from agent_framework import (
        ChatContext,
        ChatMiddleware,
        ChatResponse,
        FunctionInvocationContext,
        FunctionMiddleware,
        Message,
        MiddlewareFailure,
        ResponseStream,
    )

CallNext = Callable[[], Awaitable[None]]


class AgentGuard:
    """Puts a guard around the chat requests and function calls of agents that have its middleware.

    Args:
        guard: decides; one `open` is one run of the guard.
        prices: what models cost, by the name in the request's options or the client's `model`. Required with a budget.
        max_call_usd: the most a single model call can cost, held before it is made; None holds the dearest so far.

    Attributes:
        middleware: for the agent; last, closest to the calls.

    Raises:
        ValueError: a budget without prices.
    """

    def __init__(self, guard: Guard, *, prices: Prices | None = None, max_call_usd: float | None = None) -> None:
        self.guard = guard
        calls = Calls(guard, through="agent_framework", prices=prices, max_call_usd=max_call_usd)
        self._calls = calls
        self.middleware: tuple[FunctionMiddleware, ChatMiddleware] = (_Functions(calls), _Chats(calls))

    def open(self, task: str = "") -> AbstractContextManager[Run]:
        """A guarded run around whatever starts the agent inside it. Outside of one, its calls are refused.

        Raises:
            AgentStopped: a kill order is in force.
            RunStopped: the run left its scope or its budget, or repeated itself.
            CallDenied: a model call was refused, or the guard is broken.
        """
        return self._calls.open(task)


class _Functions(FunctionMiddleware):
    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def process(self, context: FunctionInvocationContext, call_next: CallNext) -> None:
        try:
            step = self._calls.tool(context.function.name, _arguments(context.arguments), can_replace=True)
            refusal = await admit_async(step)
            if (arguments := replaced(step)) is not None:
                context.arguments = _with(context.arguments, arguments)
        except Exception as fault:
            raise MiddlewareFailure(str(fault)) from fault
        if refusal is not None:
            context.result = str(refusal)
            return
        with ending(step):
            await call_next()
            step.result = _text(context.result)
        if step.nudge is not None:
            context.result = with_nudge(_text(context.result), step)


class _Chats(ChatMiddleware):
    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def process(self, context: ChatContext, call_next: CallNext) -> None:
        model = str((context.options or {}).get("model") or getattr(context.client, "model", None) or "default")
        seen = [_message(message) for message in context.messages[-MAX_MESSAGES:]]
        step = self._calls.model(model, messages=seen)
        await step.begin_async()
        try:
            await call_next()
            result = context.result
            if isinstance(result, ResponseStream):
                self._end_with_stream(context, step)
                return
            if isinstance(result, ChatResponse):
                self._settle(step, result)
        except BaseException as error:
            step.end(error)
            raise
        step.end()

    def _end_with_stream(self, context: ChatContext, step: ModelStep) -> None:
        """A streamed answer is there when its stream has been read; one that never is ends with the run."""
        self._calls.keep(step.span_id, step)

        def settle(response: ChatResponse) -> ChatResponse:
            self._calls.take(step.run, step.span_id)
            self._settle(step, response)
            step.end()
            return response

        context.stream_result_hooks.append(settle)

    def _settle(self, step: ModelStep, response: ChatResponse) -> None:
        step.output = [_message(message) for message in response.messages]
        usage = response.usage_details or {}
        self._calls.spend(step, usage.get("input_token_count"), usage.get("output_token_count"))


def _arguments(arguments: Any) -> dict[str, Any]:
    return dict(arguments if not hasattr(arguments, "model_dump") else arguments.model_dump())


def _with(arguments: Any, replacing: dict[str, Any]) -> Any:
    """The arguments in the form in which the framework gave them, with other values."""
    return arguments.model_copy(update=replacing) if hasattr(arguments, "model_copy") else replacing


def _text(result: Any) -> str:
    if isinstance(result, Sequence) and not isinstance(result, str):
        return "\n".join(_text(item) for item in result)
    return result if isinstance(result, str) else cut(getattr(result, "text", None) or str(result))


def _message(message: Message) -> dict[str, Any]:
    """A message in OpenTelemetry's form."""
    return {"role": str(message.role), "parts": [_part(content) for content in message.contents]}


def _part(content: Any) -> dict[str, Any]:
    if content.type == "function_call":
        return tool_call(content.call_id or "", content.name or "", content.arguments)
    if content.type == "function_result":
        return tool_response(content.call_id or "", _text(content.result))
    return {"type": "text", "content": cut(content.text or content.type)}
