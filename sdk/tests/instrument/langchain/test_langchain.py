"""The adapter against the real LangChain and LangGraph."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import ToolRetryMiddleware
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import BaseTool, StructuredTool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import tools_condition
from pydantic import ConfigDict
from sdk.tests.instrument.conformance import AdapterConformance
from sdk.tests.instrument.contract import (
    INPUT_TOKENS,
    NO_REFUNDS,
    OUTPUT_TOKENS,
    AdapterContract,
    Desk,
    Script,
    Wish,
)

from andoncord_sdk import Guard, RunStopped
from andoncord_sdk.instrument.langchain import GuardMiddleware


class ScriptedChat(BaseChatModel):
    """A chat model that plays a script."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    script: Script
    model_name: str = "scripted"

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        turn = self.script.next([message.text for message in messages if isinstance(message, ToolMessage)])
        answer = AIMessage(
            turn if isinstance(turn, str) else "",
            tool_calls=[]
            if isinstance(turn, str)
            else [{"name": turn.tool, "args": turn.arguments, "id": f"call-{self.script.asked}"}],
            usage_metadata={
                "input_tokens": INPUT_TOKENS,
                "output_tokens": OUTPUT_TOKENS,
                "total_tokens": INPUT_TOKENS + OUTPUT_TOKENS,
            },
        )
        return ChatResult(generations=[ChatGeneration(message=answer)])


def tools_of(desk: Desk) -> list[BaseTool]:
    return [StructuredTool.from_function(tool) for tool in (desk.lookup, desk.refund, desk.broken)]


def last_text(messages: Sequence[AnyMessage]) -> str:
    return str(messages[-1].text)


class TestAgent(AdapterContract):
    """`create_agent`, asynchronously."""

    def adapter(self, guard: Guard, **options: Any) -> GuardMiddleware:
        return GuardMiddleware(guard, **options)

    async def play(self, adapter: GuardMiddleware, script: Script, desk: Desk) -> str:
        agent = create_agent(ScriptedChat(script=script), tools_of(desk), middleware=[adapter])
        result = await agent.ainvoke({"messages": [HumanMessage("refund order 17")]})
        return last_text(result["messages"])


class TestAgentInThreads(TestAgent):
    """`create_agent`, synchronously: LangGraph runs tools in threads of its own."""

    frees_loop = False

    async def play(self, adapter: GuardMiddleware, script: Script, desk: Desk) -> str:
        agent = create_agent(ScriptedChat(script=script), tools_of(desk), middleware=[adapter])
        return last_text(agent.invoke({"messages": [HumanMessage("refund order 17")]})["messages"])


class TestGraph(AdapterContract):
    """A bare LangGraph: a guarded node for the tools, and the model call put into the guard by hand."""

    def adapter(self, guard: Guard, **options: Any) -> GuardMiddleware:
        return GuardMiddleware(guard, **options)

    frees_loop = False

    async def play(self, adapter: GuardMiddleware, script: Script, desk: Desk) -> str:
        model = ScriptedChat(script=script)

        def ask(state: MessagesState) -> dict[str, Any]:
            with adapter.model_call("scripted", state["messages"]) as answered:
                answer = model.invoke(state["messages"])
                answered(answer)
            return {"messages": [answer]}

        graph = StateGraph(MessagesState)
        graph.add_node("ask", ask)
        graph.add_node("tools", adapter.tool_node(tools_of(desk)))
        graph.add_edge(START, "ask")
        graph.add_conditional_edges("ask", tools_condition)
        graph.add_edge("tools", "ask")
        result = graph.compile().invoke({"messages": [HumanMessage("refund order 17")]})
        return last_text(result["messages"])


def test_calls_of_one_turn_are_decided_one_by_one() -> None:
    """Of two wishes in one turn, one is refused and the other is made."""
    desk, script = Desk(), Script("done")
    node = (middleware := GuardMiddleware(Guard("refund-agent", policies=[NO_REFUNDS]))).tool_node(tools_of(desk))
    graph = StateGraph(MessagesState)
    graph.add_node("tools", node)
    graph.add_edge(START, "tools")
    wishes: list[Any] = [{"name": name, "args": {}, "id": name} for name in ("refund", "lookup")]

    with middleware.open():
        result = graph.compile().invoke({"messages": [AIMessage("", tool_calls=wishes)]})

    refused, looked_up = (message.text for message in result["messages"][1:])
    assert "refunds need a person" in refused
    assert looked_up == "order 17 is paid"
    assert (desk.done, script.asked) == (["lookup 17"], 0)


def test_a_node_that_would_swallow_the_stop_is_not_made() -> None:
    """`handle_tool_errors` turns exceptions into results, so the guard does not accept it."""
    with pytest.raises(ValueError, match="handle_tool_errors"):
        GuardMiddleware(Guard("refund-agent")).tool_node([], handle_tool_errors=True)


def test_a_stop_that_is_swallowed_still_ends_the_run() -> None:
    """A middleware around the guard that makes a result of its exception does not keep the run alive."""
    desk, script = Desk(), Script(Wish("refund"), "done")
    guarded = GuardMiddleware(Guard("refund-agent", tools={"lookup": "read"}))
    swallower = ToolRetryMiddleware(max_retries=1, initial_delay=0, jitter=False, on_failure="continue")
    agent = create_agent(ScriptedChat(script=script), tools_of(desk), middleware=[swallower, guarded])

    async def main() -> None:
        with guarded.open():
            await agent.ainvoke({"messages": [HumanMessage("refund order 17")]})

    with pytest.raises(RunStopped, match="may not use refund"):
        asyncio.run(main())
    assert (desk.done, script.asked) == ([], 1)


class TestAgentConformance(AdapterConformance):
    """The control plane lost, wrong or lying: as `andoncord.testing.conformance.pep` wants it."""

    contract = TestAgent


class TestGraphConformance(AdapterConformance):
    """The control plane lost, wrong or lying: as `andoncord.testing.conformance.pep` wants it."""

    contract = TestGraph
