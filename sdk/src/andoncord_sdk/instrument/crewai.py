"""CrewAI: every model call and every tool call of every crew in the process goes through a guard.

```python
crews = CrewGuard(Guard("refund-agent", server=…, tools={"refund": "write"}))
with crews.open("refund order 17"):
    result = crew.kickoff()
```

* A denied tool call is not made; the model reads why instead of a result, and the run goes on.
* Out of scope, over budget, looping, stopped: the tool is not called, and the crew is aborted before its next model call. The
  run ends with `RunStopped` or `AgentStopped`.
* While the agent is paused, the next model or tool call waits. CrewAI's hooks are synchronous: under `akickoff` the event loop
  waits as well.
* A guard that breaks ends the run.

How: hooks for all crews of the process. CrewAI swallows every exception of a hook but `HookAborted` and then makes the call, so
nothing else leaves these hooks. What a model used is read from its counters between calls; where crews that run at the same
time share one model object, each counts what the other used too. From the first `CrewGuard` on, no crew of the process works
outside of an `open`.
"""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from andoncord_sdk.errors import CallDenied
from andoncord_sdk.guard import Guard
from andoncord_sdk.instrument._calls import MAX_MESSAGES, Calls, Prices, admit, optional, replaced, text, with_nudge
from andoncord_sdk.run import Run
from andoncord_sdk.step import ModelStep, Step

with optional("crewai"):
    from crewai.hooks import HookAborted, InterceptionPoint
    from crewai.hooks.dispatch import get_global_hook_list, register

FAILED = "Error executing tool: "
"""How CrewAI begins the result of a tool that raised."""

_active: ContextVar["CrewGuard | None"] = ContextVar("andoncord_crew_guard", default=None)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A model call under way, and what its model had used before."""

    step: ModelStep
    model: Any
    used: tuple[int, int]


class CrewGuard:
    """Puts a guard around the model and tool calls of crews.

    Args:
        guard: decides; one `open` is one run of the guard.
        prices: what models cost, by the name in `llm.model`. Required when the guard has a budget.
        max_call_usd: the most a single model call can cost, held before it is made; None holds the dearest so far.

    Raises:
        ValueError: a budget without prices.
    """

    def __init__(self, guard: Guard, *, prices: Prices | None = None, max_call_usd: float | None = None) -> None:
        self.guard = guard
        self._calls = Calls(guard, through="crewai", prices=prices, max_call_usd=max_call_usd)
        self._asked: dict[tuple[str, int], _Asked] = {}
        self._refused: dict[tuple[str, int], str] = {}
        """What the model is told about calls that were refused, until CrewAI asks for the result."""
        for point, hook in HOOKS.items():
            if hook not in get_global_hook_list(point):
                register(point, hook)

    @contextmanager
    def open(self, task: str = "") -> Iterator[Run]:
        """A guarded run around whatever starts the crew inside it. Outside of one, calls are refused.

        Raises:
            AgentStopped: a kill order is in force.
            RunStopped: the run left its scope or its budget, repeated itself, or the guard is broken.
            CallDenied: a model call was refused.
        """
        with self._calls.open(task) as run:
            outer = _active.get()
            _active.set(self)
            try:
                yield run
            finally:
                _active.set(outer)
                for key in [key for key in list(self._asked) if key[0] == run.id]:
                    self._answered(key)
                for key in [key for key in list(self._refused) if key[0] == run.id]:
                    del self._refused[key]

    # ------------------------------------------------------------------------------------------------- the framework's side

    def before_model(self, context: Any) -> None:
        """Begin the call, or abort the crew."""
        messages = [
            text(str(message.get("role")), message.get("content") or "") for message in context.messages[-MAX_MESSAGES:]
        ]
        step = self._calls.model(_model_name(context.llm), messages=messages)
        key = (step.run.id, id(context.agent or context.llm))
        self._answered(key)
        step.begin()
        self._asked[key] = _Asked(step, context.llm, _used(context.llm))

    def after_model(self, context: Any) -> None:
        """End the call. CrewAI does not tell when the answer is a wish for a tool: then the next call ends it."""
        key = (self.guard.enclosing_run("").id, id(context.agent or context.llm))
        if key in self._asked:
            self._asked[key].step.output = str(context.response or "")
            self._answered(key)

    def before_tool(self, context: Any) -> bool | None:
        """Begin the call, or block it."""
        step = self._calls.tool(context.tool_name, context.tool_input, can_replace=True)
        self._answered((step.run.id, id(context.agent)))
        key = id(context.tool_input)
        if (refusal := admit(step)) is not None:
            self._refused[step.run.id, key] = str(refusal)
            return False
        if (arguments := replaced(step)) is not None:
            context.tool_input.clear()
            context.tool_input.update(arguments)
        self._calls.keep(key, step)
        return None

    def after_tool(self, context: Any) -> str | None:
        """End the call, and say what the model reads."""
        run, key = self.guard.enclosing_run(context.tool_name), id(context.tool_input)
        if (refusal := self._refused.pop((run.id, key), None)) is not None:
            return refusal
        step = self._calls.take(run, key)
        if not isinstance(step, Step):
            return None
        step.result = result = str(context.tool_result)
        step.error_type = "tool_error" if result.startswith(FAILED) else ""
        step.end()
        return with_nudge(result, step) if step.nudge else None

    def break_off(self, fault: Exception) -> None:
        """End the run because the guard is broken: CrewAI itself would go on."""
        self._calls.break_off(fault)

    def _answered(self, key: tuple[str, int]) -> None:
        asked = self._asked.pop(key, None)
        if asked is None:
            return
        before, now = asked.used, _used(asked.model)
        if now != before:
            self._calls.spend(asked.step, now[0] - before[0], now[1] - before[1])
        asked.step.end()


def _hook(method: Callable[[CrewGuard, Any], Any]) -> Callable[[Any], Any]:
    """A hook of CrewAI that fails closed."""

    @functools.wraps(method)
    def hook(context: Any) -> Any:
        guard = _active.get()
        try:
            if guard is None:
                raise CallDenied("guard_error", "a crew was called outside a run: put `with crews.open():` around its kickoff")
            return method(guard, context)
        except Exception as fault:
            with suppress(Exception):  # Nothing but the abort may leave, or CrewAI makes the call.
                if guard is not None:
                    guard.break_off(fault)
            raise HookAborted(str(fault), "andoncord") from fault

    return hook


HOOKS = {
    InterceptionPoint.PRE_MODEL_CALL: _hook(CrewGuard.before_model),
    InterceptionPoint.POST_MODEL_CALL: _hook(CrewGuard.after_model),
    InterceptionPoint.PRE_TOOL_CALL: _hook(CrewGuard.before_tool),
    InterceptionPoint.POST_TOOL_CALL: _hook(CrewGuard.after_tool),
}
"""The same for all guards of the process, so that each call is decided once."""


def _model_name(model: Any) -> str:
    return str(getattr(model, "model", "") or type(model).__name__)


def _used(model: Any) -> tuple[int, int]:
    """Input and output tokens that a model has used so far; zeros for one that does not count."""
    summary = getattr(model, "get_token_usage_summary", None)
    if summary is None:
        return 0, 0
    usage = summary()
    return usage.prompt_tokens, usage.completion_tokens
