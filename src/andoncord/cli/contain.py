"""What came of orders, on the terminal: who confirmed, what is proven, and how it is undone."""

from typing import Annotated, Any

import typer

from andoncord.cli.client import Client
from andoncord.cli.exits import Exit
from andoncord.cli.output import Format, fail, say, show_json
from andoncord.cli.proof import await_proof, await_proofs, require_verified, show_proof

RECEIPT_S = 15.0

Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the acknowledgements, and for the proof of a kill.")]


def report_fleet(client: Client, done: dict[str, Any], *, wait: bool, output: Format) -> None:
    """Say what came of orders to several agents; end with 6 unless every process of every one confirmed."""
    view: dict[str, Any] = client.settled(
        f"/api/v1/incidents/{done['incident']}", kind="order", timeout_s=RECEIPT_S if wait else 0
    )
    receipts = [receipt for receipt in view["receipts"] if receipt["kind"] == "order"]
    if output is Format.JSON:
        show_json({"incident": done["incident"], "receipts": receipts, "pending": view["pending"]})
    else:
        for receipt in receipts:
            print(f"{done['incident']}  {receipt['wanted']}: {receipt['text']}")
    say(f"undo, agent by agent: andon resume AGENT --reason …   incident: andon incidents show {done['incident']}")
    waiting = [pending for pending in view["pending"] if pending["kind"] == "order"]
    if wait and (waiting or any(receipt["outcome"] != "done" for receipt in receipts)):
        unconfirmed = [receipt["target"] for receipt in receipts if receipt["outcome"] != "done"]
        raise fail(
            f"not confirmed by all: {', '.join([*unconfirmed, *(each['target'] for each in waiting)])}", Exit.UNCONFIRMED
        )


def report_standing(
    client: Client,
    done: dict[str, Any],
    *,
    wait: bool,
    output: Format,
    undo: str,
    is_lifted: bool = False,
    is_kill: bool = False,
) -> None:
    """Say what came of an order of its own, or of lifting it; end with 6 unless every process confirmed it.

    Of a kill, unless it is proven of every agent.
    """
    view = client.settled(f"/api/v1/incidents/{done['incident']}", kind="order", timeout_s=RECEIPT_S if wait else 0)
    mine = [
        each
        for each in view["receipts"]
        if each["standing"] == done["order"] and each["wanted"].startswith("lift ") is is_lifted
    ]
    proofs = await_proofs(client, done["incident"], [each["intent"] for each in mine]) if wait and is_kill else {}
    if output is Format.JSON:
        shown = [{**each, "proof": proofs[each["intent"]]} if each["intent"] in proofs else each for each in mine]
        show_json({**done, "receipts": shown, "pending": view["pending"]})
    else:
        for receipt in mine:
            print(f"{done['incident']}  {receipt['wanted']}: {receipt['text']}")
            show_proof(proofs.get(receipt["intent"]))
        if not mine:
            print(f"{done['incident']}  {done['order']} is under way")
    say(f"undo: {undo}")
    waiting = [pending["target"] for pending in view["pending"] if pending["kind"] == "order"]
    for proof in proofs.values():
        require_verified(proof)
    # A process that did not answer can be proven to be gone; that a run was open somewhere cannot.
    is_unconfirmed = any(
        each["outcome"] != "done" and not (each["rung"] == "kill" and each["intent"] in proofs) for each in mine
    )
    if wait and (waiting or is_unconfirmed):
        raise fail("not confirmed by all", Exit.UNCONFIRMED)


def report(client: Client, done: dict[str, Any], *, wait: bool, output: Format, undo: str) -> None:
    """Say what came of an act, and end with 6 unless everybody confirmed it; of a kill, unless it is proven."""
    receipt = client.receipt(done["receipt_url"], timeout_s=RECEIPT_S) if wait and done["receipt_url"] else None
    is_kill = receipt is not None and receipt.get("rung") == "kill"
    if receipt is not None and output is not Format.JSON:
        print(f"{done['incident']}  {receipt['wanted']}: {receipt['text']}")
    elif output is not Format.JSON:
        print(f"{done['incident']}  {done['intent']} is under way")
    proof = await_proof(client, done["incident"], done["intent"]) if is_kill else None
    if output is Format.JSON:
        show_json({**done, "receipt": receipt, **({"proof": proof} if is_kill else {})})
    else:
        show_proof(proof)
    say(f"undo: {undo}")
    if not wait:
        return
    if receipt is None:
        raise fail(f"no receipt within {RECEIPT_S:g} s", Exit.TOO_LONG)
    if is_kill:
        require_verified(proof)
    elif receipt["outcome"] != "done":
        raise fail("not confirmed by all", Exit.UNCONFIRMED)
