"""The gate: orders, epochs, and what is in flight."""

import asyncio
import threading

import pytest

from andoncord_sdk.ladder import Rung
from andoncord_sdk.orders import Gate, InFlight, Order, parse_epoch

CALL = InFlight(tool="t", run_id="r", span_id="s", started_ns=1)


def test_only_a_greater_epoch_changes_what_is_in_force() -> None:
    """A late or repeated order never undoes a newer one."""
    gate = Gate()
    gate.apply(Order(rung=Rung.KILL, epoch=(2, 1)))

    stale, _ = gate.apply(Order(rung=Rung.NONE, epoch=(1, 99)))
    same, _ = gate.apply(Order(rung=Rung.NONE, epoch=(2, 1)))

    assert (stale, same, gate.order.rung) == (False, True, Rung.KILL)


def test_an_order_without_an_epoch_changes_nothing() -> None:
    """Nothing that cannot be fenced is applied."""
    gate = Gate()
    gate.apply(Order(rung=Rung.PAUSE, epoch=(1, 1)))

    assert gate.apply(Order(rung=Rung.NONE))[0] is False


def test_a_call_checked_against_an_older_order_does_not_enter() -> None:
    """Between check and start no order can slip in unseen."""
    gate = Gate()
    seen = gate.order
    gate.apply(Order(rung=Rung.PAUSE, epoch=(1, 1)))

    assert gate.enter(CALL, seen) is False


def test_the_snapshot_of_an_order_lists_what_is_in_flight() -> None:
    """The acknowledgement names the calls that had been let through, and later ones see them leave."""
    gate = Gate()
    gate.enter(CALL, gate.order)

    _, at_order = gate.apply(Order(rung=Rung.PAUSE, epoch=(1, 1)))
    gate.leave("s")

    assert at_order.in_flight == (CALL,)
    assert (gate.snapshot().in_flight, gate.snapshot().steps_ended) == ((), 1)


def test_no_call_starts_after_an_order_was_applied() -> None:
    """Whatever threads race: each call entered before the order and is in its snapshot, or did not enter."""
    gate = Gate()
    seen = gate.order
    entered: list[str] = []
    start = threading.Barrier(9)

    def enter(number: int) -> None:
        start.wait()
        for turn in range(200):
            span_id = f"{number}.{turn}"
            if gate.enter(InFlight(tool="t", run_id="r", span_id=span_id, started_ns=1), seen):
                entered.append(span_id)

    threads = [threading.Thread(target=enter, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    start.wait()
    _, snapshot = gate.apply(Order(rung=Rung.PAUSE, epoch=(1, 1)))
    for thread in threads:
        thread.join()

    assert {call.span_id for call in snapshot.in_flight} == set(entered)


def test_waiting_for_a_change_ends_at_its_limit() -> None:
    """A wait never lasts longer than it says, plain or async."""
    gate = Gate()

    assert gate.wait_change(gate.order, 0.01) is False
    assert asyncio.run(gate.wait_change_async(gate.order, 0.01)) is False


def test_an_order_wakes_async_waiters_from_another_thread() -> None:
    """A held coroutine goes on when the order thread changes the order."""
    gate = Gate()

    async def wait() -> bool:
        order = gate.order
        waiting = asyncio.create_task(gate.wait_change_async(order, 10))
        await asyncio.to_thread(gate.apply, Order(rung=Rung.NONE, epoch=(1, 1)))
        return await waiting

    assert asyncio.run(wait())


@pytest.mark.parametrize("value", [None, [1], [1, "2"], "1.2", [True, 1]])
def test_a_broken_epoch_is_refused(value: object) -> None:
    """An epoch is two integers or nothing."""
    with pytest.raises(ValueError, match="epoch must be"):
        parse_epoch(value)
