"""The ladder: what each rung does to calls, and how several orders combine."""

import functools
import threading
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sdk.tests.wire_server import DEADLINE_S, WireServer

from andoncord_sdk import AgentStopped, CallDenied, Guard, GuardError, RunStopped
from andoncord_sdk.enforcer import Enforcer
from andoncord_sdk.follow import order_in
from andoncord_sdk.ladder import NS, Measure, Rung
from andoncord_sdk.orders import Gate, InFlight, Order
from andoncord_sdk.step import Step

TOOLS = {"look": "read", "pay.refund": "write", "pay.out": "write", "send_message": "write"}
HELD_S = 0.1


@pytest.fixture
def guard(wire: WireServer) -> Iterator[Guard]:
    """A guard that follows the orders of the wire server."""
    guard = Guard("refunds", server=wire.url, telemetry=wire.url, token="andon_sdk_test", tools=TOOLS)  # type: ignore[arg-type]
    wire.wait_stream()
    yield guard
    guard.close()


def put(wire: WireServer, epoch: tuple[int, int], *orders: dict[str, Any], rung: str = "none", **more: Any) -> dict[str, Any]:
    """Put a set of orders in force; its acknowledgement."""
    event = {"agent": "refunds", "rung": rung, "epoch": list(epoch), "reason": "", "by": "", "incident": "", **more}
    wire.in_force = {**event, "orders": list(orders)}
    return wire.ack_of(wire.push("order", wire.in_force))


def test_an_order_about_one_tool_leaves_the_others_alone(guard: Guard, wire: WireServer) -> None:
    """Nobody may call the tool; the run goes on, and lifting the order lets the tool be called again."""
    ack = put(wire, (1, 1), {"id": "o1", "rung": "kill", "scope": {"tool": "pay.*"}, "reason": "fraud"})

    with guard.run() as run:
        assert run.call("look", lambda: "seen") == "seen"
        with pytest.raises(CallDenied, match=r"pay\.refund may not be called: fraud"):
            run.call("pay.refund", lambda: "paid")
        put(wire, (1, 2))
        assert run.call("pay.refund", lambda: "paid") == "paid"
    assert (ack["outcome"], ack["detail"]["orders"], guard.state.rung) == ("enforced", ["o1"], "none")


def test_an_order_about_one_run_ends_only_that_run(guard: Guard, wire: WireServer) -> None:
    """Its next call raises, the other run's does not; a guard without that run says so."""
    with guard.run() as one, guard.run() as other:
        ack = put(wire, (1, 1), {"id": "o1", "rung": "kill", "scope": {"run": one.id}})

        assert other.call("look", lambda: "seen") == "seen"
        with pytest.raises(RunStopped) as stopped:
            one.call("look", lambda: "seen")
    elsewhere = put(wire, (1, 2), {"id": "o2", "rung": "pause", "scope": {"run": "of another process"}})

    assert not isinstance(stopped.value, AgentStopped)
    assert "absent_runs" not in ack["detail"]
    assert elsewhere["detail"]["absent_runs"] == ["o2"]


def test_an_allow_list_names_what_may_be_called(guard: Guard, wire: WireServer) -> None:
    """Two restrictions leave what both allow."""
    put(
        wire,
        (1, 1),
        {"id": "o1", "rung": "restrict", "allow": ["pay.*", "look"]},
        {"id": "o2", "rung": "restrict", "allow": ["pay.out"]},
    )

    with guard.run() as run:
        assert run.call("pay.out", lambda: "paid") == "paid"
        for tool in ("look", "pay.refund"):
            with pytest.raises(CallDenied, match=r"restricted to pay\.out"):
                run.call(tool, lambda: "no")


def test_what_cannot_be_followed_is_not_counted_as_done(guard: Guard, wire: WireServer) -> None:
    """One order of the set that this version does not know: the whole set is answered as failed, the one before stays."""
    put(wire, (1, 1), {"id": "o1", "rung": "kill", "scope": {"tool": "pay.*"}})
    failed = put(wire, (1, 2), {"id": "o2", "rung": "vaporise"})

    assert failed["outcome"] == "failed"
    with guard.run() as run, pytest.raises(CallDenied):
        run.call("pay.out", lambda: "no")


