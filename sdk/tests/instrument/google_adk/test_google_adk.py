"""The adapter against the real Google ADK. Needs an environment of its own: `just adapters google_adk`."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

pytest.importorskip("google.adk", reason="google-adk has an environment of its own: just adapters google_adk")

from google.adk.agents import LlmAgent
from google.adk.models import BaseLlm, LlmRequest, LlmResponse
from google.adk.runners import InMemoryRunner
from google.genai import types
from pydantic import ConfigDict
from sdk.tests.instrument.conformance import AdapterConformance
from sdk.tests.instrument.contract import INPUT_TOKENS, NO_REFUNDS, OUTPUT_TOKENS, AdapterContract, Desk, Script, Wish

from andoncord_sdk import Guard
from andoncord_sdk.instrument.google_adk import GuardPlugin


class ScriptedLlm(BaseLlm):
    """A model that plays a script."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    script: Script

    async def generate_content_async(self, llm_request: LlmRequest, stream: bool = False) -> AsyncGenerator[LlmResponse, None]:
        parts = [part for content in llm_request.contents for part in content.parts or ()]
        turn = self.script.next([str(part.function_response.response) for part in parts if part.function_response])
        if isinstance(turn, str):
            part = types.Part(text=turn)
        else:
            part = types.Part(function_call=types.FunctionCall(name=turn.tool, args=turn.arguments))
        usage = types.GenerateContentResponseUsageMetadata(
            prompt_token_count=INPUT_TOKENS, candidates_token_count=OUTPUT_TOKENS
        )
        yield LlmResponse(content=types.Content(role="model", parts=[part]), usage_metadata=usage)


class TestRunner(AdapterContract):
    """The plugin on a runner."""

    def adapter(self, guard: Guard, **options: Any) -> GuardPlugin:
        return GuardPlugin(guard, **options)

    async def play(self, adapter: GuardPlugin, script: Script, desk: Desk) -> str:
        agent = LlmAgent(
            name="refund_agent",
            model=ScriptedLlm(model="scripted", script=script),
            tools=[desk.lookup, desk.refund, desk.broken],
        )
        return await run(agent, adapter)


async def run(agent: LlmAgent, plugin: GuardPlugin) -> str:
    """Let `agent` answer one message."""
    runner = InMemoryRunner(agent, app_name="desk", plugins=[plugin])
    session = await runner.session_service.create_session(app_name="desk", user_id="ada")
    message = types.Content(role="user", parts=[types.Part(text="refund order 17")])
    answer = ""
    async for event in runner.run_async(user_id="ada", session_id=session.id, new_message=message):
        if event.content is not None and event.content.parts and event.content.parts[0].text:
            answer = event.content.parts[0].text
    return answer


def test_a_sub_agent_is_guarded() -> None:
    """The plugin goes where the runner goes; the hand-off itself is a tool call."""
    desk = Desk()
    specialist = LlmAgent(
        name="specialist",
        model=ScriptedLlm(model="scripted", script=Script(Wish("refund"), "denied")),
        tools=[desk.refund],
    )
    front = LlmAgent(
        name="front",
        model=ScriptedLlm(model="scripted", script=Script(Wish("transfer_to_agent", agent_name="specialist"), "done")),
        sub_agents=[specialist],
    )
    plugin = GuardPlugin(Guard("front", policies=[NO_REFUNDS]))

    with plugin.open("refund"):
        assert asyncio.run(run(front, plugin)) == "denied"

    assert desk.done == []


class TestRunnerConformance(AdapterConformance):
    """The control plane lost, wrong or lying: as `andoncord.testing.conformance.pep` wants it."""

    contract = TestRunner
