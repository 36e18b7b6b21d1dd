"""The adapter against the real CrewAI. Needs an environment of its own: `just adapters crewai`."""

import asyncio
import os
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import pytest

if find_spec("crewai"):  # Only in its own environment: elsewhere it would silence the exporters of other tests.
    os.environ.update(CREWAI_DISABLE_TELEMETRY="true", CREWAI_TRACING_ENABLED="false", OTEL_SDK_DISABLED="true")
pytest.importorskip("crewai", reason="crewai has an environment of its own: just adapters crewai")

from crewai import Agent, Crew, Task
from crewai.hooks import HookAborted, InterceptionPoint
from crewai.hooks.dispatch import get_global_hook_list
from crewai.llms.base_llm import BaseLLM
from crewai.tools import tool
from pydantic import ConfigDict
from sdk.tests.instrument.conformance import AdapterConformance
from sdk.tests.instrument.contract import INPUT_TOKENS, OUTPUT_TOKENS, AdapterContract, Desk, Script

from andoncord_sdk import Guard
from andoncord_sdk.instrument.crewai import CrewGuard

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


class ScriptedLLM(BaseLLM):
    """A model that plays a script."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    script: Script

    def supports_function_calling(self) -> bool:
        return True

    def call(self, messages: Any, *args: Any, **kwargs: Any) -> Any:
        results = [str(message["content"]) for message in messages if message.get("role") == "tool"]
        turn = self.script.next(results)
        self._track_token_usage_internal({"prompt_tokens": INPUT_TOKENS, "completion_tokens": OUTPUT_TOKENS})
        if isinstance(turn, str):
            return turn
        function = {"name": turn.tool, "arguments": turn.arguments}
        return [{"id": f"call-{self.script.asked}", "type": "function", "function": function}]

    async def acall(self, messages: Any, *args: Any, **kwargs: Any) -> Any:
        return self.call(messages)


def crew_of(script: Script, desk: Desk) -> Crew:
    tools = [tool(function) for function in (desk.lookup, desk.refund, desk.broken)]
    agent = Agent(
        role="clerk",
        goal="help",
        backstory="works at the desk",
        llm=ScriptedLLM(model="scripted", script=script),
        tools=tools,
        cache=False,
    )
    task = Task(description="refund order 17", expected_output="what was done", agent=agent)
    return Crew(agents=[agent], tasks=[task], cache=False)


class TestKickoff(AdapterContract):
    """`kickoff`, in a thread as CrewAI's own `kickoff_async` does it."""

    def adapter(self, guard: Guard, **options: Any) -> CrewGuard:
        return CrewGuard(guard, **options)

    async def play(self, adapter: CrewGuard, script: Script, desk: Desk) -> str:
        return str((await crew_of(script, desk).kickoff_async()).raw)


class TestNativeAsync(TestKickoff):
    """`akickoff`: hooks run in the event loop, so a held call holds the loop too."""

    frees_loop = False

    async def play(self, adapter: CrewGuard, script: Script, desk: Desk) -> str:
        return str((await crew_of(script, desk).akickoff()).raw)


def test_hooks_are_there_once() -> None:
    """Several guards in one process decide each call once."""
    CrewGuard(Guard("one"))
    CrewGuard(Guard("two"))

    assert len(get_global_hook_list(InterceptionPoint.PRE_TOOL_CALL)) == 1


def test_a_hook_aborts_even_when_ending_the_run_breaks_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two faults at once leave the hook as an abort as well."""

    def break_down(*_: Any) -> Any:
        raise ZeroDivisionError

    adapter = CrewGuard(Guard("one"))
    (hook,) = get_global_hook_list(InterceptionPoint.PRE_TOOL_CALL)
    monkeypatch.setattr(adapter, "break_off", break_down)
    with adapter.open(), pytest.raises(HookAborted, match="tool_name"):
        hook(SimpleNamespace())


def test_whatever_breaks_in_a_hook_aborts() -> None:
    """CrewAI swallows every other exception and makes the call: so nothing else may leave a hook."""
    CrewGuard(Guard("one"))
    (hook,) = get_global_hook_list(InterceptionPoint.PRE_TOOL_CALL)

    with pytest.raises(HookAborted, match="outside a run"):
        hook(SimpleNamespace())

    async def in_a_run() -> None:
        with CrewGuard(Guard("one")).open():
            hook(SimpleNamespace())  # has no tool_name

    with pytest.raises(Exception, match="tool_name"):
        asyncio.run(in_a_run())


class TestKickoffConformance(AdapterConformance):
    """The control plane lost, wrong or lying: as `andoncord.testing.conformance.pep` wants it."""

    contract = TestKickoff
