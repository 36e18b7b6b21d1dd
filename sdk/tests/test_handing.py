"""What an agent may not do itself: held, handed over, and carried out once when a person says so."""

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from sdk.tests.wire_server import DEADLINE_S, WireServer

from andoncord_sdk import AgentStopped, CallDenied, CallHandedOver, CallHeld, Guard, RunHandedOver
from andoncord_sdk._platform import now_ns
from andoncord_sdk.side_effect import effect_digest

HOLD = {"id": "ord_1", "rung": "none", "instead": "hold", "reason": "fraud"}
PAUSE = {"id": "ord_2", "rung": "pause", "reason": "fraud"}


class Desk(WireServer):
    """A control plane that takes in what is filed."""

    def __init__(self) -> None:
        self.filed: list[tuple[str, dict[str, Any]]] = []
        self.filing: tuple[int, Any] = (200, {"id": "eff_1", "status": "held"})
        super().__init__()

    def _posted(self, path: str, body: dict[str, Any], authorization: str | None) -> tuple[int, Any]:
        if path in ("/api/v1/held", "/api/v1/handover"):
            with self._changed:
                self.filed.append((path, body))
                self._changed.notify_all()
            return self.filing
        return super()._posted(path, body, authorization)

    def orders(self, epoch: int, *orders: dict[str, Any], rung: str = "none") -> dict[str, Any]:
        """Put these orders in force; the acknowledgement."""
        event = {"agent": "*", "rung": rung, "epoch": [1, epoch], "reason": "fraud", "by": "x", "incident": "inc-1"}
        self.in_force = {**event, "orders": list(orders)}
        return self.ack_of(self.push("order", self.in_force))


@pytest.fixture
def desk() -> Iterator[Desk]:
    """A fresh control plane."""
    server = Desk()
    yield server
    server.close()


@pytest.fixture
def paid() -> list[dict[str, Any]]:
    """What really was paid."""
    return []


@pytest.fixture
def guard(desk: Desk, paid: list[dict[str, Any]]) -> Iterator[Guard]:
    """A guard with one declared side effect."""
    made = Guard("refunds", server=desk.url, token="andon_sdk_test", instance="i-1")
    desk.wait_stream()
    made.effect("payments.refund", lambda **arguments: paid.append(arguments))
    yield made
    made.close()


def test_a_side_effect_that_waits_under_a_pause_is_held_where_it_outlives_the_process(
    desk: Desk, guard: Guard, paid: list[dict[str, Any]]
) -> None:
    """It is told byte for byte, the agent hears that it was not done, and what only waits goes on waiting."""
    came: list[BaseException] = []
    desk.orders(1, PAUSE, rung="pause")

    def refund_all() -> None:
        with guard.run("refund order 17") as run:
            try:
                run.call("payments.refund", lambda **arguments: paid.append(arguments), usd=12.5, to="c-4")
            except CallHeld as held:
                came.append(held)
            try:
                run.call("mail.send", lambda: None)
            except AgentStopped as stopped:
                came.append(stopped)

    thread = threading.Thread(target=refund_all)
    thread.start()
    ack = desk.orders(2, PAUSE, HOLD, rung="pause")
    desk.wait(lambda: desk.filed)
    desk.orders(3, {**PAUSE, "rung": "kill"}, HOLD, rung="kill")
    thread.join(DEADLINE_S)

    assert ack["detail"]["orders"] == ["ord_2", "ord_1"]
    ((path, told),) = desk.filed
    assert (path, told["tool"], told["arguments"]) == ("/api/v1/held", "payments.refund", '{"to":"c-4","usd":12.5}')
    assert (told["order"], told["instance"], told["roles"]) == ("ord_1", "i-1", [])
    assert [type(each) for each in came] == [CallHeld, AgentStopped]
    assert "do not repeat it" in str(came[0])
    assert paid == []


def released(held: str, **changes: Any) -> dict[str, Any]:
    """The event that lets a side effect with these arguments go."""
    effect = {"id": "eff_1", "run_id": "r1", "tool": "payments.refund", "arguments": held}
    digest = effect_digest(agent="refunds", run_id="r1", tool="payments.refund", arguments=held)
    return {"effect": {**effect, "digest": digest, **changes}, "until_ns": now_ns() + 60_000_000_000}


def test_what_was_let_go_is_carried_out_once_with_the_arguments_that_were_held(
    desk: Desk, guard: Guard, paid: list[dict[str, Any]]
) -> None:
    """Though the agent is paused. The same order again is answered again; other bytes, and a stopped agent, are refused."""
    desk.orders(1, PAUSE, rung="pause")
    first = desk.push("release", released('{"to":"c-4","usd":12.5}'))
    assert desk.ack_of(first)["detail"] == {"began": True, "ok": True}
    desk.acks.clear()
    again = {**released('{"to":"c-4","usd":12.5}'), "order_id": first}
    desk.push("release", again)
    assert desk.ack_of(first)["outcome"] == "enforced"
    assert paid == [{"to": "c-4", "usd": 12.5}]

    wrong = desk.ack_of(desk.push("release", released('{"usd":1}', arguments='{"usd":9}')))
    late = desk.ack_of(desk.push("release", {**released('{"usd":1}'), "until_ns": 1}))
    desk.orders(2, rung="kill")
    dead = desk.ack_of(desk.push("release", released('{"usd":2}')))
    assert [each["outcome"] for each in (wrong, late, dead)] == ["failed"] * 3
    assert not any("began" in each["detail"] for each in (wrong, late, dead))
    assert len(paid) == 1