def test_messages_of_a_quarantined_agent_wait_in_order(guard: Guard, wire: WireServer) -> None:
    """Its other calls go on; at the release the messages are sent in the order in which they came."""
    put(wire, (1, 1), {"id": "q", "rung": "quarantine"}, rung="quarantine")
    sent: list[int] = []
    outbox = guard._admission.enforcer.outbox

    def send(number: int) -> None:
        with guard.run() as run:
            run.call("send_message", lambda: sent.append(number))

    threads = []
    for number in range(3):
        threads.append(threading.Thread(target=send, args=(number,), daemon=True))
        threads[-1].start()
        wire.wait(functools.partial(_holds, outbox, number + 1))
    with guard.run() as run:
        assert run.call("pay.out", lambda: "paid") == "paid"
    assert sent == []
    put(wire, (1, 2))
    for thread in threads:
        thread.join(DEADLINE_S)
    assert (sent, outbox) == ([0, 1, 2], {})


def test_held_messages_can_be_dropped_at_the_release(guard: Guard, wire: WireServer) -> None:
    """The caller is told that its message was not sent; a message after the release is."""
    put(wire, (1, 1), {"id": "q", "rung": "quarantine"}, rung="quarantine")
    refused: list[str] = []

    def send() -> None:
        with guard.run() as run, pytest.raises(CallDenied, match="not sent") as denied:
            run.call("send_message", lambda: "sent")
        refused.append(denied.value.message)

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    wire.wait(lambda: guard._admission.enforcer.outbox)
    put(wire, (1, 2), dropped=["q"])
    thread.join(DEADLINE_S)
    with guard.run() as run:
        assert run.call("send_message", lambda: "sent") == "sent"
    assert len(refused) == 1


def test_a_forced_open_breaker_refuses_its_calls(guard: Guard, wire: WireServer) -> None:
    """By order, whether or not that tool has a breaker of its own."""
    put(wire, (1, 1), {"id": "b", "rung": "none", "breaker": "open", "scope": {"tool": "pay.out"}, "reason": "bank is down"})

    with guard.run() as run, pytest.raises(CallDenied, match="bank is down") as denied:
        run.call("pay.out", lambda: "no")
    assert denied.value.code == "breaker"


def _holds(outbox: dict[str, frozenset[str]], count: int) -> bool:
    return len(outbox) == count


class Clock:
    """Both clocks of an enforcer, set by hand."""

    def __init__(self) -> None:
        self.ns = 0

    def __call__(self) -> int:
        return self.ns


