"""What every adapter must do, tested through the real framework with a scripted model.

A test class derives from `AdapterContract`, says how to build the adapter and how to let the framework play a `Script`, and
inherits the tests.
"""

import asyncio
import contextlib
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sdk.tests.wire_server import DEADLINE_S, WireServer

from andoncord_sdk import AgentStopped, Guard, GuardError, RunStopped
from andoncord_sdk.instrument._calls import Calls

HELD_S = 0.15
"""How long a held call is watched not to be made."""
APPROVAL = {"require_approval": {"role": "finance", "hold_s": 20}}
NO_REFUNDS = {"id": "no-refunds", "effect": "forbid", "tool": "refund", "message": "refunds need a person"}
PRICES = {"scripted": (2.0, 10.0)}
INPUT_TOKENS, OUTPUT_TOKENS = 1000, 100
"""What each call of the scripted model uses: $0.003."""


class Wish:
    """The model's wish to call a tool."""

    def __init__(self, tool: str, **arguments: Any) -> None:
        self.tool = tool
        self.arguments = arguments or {"order": "17"}


Turn = str | Wish
"""What the model answers: text that ends the run, or a wish."""


class Script:
    """What the model says, turn by turn; the last turn again and again. Remembers what it was told."""

    def __init__(self, *turns: Turn, before_turn: Callable[[], object] | None = None) -> None:
        self._turns = turns
        self._before_turn = before_turn
        self.asked = 0
        self.results: list[str] = []
        """What the model was told came of its calls, at its last turn."""

    def next(self, results: list[str]) -> Turn:
        """The next turn; `results` are those of the calls so far."""
        self.asked += 1
        self.results = results
        if self._before_turn is not None and self.asked == 1:
            self._before_turn()
        return self._turns[min(self.asked, len(self._turns)) - 1]


