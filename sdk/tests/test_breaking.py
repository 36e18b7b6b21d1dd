"""Circuit breakers and capabilities in a guard."""

import asyncio
import threading

import pytest
from sdk.tests.test_duties import oblige
from sdk.tests.wire_server import DEADLINE_S, WireServer

from andoncord_sdk import CallDenied, Guard
from andoncord_sdk.breaker import NS, BreakerSettings
from andoncord_sdk.ladder import Measure, Rung
from andoncord_sdk.orders import Order

QUICK = BreakerSettings(calls_min=2, open_s=10, trials=1)


class Clock:
    """A clock set by hand."""

    def __init__(self) -> None:
        self.ns = 100 * NS

    def __call__(self) -> int:
        return self.ns


def fail() -> None:
    """A dependency that is down."""
    raise RuntimeError("down")


def test_a_tool_that_fails_is_left_alone_and_tried_again() -> None:
    """Two failures open its breaker; ten seconds later one call is let through, and closes it."""
    clock = Clock()
    guard = Guard("refunds", breakers={"pay*": QUICK}, clock_ns=clock)
    with guard.run() as run:
        for _ in range(2):
            with pytest.raises(RuntimeError):
                run.call("pay", fail)
        with pytest.raises(CallDenied, match="2 of 2 calls failed") as denied:
            run.call("pay", lambda: "paid")
        assert run.call("look", lambda: "seen") == "seen"
        clock.ns += 10 * NS
        assert run.call("pay", lambda: "paid") == "paid"
        assert run.call("pay", lambda: "paid again") == "paid again"
    assert denied.value.code == "breaker"


def test_a_call_that_is_refused_for_another_reason_is_no_failure() -> None:
    """Nor does it use up the trial: the next one may be made."""
    clock = Clock()
    guard = Guard("refunds", breakers={"pay": QUICK}, budget_calls=3, clock_ns=clock)
    with guard.run() as run:
        for number in range(2):
            with pytest.raises(RuntimeError):
                run.call("pay", fail)
            assert number < 2
    clock.ns += 10 * NS
    breaking = guard._admission.breaking
    assert breaking is not None
    with guard.run() as run:
        step = run.step("pay")
        breaking.admit(step, guard._admission.gate.order)
        guard._admission.give_up(step)
        assert run.call("pay", lambda: "paid") == "paid"
    assert breaking.breakers.not_closed() == {}


def test_an_order_holds_a_breaker_closed() -> None:
    """Calls are made although it is open."""
    guard = Guard("refunds", breakers={"agent": QUICK}, clock_ns=Clock())
    with guard.run() as run:
        for _ in range(2):
            with pytest.raises(RuntimeError):
                run.call("pay", fail)
        closed = Measure(rung=Rung.NONE, id="o1", tool="pay", breaker="closed")
        guard._admission.gate.apply(Order(epoch=(1, 1), parts=(closed,)))
        assert run.call("pay", lambda: "paid") == "paid"
        with pytest.raises(CallDenied, match=r"look \(breaker agent\)"):
            run.call("look", lambda: "seen")


def test_an_open_breaker_is_reported(wire: WireServer) -> None:
    """In a record of its own, and in the guard's state; breakers of the settings come with the registration."""
    wire.welcome = {"breakers": {"pay": {"calls_min": 1, "open_s": 60}}}
    guard = Guard("refunds", server=wire.url, telemetry=wire.url, token="andon_sdk_test")
    with guard.run() as run, pytest.raises(RuntimeError):
        run.call("pay", fail)

    degraded = wire.wait_log("andoncord.guard.degraded")
    assert degraded["andoncord.decision.code"] == "breaker_open"
    assert "1 of 1 calls failed" in degraded["andoncord.decision.message"]
    reported = wire.wait(lambda: next((each for each in wire.reports if each["state"].get("breakers")), None))
    assert reported["state"]["breakers"] == {"pay": "open"}
    guard.close()


def test_a_capability_is_announced_when_it_is_there(wire: WireServer) -> None:
    """A probe once it is registered; what an adapter cannot do no more."""
    guard = Guard("refunds", server=wire.url, token="andon_sdk_test")
    assert "probe" not in wire.hellos[0]["capabilities"]
    assert {"throttle", "quarantine", "scoped", "breaker"} <= set(wire.hellos[0]["capabilities"])

    guard.probe(lambda index: True)
    wire.wait(lambda: any("probe" in report["capabilities"] for report in wire.reports))
    guard.reached_through("some framework", lacks=("model_calls",))
    wire.wait(lambda: wire.reports and "model_calls" not in wire.reports[-1]["capabilities"])
    guard.close()


def test_a_throttled_call_is_made_at_its_turn_and_a_cancelled_one_leaves_nothing() -> None:
    """Through the guard and the event loop, which goes on meanwhile."""
    guard = Guard("refunds")
    slow = Measure(rung=Rung.THROTTLE, id="t", rate=1.0)  # One call a second where the usual rate is not known.
    guard._admission.gate.apply(Order(rung=Rung.THROTTLE, epoch=(1, 1), parts=(slow,)))

    async def main() -> str:
        with guard.run() as run:
            await run.call("look", asyncio.sleep, delay=0)
            waiting = asyncio.create_task(_call(run))
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            guard._admission.gate.apply(Order(epoch=(1, 2)))
            return await _call(run)

    assert asyncio.run(main()) == "seen"
    assert guard._admission.enforcer.turns == {}


async def _call(run: object) -> str:
    async def look() -> str:
        return "seen"

    return await run.call("look", look)  # type: ignore[attr-defined,no-any-return]


def test_a_call_that_waits_when_its_throttle_is_lifted_leaves_nothing() -> None:
    """Its turn was a minute away; it is made at once, and is not remembered as waiting."""
    guard = Guard("refunds")
    gate, enforcer = guard._admission.gate, guard._admission.enforcer
    gate.apply(Order(rung=Rung.NONE, epoch=(1, 1), parts=(Measure(rung=Rung.THROTTLE, id="o1", rate=0.02),)))
    with guard.run() as run:
        run.call("pay", lambda: "paid")
        waiting = threading.Thread(target=run.call, args=("pay", lambda: "paid"))
        waiting.start()
        gate.wait_change(gate.order, 0.1)
        gate.apply(Order(rung=Rung.NONE, epoch=(1, 2)))
        waiting.join(DEADLINE_S)

    assert not waiting.is_alive()
    assert enforcer.turns == {}


def test_what_a_call_waits_for_does_not_make_its_dependency_slow() -> None:
    """A snapshot that took a minute is the snapshot's minute."""
    clock = Clock()

    def save(request: object) -> None:
        clock.ns += 60 * NS

    breakers = {"pay": BreakerSettings(calls_min=1, slow_s=1.0)}
    policy = oblige({"snapshot": {"of": "books"}})
    guard = Guard("refunds", breakers=breakers, policies=[policy], snapshots={"books": save}, clock_ns=clock)
    with guard.run() as run:
        assert [run.call("pay", lambda: "paid") for _ in range(2)] == ["paid", "paid"]
