"""PydanticAI: every model request and every tool call of an agent goes through a guard.

```python
capability = GuardCapability(Guard("refund-agent", server=…, tools={"refund": "write"}))
agent = Agent(model, tools=[…], capabilities=[…, capability])  # or agent.run(…, capabilities=[capability])
with capability.open("refund order 17"):
    result = await agent.run("refund order 17")
```

* A denied tool call is not made; the model reads why instead of a result, and the run goes on.
* Out of scope, over budget, looping, stopped: the run ends with `RunStopped` or `AgentStopped`.
* While the agent is paused, the next model or tool call waits; the event loop does not.
* A guard that breaks ends the run.

How: a capability, whose exceptions end the run. Tools that the provider executes (native tools) never reach it and cannot be
held. Output tools are how the framework receives the final answer; they are not calls of a tool.
"""

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

with optional("'andoncord-sdk[pydantic-ai]'"):
    from pydantic_ai import RunContext
    from pydantic_ai.capabilities import AbstractCapability, CapabilityOrdering
    from pydantic_ai.messages import ModelMessage, ModelResponse, ToolCallPart
    from pydantic_ai.models import ModelRequestContext
    from pydantic_ai.tools import ToolDefinition


class GuardCapability(AbstractCapability[Any]):
    """Puts a guard around the model requests and tool calls of an agent.

    Args:
        guard: decides; one `open` is one run of the guard.
        prices: what models cost, by the name the model gives itself. Required when the guard has a budget.
        max_call_usd: the most a single model call can cost, held before it is made; None holds the dearest so far.

    Raises:
        ValueError: a budget without prices.
    """

    def __init__(self, guard: Guard, *, prices: Prices | None = None, max_call_usd: float | None = None) -> None:
        self.guard = guard
        self._calls = Calls(guard, through="pydantic_ai", prices=prices, max_call_usd=max_call_usd)

    def open(self, task: str = "") -> AbstractContextManager[Run]:
        """A guarded run around whatever starts the agent inside it. Outside of one, its calls are refused.

        Raises:
            AgentStopped: a kill order is in force.
            RunStopped: the run left its scope or its budget, or repeated itself.
            CallDenied: a model call was refused, or the guard is broken.
        """
        return self._calls.open(task)

    # ------------------------------------------------------------------------------------------------- the framework's side

    def get_ordering(self) -> CapabilityOrdering:
        """Innermost: it decides about the call as it will be made, and sees what it really gave."""
        return CapabilityOrdering(position="innermost")

    async def wrap_tool_execute(
        self, ctx: RunContext[Any], *, call: ToolCallPart, tool_def: ToolDefinition, args: dict[str, Any], handler: Any
    ) -> Any:
        """Make the call under the guard, or answer why not."""
        step = self._calls.tool(call.tool_name, args, can_replace=True)
        if (refusal := await admit_async(step)) is not None:
            return str(refusal)
        with ending(step):
            arguments = replaced(step)
            step.result = result = await handler(args if arguments is None else arguments)
        return with_nudge(result if isinstance(result, str) else cut(result), step) if step.nudge else result

    async def wrap_model_request(
        self, ctx: RunContext[Any], *, request_context: ModelRequestContext, handler: Any
    ) -> ModelResponse:
        """Make the request under the guard, or end the run."""
        seen = [_message(message) for message in request_context.messages[-MAX_MESSAGES:]]
        step = self._calls.model(request_context.model.model_name, messages=seen)
        async with step:
            response: ModelResponse = await handler(request_context)
            step.output = [_message(response)]
            self._calls.spend(step, response.usage.input_tokens, response.usage.output_tokens)
        return response


def _message(message: ModelMessage) -> dict[str, Any]:
    """A message in OpenTelemetry's form."""
    if isinstance(message, ModelResponse):
        return {"role": "assistant", "parts": [_part(part) for part in message.parts]}
    is_tool = any(part.part_kind == "tool-return" for part in message.parts)
    return {"role": "tool" if is_tool else "user", "parts": [_part(part) for part in message.parts]}


def _part(part: Any) -> dict[str, Any]:
    if part.part_kind == "tool-call":
        return tool_call(part.tool_call_id, part.tool_name, part.args)
    if part.part_kind == "tool-return":
        return tool_response(part.tool_call_id, part.content)
    return {"type": "text", "content": cut(getattr(part, "content", part.part_kind))}
