"""OpenAI Agents SDK: every model call and every function tool of an agent goes through a guard.

```python
guard = Guard("refund-agent", server=…, tools={"refund": "write"}, budget_usd=0.50)
runner = GuardedRunner(guard, prices={"gpt-5": (1.25, 10)})
result = await runner.run(agent, "refund order 17")  # instead of Runner.run(agent, …)

async with runner.open(agent, "refund order 17"):  # where Runner.run is not enough: streaming
    stream = Runner.run_streamed(agent, "refund order 17")
    async for event in stream.stream_events(): ...
```

* A denied tool call is not made; the model reads why instead of a result, and the run goes on.
* Out of scope, over budget, looping, stopped: the run ends with `RunStopped` or `AgentStopped`, whatever the framework
  wraps it in.
* While the agent is paused, the next model or tool call waits; the event loop does not.
* A guard that breaks ends the run. So does a tool or an agent that came in behind the guard's back.

How: tool guardrails and agent hooks, the framework's own extension points. They are put on the agent object itself, and on
the agents it hands off to or uses as tools, so that nobody holds an unguarded reference. Tools that the provider executes
(web search, code interpreter, hosted MCP) or that take no guardrails (computer, shell, patches) cannot be held: they are
refused unless named in `unguarded`.
"""

import copy
import json
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Any

from andoncord_sdk.errors import CallDenied
from andoncord_sdk.guard import Guard
from andoncord_sdk.instrument._calls import (
    MAX_MESSAGES,
    MAX_TEXT,
    Calls,
    Prices,
    admit_async,
    cut,
    optional,
    tool_call,
    tool_response,
)
from andoncord_sdk.run import Run
from andoncord_sdk.step import ModelStep, Step

with optional("'andoncord-sdk[openai-agents]'"):
    from agents import (
        Agent,
        AgentHooks,
        FunctionTool,
        Handoff,
        ModelResponse,
        Runner,
        RunResult,
        ToolGuardrailFunctionOutput,
        ToolInputGuardrail,
        ToolInputGuardrailData,
        ToolOutputGuardrail,
        ToolOutputGuardrailData,
        default_tool_error_function,
        handoff,
    )


