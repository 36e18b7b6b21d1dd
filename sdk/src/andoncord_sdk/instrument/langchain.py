"""LangChain and LangGraph: every model call and every tool call of an agent goes through a guard.

```python
middleware = GuardMiddleware(Guard("refund-agent", server=…, tools={"refund": "write"}))
agent = create_agent(model, tools, middleware=[…, middleware])  # last: closest to the calls
with middleware.open("refund order 17"):
    result = agent.invoke({"messages": […]})

tools = middleware.tool_node([refund])  # a graph of one's own: in the place of ToolNode([refund])
```

* A denied tool call is not made; the model reads why instead of a result, and the run goes on.
* Out of scope, over budget, looping, stopped: the run ends with `RunStopped` or `AgentStopped`.
* While the agent is paused, the next model or tool call waits. An asynchronous run leaves the event loop free meanwhile.
* A guard that breaks ends the run.

How: `AgentMiddleware`, whose exceptions end the run. Callbacks would not do: LangChain swallows what they raise. In a graph of
one's own only the tools of `tool_node` are guarded; put model calls into `with middleware.model_call(…)`. A tool that the
provider executes never reaches the middleware and cannot be held.
"""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from andoncord_sdk.errors import CallDenied
from andoncord_sdk.guard import Guard
from andoncord_sdk.instrument._calls import (
    MAX_MESSAGES,
    Calls,
    Prices,
    admit,
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
from andoncord_sdk.step import ModelStep, Step

with optional("'andoncord-sdk[langchain]'"):
    from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse
    from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
    from langgraph.prebuilt import ToolNode
    from langgraph.prebuilt.tool_node import ToolCallRequest
    from langgraph.types import Command

ROLES = {"human": "user", "ai": "assistant", "system": "system", "tool": "tool"}

ToolResult = ToolMessage | Command[Any]


class GuardMiddleware(AgentMiddleware[Any, Any, Any]):
    """Puts a guard around the calls of `create_agent` and of LangGraph tool nodes.

    Args:
        guard: decides; one `open` is one run of the guard.
        prices: what models cost, by the name the chat model gives itself. Required when the guard has a budget.
        max_call_usd: the most a single model call can cost, held before it is made; None holds the dearest so far.

    Raises:
        ValueError: a budget without prices.
    """

    name = "andoncord"

    def __init__(self, guard: Guard, *, prices: Prices | None = None, max_call_usd: float | None = None) -> None:
        super().__init__()
        self.guard = guard
        self._calls = Calls(guard, through="langchain", prices=prices, max_call_usd=max_call_usd)

    def open(self, task: str = "") -> AbstractContextManager[Run]:
        """A guarded run around whatever starts the agent inside it. Outside of one, its calls are refused.

        Raises:
            AgentStopped: a kill order is in force.
            RunStopped: the run left its scope or its budget, or repeated itself.
            CallDenied: a model call was refused, or the guard is broken.
        """
        return self._calls.open(task)

    def tool_node(self, tools: Sequence[Any], **options: Any) -> ToolNode:
        """A guarded node for the tools of a graph. `options` as for `ToolNode`.

        Raises:
            ValueError: `options` would let errors of the guard pass for results.
        """
        if options.get("handle_tool_errors"):
            raise ValueError("handle_tool_errors would make the guard's stop a result for the model: handle errors in the tool")
        if options.keys() & {"wrap_tool_call", "awrap_tool_call"}:
            raise ValueError("the node is wrapped by the guard: put your own wrapping into the tool")
        return ToolNode(tools, wrap_tool_call=self.wrap_tool_call, awrap_tool_call=self.awrap_tool_call, **options)

    @contextmanager
    def model_call(self, model: str, messages: Sequence[BaseMessage] = ()) -> Iterator[Callable[[BaseMessage], None]]:
        """A model call of one's own graph, made inside; give the answer to what this yields.

        Raises:
            GuardError: it must not be made.
        """
        step = self._calls.model(model, messages=_messages(messages))
        with step:
            yield lambda answer: self._settle_model(step, [answer])

    # ------------------------------------------------------------------------------------------------- the framework's side

    def wrap_tool_call(self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], ToolResult]) -> ToolResult:
        """Make the call under the guard, or answer why not."""
        step = self._calls.tool(request.tool_call["name"], request.tool_call["args"], can_replace=True)
        if (refusal := admit(step)) is not None:
            return _refused(request, refusal)
        with ending(step):
            result = handler(_as_admitted(request, step))
            _observe(step, result)
        return _nudged(result, step)

    async def awrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[ToolResult]]
    ) -> ToolResult:
        """`wrap_tool_call`, for asynchronous runs."""
        step = self._calls.tool(request.tool_call["name"], request.tool_call["args"], can_replace=True)
        if (refusal := await admit_async(step)) is not None:
            return _refused(request, refusal)
        with ending(step):
            result = await handler(_as_admitted(request, step))
            _observe(step, result)
        return _nudged(result, step)

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelResponse[Any]:
        """Make the call under the guard, or end the run."""
        step = self._model_step(request)
        with step:
            response = handler(request)
            self._settle_model(step, response.result)
        return response

    async def awrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]
    ) -> ModelResponse[Any]:
        """`wrap_model_call`, for asynchronous runs."""
        step = self._model_step(request)
        async with step:
            response = await handler(request)
            self._settle_model(step, response.result)
        return response

    def _model_step(self, request: ModelRequest[Any]) -> ModelStep:
        system = "" if request.system_message is None else cut(request.system_message.text)
        return self._calls.model(_model_name(request.model), system=system, messages=_messages(request.messages))

    def _settle_model(self, step: ModelStep, answers: Sequence[BaseMessage]) -> None:
        step.output = _messages(answers)
        for answer in answers:
            if isinstance(answer, AIMessage) and (usage := answer.usage_metadata) is not None:
                self._calls.spend(step, usage["input_tokens"], usage["output_tokens"])


