"""`andon orders` and `andon resume`: what is in force, and taking it back."""

from fnmatch import fnmatchcase
from typing import Annotated, Any

import typer

from andoncord.cli.client import Client
from andoncord.cli.contain import Wait, report, report_standing
from andoncord.cli.exits import Exit
from andoncord.cli.output import Format, OutputOption, fail, say, show_json, show_table


def orders(output: OutputOption = Format.TABLE) -> None:
    """List every order in force: its scope, who gave it and why, when it ends, who confirmed."""
    items = Client().get("/api/v1/orders")["items"]
    if output is Format.JSON:
        show_json(items)
        return
    rows = [
        (
            each["id"],
            each["what"],
            each["agent"],
            each["by"],
            each["reason"],
            each["expires_at"] or "no end",
            _confirmed(each),
            each["incident"],
        )
        for each in items
    ]
    show_table(("id", "order", "for", "by", "reason", "ends", "confirmed", "incident"), rows)


def resume(
    agent: Annotated[str, typer.Argument(metavar="[AGENT]", help="A name; or a pattern, for all that match.")] = "",
    reason: Annotated[str, typer.Option("--reason", "-r", help="Why; it goes into the record.")] = "",
    order: Annotated[str, typer.Option("--order", help="Lift this one order, as `andon orders` names it.")] = "",
    drop_messages: Annotated[bool, typer.Option("--drop-messages", help="Do not send what a quarantine held.")] = False,
    wait: Wait = True,
    output: OutputOption = Format.TABLE,
) -> None:
    """Let an agent go on: what an incident holds it at, and every order for exactly this name; or lift one order.

    Orders for a role, a tool or the fleet stay, and are named. Exits with 5 when nothing is in force, with 6 when not every
    process confirmed.
    """
    if not reason:
        raise fail("say why: --reason", Exit.USAGE)
    if bool(agent) is bool(order):
        raise fail("name an AGENT, or one order with --order", Exit.USAGE)
    client = Client()
    if order:
        _lift(client, order, reason, drop=drop_messages, wait=wait, output=output)
        return
    in_force = client.get("/api/v1/orders")["items"]
    held = [each for each in in_force if not each["standing"] and fnmatchcase(each["agent"], agent)]
    own = [each for each in in_force if each["standing"] and _is_for(each["scope"], agent)]
    if not held and not own:
        others = [each["id"] for each in in_force if each["standing"] and fnmatchcase(agent, each["scope"].get("agent", "*"))]
        remedy = f"; {', '.join(others)} concern it, lift them by --order" if others else ""
        raise fail(f"nothing is in force for {agent}{remedy}", Exit.NOT_NOW)
    for each in held:
        done = client.post(f"/api/v1/incidents/{each['incident']}/release", {"agent": each["agent"], "reason": reason})
        report(client, done, wait=wait, output=output, undo=f"andon pause {each['agent']}")
    for each in own:
        _lift(client, each["id"], reason, drop=drop_messages and each["rung"] == "quarantine", wait=wait, output=output)
    left = [each for each in client.get("/api/v1/orders")["items"] if fnmatchcase(agent, each["scope"].get("agent", "*"))]
    for each in left:
        say(f"still in force: {each['id']} {each['what']} for {each['agent']}; {each['undo']}")


def _lift(client: Client, order: str, reason: str, *, drop: bool, wait: bool, output: Format) -> None:
    body = {"reason": reason, "messages": "drop" if drop else "deliver"}
    done = client.post(f"/api/v1/orders/{order}/lift", body)
    report_standing(client, done, wait=wait, output=output, undo="give the order again", is_lifted=True)


def _confirmed(order: dict[str, Any]) -> str:
    """Who confirmed it of those who were asked; an agent that nobody answers for keeps it from being whole."""
    if order["asked"] is None:
        return "waiting" if order["outcome"] is None else "nobody connected"
    return f"{order['confirmed']}/{order['asked']}{'' if order['outcome'] == 'done' else ', not by all'}"


def _is_for(scope: dict[str, Any], agent: str) -> bool:
    """An order for this agent by name, and for no part of its calls."""
    return (
        scope.get("agent") == agent and scope.get("role", "*") == "*" and scope.get("tool", "*") == "*" and not scope.get("run")
    )
