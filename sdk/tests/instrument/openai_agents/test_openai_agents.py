"""The adapter against the real OpenAI Agents SDK, with a scripted model and a real stream of orders."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from agents import (
    Agent,
    AgentHooks,
    FunctionTool,
    Runner,
    UserError,
    WebSearchTool,
    function_tool,
    handoff,
    set_tracing_disabled,
)
from agents.mcp import MCPServer
from mcp.types import CallToolResult, TextContent
from mcp.types import Tool as MCPTool
from sdk.tests.instrument.openai_agents.scripted_model import ScriptedModel, calls, says
from sdk.tests.wire_server import DEADLINE_S, WireServer

from andoncord.testing.conformance.pep import EnforcementPointContract
from andoncord_sdk import AgentStopped, CallDenied, Guard, GuardError, RunStopped
from andoncord_sdk.admission import ToolKind
from andoncord_sdk.instrument.openai_agents import GuardedRunner
from andoncord_sdk.ladder import Rung
from andoncord_sdk.orders import Order

set_tracing_disabled(True)

NO_REFUNDS = {"id": "no-refunds", "effect": "forbid", "tool": "refund", "message": "refunds need a person"}


class Desk:
    """The tools of an agent, and what was really done with them."""

    def __init__(self) -> None:
        self.done: list[str] = []

        @function_tool
        def lookup(order: str = "17") -> str:
            """Look an order up."""
            self.done.append(f"lookup {order}")
            return f"order {order} is paid"

        @function_tool
        async def refund(order: str = "17") -> str:
            """Refund an order."""
            self.done.append(f"refund {order}")
            return "refunded"

        @function_tool
        def broken() -> str:
            """Fail."""
            self.done.append("broken")
            raise RuntimeError("out of order")

        self.lookup, self.refund, self.broken = lookup, refund, broken

    def agent(self, model: ScriptedModel, **more: Any) -> Agent[Any]:
        return Agent(name="refund-agent", model=model, tools=[self.lookup, self.refund, self.broken], **more)


@pytest.fixture
def desk() -> Desk:
    """A fresh desk."""
    return Desk()


@pytest.fixture
def guard(wire: WireServer) -> Iterator[Guard]:
    """A guard that follows the orders of the wire server and reports to it."""
    guard = Guard("refund-agent", server=wire.url, telemetry=wire.url, token="andon_sdk_test")
    wire.wait_stream()
    yield guard
    guard.close()


async def until(event: asyncio.Event, running: "asyncio.Task[Any]") -> None:
    """Wait for `event`, unless `running` ends without it."""
    waiting = asyncio.create_task(event.wait())
    await asyncio.wait([running, waiting], timeout=DEADLINE_S, return_when=asyncio.FIRST_COMPLETED)
    if not event.is_set():
        waiting.cancel()
        pytest.fail(f"the run ended too early: {running.result() if running.done() else running}")


def run(runner: GuardedRunner, agent: Agent[Any], text: str = "refund order 17", **options: Any) -> Any:
    return asyncio.run(runner.run(agent, text, **options))


def test_an_allowed_run_gives_the_frameworks_own_result(desk: Desk, guard: Guard, wire: WireServer) -> None:
    """Nothing changes for the agent; run, model calls and tool calls are reported."""
    model = ScriptedModel(calls("lookup", '{"order": "17"}'), says("It is paid."))

    result = run(GuardedRunner(guard, prices={"scripted": (2.0, 10.0)}), desk.agent(model))

    assert (result.final_output, desk.done) == ("It is paid.", ["lookup 17"])
    span = wire.wait_span("invoke_agent refund-agent")
    assert "refund order 17" in str(span["attributes"])
    tool = wire.wait_span("execute_tool lookup")
    assert "order 17 is paid" in str(tool["attributes"])
    chat = wire.wait_span("chat scripted")
    shown = {item["key"]: next(iter(item["value"].values())) for item in chat["attributes"]}
    assert (shown["gen_ai.usage.input_tokens"], shown["gen_ai.usage.cost"]) == ("1000", 0.003)
    assert "refund order 17" in shown["gen_ai.input.messages"]
    assert guard.state.in_flight == 0


def test_a_denied_call_is_not_made_and_the_model_reads_why(desk: Desk, wire: WireServer) -> None:
    """The refusal takes the place of the result; the run goes on."""
    model = ScriptedModel([calls("lookup"), calls("refund")], says("I asked a person."))
    guard = Guard("refund-agent", telemetry=wire.url, policies=[NO_REFUNDS])

    result = run(GuardedRunner(guard), desk.agent(model))

    assert (result.final_output, desk.done) == ("I asked a person.", ["lookup 17"])
    assert model.results()[0] == "order 17 is paid"
    assert model.results()[1].startswith("refunds need a person")
    assert wire.wait_log("andoncord.guard.denied")["andoncord.decision.policy"] == "no-refunds"
    guard.close()


def test_out_of_scope_ends_the_run_before_the_call(desk: Desk) -> None:
    """A tool outside the declared scope is not called, and no further turn is taken."""
    model = ScriptedModel(calls("refund"), says("done"))
    guard = Guard("refund-agent", tools={"lookup": "read"})

    with pytest.raises(RunStopped) as stopped:
        run(GuardedRunner(guard), desk.agent(model))

    assert (stopped.value.code, stopped.value.tool, desk.done, len(model.shown)) == ("scope", "refund", [], 1)
    assert guard.state.in_flight == 0


def test_a_loop_is_nudged_at_the_third_call_and_stopped_before_the_fourth(desk: Desk) -> None:
    """Three identical calls run, the model is told at the third, the fourth is not made."""
    model = ScriptedModel(calls("lookup"))

    with pytest.raises(RunStopped) as stopped:
        run(GuardedRunner(Guard("refund-agent")), desk.agent(model), max_turns=20)

    assert (stopped.value.code, len(desk.done)) == ("loop", 3)
    assert model.results()[1] == "order 17 is paid"
    assert model.results()[2].startswith("order 17 is paid\n\nlookup repeated 3 times without progress")


def test_a_tool_that_fails_counts_as_failed(desk: Desk, guard: Guard, wire: WireServer) -> None:
    """The framework turns an exception into text for the model; the span still says that it failed."""
    model = ScriptedModel(calls("broken"), says("It does not work."))

    run(GuardedRunner(guard), desk.agent(model))

    assert wire.wait_span("execute_tool broken")["status"]["code"] == 2


def test_the_budget_stops_the_run_before_the_call_that_exceeds_it(desk: Desk) -> None:
    """Model usage is priced and counted; the call that does not fit is not made."""
    turns = [calls("lookup", f'{{"order": "{number}"}}') for number in range(9)]
    model = ScriptedModel(*turns)
    guard = Guard("refund-agent", budget_usd=0.01)  # three calls at 0.003

    with pytest.raises(RunStopped) as stopped:
        run(GuardedRunner(guard, prices={"scripted": (2.0, 10.0)}), desk.agent(model), max_turns=20)

    assert (stopped.value.code, len(model.shown)) == ("budget", 3)


def test_a_budget_needs_prices(desk: Desk) -> None:
    """What has no known price must not count as free."""
    guard = Guard("refund-agent", budget_usd=1)
    with pytest.raises(ValueError, match="prices"):
        GuardedRunner(guard)

    model = ScriptedModel(says("done"))
    with pytest.raises(CallDenied, match="price of scripted is not known"):
        run(GuardedRunner(guard, prices={"other": (1, 1)}), desk.agent(model))
    assert model.shown == []


def test_a_pause_holds_the_next_call_and_a_release_lets_it_go(desk: Desk, guard: Guard, wire: WireServer) -> None:
    """While held nothing is called and the event loop stays free; afterwards the run ends as if nothing had been."""
    model = ScriptedModel(calls("lookup"), calls("refund"), says("done"))
    agent = desk.agent(model)
    at_lookup, paused = asyncio.Event(), asyncio.Event()

    class Hooks(AgentHooks[Any]):
        async def on_tool_end(self, *_: Any) -> None:
            at_lookup.set()
            await paused.wait()

    agent.hooks = Hooks()

    async def main() -> Any:
        running = asyncio.create_task(GuardedRunner(guard).run(agent, "refund"))
        await until(at_lookup, running)
        await asyncio.to_thread(lambda: wire.ack_of(wire.order("pause", (1, 1))))
        paused.set()
        done, _ = await asyncio.wait([running], timeout=0.1)
        assert (done, desk.done) == (set(), ["lookup 17"])
        await asyncio.to_thread(lambda: wire.ack_of(wire.order("none", (1, 2))))
        return await asyncio.wait_for(running, DEADLINE_S)

    assert asyncio.run(main()).final_output == "done"
    assert desk.done == ["lookup 17", "refund 17"]


def test_a_held_tool_call_is_made_once_after_the_release(desk: Desk, guard: Guard, wire: WireServer) -> None:
    """A pause between the model's wish and the call holds the call, even one with a timeout of its own."""
    desk.refund.timeout_seconds = 0.05
    model = ScriptedModel(calls("refund"), says("done"))
    agent = desk.agent(model)
    wished = asyncio.Event()

    class Hooks(AgentHooks[Any]):
        async def on_llm_end(self, *_: Any) -> None:
            if not wished.is_set():
                await asyncio.to_thread(lambda: wire.ack_of(wire.order("pause", (1, 1))))
                wished.set()

    agent.hooks = Hooks()

    async def main() -> Any:
        running = asyncio.create_task(GuardedRunner(guard).run(agent, "refund"))
        await until(wished, running)
        done, _ = await asyncio.wait([running], timeout=0.1)
        assert (done, desk.done) == (set(), [])
        await asyncio.to_thread(lambda: wire.ack_of(wire.order("none", (1, 2))))
        return await asyncio.wait_for(running, DEADLINE_S)

    assert asyncio.run(main()).final_output == "done"
    assert desk.done == ["refund 17"]


