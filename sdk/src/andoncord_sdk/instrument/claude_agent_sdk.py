"""Claude Agent SDK: every tool call of an agent, its sub-agents included, goes through a guard.

```python
guarded = ClaudeGuard(Guard("refund-agent", server=…, tools={"mcp__desk__refund": "write", "Read": "read"}))
options = guarded.options(ClaudeAgentOptions(…))
with guarded.open("refund order 17"):
    async for message in guarded.watch(query(prompt="refund order 17", options=options)): ...
```

* A denied tool call is not made; the model reads why instead of a result, and the run goes on.
* Out of scope, over budget, looping, stopped: the call is denied, the session is told to stop, and the run ends with
  `RunStopped` or `AgentStopped`.
* While the agent is paused, the next tool call waits; the event loop does not.
* A guard that breaks denies the call and ends the run.

How: hooks, set to block when they fail; otherwise Claude Code takes a failed hook for consent. The model is called by the
Claude Code process, out of the guard's reach: a paused agent may still think, and what it spent is known only when its messages
pass `watch`. So a budget stops the run at the next tool call, not before the model call that exceeds it.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from andoncord_sdk.guard import Guard
from andoncord_sdk.instrument._calls import Calls, Prices, admit_async, cut, optional, tool_call
from andoncord_sdk.run import Run
from andoncord_sdk.step import Step

with optional("claude-agent-sdk"):
    from claude_agent_sdk import AssistantMessage, ClaudeAgentOptions, HookMatcher, ResultMessage, TextBlock, ToolUseBlock

HOLD_S = 24 * 3600.0
"""How long a paused call may wait unless the caller says otherwise: chosen, a working day and the night after it."""


class ClaudeGuard:
    """Puts a guard around the tool calls of one Claude session at a time.

    Args:
        guard: decides; one `open` is one run of the guard.
        prices: what models cost, by the name in the messages. Required when the guard has a budget.
        hold_s: how long a paused call may wait; then Claude Code takes the hook for failed, and blocks the call.

    Raises:
        ValueError: a budget without prices, or a `hold_s` that is not greater than 0.
    """

    def __init__(self, guard: Guard, *, prices: Prices | None = None, hold_s: float = HOLD_S) -> None:
        if hold_s <= 0:
            raise ValueError(f"hold_s must be greater than 0, got {hold_s}")
        self.guard = guard
        self._calls = Calls(guard, through="claude_agent_sdk", lacks=("model_calls",), prices=prices)
        self._hold_s = hold_s
        self._run: Run | None = None
        """The hooks of a session may run in the context of an earlier run, so the run is not taken from there."""

    def options(self, options: ClaudeAgentOptions | None = None) -> ClaudeAgentOptions:
        """The same options with the guard's hooks, after those that are there."""
        options = options or ClaudeAgentOptions()
        hooks: dict[Any, list[HookMatcher]] = {event: list(found) for event, found in (options.hooks or {}).items()}
        for event, hook in (
            ("PreToolUse", self.before_tool),
            ("PostToolUse", self.after_tool),
            ("PostToolUseFailure", self.after_tool),
        ):
            on_failure = "block" if event == "PreToolUse" else None
            matcher = HookMatcher(matcher=None, hooks=[hook], timeout=self._hold_s, on_failure=on_failure)
            hooks[event] = [*hooks.get(event, ()), matcher]
        return replace(options, hooks=hooks)

    @contextmanager
    def open(self, task: str = "") -> Iterator[Run]:
        """A guarded run around whatever starts the session, or asks it, inside. Outside of one, its calls are denied.

        Raises:
            AgentStopped: a kill order is in force.
            RunStopped: the run left its scope or its budget, repeated itself, or the guard is broken.
            ValueError: there is an open run.
        """
        if self._run is not None:
            raise ValueError("this ClaudeGuard has an open run: make one for each session that works at the same time")
        with self._calls.open(task) as run:
            self._run = run
            try:
                yield run
            finally:
                self._run = None

    async def watch(self, messages: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """Pass the messages of a session on, report its model calls, and count what they cost.

        Raises:
            RunStopped: the run is over.
        """
        counted: set[str] = set()
        spent_usd = 0.0
        async for message in messages:
            run = self._run
            if run is not None and isinstance(message, AssistantMessage) and message.usage is not None:
                # A message comes in several pieces, each with the usage of the whole.
                if (key := message.message_id or str(id(message))) not in counted:
                    counted.add(key)
                    spent_usd += self._count(run, message)
            elif run is not None and isinstance(message, ResultMessage) and (message.total_cost_usd or 0) > spent_usd:
                run.model_call(model="unattributed", cost_usd=(message.total_cost_usd or 0) - spent_usd)
                spent_usd = message.total_cost_usd or 0
            yield message
            if run is not None and run.stopped is not None:
                raise run.stopped

    # ------------------------------------------------------------------------------------------------- the framework's side

    async def before_tool(self, hook_input: Any, tool_use_id: str | None, context: Any) -> dict[str, Any]:
        """Let the call be made, or deny it."""
        try:
            step = self._calls.tool(hook_input["tool_name"], hook_input["tool_input"], run=self._run)
            refusal = await admit_async(step)
            if refusal is None:
                self._calls.keep(hook_input["tool_use_id"], step)
                return {}
        except Exception as fault:
            if self._run is not None:
                self._calls.break_off(fault, run=self._run)
            return {"continue_": False, "stopReason": str(fault), **_denied(str(fault))}
        return _denied(str(refusal))

    async def after_tool(self, hook_input: Any, tool_use_id: str | None, context: Any) -> dict[str, Any]:
        """End the call, and add a word at the third repetition."""
        step = None if self._run is None else self._calls.take(self._run, hook_input["tool_use_id"])
        if not isinstance(step, Step):
            return {}
        event = hook_input["hook_event_name"]
        if event == "PostToolUseFailure":
            step.error_type, step.result = "tool_error", hook_input["error"]
        else:
            step.result = hook_input["tool_response"]
        step.end()
        return {"hookSpecificOutput": {"hookEventName": event, "additionalContext": step.nudge}} if step.nudge else {}

    def _count(self, run: Run, message: AssistantMessage) -> float:
        """Report one model call; what it cost, as far as that is known."""
        usage = message.usage or {}
        cached = (usage.get("cache_creation_input_tokens") or 0) + (usage.get("cache_read_input_tokens") or 0)
        input_tokens, output_tokens = (usage.get("input_tokens") or 0) + cached, usage.get("output_tokens") or 0
        cost_usd = self._calls.cost_usd(message.model, input_tokens, output_tokens)
        if cost_usd is None and self.guard.has_budget:
            fault = ValueError(f"{self.guard.agent} has a budget, and the price of {message.model} is not known")
            self._calls.break_off(fault, run=run)
        output = [{"role": "assistant", "parts": [_part(block) for block in message.content]}]
        run.model_call(
            model=message.model, input_tokens=input_tokens, output_tokens=output_tokens, cost_usd=cost_usd, output=output
        )
        return cost_usd or 0.0


def _denied(reason: str) -> dict[str, Any]:
    return {
        "hookSpecificOutput": {
            "hookEventName": "PreToolUse",
            "permissionDecision": "deny",
            "permissionDecisionReason": reason,
        }
    }


def _part(block: Any) -> dict[str, Any]:
    if isinstance(block, ToolUseBlock):
        return tool_call(block.id, block.name, block.input)
    return {"type": "text", "content": cut(block.text if isinstance(block, TextBlock) else type(block).__name__)}
