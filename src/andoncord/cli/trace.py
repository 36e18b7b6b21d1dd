"""`andon trace`."""

from typing import Annotated

import typer

from andoncord.cli.client import Client
from andoncord.cli.output import Format, OutputOption, show_json, show_table

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Show what was recorded of one trace."""


@app.command()
def show(trace: Annotated[str, typer.Argument(metavar="TRACE_ID")], output: OutputOption = Format.TABLE) -> None:
    """Show every event of one trace, by time."""
    found = Client().get(f"/api/v1/traces/{trace}")
    if output is Format.JSON:
        show_json(found)
        return
    rows = [
        (each["start_at"], each["kind"], each["agent"], each["name"], "ok" if each["ok"] else each["error_type"] or "failed")
        for each in found["spans"]
    ]
    show_table(("at", "kind", "agent", "name", "result"), rows)
