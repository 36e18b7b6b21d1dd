"""`andon audit`."""

from typing import Annotated

import typer

from andoncord.cli.client import Client
from andoncord.cli.output import Format, OutputOption, say, show_json, show_table

COLUMNS = ("at", "kind", "allowed", "who", "via", "address", "what", "about", "why", "times")


def audit(
    kind: Annotated[str, typer.Option(help="change, login or denied; empty for all.")] = "",
    who: Annotated[str, typer.Option(help="Only of this name.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=500)] = 50,
    before: Annotated[int, typer.Option(help="Go on from this position, as the page before said.")] = 0,
    output: OutputOption = Format.TABLE,
) -> None:
    """Show who was let in to change something, who signed in and who was refused; the newest first."""
    found = Client().get("/api/v1/audit", kind=kind, who=who, limit=limit, before=before)
    if output is Format.JSON:
        show_json(found)
        return
    show_table(COLUMNS, [[each[column] for column in COLUMNS] for each in found["items"]])
    if found["next"]:
        say(f"older: andon audit --before {found['next']}")
