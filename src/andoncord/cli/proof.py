"""The proof of a kill on the terminal: each state of it as it is reached, and what is missing."""

from collections.abc import Sequence
from threading import Event
from typing import Any

from andoncord.adapters.system.clock import SystemClock
from andoncord.cli.client import Client
from andoncord.cli.exits import Exit
from andoncord.cli.output import fail
from andoncord.kernel.text import visible
from andoncord.kernel.time import SECOND_NS

PROOF_S = 60.0
"""Watching takes 4 s, of what one tool or run has under way 30 s, ending what goes on 5 s, watching that 4 s; hooks that revoke
credentials have limits of their own."""
LOOK_EVERY_S = 0.1
WAYS = frozenset({"revoke", "verify", "terminate"})
"""Kinds of effects that can still make the verdict another one."""


def await_proof(client: Client, incident: str, order: str) -> dict[str, Any] | None:
    """The last verdict on an order, once nothing is under way that could change it; None when there is none in time."""
    return await_proofs(client, incident, [order])[order]


def await_proofs(client: Client, incident: str, orders: Sequence[str]) -> dict[str, dict[str, Any] | None]:
    """The same for several orders of an incident, which are waited for together."""
    clock = SystemClock()
    deadline_ns = clock.monotonic_ns() + int(PROOF_S * SECOND_NS)
    pause = Event()
    found: dict[str, dict[str, Any] | None] = dict.fromkeys(orders)
    while None in found.values() and clock.monotonic_ns() < deadline_ns:
        view = client.get(f"/api/v1/incidents/{incident}")
        is_under_way = any(each["kind"] in WAYS for each in view["pending"])
        for given in view["verdicts"]:
            if given["order"] in found:
                is_final = given["verdict"] == "VERIFIED" or not is_under_way
                found[given["order"]] = dict(given) if is_final else None
        if None in found.values():
            pause.wait(LOOK_EVERY_S)
    return found


def show_proof(proof: dict[str, Any] | None) -> None:
    """Print the states that were reached, and what stands between the last one and VERIFIED."""
    for reached in proof["stages"] if proof else ():
        print(f"  {reached['stage']:<20} {reached['at']}")
    for missing in proof["missing"] if proof else ():
        print(f"  {'missing':<20} {visible(missing)}")


def require_verified(proof: dict[str, Any] | None) -> None:
    """End with 8 without a verdict, and with 6 unless it is VERIFIED."""
    if proof is None:
        raise fail(f"no verdict within {PROOF_S:g} s", Exit.TOO_LONG)
    if proof["verdict"] != "VERIFIED":
        raise fail(f"{proof['verdict']}: it is not proven that the agent has stopped", Exit.UNCONFIRMED)