def test_work_goes_to_a_person_under_the_name_that_the_program_gives_it(desk: Desk, guard: Guard) -> None:
    """A whole task, before it begins or in the middle, with its context; or one call, after which the run goes on."""
    desk.filing = (200, {"id": "hnd_1", "status": "waiting"})
    with guard.run("refund order 17", key="ticket-17") as run:
        desk.orders(1, {"id": "ord_3", "rung": "none", "instead": "hand-over", "scope": {"tool": "mail.*"}})
        with pytest.raises(CallHandedOver) as one:
            run.call("mail.send", lambda to: None, to="c-4")
        assert run.call("look", lambda: "paid") == "paid"
        desk.orders(2, {"id": "ord_4", "rung": "none", "instead": "hand-over"})
        with pytest.raises(RunHandedOver):
            run.call("look", lambda: "paid")
    with pytest.raises(RunHandedOver, match="hnd_1") as whole:
        guard.run("refund order 18", key="ticket-18", context={"customer": "c-4"}).begin()

    assert (one.value.item, whole.value.item) == ("hnd_1", "hnd_1")
    told = [body for _, body in desk.filed]
    assert [each["key"].partition("/")[0] for each in told] == ["ticket-17", "ticket-17", "ticket-18"]
    assert (told[0]["tool"], json.loads(told[0]["arguments"])) == ("mail.send", {"to": "c-4"})
    assert [step["name"] for step in told[1]["context"]["steps"]] == ["execute_tool look"]
    assert told[2]["context"]["given"] == {"customer": "c-4"}


def test_what_nobody_could_be_told_is_neither_held_nor_done(desk: Desk, guard: Guard, paid: list[dict[str, Any]]) -> None:
    """The agent hears exactly that, and may do it again later."""
    desk.filing = (403, {})
    desk.orders(1, HOLD)
    with guard.run() as run, pytest.raises(CallDenied, match="could not be") as refused:
        run.call("payments.refund", lambda **arguments: paid.append(arguments), usd=1)

    assert not isinstance(refused.value, CallHeld)
    assert (refused.value.code, paid) == ("held", [])


def test_an_agent_that_falls_back_to_people_loses_no_task_when_it_is_stopped(desk: Desk) -> None:
    """What it had begun and what it would begin are handed over; without that wish they end."""
    desk.filing = (200, {"id": "hnd_1", "status": "waiting"})
    guard = Guard("refunds", server=desk.url, token="andon_sdk_test", fallback="hand-over")
    desk.wait_stream()
    with guard.run("one", key="t1") as run:
        desk.orders(1, rung="kill")
        with pytest.raises(RunHandedOver):
            run.call("look", lambda: "paid")
    with pytest.raises(RunHandedOver):
        guard.run("two", key="t2").begin()
    guard.close()

    assert [body["key"] for _, body in desk.filed] == ["t1", "t2"]


def test_what_several_have_to_approve_is_not_held_for_one_to_let_go(desk: Desk, paid: list[dict[str, Any]]) -> None:
    """Being held is no way around the second person: it is denied, and nothing is told to the desk."""
    owed = {"require_approval": {"role": "finance", "hold_s": 0, "people": 2}}
    policy = {"id": "big", "effect": "forbid", "tool": "payments.refund", "message": "big", "obligations": [owed]}
    made = Guard("refunds", server=desk.url, token="andon_sdk_test", instance="i-1", policies=[policy])
    try:
        desk.wait_stream()
        made.effect("payments.refund", lambda **arguments: paid.append(arguments))
        desk.orders(1, HOLD)
        refused = desk.ack_of(desk.push("release", released('{"usd":1}', roles=["finance"])))
        assert "by 2 of finance, which nobody gave" in refused["detail"]["error"]
        with made.run() as run, pytest.raises(CallDenied, match="by 2 of finance, and what is held is let go by one"):
            run.call("payments.refund", lambda **arguments: paid.append(arguments), usd=12.5)
    finally:
        made.close()
    assert (desk.filed, paid) == ([], [])


def test_an_approval_that_a_policy_wants_by_now_is_not_gone_around(desk: Desk, paid: list[dict[str, Any]]) -> None:
    """What was held before the policy came is let go only by a word that counts under it."""
    owed = {"require_approval": {"role": "finance", "hold_s": 0}}
    policy = {"id": "big", "effect": "forbid", "tool": "payments.refund", "message": "big", "obligations": [owed]}
    made = Guard("refunds", server=desk.url, token="andon_sdk_test", instance="i-1", policies=[policy])
    try:
        desk.wait_stream()
        made.effect("payments.refund", lambda **arguments: paid.append(arguments))
        before = desk.ack_of(desk.push("release", released('{"usd":1}', roles=[])))
        approved = desk.ack_of(desk.push("release", released('{"usd":2}', roles=["finance"])))
    finally:
        made.close()
    assert ("began" in before["detail"], approved["outcome"], paid) == (False, "enforced", [{"usd": 2}])
