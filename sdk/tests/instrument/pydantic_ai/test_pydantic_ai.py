"""The adapter against the real PydanticAI."""

import asyncio
from typing import Any

import pytest
from pydantic_ai import Agent
from pydantic_ai.capabilities import AbstractCapability
from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, FunctionModel
from pydantic_ai.usage import RequestUsage
from sdk.tests.instrument.conformance import AdapterConformance
from sdk.tests.instrument.contract import INPUT_TOKENS, OUTPUT_TOKENS, AdapterContract, Desk, Script, Wish

from andoncord_sdk import Guard, RunStopped
from andoncord_sdk.instrument.pydantic_ai import GuardCapability


def scripted(script: Script) -> FunctionModel:
    """A model that plays a script."""

    def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        requests = [message for message in messages if isinstance(message, ModelRequest)]
        results = [part for request in requests for part in request.parts if isinstance(part, ToolReturnPart)]
        turn = script.next([str(part.content) for part in results])
        part = TextPart(turn) if isinstance(turn, str) else ToolCallPart(turn.tool, turn.arguments)
        return ModelResponse(parts=[part], usage=RequestUsage(input_tokens=INPUT_TOKENS, output_tokens=OUTPUT_TOKENS))

    return FunctionModel(answer, model_name="scripted")


class TestAgent(AdapterContract):
    """The capability on the agent."""

    def adapter(self, guard: Guard, **options: Any) -> GuardCapability:
        return GuardCapability(guard, **options)

    async def play(self, adapter: GuardCapability, script: Script, desk: Desk) -> str:
        agent = Agent(scripted(script), tools=[desk.lookup, desk.refund, desk.broken], capabilities=[adapter])
        return (await agent.run("refund order 17")).output


class TestRun(TestAgent):
    """The capability on one run."""

    async def play(self, adapter: GuardCapability, script: Script, desk: Desk) -> str:
        agent = Agent(scripted(script), tools=[desk.lookup, desk.refund, desk.broken])
        return (await agent.run("refund order 17", capabilities=[adapter])).output


def test_streaming_is_guarded() -> None:
    """A streamed run is held to the same rules."""
    desk = Desk()

    async def answer(messages: list[ModelMessage], info: AgentInfo) -> Any:
        yield {0: DeltaToolCall(name="refund", json_args="{}", tool_call_id="call-1")}

    capability = GuardCapability(Guard("refund-agent", tools={"lookup": "read"}))
    agent = Agent(FunctionModel(stream_function=answer), tools=[desk.refund], capabilities=[capability])

    async def main() -> None:
        with capability.open("refund"):
            async with agent.run_stream("refund") as stream:
                await stream.get_output()

    with pytest.raises(RunStopped, match="may not use refund"):
        asyncio.run(main())
    assert desk.done == []


def test_the_guard_sees_arguments_as_the_tool_gets_them() -> None:
    """Another capability that changes the arguments does so before the guard decides."""

    class Redirect(AbstractCapability[Any]):
        async def wrap_tool_execute(self, ctx: Any, *, call: Any, tool_def: Any, args: Any, handler: Any) -> Any:
            return await handler({"order": "99"})

    desk, script = Desk(), Script(Wish("refund"), "done")
    capability = GuardCapability(Guard("refund-agent"))
    agent = Agent(scripted(script), tools=[desk.refund], capabilities=[capability, Redirect()])

    async def main() -> Any:
        with capability.open("refund") as run:
            await agent.run("refund")
        return run

    steps = [span.attributes for span in asyncio.run(main()).recent if span.name == "execute_tool refund"]
    assert desk.done == ["refund 99"]
    assert [step["gen_ai.tool.call.arguments"] for step in steps] == ['{"order":"99"}']


class TestAgentConformance(AdapterConformance):
    """The control plane lost, wrong or lying: as `andoncord.testing.conformance.pep` wants it."""

    contract = TestAgent
