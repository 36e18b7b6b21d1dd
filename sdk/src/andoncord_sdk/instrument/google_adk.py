"""Google ADK: every model call and every tool call of every agent of a runner goes through a guard.

```python
plugin = GuardPlugin(Guard("refund-agent", server=…, tools={"refund": "write"}))
runner = Runner(agent=agent, …, plugins=[…, plugin])
with plugin.open("refund order 17"):
    async for event in runner.run_async(…): ...
```

* A denied tool call is not made; the model reads why as `{"error": …}` instead of a result, and the run goes on.
* Out of scope, over budget, looping, stopped: the run ends with `RunStopped` or `AgentStopped`.
* While the agent is paused, the next model or tool call waits; the event loop does not.
* A guard that breaks ends the run.

How: a plugin, whose exceptions end the run. A hand-off to another agent is a tool call too, named `transfer_to_agent`: declare
it. `Runner.run` works in a thread of its own, without the guarded run around it: its calls are refused, use `run_async`. Tools
that the model's provider executes never reach a plugin and cannot be held. Live (`run_live`) connections are not covered.
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
    optional,
    replaced,
    tool_call,
    tool_response,
)
from andoncord_sdk.run import Run
from andoncord_sdk.step import GuardedCall, ModelStep, Step

with optional("google-adk"):
    from google.adk.plugins.base_plugin import BasePlugin


class GuardPlugin(BasePlugin):
    """Puts a guard around the model and tool calls of a runner.

    Args:
        guard: decides; one `open` is one run of the guard.
        prices: what models cost, by the model's name in ADK. Required when the guard has a budget.
        max_call_usd: the most a single model call can cost, held before it is made; None holds the dearest so far.

    Raises:
        ValueError: a budget without prices.
    """

    def __init__(self, guard: Guard, *, prices: Prices | None = None, max_call_usd: float | None = None) -> None:
        super().__init__(name="andoncord")
        self.guard = guard
        self._calls = Calls(guard, through="google_adk", prices=prices, max_call_usd=max_call_usd)

    def open(self, task: str = "") -> AbstractContextManager[Run]:
        """A guarded run around whatever starts the runner inside it. Outside of one, its calls are refused.

        Raises:
            AgentStopped: a kill order is in force.
            RunStopped: the run left its scope or its budget, or repeated itself.
            CallDenied: a model call was refused, or the guard is broken.
        """
        return self._calls.open(task)

    # ------------------------------------------------------------------------------------------------- the framework's side

    async def before_tool_callback(self, *, tool: Any, tool_args: dict[str, Any], tool_context: Any) -> dict[str, Any] | None:
        """Begin the call, or answer why not."""
        step = self._calls.tool(tool.name, tool_args, can_replace=True)
        if (refusal := await admit_async(step)) is not None:
            return {"error": str(refusal)}
        if (arguments := replaced(step)) is not None:
            tool_args.clear()
            tool_args.update(arguments)
        self._calls.keep(tool_context.function_call_id, step)
        return None

    async def after_tool_callback(
        self, *, tool: Any, tool_args: dict[str, Any], tool_context: Any, result: Any
    ) -> dict[str, Any] | None:
        """End the call, and add a word at the third repetition."""
        step = self._taken(tool.name, tool_context.function_call_id)
        if not isinstance(step, Step):
            return None
        step.result = result
        if isinstance(result, dict) and result.get("error"):
            step.error_type = "tool_error"
        step.end()
        if step.nudge is None:
            return None
        return {**(result if isinstance(result, dict) else {"result": result}), "note": step.nudge}

    async def on_tool_error_callback(
        self, *, tool: Any, tool_args: dict[str, Any], tool_context: Any, error: Exception
    ) -> dict[str, Any] | None:
        """End the call as failed; the error goes on."""
        if (step := self._taken(tool.name, tool_context.function_call_id)) is not None:
            step.end(error)
        return None

    async def before_model_callback(self, *, callback_context: Any, llm_request: Any) -> Any:
        """Begin the call, or end the run."""
        system = getattr(llm_request.config, "system_instruction", None)
        step = self._calls.model(
            llm_request.model or "default",
            system="" if system is None else cut(system),
            messages=[_message(content) for content in llm_request.contents[-MAX_MESSAGES:]],
        )
        await step.begin_async()
        self._calls.keep(_model_key(callback_context), step)

    async def after_model_callback(self, *, callback_context: Any, llm_response: Any) -> Any:
        """End the call with its last piece."""
        if llm_response.partial:
            return
        step = self._taken("", _model_key(callback_context))
        if not isinstance(step, ModelStep):
            return
        if (usage := llm_response.usage_metadata) is not None:
            answered = (usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0)
            self._calls.spend(step, usage.prompt_token_count, answered)
        if llm_response.content is not None:
            step.output = [_message(llm_response.content)]
        step.error_type = llm_response.error_code or ""
        step.end()

    async def on_model_error_callback(self, *, callback_context: Any, llm_request: Any, error: Exception) -> Any:
        """End the call as failed; the error goes on."""
        if (step := self._taken("", _model_key(callback_context))) is not None:
            step.end(error)

    def _taken(self, name: str, key: object) -> GuardedCall | None:
        return self._calls.take(self.guard.enclosing_run(name), key)


def _model_key(callback_context: Any) -> tuple[str, str]:
    return callback_context.invocation_id, callback_context.agent_name


def _message(content: Any) -> dict[str, Any]:
    """A `Content` in OpenTelemetry's form of messages."""
    parts = [_part(part) for part in content.parts or ()]
    if any(part["type"] == "tool_call_response" for part in parts):
        return {"role": "tool", "parts": parts}
    return {"role": "assistant" if content.role == "model" else "user", "parts": parts}


def _part(part: Any) -> dict[str, Any]:
    if (wish := part.function_call) is not None:
        return tool_call(wish.id or "", wish.name or "", wish.args)
    if (given := part.function_response) is not None:
        return tool_response(given.id or "", given.response)
    return {"type": "text", "content": cut(part.text or "")}
