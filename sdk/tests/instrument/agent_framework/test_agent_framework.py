"""The adapter against the real Microsoft Agent Framework."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from typing import Any

import pytest
from agent_framework import (
    Agent,
    BaseChatClient,
    ChatMiddlewareLayer,
    ChatResponse,
    ChatResponseUpdate,
    Content,
    FunctionInvocationLayer,
    Message,
    ResponseStream,
)
from sdk.tests.instrument.conformance import AdapterConformance
from sdk.tests.instrument.contract import (
    INPUT_TOKENS,
    OUTPUT_TOKENS,
    PRICES,
    AdapterContract,
    Desk,
    Script,
    Wish,
)

from andoncord_sdk import Guard, RunStopped
from andoncord_sdk.instrument.agent_framework import AgentGuard


class ScriptedClient(FunctionInvocationLayer[Any], ChatMiddlewareLayer[Any], BaseChatClient[Any]):
    """A chat client that plays a script, layered as the framework's own are."""

    def __init__(self, script: Script) -> None:
        super().__init__()
        self.model = "scripted"
        self.script = script

    def _inner_get_response(
        self, *, messages: Sequence[Message], stream: bool, options: Mapping[str, Any], **kwargs: Any
    ) -> Awaitable[ChatResponse] | ResponseStream[ChatResponseUpdate, ChatResponse]:
        if stream:
            return ResponseStream(self._stream(messages), finalizer=ChatResponse.from_updates)
        return self._answer(messages)

    def _next(self, messages: Sequence[Message]) -> list[Content]:
        contents = [content for message in messages for content in message.contents]
        turn = self.script.next([str(content.result) for content in contents if content.type == "function_result"])
        if isinstance(turn, str):
            return [Content.from_text(turn)]
        return [Content.from_function_call(f"call-{self.script.asked}", turn.tool, arguments=turn.arguments)]

    async def _answer(self, messages: Sequence[Message]) -> ChatResponse:
        usage: Any = {"input_token_count": INPUT_TOKENS, "output_token_count": OUTPUT_TOKENS}
        return ChatResponse(messages=Message("assistant", self._next(messages)), usage_details=usage)

    async def _stream(self, messages: Sequence[Message]) -> AsyncIterator[ChatResponseUpdate]:
        usage: Any = {"input_token_count": INPUT_TOKENS, "output_token_count": OUTPUT_TOKENS}
        yield ChatResponseUpdate(role="assistant", contents=[*self._next(messages), Content.from_usage(usage)])


def agent_of(adapter: AgentGuard, script: Script, desk: Desk) -> Agent[Any]:
    tools = [desk.lookup, desk.refund, desk.broken]
    return Agent(ScriptedClient(script), name="clerk", tools=tools, middleware=list(adapter.middleware))


class TestAgent(AdapterContract):
    """The middleware on an agent."""

    def adapter(self, guard: Guard, **options: Any) -> AgentGuard:
        return AgentGuard(guard, **options)

    async def play(self, adapter: AgentGuard, script: Script, desk: Desk) -> str:
        return (await agent_of(adapter, script, desk).run("refund order 17")).text


class TestStreaming(TestAgent):
    """The same, streamed."""

    async def play(self, adapter: AgentGuard, script: Script, desk: Desk) -> str:
        stream = agent_of(adapter, script, desk).run("refund order 17", stream=True)
        return "".join([update.text async for update in stream])


def test_a_stop_is_no_result_for_the_model() -> None:
    """The framework makes a result of plain exceptions and asks the model again: the guard's do not let it."""
    desk, script = Desk(), Script(Wish("lookup"), Wish("refund"), "done")
    adapter = AgentGuard(Guard("clerk", tools={"lookup": "read"}, budget_usd=1), prices=PRICES)

    async def main() -> None:
        with adapter.open():
            await agent_of(adapter, script, desk).run("refund")

    with pytest.raises(RunStopped, match="may not use refund"):
        asyncio.run(main())
    assert (desk.done, script.asked) == (["lookup 17"], 2)


class TestAgentConformance(AdapterConformance):
    """The control plane lost, wrong or lying: as `andoncord.testing.conformance.pep` wants it."""

    contract = TestAgent
