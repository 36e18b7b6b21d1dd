"""What is in force for an agent, as its guards get it."""

from andoncord.engine.state import Control, State
from andoncord.respond.orders import MAX_IN_FORCE, Scope, StandingOrder
from andoncord.server.forces import force_of
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
