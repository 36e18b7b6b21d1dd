"""`andon ticket`: tickets about incidents, in the trackers of the settings."""

from typing import Annotated, Any

import typer

from andoncord.cli.client import Client
from andoncord.cli.exits import Exit
from andoncord.cli.output import Format, OutputOption, cell, fail, say, show_json, show_table
from andoncord.kernel.text import visible

app = typer.Typer(no_args_is_help=True)
Incident = Annotated[str, typer.Argument(metavar="INCIDENT")]
WAIT_S = 35.0
"""A little longer than the opening of a ticket may take."""


@app.command("open")
def open_(
    incident: Incident,
    tracker: Annotated[str, typer.Option("--tracker", "-t", help="Which tracker; without it the first of the settings.")] = "",
    output: OutputOption = Format.TABLE,
) -> None:
    """Open a ticket about an incident, and print where it is. Exits with 6 when the tracker did not take it."""
    client = Client()
    done = client.post(f"/api/v1/incidents/{incident}/tickets", {"tracker": tracker})
    if client.receipt(done["receipt_url"], timeout_s=WAIT_S) is None:
        raise fail(f"no answer within {WAIT_S:g} s; it goes on: andon ticket ls {incident}", Exit.TOO_LONG)
    (made,) = [each for each in _of(client, incident) if each["intent"] == done["intent"]]
    if output is Format.JSON:
        show_json(made)
    elif made["id"]:
        print(visible(made["url"] or f"{made['tracker']} {made['id']}", 2_000))
    if not made["id"]:
        raise fail(f"{made['tracker']}: {cell(made['why'])}", Exit.UNCONFIRMED)


@app.command("ls")
def list_(incident: Incident, output: OutputOption = Format.TABLE) -> None:
    """List the tickets of an incident."""
    found = _of(Client(), incident)
    if output is Format.JSON:
        show_json(found)
        return
    rows = [(each["tracker"], each["state"], each["id"] or "", each["url"] or "", each["why"]) for each in found]
    show_table(("tracker", "state", "id", "url", "why"), rows)
    if not found:
        say(f"{incident} has no ticket: andon ticket open {incident}")


@app.command()
def check(output: OutputOption = Format.TABLE) -> None:
    """See whether every tracker can be reached and takes its token. No ticket is made. Exits with 6 when one does not."""
    client = Client()
    names: list[str] = client.get("/api/v1/trackers")["items"]
    found: list[dict[str, Any]] = [client.post(f"/api/v1/trackers/{name}/check", {}) for name in names]
    if output is Format.JSON:
        show_json(found)
    else:
        for each in found:
            print(f"{cell(each['tracker'])}: {'fine' if each['fine'] else cell(each['why'])}")
        if not names:
            say("no tracker is configured: name one under trackers in andon.yaml")
    if not all(each["fine"] for each in found):
        raise typer.Exit(Exit.UNCONFIRMED)


def _of(client: Client, incident: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get(f"/api/v1/incidents/{incident}/tickets")["items"]
    return found