class GuardedRunner:
    """Runs agents under a guard.

    Args:
        guard: decides; one run of the framework is one run of the guard.
        prices: what models cost. Required when the guard has a budget, since an unknown price must not count as free.
        max_call_usd: the most a single model call can cost, held before it is made; None holds the dearest so far.
        unguarded: names of tools that may stay although the guard cannot hold them.

    Raises:
        ValueError: a budget without prices.
    """

    def __init__(
        self,
        guard: Guard,
        *,
        prices: Prices | None = None,
        max_call_usd: float | None = None,
        unguarded: Collection[str] = (),
    ) -> None:
        self.guard = guard
        self._calls = Calls(guard, through="openai_agents", prices=prices, max_call_usd=max_call_usd)
        self._unguarded = frozenset(unguarded)

    async def run(self, agent: Agent[Any], input: Any, *, task: str = "", **options: Any) -> RunResult:  # noqa: A002
        """`Runner.run`, guarded.

        Args:
            agent: is changed: from now on it works under this guard only.
            input: as for `Runner.run`.
            task: what the run is for, in reports and policies; the input if it is text and this is empty.
            options: as for `Runner.run`.

        Raises:
            AgentStopped: a kill order is in force.
            RunStopped: the run left its scope or its budget, or repeated itself.
            CallDenied: a model call was refused.
            ValueError: the agent has a tool that cannot be guarded.
        """
        async with self.open(agent, task or (input if isinstance(input, str) else "")):
            return await Runner.run(agent, input, **options)

    @asynccontextmanager
    async def open(self, agent: Agent[Any], task: str = "") -> AsyncIterator[Run]:
        """A guarded run around whatever starts `agent` inside it. Raises what `run` raises."""
        self.watch(agent)
        with self._calls.open(task) as run:
            yield run

    def watch(self, agent: Agent[Any]) -> None:
        """Put an agent, and every agent it can reach, under the guard. Doing it again takes in what was added since.

        Raises:
            ValueError: it has a tool that cannot be guarded, or is under another guard.
        """
        reachable, seen = [agent], set()
        while reachable:
            next_agent = reachable.pop()
            if id(next_agent) in seen:
                continue
            seen.add(id(next_agent))
            self._watch_hooks(next_agent)
            reachable += self._watch_tools(next_agent)
            reachable += self._watch_handoffs(next_agent)

    # ------------------------------------------------------------------------------------------------- putting it on

    def _watch_hooks(self, agent: Agent[Any]) -> None:
        hooks = agent.hooks
        if isinstance(hooks, _Hooks):
            if hooks.runner.guard is not self.guard:
                raise ValueError(f"{agent.name} is already under the guard of {hooks.runner.guard.agent}")
            if hooks.runner is self:
                return
            hooks = hooks.inner
        agent.hooks = _Hooks(self, hooks)
        fetch_mcp_tools = type(agent).get_mcp_tools

        async def get_mcp_tools(context: Any) -> list[Any]:
            return [self._guarded(tool) for tool in await fetch_mcp_tools(agent, context)]

        # Tools of MCP servers are made anew for every turn.
        agent.get_mcp_tools = get_mcp_tools  # type: ignore[method-assign, assignment]  # bound to this very agent

    def _watch_tools(self, agent: Agent[Any]) -> list[Agent[Any]]:
        reachable: list[Agent[Any]] = []
        for tool in agent.tools:
            if not isinstance(tool, FunctionTool):
                if tool.name not in self._unguarded:
                    raise ValueError(
                        f"the guard cannot hold {tool.name} of {agent.name}, because it does not run as a function tool: "
                        f"remove it, or accept that with unguarded={{{tool.name!r}}}"
                    )
            elif (nested := getattr(tool, "_agent_instance", None)) is not None:
                reachable.append(nested)
        if not all(self._is_guarded(tool) for tool in agent.tools):
            agent.tools = [self._guarded(tool) for tool in agent.tools]
        return reachable

    def _watch_handoffs(self, agent: Agent[Any]) -> list[Agent[Any]]:
        reachable = [item for item in agent.handoffs if isinstance(item, Agent)]
        # An agent in the list is what the framework makes a hand-off of; made here, it can be held.
        offered = [handoff(item) if isinstance(item, Agent) else item for item in agent.handoffs]
        agent.handoffs = [self._guarded_handoff(item) for item in offered]
        return reachable

    def _guarded_handoff(self, offered: Handoff[Any, Any]) -> Handoff[Any, Any]:
        invoke = offered.on_invoke_handoff
        if isinstance(invoke, _GuardedHandoff):
            invoke = invoke.invoke
        guarded = copy.copy(offered)
        guarded.on_invoke_handoff = _GuardedHandoff(self, invoke, offered.tool_name)
        return guarded

    def _guarded(self, tool: Any) -> Any:
        if not isinstance(tool, FunctionTool) or self._is_guarded(tool):
            return tool
        guarded = copy.copy(tool)
        theirs_in = [guardrail for guardrail in tool.tool_input_guardrails or [] if not isinstance(guardrail, _Admit)]
        theirs_out = [
            guardrail for guardrail in tool.tool_output_guardrails or [] if not isinstance(guardrail, _Settle | _Nudge)
        ]
        # Admission comes after all other checks, right before the call; settling right after it.
        guarded.tool_input_guardrails = [*theirs_in, _Admit(self)]
        guarded.tool_output_guardrails = [_Settle(self), *theirs_out, _Nudge()]
        return guarded

    def _is_guarded(self, tool: Any) -> bool:
        if not isinstance(tool, FunctionTool):
            return True
        guardrails = tool.tool_input_guardrails or []
        return bool(guardrails) and isinstance(guardrails[-1], _Admit) and guardrails[-1].runner is self

    # ------------------------------------------------------------------------------------------------- calls

    async def hand_off(self, name: str) -> None:
        """Wait until a hand-off may be made, or end the run."""
        try:
            await self._calls.hand_off(name)
        except CallDenied as refusal:
            self._calls.break_off(refusal)
            raise

    async def admit_tool(self, data: ToolInputGuardrailData) -> ToolGuardrailFunctionOutput:
        """Begin a guarded step, or tell the model why there is none."""
        call = data.context
        step = self._calls.tool(call.qualified_tool_name, _arguments(call.tool_arguments))
        if not self._calls.is_open(step.run, call.tool_call_id):
            if (refusal := await admit_async(step)) is not None:
                return ToolGuardrailFunctionOutput.reject_content(str(refusal))
            self._calls.keep(call.tool_call_id, step)
        return ToolGuardrailFunctionOutput.allow()

    def settle_tool(self, data: ToolOutputGuardrailData) -> Step | None:
        """End the step of a call that gave `data.output`."""
        run = self.guard.enclosing_run(data.context.qualified_tool_name)
        step = self._calls.take(run, data.context.tool_call_id)
        if not isinstance(step, Step):
            return None
        step.result = data.output
        if data.output == default_tool_error_function(data.context, Exception()):
            step.error_type = "tool_error"
        step.end()
        return step

    def check_watched(self, agent: Agent[Any], tool: Any) -> None:
        """Refuse a tool that reached the agent after it was put under the guard.

        Raises:
            CallDenied: it would run unguarded.
        """
        if not self._is_guarded(tool) or not (isinstance(tool, FunctionTool) or tool.name in self._unguarded):
            run = self.guard.enclosing_run(tool.name)
            refusal = CallDenied(
                "guard_error", f"{tool.name} was given to {agent.name} behind the guard's back", tool=tool.name
            )
            run.admission.refuse(run, run.step(tool.name), refusal)
            raise refusal

    async def begin_model(self, context: object, agent: Agent[Any], system: str | None, messages: list[Any]) -> None:
        """Begin a guarded model call.

        Raises:
            GuardError: it must not be made.
        """
        seen = [_message(item) for item in messages[-MAX_MESSAGES:]]
        step = self._calls.model(_model_name(agent), system=system or "", messages=seen)
        await step.begin_async()
        self._calls.keep(id(context), step)

    def end_model(self, context: object, agent: Agent[Any], response: ModelResponse) -> None:
        """End the model call that gave `response`."""
        run = self.guard.enclosing_run(_model_name(agent))
        step = self._calls.take(run, id(context))
        if not isinstance(step, ModelStep):
            return
        self._calls.spend(step, response.usage.input_tokens, response.usage.output_tokens)
        step.output = [{"role": "assistant", "parts": [part for item in response.output for part in _message(item)["parts"]]}]
        step.end()


