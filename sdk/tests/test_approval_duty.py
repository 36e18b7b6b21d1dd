"""Calls that are held for an approval, in threads and in an event loop: made once it is there, or never."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

import pytest
from sdk.tests.wire_server import DEADLINE_S, WireServer

from andoncord_sdk import AgentStopped, CallDenied, Guard, _platform
from andoncord_sdk.asking import MAX_WAITING
from andoncord_sdk.run import Run

Pay = Callable[[int], Future[Any]]


def policy(hold_s: float) -> dict[str, Any]:
    owed = {"require_approval": {"role": "finance", "hold_s": hold_s}}
    return {"id": "careful", "effect": "forbid", "tool": "pay", "message": "be careful", "obligations": [owed]}


@contextlib.contextmanager
def paying(wire: WireServer, how: str, paid: list[int], *, hold_s: float = 60.0, **options: Any) -> Iterator[Pay]:
    """Makes calls that need an approval: each in a thread, or all in one event loop."""
    guard = Guard("a", server=wire.url, token="andon_sdk_test", policies=[policy(hold_s)], **options)
    loop = asyncio.new_event_loop()
    running = threading.Thread(target=loop.run_forever, daemon=True)
    running.start()

    async def pay_async(run: Run, amount: int) -> None:
        async with run.step("pay", {"amount": amount}):
            paid.append(amount)

    def pay_sync(run: Run, amount: int) -> None:
        with run.step("pay", {"amount": amount}):
            paid.append(amount)

    try:
        with contextlib.closing(guard), ThreadPoolExecutor(8) as pool, guard.run() as run:
            if how == "thread":
                yield lambda amount: pool.submit(pay_sync, run, amount)
            else:
                yield lambda amount: asyncio.run_coroutine_threadsafe(pay_async(run, amount), loop)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        running.join(DEADLINE_S)
        loop.close()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look often: what is waited for here is there at once."""
    monkeypatch.setattr("andoncord_sdk.asking.LOOK_S", 0.05)
    monkeypatch.setattr("andoncord_sdk.approval_duty.LOOK_AGAIN_S", 0.1)


@pytest.fixture(params=["thread", "event loop"])
def how(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_held_call_is_made_once_when_it_is_approved(wire: WireServer, how: str) -> None:
    """Two of the same call wait; one approval lets one of them go, the next one the other."""
    paid: list[int] = []
    with paying(wire, how, paid) as pay:
        held = [pay(5), pay(5)]
        digest = wire.wait_action()
        assert paid == []
        wire.approvals[digest] = "granted"
        wire.wait(lambda: wire.approvals[digest] == "used")
        wire.approvals[digest] = "waiting"
        (first,), _ = wait(held, DEADLINE_S, return_when=FIRST_COMPLETED)
        assert paid == [5]
        wire.approvals[digest] = "granted"
        for each in held:
            each.result(DEADLINE_S)
    assert (paid, first.exception()) == ([5, 5], None)


def test_a_held_call_that_is_refused_is_not_made(wire: WireServer, how: str) -> None:
    """Denied, expired, or not to be asked for: the call ends with the reason and the digest."""
    paid: list[int] = []
    with paying(wire, how, paid) as pay:
        for amount, status, said in ((1, "denied", "it was denied"), (2, "expired", "not answered, or not used, in time")):
            held = pay(amount)
            wire.wait(lambda amount=amount: len(wire.actions) == amount)  # type: ignore[misc]
            (digest,) = (digest for digest, action in wire.actions.items() if str(amount) in action["arguments"])
            wire.approvals[digest] = status
            refusal = held.exception(DEADLINE_S)
            assert isinstance(refusal, CallDenied)
            assert (refusal.code, refusal.action_digest, said in refusal.message) == ("approval", digest, True)
        wire.approvals_status = 403
        assert "cannot be asked" in str(pay(3).exception(DEADLINE_S))
    assert paid == []


def test_a_hold_ends_with_its_time(wire: WireServer, how: str) -> None:
    """The policy says how long, the guard may say less; with 0 the call is denied at once."""
    for hold_s, options, said in (
        (0.2, {}, "within 0.2 s"),
        (60.0, {"hold_max_s": 0.1}, "within 0.1 s"),
        (0.0, {}, "there is none"),
    ):
        with paying(wire, how, [], hold_s=hold_s, **options) as pay:
            assert said in str(pay(1).exception(DEADLINE_S))


def test_a_kill_ends_every_hold_and_holds_are_bounded(wire: WireServer) -> None:
    """One call more than may be held is refused; the others end with the order."""
    paid: list[int] = []
    with paying(wire, "event loop", paid) as pay:
        held = [pay(amount) for amount in range(MAX_WAITING)]
        wire.wait(lambda: len(wire.actions) == MAX_WAITING)
        assert "too many calls wait" in str(pay(MAX_WAITING).exception(DEADLINE_S))
        wire.ack_of(wire.order("kill", (1, 1)))
        assert {type(each.exception(DEADLINE_S)) for each in held} == {AgentStopped}
    assert paid == []


def test_a_hold_ends_with_the_lease(wire: WireServer) -> None:
    """A control plane that says nothing more cannot have approved anything."""
    ahead_ns, paid = [0], list[int]()
    with paying(wire, "event loop", paid, clock_ns=lambda: _platform.boot_ns() + ahead_ns[0]) as pay:
        held = pay(1)
        digest = wire.wait_action()
        wire.gives_leases = False
        ahead_ns[0] = 10_000_000_000
        refusal = held.exception(DEADLINE_S)
        assert isinstance(refusal, CallDenied)
        assert refusal.code == "lease"
        wire.approvals[digest] = "granted"
    assert paid == []


def test_a_held_call_that_is_cancelled_is_not_made_and_asked_for_no_more(wire: WireServer) -> None:
    """Nobody's approval is used up for a call that is gone; the same call made again is asked for anew."""
    paid: list[int] = []
    with paying(wire, "event loop", paid) as pay:
        held = pay(1)
        digest = wire.wait_action()
        held.cancel()
        again = pay(2)
        wire.wait(lambda: len(wire.actions) == 2)
        wire.approvals[digest] = "granted"
        (other,) = wire.actions.keys() - {digest}
        wire.approvals[other] = "granted"
        again.result(DEADLINE_S)
    assert (paid, wire.approvals[digest]) == ([2], "granted")


def test_another_order_asks_for_another_approval(wire: WireServer, how: str) -> None:
    """What was asked under one order is not what is asked under the next; the call goes on waiting, for the new one."""
    paid: list[int] = []
    with paying(wire, how, paid) as pay:
        held = pay(1)
        old = wire.wait_action()
        wire.ack_of(wire.order("monitor", (1, 1)))
        wire.wait(lambda: len(wire.actions) == 2)
        wire.approvals[old] = "granted"
        (new,) = wire.actions.keys() - {old}
        wire.approvals[new] = "granted"
        held.result(DEADLINE_S)
    assert (paid, wire.approvals[old]) == ([1], "granted")