class Desk:
    """The tools of an agent, and what was really done with them."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.during_lookup: Callable[[], object] | None = None

    def lookup(self, order: str = "17") -> str:
        """Look an order up."""
        self.done.append(f"lookup {order}")
        if self.during_lookup is not None:
            self.during_lookup()
        return f"order {order} is paid"

    def refund(self, order: str = "17") -> str:
        """Refund an order."""
        self.done.append(f"refund {order}")
        return "refunded"

    def broken(self, order: str = "17") -> str:
        """Fail."""
        self.done.append("broken")
        raise RuntimeError("out of order")


class AdapterContract(ABC):
    """The tests. What a framework cannot do is said by its flags here and in docs/adapters.md."""

    knows_model_calls = True
    """The framework lets the guard in before a model call."""
    frees_loop = True
    """A held call leaves the event loop free."""

    replaces_arguments = True
    """What a policy has masked reaches the tool masked; otherwise the call is denied."""

    serves_many_runs = True
    """One adapter serves several runs at the same time."""

    @abstractmethod
    def adapter(self, guard: Guard, **options: Any) -> Any:
        """The adapter under test."""

    @abstractmethod
    async def play(self, adapter: Any, script: Script, desk: Desk) -> str:
        """Let an agent with the tools of `desk` play `script`, and return its answer."""

    def run(self, adapter: Any, script: Script, desk: Desk) -> str:
        """`play`, in a run of the guard."""

        async def main() -> str:
            with adapter.open("refund order 17"):
                return await self.play(adapter, script, desk)

        return asyncio.run(main())

    # ------------------------------------------------------------------------------------------------- fixtures

    @pytest.fixture
    def desk(self) -> Desk:
        """A fresh desk."""
        return Desk()

    @pytest.fixture
    def guard(self, wire: WireServer) -> Iterator[Guard]:
        """A guard that follows the orders of the wire server and reports to it."""
        guard = Guard(
            "refund-agent",
            server=wire.url,
            telemetry=wire.url,
            token="andon_sdk_test",
            tools={"lookup": "read", "refund": "write", "broken": "read"},
            messages=("refund",),
        )
        wire.wait_stream()
        yield guard
        guard.close()

    # ------------------------------------------------------------------------------------------------- decisions

    def test_an_allowed_run_gives_the_agents_own_answer(self, desk: Desk, guard: Guard, wire: WireServer) -> None:
        """Nothing changes for the agent; its run, tool calls, model calls and their cost are reported."""
        script = Script(Wish("lookup"), "It is paid.")

        answer = self.run(self.adapter(guard, prices=PRICES), script, desk)

        assert (answer, desk.done, len(script.results)) == ("It is paid.", ["lookup 17"], 1)
        assert "order 17 is paid" in script.results[0]
        assert "order 17 is paid" in str(wire.wait_span("execute_tool lookup")["attributes"])
        assert "refund order 17" in str(wire.wait_span("invoke_agent refund-agent")["attributes"])
        if self.knows_model_calls:
            chat = wire.wait_span("chat scripted")
            shown = {item["key"]: next(iter(item["value"].values())) for item in chat["attributes"]}
            assert (shown["gen_ai.usage.input_tokens"], shown["gen_ai.usage.cost"]) == ("1000", 0.003)
        assert (guard.state.in_flight, guard.state.runs_active) == (0, 0)

    def test_a_denied_call_is_not_made_and_the_model_reads_why(self, desk: Desk) -> None:
        """The refusal takes the place of the result; the run goes on."""
        script = Script(Wish("refund"), Wish("lookup"), "I asked a person.")

        answer = self.run(self.adapter(Guard("refund-agent", policies=[NO_REFUNDS])), script, desk)

        assert (answer, desk.done) == ("I asked a person.", ["lookup 17"])
        assert "refunds need a person" in script.results[0]

    def test_what_a_policy_has_masked_does_not_reach_the_tool(self, desk: Desk) -> None:
        """It is called with the rest; where the framework leaves no room for that, it is not called."""
        redact = {"redact": {"paths": ["order"]}}
        masked = {"id": "m", "effect": "forbid", "tool": "lookup", "message": "no orders", "obligations": [redact]}
        script = Script(Wish("lookup"), "done")

        assert self.run(self.adapter(Guard("refund-agent", policies=[masked])), script, desk) == "done"

        assert desk.done == (["lookup [redacted]"] if self.replaces_arguments else [])

    def test_out_of_scope_ends_the_run_before_the_call(self, desk: Desk) -> None:
        """A tool outside the declared scope is not called, and no further turn is taken."""
        script = Script(Wish("refund"), "done")

        with pytest.raises(RunStopped) as stopped:
            self.run(self.adapter(Guard("refund-agent", tools={"lookup": "read"})), script, desk)

        assert (stopped.value.code, stopped.value.tool, desk.done, script.asked) == ("scope", "refund", [], 1)

    def test_a_loop_is_nudged_at_the_third_call_and_stopped_before_the_fourth(self, desk: Desk) -> None:
        """Three identical calls run, the model is told at the third, the fourth is not made."""
        script = Script(Wish("lookup"))

        with pytest.raises(RunStopped) as stopped:
            self.run(self.adapter(Guard("refund-agent")), script, desk)

        assert (stopped.value.code, len(desk.done)) == ("loop", 3)
        assert "without progress" in script.results[2]
        assert "without progress" not in script.results[1]

    def test_the_budget_stops_the_run(self, desk: Desk) -> None:
        """Model usage is priced and counted; the call that does not fit is not made."""
        if not self.knows_model_calls:
            pytest.skip("the framework does not let a guard in before a model call")
        script = Script(*(Wish("lookup", order=str(number)) for number in range(9)))
        guard = Guard("refund-agent", budget_usd=0.01)  # three calls at 0.003

        with pytest.raises(RunStopped) as stopped:
            self.run(self.adapter(guard, prices=PRICES), script, desk)

        assert (stopped.value.code, script.asked) == ("budget", 3)

    def test_an_unknown_price_does_not_count_as_free(self, desk: Desk) -> None:
        """With a budget, a model without a price is not called."""
        guard = Guard("refund-agent", budget_usd=1)
        with pytest.raises(ValueError, match="prices"):
            self.adapter(guard)
        if not self.knows_model_calls:
            return
        script = Script("done")
        with pytest.raises(GuardError, match="price of scripted is not known"):
            self.run(self.adapter(guard, prices={"other": (1, 1)}), script, desk)
        assert script.asked == 0

    def test_a_tool_that_fails_counts_as_failed(self, desk: Desk, guard: Guard, wire: WireServer) -> None:
        """Whether the framework raises or tells the model, the span says that it failed, and nothing stays open."""
        with contextlib.suppress(RuntimeError):
            self.run(self.adapter(guard), Script(Wish("broken"), "It does not work."), desk)

        assert desk.done[0] == "broken"
        assert wire.wait_span("execute_tool broken")["status"]["code"] == 2
        assert guard.state.in_flight == 0

    def test_runs_at_the_same_time_are_kept_apart(self) -> None:
        """One adapter, three runs: each has its own answer, its own tools' results and its own budget."""
        if not self.serves_many_runs:
            pytest.skip("the framework's hooks cannot tell runs apart")
        adapter = self.adapter(Guard("refund-agent", budget_usd=0.007), prices=PRICES)  # two calls at 0.003
        desks = [Desk() for _ in range(3)]

        async def one(number: int) -> str:
            with adapter.open(f"task {number}"):
                return await self.play(adapter, Script(Wish("lookup", order=str(number)), f"{number} is paid"), desks[number])

        async def main() -> list[str]:
            return await asyncio.gather(*(one(number) for number in range(3)))

        assert asyncio.run(main()) == ["0 is paid", "1 is paid", "2 is paid"]
        assert [desk.done for desk in desks] == [["lookup 0"], ["lookup 1"], ["lookup 2"]]

    # ------------------------------------------------------------------------------------------------- orders

    def test_a_pause_holds_the_next_step_and_a_release_lets_it_go(self, desk: Desk, guard: Guard, wire: WireServer) -> None:
        """While held nothing is called; afterwards the run ends as if nothing had been."""
        script = Script(Wish("lookup"), Wish("refund"), "done")
        desk.during_lookup = lambda: wire.ack_of(wire.order("pause", (1, 1)))

        self.hold_and_release(guard, wire, script, desk, ["lookup 17"])

        assert desk.done == ["lookup 17", "refund 17"]
        if self.knows_model_calls:
            assert script.asked == 3

    def test_a_held_tool_call_is_made_once_after_the_release(self, desk: Desk, guard: Guard, wire: WireServer) -> None:
        """A pause between the model's wish and the call holds the call."""
        script = Script(Wish("refund"), "done", before_turn=lambda: wire.ack_of(wire.order("pause", (1, 1))))

        self.hold_and_release(guard, wire, script, desk, [])

        assert desk.done == ["refund 17"]

    def hold_and_release(self, guard: Guard, wire: WireServer, script: Script, desk: Desk, done: list[str]) -> None:
        """Play a script that pauses the agent on its way; see that it is held, and release it."""
        adapter = self.adapter(guard)
        loop = asyncio.new_event_loop()
        answers: list[str] = []

        async def main() -> None:
            with adapter.open("refund order 17"):
                answers.append(await self.play(adapter, script, desk))

        running = threading.Thread(target=lambda: loop.run_until_complete(main()), daemon=True)
        running.start()
        wire.wait(lambda: any(ack["epoch"] == [1, 1] for ack in wire.acks))
        running.join(HELD_S)
        assert (running.is_alive(), desk.done) == (True, done)
        if self.frees_loop:
            asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result(DEADLINE_S)
        wire.ack_of(wire.order("none", (1, 2)))
        running.join(DEADLINE_S)
        loop.close()
        assert answers == ["done"]

    def test_a_call_that_needs_an_approval_waits_for_it_and_is_made_once(
        self, desk: Desk, guard: Guard, wire: WireServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The framework waits with it; somebody approves the very call, and the run ends as if nothing had been."""
        monkeypatch.setattr("andoncord_sdk.asking.LOOK_S", 0.05)
        policy = {"id": "ask", "effect": "forbid", "tool": "refund", "message": "ask", "obligations": [APPROVAL]}
        wire.ack_of(wire.push("policies", {"policies": [policy]}))

        def approve() -> None:
            digest = wire.wait_action()
            assert desk.done == []
            wire.approvals[digest] = "granted"

        approving = threading.Thread(target=approve)
        approving.start()
        assert self.run(self.adapter(guard), Script(Wish("refund"), "done"), desk) == "done"

        approving.join(DEADLINE_S)
        assert (desk.done, set(wire.approvals.values())) == (["refund 17"], {"used"})

    def test_a_restriction_leaves_only_the_tools_that_read(self, desk: Desk, guard: Guard, wire: WireServer) -> None:
        """A tool that writes is refused with the reason; the run goes on with the others."""
        wire.ack_of(wire.order("restrict", (1, 1), reason="look before you leap"))
        script = Script(Wish("refund"), Wish("lookup"), "done")

        assert self.run(self.adapter(guard), script, desk) == "done"

        assert desk.done == ["lookup 17"]
        assert "look before you leap" in script.results[0]

    def test_an_allow_list_names_the_tools_that_are_left(self, desk: Desk, guard: Guard, wire: WireServer) -> None:
        """Whatever they are declared as; the model reads why another is refused."""
        self.order(wire, {"rung": "restrict", "allow": ["ref*"], "reason": "nothing else today"})
        script = Script(Wish("lookup"), Wish("refund"), "done")

        assert self.run(self.adapter(guard), script, desk) == "done"

        assert desk.done == ["refund 17"]
        assert "nothing else today" in script.results[0]

    def test_a_tool_that_nobody_may_call_leaves_the_run_alone(self, desk: Desk, guard: Guard, wire: WireServer) -> None:
        """An order about one tool refuses its calls; the run goes on with the others."""
        self.order(wire, {"rung": "kill", "scope": {"tool": "refund"}, "reason": "fraud"})
        script = Script(Wish("refund"), Wish("lookup"), "done")

        assert self.run(self.adapter(guard), script, desk) == "done"

        assert desk.done == ["lookup 17"]
        assert "fraud" in script.results[0]

    def test_a_quarantine_holds_a_message_and_nothing_else(self, desk: Desk, guard: Guard, wire: WireServer) -> None:
        """The model is asked and other tools are called; the message is sent after the release, once."""
        script = Script(Wish("lookup"), Wish("refund"), "done")
        desk.during_lookup = lambda: wire.ack_of(wire.order("quarantine", (1, 1)))

        self.hold_and_release(guard, wire, script, desk, ["lookup 17"])

        assert desk.done == ["lookup 17", "refund 17"]

    def test_a_throttled_tool_is_called_at_its_turn(self, desk: Desk, guard: Guard, wire: WireServer) -> None:
        """Five calls a second before, so one every fifth of a second at most; nothing is refused."""
        now_ns = time.time_ns()
        before = [("lookup", "r", f"s{number}", now_ns - number * 200_000_000) for number in range(1, 11)]
        guard._admission.gate.recent.extend(before)
        self.order(wire, {"rung": "throttle", "rate": 1.0, "scope": {"tool": "lookup"}})
        times: list[float] = []
        desk.during_lookup = lambda: times.append(time.monotonic())
        script = Script(Wish("lookup", order="1"), Wish("lookup", order="2"), Wish("lookup", order="3"), "done")

        assert self.run(self.adapter(guard), script, desk) == "done"

        assert desk.done == ["lookup 1", "lookup 2", "lookup 3"]
        assert times[2] - times[0] > 0.3

    def test_what_the_framework_leaves_no_room_for_is_not_announced(self, guard: Guard) -> None:
        """Orders that need it are then not counted as carried out."""
        self.adapter(guard)

        assert ("model_calls" in guard.capabilities) is self.knows_model_calls
        assert {"deny", "pause", "resume", "stop", "restrict", "throttle", "quarantine"} <= set(guard.capabilities)

    @staticmethod
    def order(wire: WireServer, *orders: dict[str, Any]) -> None:
        """Put orders of their own in force."""
        event = {"agent": "*", "rung": "none", "epoch": [1, 1], "reason": "", "by": "person:test", "incident": "inc-1"}
        wire.in_force = {**event, "orders": [{"id": f"o{number}", **each} for number, each in enumerate(orders)]}
        wire.ack_of(wire.push("order", wire.in_force))

    def test_a_kill_ends_the_run_with_agent_stopped(self, desk: Desk, guard: Guard, wire: WireServer) -> None:
        """The order takes effect at the next step; a new run does not begin."""
        script = Script(Wish("lookup"), Wish("refund"), "done")
        desk.during_lookup = lambda: wire.ack_of(wire.order("kill", (1, 1), reason="stop it"))

        with pytest.raises(AgentStopped, match="stop it"):
            self.run(self.adapter(guard), script, desk)

        assert (desk.done, guard.state.runs_active) == (["lookup 17"], 0)
        asked = script.asked
        assert asked == 1 or not self.knows_model_calls
        with pytest.raises(AgentStopped):
            self.run(self.adapter(guard), script, desk)
        assert script.asked == asked

    # ------------------------------------------------------------------------------------------------- fails closed

    def test_a_guard_that_breaks_ends_the_run(self, desk: Desk) -> None:
        """Whatever goes wrong inside the guard, the tool is not called and the run does not go on."""
        script = Script(Wish("refund"), "done")
        guard = Guard("refund-agent", policies=[NO_REFUNDS])

        class Broken:
            def decide(self, request: Any) -> Any:
                raise ZeroDivisionError

        guard._admission.policies = Broken()  # type: ignore[assignment]
        with pytest.raises(GuardError) as denied:
            self.run(self.adapter(guard), script, desk)

        assert (denied.value.code, desk.done, script.asked) == ("guard_error", [], 1)

    def test_an_adapter_that_breaks_ends_the_run(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        """So does a fault in the adapter itself, even in a framework that swallows what hooks raise."""
        script = Script(Wish("refund"), "done")
        adapter = self.adapter(Guard("refund-agent"))

        def break_down(*_: Any, **__: Any) -> Any:
            raise ZeroDivisionError

        monkeypatch.setattr(Calls, "tool", break_down)
        with pytest.raises(Exception):  # noqa: B017 - whatever the framework makes of it
            self.run(adapter, script, desk)

        assert (desk.done, script.asked) == ([], 1)

    def test_nothing_is_called_outside_a_guarded_run(self, desk: Desk) -> None:
        """An agent with the adapter in place does not work without a run of the guard."""
        script = Script(Wish("refund"), "done")
        adapter = self.adapter(Guard("refund-agent"))

        with contextlib.suppress(Exception):  # Some frameworks raise, others tell the model.
            asyncio.run(self.play(adapter, script, desk))

        assert desk.done == []