def enforcing(clock: Clock, *, calls_per_s: int = 0) -> tuple[Enforcer, Gate]:
    """An enforcer over a gate that has seen ten seconds of calls."""
    gate = Gate()
    for number in range(calls_per_s * 10):
        gate.enter(InFlight("pay.out", "r", str(number), number * NS // calls_per_s), gate.order)
    clock.ns = 10 * NS
    tools = {"look"}
    return Enforcer(agent="refunds", gate=gate, is_read=lambda call: call.name in tools, clock_ns=clock, wall_ns=clock), gate


def test_a_throttled_call_waits_for_its_turn() -> None:
    """At a rate of 0.1, two calls a second become one in five seconds; the same times give the same turns."""
    clock = Clock()
    enforcer, gate = enforcing(clock, calls_per_s=2)
    gate.apply(Order(rung=Rung.THROTTLE, epoch=(1, 1), parts=(Measure(rung=Rung.THROTTLE, id="t", rate=0.1),)))
    run = Guard("refunds").run()
    calls = [Step(run, "pay.out", {}) for _ in range(3)]

    held = [enforcer.check(run, call, gate.order) is not None for call in calls]

    assert (held, [enforcer.wait_s(call) for call in calls]) == ([False, True, True], [0.0, 5.0, 10.0])
    clock.ns += 5 * NS
    assert enforcer.check(run, calls[1], gate.order) is None
    assert enforcer.check(run, calls[2], gate.order) is gate.order
    assert enforcer.throttled() == {"t": {"per_s": 0.2, "usual_known": True}}


def test_a_throttle_outlives_a_change_of_the_other_orders() -> None:
    """Its bucket is not filled again because something else was ordered or lifted; a turn too far away is refused."""
    clock = Clock()
    enforcer, gate = enforcing(clock, calls_per_s=2)
    throttle = Measure(rung=Rung.THROTTLE, id="t", rate=0.001)
    run = Guard("refunds").run()
    gate.apply(Order(rung=Rung.THROTTLE, epoch=(1, 1), parts=(throttle,)))
    assert enforcer.check(run, Step(run, "look", {}), gate.order) is None
    gate.apply(Order(rung=Rung.RESTRICT, epoch=(1, 2), parts=(throttle, Measure(rung=Rung.RESTRICT, id="r"))))

    with pytest.raises(CallDenied, match="its turn is 500 s away"):
        enforcer.check(run, Step(run, "look", {}), gate.order)


MEASURES = st.builds(
    Measure,
    rung=st.sampled_from([Rung.NONE, Rung.MONITOR, Rung.RESTRICT, Rung.QUARANTINE, Rung.PAUSE, Rung.KILL]),
    id=st.sampled_from("abcdef"),
    tool=st.sampled_from(["*", "pay.*", "look", "send_message"]),
    run=st.sampled_from(["", "r1", "r2"]),
    allow=st.sampled_from([(), ("look",), ("pay.*", "send_message")]),
    breaker=st.sampled_from(["", "", "open"]),
)


def alone(measure: Measure, name: str, run_id: str) -> int:
    """What one order means for a call, said without regard to others: 0 go, 1 wait, 2 refused."""
    if measure.run not in ("", run_id) or not fnmatchcase(name, measure.tool):
        return 0
    if measure.rung is Rung.KILL:
        return 2
    if measure.rung is Rung.PAUSE or (measure.rung is Rung.QUARANTINE and name == "send_message"):
        return 1
    if measure.rung is Rung.RESTRICT:
        return 0 if (any(fnmatchcase(name, glob) for glob in measure.allow) if measure.allow else name == "look") else 2
    return 2 if measure.breaker == "open" and measure.rung <= Rung.MONITOR else 0


@settings(max_examples=200, deadline=None)
@given(st.lists(MEASURES, max_size=6), st.sampled_from(["look", "pay.out", "send_message"]), st.sampled_from(["r1", "r2"]))
def test_orders_combine_to_the_strictest_for_each_call(measures: list[Measure], name: str, run_id: str) -> None:
    """The highest rung that concerns a call decides; lifting one order leaves exactly what the others say."""
    run = Guard("refunds").run()
    run.id = run_id

    def outcome(parts: list[Measure]) -> int:
        enforcer, gate = enforcing(Clock())
        gate.apply(Order(epoch=(1, 1), parts=tuple(parts)))
        try:
            return int(enforcer.check(run, Step(run, name, {}), gate.order) is not None)
        except GuardError:
            return 2

    def strictest(parts: list[Measure]) -> int:
        by_rung = sorted(parts, key=lambda measure: -measure.rung)
        return next((said for measure in by_rung if (said := alone(measure, name, run_id))), 0)

    assert outcome(measures) == strictest(measures)
    for index in range(len(measures)):
        without = measures[:index] + measures[index + 1 :]
        assert outcome(without) == strictest(without)


@given(st.lists(st.sampled_from([rung.word for rung in Rung]), max_size=5), st.sampled_from(list(Rung)))
def test_the_one_word_of_an_order_is_never_milder_than_its_parts(words: list[str], rung: Rung) -> None:
    """What a set says in one word holds, even if no part of it says so."""
    order = order_in({"rung": rung.word, "epoch": [1, 1], "orders": [{"id": "o", "rung": word} for word in words]})

    assert max((part.rung for part in order.parts), default=Rung.NONE) >= rung
    assert (order.measures is None) == (max([rung, *map(Rung.parse, words)]) <= Rung.MONITOR)