def test_a_kill_ends_the_run_with_agent_stopped(desk: Desk, guard: Guard, wire: WireServer) -> None:
    """The order takes effect at the next step, while a held call waits too."""
    model = ScriptedModel(calls("lookup"), calls("refund"), says("done"))
    agent = desk.agent(model)

    class Hooks(AgentHooks[Any]):
        async def on_tool_end(self, *_: Any) -> None:
            await asyncio.to_thread(lambda: wire.ack_of(wire.order("kill", (1, 1), reason="stop it")))

    agent.hooks = Hooks()
    with pytest.raises(AgentStopped, match="stop it"):
        run(GuardedRunner(guard), agent)

    assert (desk.done, len(model.shown), guard.state.runs_active) == (["lookup 17"], 1, 0)
    with pytest.raises(AgentStopped):
        run(GuardedRunner(guard), agent)
    assert len(model.shown) == 1


def test_a_restriction_leaves_only_the_tools_that_read(desk: Desk, wire: WireServer) -> None:
    """A tool that writes is refused with the reason; the run goes on with the others."""
    tools: dict[str, ToolKind] = {"lookup": "read", "refund": "write", "broken": "read"}
    guard = Guard("refund-agent", server=wire.url, token="andon_sdk_test", tools=tools)
    model = ScriptedModel(calls("refund"), calls("lookup"), says("done"))
    with contextlib.closing(guard):
        wire.wait_stream()
        wire.ack_of(wire.order("restrict", (1, 1), reason="look before you leap"))
        assert run(GuardedRunner(guard), desk.agent(model)).final_output == "done"

    assert desk.done == ["lookup 17"]
    assert "look before you leap" in model.results()[0]


