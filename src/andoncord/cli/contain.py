"""`andon pause`, `restrict`, `kill` and `resume`: orders to every process of one agent."""

from typing import Annotated, Any

import typer

from andoncord.cli.client import Client
from andoncord.cli.exits import Exit
from andoncord.cli.output import Format, OutputOption, fail, say, show_json

RECEIPT_S = 15.0

Agent = Annotated[str, typer.Argument(metavar="AGENT")]
Reason = Annotated[str, typer.Option("--reason", "-r", help="Why; it goes into the record.")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the acknowledgements.")]


def pause(agent: Agent, reason: Reason = "", wait: Wait = True, output: OutputOption = Format.TABLE) -> None:
    """Hold every call of an agent before it starts; open runs wait and can go on later.

    Exits with 6 when not every process of the agent confirmed.
    """
    _order(agent, "pause", reason, wait=wait, output=output)


def restrict(agent: Agent, reason: Reason = "", wait: Wait = True, output: OutputOption = Format.TABLE) -> None:
    """Allow an agent only the tools that are declared to read.

    Exits with 6 when not every process of the agent confirmed.
    """
    _order(agent, "restrict", reason, wait=wait, output=output)


def kill(agent: Agent, reason: Reason = "", wait: Wait = True, output: OutputOption = Format.TABLE) -> None:
    """End every run of an agent. Ended runs cannot be resumed; `andon resume` lets new ones start.

    Exits with 6 when not every process of the agent confirmed.
    """
    _order(agent, "kill", reason, wait=wait, output=output)


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
    if not held.get(agent):
        raise fail(f"nothing is in force for {agent}", Exit.NOT_NOW)
    done = client.post(f"/api/v1/incidents/{held[agent]}/release", {"agent": agent, "reason": reason})
    report(client, done, wait=wait, output=output, undo=f"andon pause {agent}")


def _order(agent: str, rung: str, reason: str, *, wait: bool, output: Format) -> None:
    client = Client()
    done = client.post(f"/api/v1/agents/{agent}/orders", {"rung": rung, "reason": reason})
    report(client, done, wait=wait, output=output, undo=f"andon resume {agent} --reason …")


def report(client: Client, done: dict[str, Any], *, wait: bool, output: Format, undo: str) -> None:
    """Say what came of an act, and end with 6 unless everybody confirmed it."""
    receipt = client.receipt(done["receipt_url"], timeout_s=RECEIPT_S) if wait and done["receipt_url"] else None
    if output is Format.JSON:
        show_json({**done, "receipt": receipt})
    elif receipt is not None:
        print(f"{done['incident']}  {receipt['wanted']}: {receipt['text']}")
    else:
        print(f"{done['incident']}  {done['intent']} is under way")
    say(f"undo: {undo}")
    if not wait:
        return
    if receipt is None:
        raise fail(f"no receipt within {RECEIPT_S:g} s", Exit.TOO_LONG)
    if receipt["outcome"] != "done":
        raise fail("not confirmed by all", Exit.UNCONFIRMED)
