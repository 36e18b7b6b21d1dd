"""`andon ack`."""

from typing import Annotated

import typer

from andoncord.cli.client import Client
from andoncord.cli.output import say


def ack(
    incident: Annotated[str, typer.Argument(metavar="INCIDENT")],
    note: Annotated[str, typer.Option("--note", "-n", help="What you are doing about it; it goes into the record.")] = "",
) -> None:
    """Say that you look after an incident: its pages stop. If it is open when that has grown stale, they begin again."""
    Client().post(f"/api/v1/incidents/{incident}/acknowledge", {"note": note})
    say(f"{incident} is yours")
