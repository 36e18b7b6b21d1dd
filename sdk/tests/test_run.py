"""Runs and guarded calls, without a server: precedence, loops, async, and what is raised."""

import asyncio
import contextvars
import threading
from typing import Any

import pytest

from andoncord_sdk import AgentStopped, CallDenied, Guard, Run, RunStopped, current_run
from andoncord_sdk.ladder import Rung
from andoncord_sdk.orders import Order
from andoncord_sdk.policy import PolicySet

TOOLS: dict[str, Any] = {"look": "read", "pay": "write"}


def apply(guard: Guard, rung: Rung, counter: int) -> None:
    """An order, as if it had come over the wire."""
    guard._follower._apply(Order(rung=rung, epoch=(1, counter), reason="test"))


class BrokenPolicies(PolicySet):
    """A policy set with a bug."""

    def __init__(self) -> None:
        super().__init__([])

    def bound_to(self, agent: str, *, role: str = "", environment: str = "") -> Any:
        raise ZeroDivisionError("a bug")


def test_a_tool_outside_the_scope_is_not_called_and_the_run_is_over() -> None:
    """Out of scope: denied, and every further guarded call of the run raises."""
    called: list[str] = []
    with Guard("a", tools=TOOLS).run() as run:
        with pytest.raises(RunStopped) as refusal:
            run.call("shell", called.append, object="x")
        with pytest.raises(RunStopped):
            run.call("look", lambda: called.append("look"))

    assert (refusal.value.code, refusal.value.action, called) == ("scope", "stop_run", [])


def test_an_undeclared_scope_allows_everything() -> None:
    """Without declared tools nothing is out of scope."""
    with Guard("a").run() as run:
        assert run.call("anything", lambda: 1) == 1


def test_a_call_over_budget_is_never_made() -> None:
    """The offending call is refused before it is made, and the run is over."""
    made = 0
    with Guard("a", budget_usd=0.10).run() as run:
        for _ in range(2):
            with run.model_step("m", max_cost_usd=0.04) as call:
                made += 1
                call.cost_usd = 0.04
        with pytest.raises(RunStopped) as refusal, run.model_step("m", max_cost_usd=0.04):
            made += 1

    assert (refusal.value.code, made) == ("budget", 2)


def test_a_recorded_cost_over_budget_stops_the_next_call() -> None:
    """`model_call` never raises; the call after it does."""
    with Guard("a", budget_usd=0.10).run() as run:
        run.model_call(model="m", cost_usd=0.11)
        with pytest.raises(RunStopped) as refusal:
            run.call("look", lambda: 1)

    assert refusal.value.code == "budget"


def test_a_model_call_that_states_no_cost_is_settled_at_its_highest() -> None:
    """Unknown does not count as free."""
    with Guard("a", budget_usd=1).run() as run, run.model_step("m", max_cost_usd=0.25):
        pass

    assert run.budget.spent_micro_usd == 250_000


def test_reserve_usd_is_refused_when_it_does_not_fit() -> None:
    """Money spent outside guarded calls counts too."""
    with Guard("a", budget_usd=0.10).run() as run:
        run.reserve_usd(0.08).settle_usd(0.05)
        with pytest.raises(RunStopped):
            run.reserve_usd(0.06)

    assert run.budget.spent_micro_usd == 50_000


def test_the_fourth_identical_call_without_progress_is_not_made() -> None:
    """Three calls run, the third nudges, the fourth is denied and the run is over."""
    nudges: list[str] = []
    calls: list[str] = []

    def search(q: str) -> str:
        calls.append(q)
        return "nothing found"

    with Guard("a", on_nudge=nudges.append).run() as run:
        for _ in range(3):
            assert not nudges
            run.call("search", search, q="refund")
        with pytest.raises(RunStopped) as refusal:
            run.call("search", search, q="refund")

    assert (refusal.value.code, len(calls), len(nudges), run.nudge) == ("loop", 3, 1, nudges[0])


def test_a_call_whose_result_changes_is_progress() -> None:
    """Polling that sees something new is not a loop."""
    results = iter(range(10))
    with Guard("a").run() as run:
        for _ in range(10):
            run.call("poll", lambda: f"{next(results)} of 10 done")


def test_a_cycle_of_two_calls_is_stopped() -> None:
    """Three rounds of the same two calls run; the next call of the cycle does not."""
    with Guard("a").run() as run:
        for _ in range(3):
            run.call("read", lambda file: "text", file="a")
            run.call("list", lambda path: ["a"], path=".")
        with pytest.raises(RunStopped) as refusal:
            run.call("read", lambda file: "text", file="a")

    assert refusal.value.code == "loop"


