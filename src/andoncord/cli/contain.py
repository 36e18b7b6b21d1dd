"""`andon pause`, `restrict`, `kill` and `resume`: orders to every process of one agent."""

import sys
from fnmatch import fnmatchcase
from typing import Annotated, Any
from urllib.parse import quote

import typer

from andoncord.cli.client import Client
from andoncord.cli.exits import Exit
from andoncord.cli.output import Format, OutputOption, fail, say, show_json
from andoncord.cli.proof import await_proof, require_verified, show_proof
from andoncord.kernel.errors import CallerError
from andoncord.respond.playbook import duration_ms

RECEIPT_S = 15.0

Agent = Annotated[str, typer.Argument(metavar="AGENT", help="A name; or a pattern such as 'support-*', for all that match.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask before ordering several agents.")]
Reason = Annotated[str, typer.Option("--reason", "-r", help="Why; it goes into the record.")]
For = Annotated[str, typer.Option("--for", help="End by itself after this long, for example 10m; empty for no end.")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the acknowledgements, and for the proof of a kill.")]


def pause(
    agent: Agent,
    reason: Reason = "",
    lasts: For = "",
    wait: Wait = True,
    yes: Yes = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Hold every call of an agent before it starts; open runs wait and can go on later.

    Exits with 6 when not every process of the agent confirmed.
    """
    _order(agent, "pause", reason, lasts=lasts, wait=wait, output=output, yes=yes)


def restrict(
    agent: Agent,
    reason: Reason = "",
    lasts: For = "",
    wait: Wait = True,
    yes: Yes = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Allow an agent only the tools that are declared to read.

    Exits with 6 when not every process of the agent confirmed.
    """
    _order(agent, "restrict", reason, lasts=lasts, wait=wait, output=output, yes=yes)


def kill(
    agent: Agent,
    reason: Reason = "",
    lasts: For = "",
    wait: Wait = True,
    yes: Yes = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """End every run of an agent, and prove it. Ended runs cannot be resumed; `andon resume` lets new ones start.

    Exits with 6 unless the verdict is VERIFIED: everybody confirmed, credentials are refused, and the agent was seen to stop.
    """
    _order(agent, "kill", reason, lasts=lasts, wait=wait, output=output, yes=yes)


def resume(
    agent: Agent,
    reason: Annotated[str, typer.Option("--reason", "-r", help="Why; it goes into the record.")],
    wait: Wait = True,
    output: OutputOption = Format.TABLE,
) -> None:
    """Let an agent go on, whatever held it.

    Exits with 5 when nothing is in force for it, and with 6 when not every process of the agent confirmed.
    """
    client = Client()
    held = {each["agent"]: each["incident"] for each in client.get("/api/v1/agents")["items"]}
    chosen = [name for name, incident in held.items() if incident and fnmatchcase(name, agent)]
    if not chosen:
        raise fail(f"nothing is in force for {agent}", Exit.NOT_NOW)
    for name in chosen:
        done = client.post(f"/api/v1/incidents/{held[name]}/release", {"agent": name, "reason": reason})
        report(client, done, wait=wait, output=output, undo=f"andon pause {name}")


def _order(agent: str, rung: str, reason: str, *, lasts: str, wait: bool, output: Format, yes: bool) -> None:
    try:
        lasts_s = duration_ms(lasts, place="--for") // 1_000 or 1 if lasts else None
    except CallerError as error:
        raise fail(str(error), Exit.USAGE) from None
    client = Client()
    if not set(agent) & set("*?["):
        order = {"rung": rung, "reason": reason, "lasts_s": lasts_s}
        done = client.post(f"/api/v1/agents/{quote(agent, safe='')}/orders", order)
        report(client, done, wait=wait, output=output, undo=f"andon resume {agent} --reason …")
        return
    if lasts_s:
        raise fail("--for is for one agent at a time", Exit.USAGE)
    matching = [each["agent"] for each in client.get("/api/v1/agents")["items"] if fnmatchcase(each["agent"], agent)]
    if matching and not yes:
        say(f"{rung} {len(matching)} agents: {', '.join(matching[:20])}{' …' if len(matching) > 20 else ''}")
        if not sys.stdin.isatty():
            raise fail("several agents need --yes", Exit.USAGE)
        typer.confirm("Go on?", abort=True, err=True)
    done = client.post("/api/v1/fleet/orders", {"agents": agent, "rung": rung, "reason": reason})
    _report_fleet(client, done, wait=wait, output=output)


def _report_fleet(client: Client, done: dict[str, Any], *, wait: bool, output: Format) -> None:
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
