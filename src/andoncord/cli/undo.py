"""`andon undo`: the stated reversals of what was done for an incident, last first."""

from threading import Event
from typing import Annotated, Any

import typer

from andoncord.adapters.system.clock import SystemClock
from andoncord.cli.client import LOOK_EVERY_S, Client
from andoncord.cli.exits import Exit
from andoncord.cli.output import Format, OutputOption, fail, say, show_json
from andoncord.kernel.time import SECOND_NS

WAIT_S = 120.0
"""How long the reversals of one incident are waited for."""


def undo(
    incident: Annotated[str, typer.Argument(metavar="INCIDENT")],
    step: Annotated[str, typer.Argument(metavar="STEP", help="An intent's id or a step's name; without it, everything.")] = "",
    reason: Annotated[str, typer.Option("--reason", "-r", help="Why; it goes into the record.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be undone, and do nothing.")] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the receipts.")] = True,
    output: OutputOption = Format.TABLE,
) -> None:
    """Undo what was done for an incident, by the reversals that were stated when it was done, last first.

    Exits with 5 when there is nothing to undo, and with 6 when something could not be undone; it says what, and why.
    """
    client = Client()
    if dry_run:
        _show_undoable(client.get(f"/api/v1/incidents/{incident}/playbook"), output)
        return
    if not reason:
        raise fail("give a reason with --reason; it goes into the record", Exit.USAGE)
    client.post(f"/api/v1/incidents/{incident}/undo", {"step": step, "reason": reason})
    if not wait:
        say(f"follow it: andon playbook dry-run {incident}")
        return
    came = _finished(client, incident)
    if output is Format.JSON:
        show_json(came)
    else:
        _tell(client, incident, came)
    if came["impossible"]:
        raise typer.Exit(Exit.UNCONFIRMED)


def _finished(client: Client, incident: str) -> dict[str, Any]:
    """The undo, once every reversal has its receipt."""
    clock, pause = SystemClock(), Event()
    deadline_ns = clock.monotonic_ns() + int(WAIT_S * SECOND_NS)
    while True:
        came: dict[str, Any] = client.get(f"/api/v1/incidents/{incident}/playbook")["undo"]
        if came["finished"]:
            return came
        if clock.monotonic_ns() >= deadline_ns:
            raise fail(f"the reversals have no receipt within {WAIT_S:g} s", Exit.TOO_LONG)
        pause.wait(LOOK_EVERY_S)


def _tell(client: Client, incident: str, came: dict[str, Any]) -> None:
    receipts = {each["intent"]: each for each in client.get(f"/api/v1/incidents/{incident}")["receipts"]}
    for intent in came["intents"]:
        wanted = receipts.get(intent, {}).get("wanted", intent)
        if intent in came["undone"]:
            print(f"undone       {intent}  {wanted}")
        else:
            print(f"not undone   {intent}  {wanted}: {came['impossible'].get(intent, 'nothing to undo')}")


def _show_undoable(view: dict[str, Any], output: Format) -> None:
    if output is Format.JSON:
        show_json(view["undoable"])
        return
    for each in view["undoable"]:
        print(f"{each['intent']}  {each['text']}: {each['undo']}")
    if not view["undoable"]:
        say("nothing was done that could be undone")
