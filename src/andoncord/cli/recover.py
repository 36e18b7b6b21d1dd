"""`andon recover` and `andon release`."""

from typing import Annotated

import typer

from andoncord.cli.client import Client
from andoncord.cli.contain import Wait, report
from andoncord.cli.output import Format, OutputOption, say, show_json

Incident = Annotated[str, typer.Argument(metavar="INCIDENT")]


def recover(
    incident: Incident,
    reason: Annotated[str, typer.Option("--reason", "-r", help="Why; it goes into the record.")] = "",
    output: OutputOption = Format.TABLE,
) -> None:
    """Approve the recovery plan of an incident. It runs step by step, and stops where a step does not succeed."""
    done = Client().post(f"/api/v1/incidents/{incident}/recoveries", {"reason": reason})
    if output is Format.JSON:
        show_json(done)
    else:
        print(f"{incident}  recovery approved")
        say(f"follow it: andon incidents show {incident}")


def release(
    incident: Incident,
    reason: Annotated[str, typer.Option("--reason", "-r", help="Why; it goes into the record.")],
    agent: Annotated[str, typer.Option(help="Which agent, when the incident has several.")] = "",
    wait: Wait = True,
    output: OutputOption = Format.TABLE,
) -> None:
    """Let an agent of an incident go on, without a verified recovery. The record says so.

    Exits with 6 when not every process of the agent confirmed.
    """
    client = Client()
    done = client.post(f"/api/v1/incidents/{incident}/release", {"agent": agent, "reason": reason})
    report(client, done, wait=wait, output=output, undo="andon pause AGENT")