class _Admit(ToolInputGuardrail[Any]):
    def __init__(self, runner: GuardedRunner) -> None:
        super().__init__(guardrail_function=runner.admit_tool, name="andoncord")
        self.runner = runner


class _Settle(ToolOutputGuardrail[Any]):
    """Ends the step first of all, with what the tool really gave."""

    def __init__(self, runner: GuardedRunner) -> None:
        async def settle(data: ToolOutputGuardrailData) -> ToolGuardrailFunctionOutput:
            step = runner.settle_tool(data)
            data.context._andoncord_nudge = step.nudge if step else None  # type: ignore[attr-defined]
            return ToolGuardrailFunctionOutput.allow()

        super().__init__(guardrail_function=settle, name="andoncord")


class _Nudge(ToolOutputGuardrail[Any]):
    """Adds a word to the third result of a repetition, after every other guardrail has seen the result."""

    def __init__(self) -> None:
        async def nudge(data: ToolOutputGuardrailData) -> ToolGuardrailFunctionOutput:
            word = getattr(data.context, "_andoncord_nudge", None)
            if word is None or not isinstance(data.output, str):
                return ToolGuardrailFunctionOutput.allow()
            return ToolGuardrailFunctionOutput.reject_content(f"{data.output}\n\n{word}")

        super().__init__(guardrail_function=nudge, name="andoncord")


