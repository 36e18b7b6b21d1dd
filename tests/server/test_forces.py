"""What is in force for an agent, as its guards get it."""

from andoncord.engine.state import Control, State
from andoncord.kernel.effect import Effect, EffectKind, Outcome, Receipt
from andoncord.respond.orders import MAX_IN_FORCE, Scope, StandingOrder
from andoncord.server.forces import discounted, force_of
from andoncord_sdk.follow import order_in
from andoncord_sdk.ladder import Rung


def test_guards_can_take_as_many_orders_as_can_be_in_force() -> None:
    """With every place taken by orders of their own, a kill of an incident still reaches the agent."""
    state = State()
    for number in range(MAX_IN_FORCE):
        state.orders.in_force[f"o{number}"] = StandingOrder(id=f"o{number}", scope=Scope(), rung="monitor")
    state.controls["a"] = Control(
        agent="a", rung="kill", epoch=7, incident="inc_1", intent="inc_1.001", reason="why", by="andoncord", since_ns=0
    )
    force = force_of(state, "a")

    taken = order_in({"rung": force.rung, "epoch": list(force.epoch), "orders": list(force.orders)})

    assert (taken.rung, len(taken.parts)) == (Rung.KILL, MAX_IN_FORCE + 1)


def test_confirmations_of_an_order_that_was_not_taken_up_do_not_count() -> None:
    """Each guard that did not name it is told apart, whatever it is called."""
    names = ("worker 1", "worker 2")
    effect = Effect(
        kind=EffectKind.ORDER,
        target="a",
        incident="inc_1",
        key="k",
        deadline_ms=1,
        reversal="lift",
        parameters={"standing": "ord_1"},
    )
    acks = [{"instance": name, "outcome": "enforced", "kind": "guard", "detail": {}} for name in names]
    detail = {"acks": acks, "confirmed": 2, "unconfirmed": [], "fence_ms": 1}
    receipt = Receipt(intent="inc_1.001", outcome=Outcome.DONE, at_ns=1, detail=detail)

    counted = discounted(receipt, effect, [], is_in_force=True)

    assert (counted.outcome, counted.detail["confirmed"]) == (Outcome.FAILED, 0)
    assert counted.detail["unconfirmed"] == list(names)
