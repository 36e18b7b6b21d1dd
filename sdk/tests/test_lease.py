"""Leases: what is taken, what is refused, and what goes on without one."""

import contextlib
import json
from typing import Any

import pytest
from sdk.tests.wire_server import WireServer

from andoncord_sdk import CallDenied, Guard, _platform
from andoncord_sdk.ladder import Rung
from andoncord_sdk.lease import Lease, LeaseKeeper, LeaseRefusedError, lease_mac, orders_digest
from andoncord_sdk.orders import Gate, Order
from andoncord_sdk.wire import Endpoint

KEY = b"k" * 32
SECOND = 1_000_000_000


class Desk:
    """A lease on a clock by hand, and the control plane that grants it."""

    def __init__(self) -> None:
        self.now_ns = 100 * SECOND
        self.gate = Gate()
        self.reports: list[dict[str, Any]] = []
        self.lease = Lease(
            agent="a", gate=self.gate, report=lambda record, urgent: self.reports.append(record.attributes), clock_ns=self.clock
        )
        self.lease.registered("g1", KEY)

    def clock(self) -> int:
        return self.now_ns

    def grant(self, nonce: str, *, key: bytes = KEY, **changes: Any) -> dict[str, Any]:
        """A lease that is proved as it stands."""
        said = {"guard": "g1", "agent": "a", "epoch": (1, 0), "rung": "none", "ttl_ms": 5_000, "nonce": nonce, **changes}
        return {**said, "mac": lease_mac(key, **said)}


def test_a_lease_is_counted_from_the_asking() -> None:
    """An answer that took three seconds leaves two."""
    desk = Desk()
    nonce = desk.lease.ask()
    desk.now_ns += 3 * SECOND

    assert desk.lease.take(desk.lease.check(desk.grant(nonce)))
    assert desk.lease.left_s == 2.0


def test_an_answer_older_than_its_length_is_refused() -> None:
    """A machine that slept between the asking and the answer has no lease when it wakes."""
    desk = Desk()
    nonce = desk.lease.ask()
    desk.now_ns += 60 * SECOND

    with pytest.raises(LeaseRefusedError, match="expired"):
        desk.lease.check(desk.grant(nonce))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"key": b"another"}, "forged"),
        ({"agent": "b"}, "forged"),
        ({"guard": "g2"}, "forged"),
        ({"ttl_ms": 3_600_000}, "length"),
        ({"epoch": (1, 4)}, "stale"),
    ],
)
def test_what_proves_nothing_is_refused(changes: dict[str, Any], why: str) -> None:
    """A wrong key, another guard's or agent's lease, a length beyond reason, and one older than the order in force."""
    desk = Desk()
    desk.gate.apply(Order(rung=Rung.KILL, epoch=(1, 5)))

    with pytest.raises(LeaseRefusedError, match=why):
        desk.lease.check(desk.grant(desk.lease.ask(), **{"epoch": (1, 5), **changes}))
    assert desk.lease.left_s <= 0


def test_any_change_to_what_was_proved_is_seen() -> None:
    """The proof covers the length, the order and the rung."""
    for change in ({"ttl_ms": 6_000}, {"epoch": (2, 0)}, {"rung": "kill"}):
        desk = Desk()
        with pytest.raises(LeaseRefusedError, match="forged"):
            desk.lease.check({**desk.grant(desk.lease.ask()), **change})


def test_the_orders_that_come_with_a_lease_are_proved_with_it() -> None:
    """Taking one of them out, or putting one in, makes it a forgery."""
    desk = Desk()
    orders: list[dict[str, Any]] = [{"id": "o1", "rung": "kill", "rate": 0.1}, {"id": "o2", "rung": "pause", "rate": 1.0}]

    def grant(sent: list[dict[str, Any]]) -> dict[str, Any]:
        content = desk.grant(desk.lease.ask(), orders=orders_digest(orders, ()))
        return json.loads(json.dumps({**content, "orders": sent}))  # type: ignore[no-any-return]

    assert desk.lease.take(desk.lease.check(grant(orders)))
    for wrong in (orders[:1], [], [*orders, {"id": "o3"}], orders[::-1]):
        with pytest.raises(LeaseRefusedError, match="forged"):
            desk.lease.check(grant(wrong))


def test_a_lease_answers_one_request_once() -> None:
    """The same answer again is a replay."""
    desk = Desk()
    grant = desk.grant(desk.lease.ask())
    desk.lease.check(grant)

    with pytest.raises(LeaseRefusedError, match="replayed"):
        desk.lease.check(grant)


def test_an_order_overtakes_a_lease() -> None:
    """A lease that was given just before an order arrived is not taken, and is no offence either."""
    desk = Desk()
    granted = desk.lease.check(desk.grant(desk.lease.ask()))
    desk.gate.apply(Order(rung=Rung.PAUSE, epoch=(1, 1)))

    assert not desk.lease.take(granted)
    assert desk.reports == []


def test_what_is_not_a_lease_is_refused() -> None:
    """Garbage from the wire is refused as such."""
    desk = Desk()
    for garbage in ({}, {"epoch": "x"}, {**desk.grant("n"), "mac": None}, {**desk.grant("n"), "ttl_ms": True}):
        with pytest.raises(LeaseRefusedError, match="malformed"):
            desk.lease.check(garbage)


def test_a_lease_under_an_order_that_was_not_followed_lets_nothing_through() -> None:
    """An order that this version cannot read is no order to go on; once it is in force, its lease is taken."""
    for follows in (False, True):
        desk = Desk()
        order = Order(rung=Rung.KILL, epoch=(1, 9))
        keeper = LeaseKeeper(
            Endpoint("http://127.0.0.1:9", None),
            desk.lease,
            ordered=lambda content, desk=desk, order=order, follows=follows: desk.gate.apply(order) if follows else None,  # type: ignore[misc]
            lost=lambda: None,
        )
        grant = desk.grant(desk.lease.ask(), epoch=(1, 9), rung="kill")
        keeper.welcomed({"guard_id": "g1", "lease": {**grant, "key": KEY.hex()}})
        keeper.close()

        assert (desk.lease.left_s > 0) is follows
        assert [report["andoncord.decision.code"] for report in desk.reports] == ([] if follows else ["lease_refused"])


def test_model_calls_may_end_sooner_than_reading(wire: WireServer) -> None:
    """They cost money: with 0 none is made without a lease, while tools that read go on for a while, and each is reported."""
    ahead_ns = [0]
    guard = Guard(
        "a",
        server=wire.url,
        telemetry=wire.url,
        token="andon_sdk_test",
        tools={"look": "read", "pay": "write"},
        models_without_lease_s=0.0,
        clock_ns=lambda: _platform.boot_ns() + ahead_ns[0],
    )
    with contextlib.closing(guard), guard.run() as run:
        wire.gives_leases = False
        ahead_ns[0] = 10 * SECOND
        with run.step("look", {}) as step:
            step.result = "seen"
        for call in (run.step("pay", {}), run.model_step("m", max_cost_usd=0.1)):
            with pytest.raises(CallDenied) as refusal:
                call.begin()
            assert refusal.value.code == "lease"
        assert wire.wait_log("andoncord.guard.degraded")["gen_ai.tool.name"] == "look"