class _Hooks(AgentHooks[Any]):
    """Guards model calls, refuses what is not guarded, and passes everything on to the agent's own hooks."""

    def __init__(self, runner: GuardedRunner, inner: AgentHooks[Any] | None) -> None:
        self.runner = runner
        self.inner: AgentHooks[Any] = inner or AgentHooks()

    async def on_llm_start(self, context: Any, agent: Any, system_prompt: str | None, input_items: list[Any]) -> None:
        await self.runner.begin_model(context, agent, system_prompt, input_items)
        await self.inner.on_llm_start(context, agent, system_prompt, input_items)

    async def on_llm_end(self, context: Any, agent: Any, response: ModelResponse) -> None:
        self.runner.end_model(context, agent, response)
        await self.inner.on_llm_end(context, agent, response)

    async def on_tool_start(self, context: Any, agent: Any, tool: Any) -> None:
        self.runner.check_watched(agent, tool)
        await self.inner.on_tool_start(context, agent, tool)

    async def on_tool_end(self, context: Any, agent: Any, tool: Any, result: object) -> None:
        await self.inner.on_tool_end(context, agent, tool, result)

    async def on_start(self, context: Any, agent: Any) -> None:
        await self.inner.on_start(context, agent)

    async def on_end(self, context: Any, agent: Any, output: Any) -> None:
        await self.inner.on_end(context, agent, output)

    async def on_handoff(self, context: Any, agent: Any, source: Any) -> None:
        await self.inner.on_handoff(context, agent, source)


class _GuardedHandoff:
    """Hands off when nothing holds that, and puts the agent that is handed off to under the guard, whichever it is."""

    def __init__(self, runner: GuardedRunner, invoke: Any, name: str) -> None:
        self.runner = runner
        self.invoke = invoke
        self.name = name

    async def __call__(self, context: Any, arguments: str) -> Any:
        await self.runner.hand_off(self.name)
        agent = await self.invoke(context, arguments)
        self.runner.watch(agent)
        return agent


def _arguments(text: str) -> dict[str, Any]:
    """A tool call's arguments as policies see them. What is not a JSON object will not run either: the tool refuses it."""
    try:
        arguments = json.loads(text or "{}")
    except (ValueError, RecursionError):
        arguments = None
    return arguments if isinstance(arguments, dict) else {"malformed": text[:MAX_TEXT]}


def _model_name(agent: Agent[Any]) -> str:
    if agent.model is None or isinstance(agent.model, str):
        return agent.model or "default"
    return str(getattr(agent.model, "model", "") or type(agent.model).__name__)


def _message(item: Any) -> dict[str, Any]:
    """One item of a conversation in OpenTelemetry's form of messages."""
    fields: Mapping[str, Any] = item if isinstance(item, Mapping) else item.model_dump()
    kind = fields.get("type")
    if kind == "function_call":
        return {"role": "assistant", "parts": [tool_call(fields["call_id"], fields["name"], fields["arguments"])]}
    if kind == "function_call_output":
        return {"role": "tool", "parts": [tool_response(fields["call_id"], fields["output"])]}
    content = fields.get("content")
    texts = [content] if isinstance(content, str) else [part.get("text") for part in content or () if isinstance(part, Mapping)]
    parts = [{"type": "text", "content": cut(text)} for text in texts if text]
    return {"role": fields.get("role") or "assistant", "parts": parts or [{"type": str(kind or "unknown")}]}