def _observe(step: Step, result: ToolResult) -> None:
    if isinstance(result, ToolMessage):
        step.result = result.content
        step.error_type = "tool_error" if result.status == "error" else ""
    else:
        step.result = repr(result)


def _nudged(result: ToolResult, step: Step) -> ToolResult:
    if step.nudge is None or not isinstance(result, ToolMessage) or not isinstance(result.content, str):
        return result
    return result.model_copy(update={"content": with_nudge(result.content, step)})


def _as_admitted(request: ToolCallRequest, step: Step) -> ToolCallRequest:
    """The request with the arguments that the guard let through."""
    arguments = replaced(step)
    return request if arguments is None else request.override(tool_call={**request.tool_call, "args": arguments})


def _refused(request: ToolCallRequest, refusal: CallDenied) -> ToolMessage:
    call = request.tool_call
    return ToolMessage(str(refusal), name=call["name"], tool_call_id=call["id"] or "", status="error")


def _model_name(model: Any) -> str:
    named = getattr(model, "model_name", None) or getattr(model, "model", None)
    return named if isinstance(named, str) else type(model).__name__


def _messages(messages: Sequence[BaseMessage]) -> list[dict[str, Any]]:
    return [_message(message) for message in messages[-MAX_MESSAGES:]]


def _message(message: BaseMessage) -> dict[str, Any]:
    """A message in OpenTelemetry's form."""
    if isinstance(message, ToolMessage):
        return {"role": "tool", "parts": [tool_response(message.tool_call_id, message.text)]}
    parts = [{"type": "text", "content": cut(message.text)}] if message.text else []
    if isinstance(message, AIMessage):
        parts += [tool_call(call["id"] or "", call["name"], call["args"]) for call in message.tool_calls]
    return {"role": ROLES.get(message.type, message.type), "parts": parts}