def test_a_call_that_needs_an_approval_waits_for_it_and_is_made_once(desk: Desk, guard: Guard, wire: WireServer) -> None:
    """The event loop stays free; somebody approves the very call, and the run ends as if nothing had been."""
    owed = {"require_approval": {"role": "finance", "hold_s": 20}}
    policy = {"id": "ask", "effect": "forbid", "tool": "refund", "message": "ask", "obligations": [owed]}
    wire.ack_of(wire.push("policies", {"policies": [policy]}))

    async def main() -> Any:
        running = asyncio.create_task(
            GuardedRunner(guard).run(desk.agent(ScriptedModel(calls("refund"), says("done"))), "refund order 17")
        )
        digest = await asyncio.to_thread(wire.wait_action)
        assert desk.done == []
        wire.approvals[digest] = "granted"
        return await asyncio.wait_for(running, DEADLINE_S)

    assert asyncio.run(main()).final_output == "done"
    assert (desk.done, set(wire.approvals.values())) == (["refund 17"], {"used"})


def test_a_guard_that_breaks_ends_the_run(desk: Desk) -> None:
    """Whatever goes wrong inside the guard, the tool is not called and the run does not go on."""
    model = ScriptedModel(calls("refund"), says("done"))
    guard = Guard("refund-agent", policies=[NO_REFUNDS])

    class Broken:
        def decide(self, request: Any) -> Any:
            raise ZeroDivisionError

    guard._admission.policies = Broken()  # type: ignore[assignment]
    with pytest.raises(CallDenied) as denied:
        run(GuardedRunner(guard), desk.agent(model))

    assert (denied.value.code, desk.done, len(model.shown)) == ("guard_error", [], 1)