def test_a_looping_run_may_be_paused_and_resumed() -> None:
    """With on_loop="pause" the fourth call is held, and made when the run is resumed."""
    guard = Guard("a", on_loop="pause")
    done = threading.Event()
    with guard.run() as run:

        def work() -> None:
            for _ in range(4):
                run.call("search", lambda: "nothing")
            done.set()

        thread = threading.Thread(target=contextvars.copy_context().run, args=(work,))
        thread.start()
        held = threading.Event()
        while run._loop_hold is None:
            held.wait(0.005)
        assert not done.is_set()
        run.resume()
        thread.join(10)

    assert done.is_set()


def test_a_kill_order_raises_and_ends_open_runs() -> None:
    """After a kill every guarded call raises, also in a run that was open, also after a release."""
    guard = Guard("a")
    with guard.run() as run:
        apply(guard, Rung.KILL, 1)
        with pytest.raises(AgentStopped) as refusal:
            run.call("look", lambda: 1)
        apply(guard, Rung.NONE, 2)
        with pytest.raises(AgentStopped):
            run.call("look", lambda: 1)

    with guard.run() as fresh:
        assert fresh.call("look", lambda: 1) == 1
    assert refusal.value.code == "order"


def test_no_run_begins_under_a_kill_order() -> None:
    """A stopped agent does not begin anew."""
    guard = Guard("a")
    apply(guard, Rung.KILL, 1)

    with pytest.raises(AgentStopped):
        guard.run().begin()


def test_restrict_allows_only_tools_declared_read() -> None:
    """Reading goes on; everything else is refused, and the run may go on."""
    guard = Guard("a", tools=TOOLS)
    apply(guard, Rung.RESTRICT, 1)
    with guard.run() as run:
        with pytest.raises(CallDenied) as refusal:
            run.call("pay", lambda: 1)
        assert run.call("look", lambda: 2) == 2

    assert refusal.value.code == "order"


def test_a_paused_agent_is_held_and_goes_on_after_release() -> None:
    """The held call is not made while paused, and made once after the release."""
    guard = Guard("a")
    calls: list[int] = []
    apply(guard, Rung.PAUSE, 1)
    with guard.run() as run:
        thread = threading.Thread(target=run.call, args=("look", lambda: calls.append(1)))
        thread.start()
        thread.join(0.05)
        assert (thread.is_alive(), calls, guard.state.in_flight) == (True, [], 0)
        apply(guard, Rung.NONE, 2)
        thread.join(10)

    assert calls == [1]


def test_a_hold_ends_at_its_limit() -> None:
    """With hold_max_s a held call is refused instead, and not made."""
    guard = Guard("a", hold_max_s=0.02)
    apply(guard, Rung.PAUSE, 1)
    with guard.run() as run, pytest.raises(CallDenied) as refusal:
        run.call("look", lambda: pytest.fail("was called"))

    assert refusal.value.code == "order"


def test_a_held_coroutine_does_not_block_the_event_loop() -> None:
    """While one task is held, another one runs and releases it."""
    guard = Guard("a")
    apply(guard, Rung.PAUSE, 1)

    @guard.tool("look")
    async def look(x: int) -> int:
        return x + 1

    async def main() -> int:
        async with guard.run():
            held = asyncio.create_task(look(1))
            await asyncio.sleep(0)
            apply(guard, Rung.NONE, 2)
            return await held

    assert asyncio.run(main()) == 2


def test_a_policy_denies_one_call_and_the_run_goes_on() -> None:
    """A forbidden call is explained, with the policy's id."""
    policy = {"id": "refund-cap", "effect": "forbid", "tool": "pay", "when": None, "message": "refunds need a person"}
    with Guard("a", tools=TOOLS, policies=[policy]).run() as run:
        with pytest.raises(CallDenied) as refusal:
            run.call("pay", lambda amount: amount, amount=500)
        assert run.call("look", lambda: 1) == 1

    assert (refusal.value.code, refusal.value.policy, refusal.value.message) == (
        "policy",
        "refund-cap",
        "refunds need a person [refund-cap]",
    )


def test_a_call_that_nothing_permits_is_out_of_scope() -> None:
    """As soon as permissions exist, everything else ends the run."""
    permit = {"id": "look", "effect": "permit", "tool": "look", "when": None, "message": ""}
    with Guard("a", policies=[permit]).run() as run:
        assert run.call("look", lambda: 1) == 1
        with pytest.raises(RunStopped) as refusal:
            run.call("pay", lambda: pytest.fail("was called"))

    assert refusal.value.code == "scope"


def test_out_of_scope_outranks_a_policy() -> None:
    """A call that is both forbidden and undeclared ends the run."""
    forbid = {"id": "no-shell", "effect": "forbid", "tool": "shell", "when": None, "message": "no"}
    with Guard("a", tools=TOOLS, policies=[forbid]).run() as run, pytest.raises(RunStopped) as refusal:
        run.call("shell", lambda: 1)

    assert refusal.value.code == "scope"


