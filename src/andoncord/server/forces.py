"""What is in force for an agent, put together for its enforcement points: the incidents' rung and every order of its own."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec

from andoncord.engine.state import State
from andoncord.kernel.effect import Effect, Outcome, Receipt
from andoncord.respond.ladder import height
from andoncord.respond.orders import Scope, StandingOrder, lacking
from andoncord.server.points import Force, Guard


def force_of(state: State, agent: str, roles: Collection[str] = ()) -> Force:
    """Everything in force for an agent, under its present epoch."""
    control = state.controls.get(agent)
    base = Force(rung="none", epoch=state.epoch_of(agent))
    if control is not None:
        base = Force(
            rung=control.rung,
            epoch=state.epoch_of(agent),
            reason=control.reason,
            by=control.by,
            incident=control.incident,
        )
    return _together(state, agent, roles, base, control.intent if control else "")


def force_ordered(state: State, effect: Effect, intent: str, roles: Collection[str]) -> Force:
    """What the guards of an agent are to have in force by an order, under the epoch of that order."""
    generation, counter = effect.parameters["epoch"]
    if effect.parameters.get("standing"):
        return msgspec.structs.replace(force_of(state, effect.target, roles), epoch=(generation, counter))
    base = Force(
        rung=effect.parameters["rung"],
        epoch=(generation, counter),
        reason=effect.parameters["reason"],
        by=effect.parameters["by"],
        incident=effect.incident,
    )
    return _together(state, effect.target, roles, base, intent)


def _together(state: State, agent: str, roles: Collection[str], base: Force, intent: str) -> Force:
    """One force out of the incidents' rung and the orders of their own; the strictest about every call gives its words."""
    standing = state.orders.on(agent, roles)
    dropped = state.orders.dropped_on(agent, roles)
    if not standing and not dropped:
        return base
    own = StandingOrder(
        id=intent, scope=Scope(agent=agent), rung=base.rung, reason=base.reason, by=base.by, incident=base.incident
    )
    first = max([own, *(order for order in standing if order.scope.is_whole)], key=lambda order: height(order.rung))
    entries = [order.wire() for order in ((own, *standing) if base.rung != "none" else standing)]
    return Force(
        rung=first.rung,
        epoch=base.epoch,
        reason=first.reason,
        by=first.by,
        incident=first.incident,
        orders=tuple(entries),
        dropped=dropped,
    )


def discounted(receipt: Receipt, effect: Effect, guards: Sequence[Guard], *, is_in_force: bool) -> Receipt:
    """A receipt for an order of its own, without the confirmations of guards that cannot have carried it out.

    A guard that lacks the capability, or whose answer does not name the order, has not done what it confirmed. An order about
    one run is not done where no guard has that run open.
    """
    standing = effect.parameters.get("standing")
    detail = receipt.detail
    if not standing or not is_in_force or "acks" not in detail:
        return receipt
    announced = {guard.instance: guard.registration.capabilities for guard in guards}
    confirmed = {ack["instance"]: ack for ack in detail["acks"] if ack["outcome"] == "enforced" and ack["kind"] == "guard"}
    objections: list[str] = []
    unable: set[str] = set()
    for instance, ack in confirmed.items():
        cannot = lacking(effect.parameters.get("needs", ()), announced.get(instance, ()))
        if cannot:
            objections.append(f"{instance} cannot do this: it does not announce {', '.join(cannot)}")
        elif standing not in ack["detail"].get("orders", ()):
            objections.append(f"{instance} answered without naming {standing}, so it did not take it up")
        else:
            continue
        unable.add(instance)
    run = (effect.parameters.get("scope") or {}).get("run")
    able = confirmed.keys() - unable
    if run and able and all(standing in confirmed[instance]["detail"].get("absent_runs", ()) for instance in able):
        objections.append(f"no guard of {effect.target} has run {run} open")
    if not objections:
        return receipt
    known = detail.get("missing") or []
    changed: Mapping[str, Any] = {
        "confirmed": detail["confirmed"] - len(unable),
        "unconfirmed": [*detail["unconfirmed"], *sorted(unable)],
        "fence_ms": None,
        "missing": [*([known] if isinstance(known, str) else known), *objections],
    }
    outcome = Outcome.PARTIAL if changed["confirmed"] else Outcome.FAILED
    return msgspec.structs.replace(receipt, outcome=outcome, detail={**detail, **changed})