def test_an_adapter_that_breaks_ends_the_run(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """So does a fault in the adapter itself."""
    model = ScriptedModel(calls("refund"), says("done"))
    runner = GuardedRunner(Guard("refund-agent"))

    def break_down(text: str) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr("andoncord_sdk.instrument.openai_agents._arguments", break_down)
    with pytest.raises(UserError):
        run(runner, desk.agent(model))

    assert desk.done == []


def test_a_watched_agent_does_not_work_outside_a_guarded_run(desk: Desk) -> None:
    """Started with the framework's own runner, it is refused before its first model call."""
    model = ScriptedModel(calls("refund"), says("done"))
    agent = desk.agent(model)
    GuardedRunner(Guard("refund-agent")).watch(agent)

    with pytest.raises(CallDenied, match="outside a run"):
        asyncio.run(Runner.run(agent, "refund"))

    assert (desk.done, model.shown) == ([], [])


def test_a_tool_added_behind_the_guards_back_is_not_called(desk: Desk) -> None:
    """What joined the agent after it was watched runs only once it is watched too."""
    model = ScriptedModel(calls("late"), says("done"))
    agent = desk.agent(model)
    late = function_tool(lambda: desk.done.append("late"), name_override="late", description_override="Late.")

    class Hooks(AgentHooks[Any]):
        async def on_start(self, *_: Any) -> None:
            agent.tools.append(late)

    agent.hooks = Hooks()
    with pytest.raises(CallDenied, match="behind the guard's back"):
        run(GuardedRunner(Guard("refund-agent")), agent)

    assert desk.done == []


@pytest.mark.parametrize("wrap", [lambda agent: agent, handoff], ids=["agent", "handoff"])
def test_an_agent_that_is_handed_off_to_is_guarded(desk: Desk, wrap: Callable[[Agent[Any]], Any]) -> None:
    """The guard goes where the work goes."""
    specialist = desk.agent(ScriptedModel(calls("refund"), says("done")))
    front = Agent(name="front", model=ScriptedModel(calls("transfer_to_refund_agent")), handoffs=[wrap(specialist)])
    guard = Guard("refund-agent", tools={"lookup": "read"})

    with pytest.raises(RunStopped, match="may not use refund"):
        run(GuardedRunner(guard), front)

    assert desk.done == []


@pytest.mark.parametrize("wrap", [lambda agent: agent, handoff], ids=["agent", "handoff"])
def test_a_hand_off_waits_while_messages_are_held(desk: Desk, wrap: Callable[[Agent[Any]], Any]) -> None:
    """The agent that hands off goes on until then; the other one begins after the release."""
    specialist = desk.agent(ScriptedModel(calls("lookup"), says("done")))
    front = Agent(name="front", model=ScriptedModel(calls("transfer_to_refund_agent")), handoffs=[wrap(specialist)])
    guard = Guard("refund-agent", tools={"lookup": "read"})
    gate = guard._admission.gate
    gate.apply(Order(rung=Rung.QUARANTINE, epoch=(1, 1)))
    answers: list[str] = []

    async def main() -> None:
        running = asyncio.create_task(GuardedRunner(guard).run(front, "refund order 17"))
        async with asyncio.timeout(DEADLINE_S):
            while not guard._admission.enforcer.outbox:  # noqa: ASYNC110  # it has no event to wait for
                await asyncio.sleep(0)
        assert (desk.done, running.done()) == ([], False)
        gate.apply(Order(epoch=(1, 2)))
        answers.append((await running).final_output)

    asyncio.run(main())

    assert (answers, desk.done) == (["done"], ["lookup 17"])


def test_an_agent_used_as_a_tool_is_guarded(desk: Desk) -> None:
    """Although the framework makes an error text of the inner stop, the outer run ends with it."""
    inner = desk.agent(ScriptedModel(calls("refund"), says("done")))
    helper = inner.as_tool("helper", "Helps.")
    outer_model = ScriptedModel(calls("helper", '{"input": "go"}'), says("done"))
    outer = Agent(name="outer", model=outer_model, tools=[helper])
    guard = Guard("outer", tools={"helper": "write"})

    with pytest.raises(RunStopped) as stopped:
        run(GuardedRunner(guard), outer)

    assert (stopped.value.code, desk.done, len(outer_model.shown)) == ("scope", [], 1)


class Shelf(MCPServer):
    """A server of the Model Context Protocol with one tool, in this process."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[str] = []

    name = "shelf"

    async def connect(self) -> None: ...

    async def cleanup(self) -> None: ...

    async def list_tools(self, *_: Any) -> list[MCPTool]:
        return [MCPTool.model_validate({"name": "fetch", "inputSchema": {"type": "object", "properties": {}}})]

    async def call_tool(self, tool_name: str, *_: Any, **__: Any) -> CallToolResult:
        self.done.append(tool_name)
        return CallToolResult(content=[TextContent(type="text", text="here")])

    async def list_prompts(self) -> Any:
        raise NotImplementedError

    async def get_prompt(self, *_: Any) -> Any:
        raise NotImplementedError


def test_tools_of_mcp_servers_are_guarded() -> None:
    """Tools that are made anew for every turn are held to the same rules, refusals told to the model."""
    shelf = Shelf()
    model = ScriptedModel(calls("fetch"), says("done"))
    agent = Agent(name="reader", model=model, mcp_servers=[shelf])

    assert run(GuardedRunner(guard := Guard("reader")), agent).final_output == "done"
    assert (shelf.done, guard.state.steps_ended) == (["fetch"], 3)

    model = ScriptedModel(calls("fetch"), says("done"))
    agent = Agent(name="reader", model=model, mcp_servers=[shelf])
    denying = Guard("reader", policies=[{**NO_REFUNDS, "tool": "fetch"}])
    assert run(GuardedRunner(denying), agent).final_output == "done"
    assert shelf.done == ["fetch"]
    assert model.results()[0].startswith("refunds need a person")


def test_tools_that_cannot_be_held_are_refused_unless_accepted() -> None:
    """A tool that the provider executes is no surprise afterwards."""
    agent = Agent(name="searcher", model=ScriptedModel(says("done")), tools=[WebSearchTool()])
    guard = Guard("searcher")

    with pytest.raises(ValueError, match=r"cannot hold web_search of searcher.*unguarded=\{'web_search'\}"):
        run(GuardedRunner(guard), agent)
    assert run(GuardedRunner(guard, unguarded={"web_search"}), agent).final_output == "done"


def test_an_agent_is_under_one_guard(desk: Desk) -> None:
    """Another runner of the same guard may take it over, another guard may not."""
    agent = desk.agent(ScriptedModel(says("done")))
    guard = Guard("refund-agent")
    run(GuardedRunner(guard), agent)
    run(GuardedRunner(guard), agent)

    tool = agent.tools[0]
    assert isinstance(tool, FunctionTool)
    assert len(tool.tool_input_guardrails or []) == 1
    with pytest.raises(ValueError, match="already under the guard of refund-agent"):
        run(GuardedRunner(Guard("other")), agent)


def test_streaming_is_guarded(desk: Desk) -> None:
    """Inside `open`, the framework's streamed runs are held to the same rules."""
    agent = desk.agent(ScriptedModel(calls("refund"), says("done")))
    runner = GuardedRunner(Guard("refund-agent", tools={"lookup": "read"}))

    async def main() -> None:
        async with runner.open(agent, "refund"):
            async for _ in Runner.run_streamed(agent, "refund").stream_events():
                pass

    with pytest.raises(RunStopped, match="may not use refund"):
        asyncio.run(main())
    assert desk.done == []


def test_a_model_that_fails_leaves_nothing_open(desk: Desk, guard: Guard, wire: WireServer) -> None:
    """The framework's own errors come through, and the unfinished call is closed as failed."""
    agent = desk.agent(ScriptedModel(RuntimeError("overloaded")))

    with pytest.raises(RuntimeError, match="overloaded"):
        run(GuardedRunner(guard), agent)

    assert wire.wait_span("chat scripted")["status"]["code"] == 2
    assert (guard.state.in_flight, guard.state.runs_active) == (0, 0)


def test_runs_of_one_agent_at_the_same_time_are_kept_apart(desk: Desk) -> None:
    """One agent, one runner, two runs: each ends with its own result and its own budget."""
    agent = desk.agent(ScriptedModel(says("done")))
    guard = Guard("refund-agent", budget_usd=0.004)
    runner = GuardedRunner(guard, prices={"scripted": (2.0, 10.0)})

    async def main() -> list[Any]:
        return await asyncio.gather(*(runner.run(agent, f"task {number}") for number in range(3)))

    assert [result.final_output for result in asyncio.run(main())] == ["done"] * 3
    assert runner._calls._open_calls == {}


class RunnerPoint:
    """An agent of the framework, asked for single calls. Made is what reached the desk."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._runner = GuardedRunner(guard)

    def read(self) -> bool:
        return self._is_made("lookup")

    def write(self) -> bool:
        return self._is_made("refund")

    def close(self) -> None:
        self._guard.close()

    def _is_made(self, tool: str) -> bool:
        desk = Desk()
        with contextlib.suppress(GuardError):
            run(self._runner, desk.agent(ScriptedModel(calls(tool, '{"order": "17"}'), says("Done."))))
        return desk.done == [f"{tool} 17"]


class TestRunnerConformance(EnforcementPointContract):
    """The control plane lost, wrong or lying: as `andoncord.testing.conformance.pep` wants it."""

    def make(self, *, url: str, telemetry: str, token: str, clock_ns: Callable[[], int]) -> RunnerPoint:
        tools: dict[str, ToolKind] = {"lookup": "read", "refund": "write"}
        return RunnerPoint(
            Guard("a", server=url, telemetry=telemetry, token=token, tools=tools, hold_max_s=0.0, clock_ns=clock_ns)
        )