def test_a_guard_that_breaks_holds_rather_than_releases() -> None:
    """A bug in the check refuses the call, with the code guard_error."""
    guard = Guard("a")
    guard._admission.policies = BrokenPolicies()
    with guard.run() as run, pytest.raises(CallDenied) as refusal:
        run.call("look", lambda: pytest.fail("was called"))

    assert (refusal.value.code, guard.state.in_flight) == ("guard_error", 0)


def test_polling_by_declaration_and_another_state_are_no_loop() -> None:
    """A declared poll may ask for ever; the same call after the world has changed is another one; else the 4th is refused."""
    with Guard("a", polls=["wait"]).run() as run:
        for _ in range(20):
            run.call("wait", lambda job: "not yet", job=1)
        for tick in range(20):
            run.state = f"tick {tick}"
            run.call("look", lambda: "nothing new")
        for _ in range(2):
            run.call("look", lambda: "nothing new")
        with pytest.raises(RunStopped, match="look has repeated 3 times"):
            run.call("look", lambda: "nothing new")


def test_what_is_reported_are_the_arguments_that_were_checked() -> None:
    """A tool that changes its arguments does not change what is said about the call, although that is written down late."""
    with Guard("a").run() as run:
        run.call("sort", lambda items: items.clear(), items=[3, 1])

    assert run.recent[-1].attributes["gen_ai.tool.call.arguments"] == '{"items":[3,1]}'


def test_a_call_outside_any_run_is_refused() -> None:
    """What cannot be attributed to a run is not made, and the message says what to do."""
    guard = Guard("a")

    @guard.tool()
    def look() -> None:
        pytest.fail("was called")

    with pytest.raises(CallDenied, match=r"guard\.run"):
        look()


def test_the_decorator_shows_policies_the_defaults_too() -> None:
    """What the function will see is what is checked."""
    guard = Guard("a")

    @guard.tool()
    def pay(order: str, amount: int = 500, **rest: int) -> int:
        return amount

    with guard.run() as run:
        assert pay("o", tip=1) == 500

    assert run.recent[-1].attributes["gen_ai.tool.call.arguments"] == '{"order":"o","amount":500,"tip":1}'


def test_an_exception_of_the_tool_passes_through_and_is_recorded() -> None:
    """The guard changes nothing about how a tool fails."""
    with Guard("a").run() as run, pytest.raises(KeyError):
        run.call("look", lambda: dict[str, int]()["x"])

    assert run.recent[-1].error_type == "KeyError"


def test_arguments_that_cannot_be_shown_do_not_break_the_agent() -> None:
    """Circular or hostile values cost their text, not the call."""

    class Hostile:
        def __repr__(self) -> str:
            raise RuntimeError("no")

        __str__ = __repr__

    circular: list[Any] = []
    circular.append(circular)
    with Guard("a").run() as run:
        assert run.call("look", lambda x, y: 1, x=circular, y=Hostile()) == 1


def test_plain_and_async_calls_find_their_run() -> None:
    """The current run follows the code, also into tasks, and is gone afterwards."""
    guard = Guard("a")
    seen: list[Run | None] = []

    async def tool(x: int) -> int:
        seen.append(current_run())
        return x

    async def main() -> int:
        async with guard.run("task") as run:
            return await run.call("tool", tool, x=3)

    assert asyncio.run(main()) == 3
    assert [run and run.task for run in seen] == ["task"]
    assert current_run() is None


def test_a_nested_step_hangs_below_the_outer_one() -> None:
    """A tool that calls a tool is its parent in the trace."""
    with Guard("a").run() as run, run.step("outer") as outer, run.step("inner"):
        pass

    inner_span, outer_span = run.recent
    assert (inner_span.parent_span_id, outer_span.parent_span_id) == (outer.span_id, run.span_id)


def test_begin_and_end_serve_adapters() -> None:
    """Without a with: the same check before, the same record after, and only one end."""
    guard = Guard("a", tools=TOOLS)
    run = guard.run().begin()
    step = run.step("look").begin()
    assert guard.state.in_flight == 1
    step.end()
    step.end()
    run.end()

    assert (guard.state.in_flight, guard.state.steps_ended, guard.state.runs_active, len(run.recent)) == (0, 1, 0, 1)


def test_a_run_of_another_agent_inside_ours_does_not_hide_ours() -> None:
    """A tool of the outer agent that is called inside the inner agent's run counts for the outer run."""
    outer_guard, inner_guard = Guard("outer"), Guard("inner")

    @outer_guard.tool()
    def look() -> int:
        return 1

    with outer_guard.run() as outer, inner_guard.run() as inner:
        assert look() == 1

    assert (len(outer.recent), len(inner.recent), inner.trace_id) == (1, 0, outer.trace_id)
