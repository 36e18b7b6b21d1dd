"""`andon trace`."""

from typing import Annotated

import typer

from andoncord.cli.client import Client
from andoncord.cli.output import Format, OutputOption, show_json, show_table
from andoncord.cli.trace_view import transcript as transcript_lines
from andoncord.cli.trace_view import tree as tree_lines

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Show what was recorded of one trace."""


@app.command()
def show(
    trace: Annotated[str, typer.Argument(metavar="TRACE_ID")],
    tree: Annotated[bool, typer.Option("--tree", help="Steps below their parents, with durations, tokens and cost.")] = False,
    transcript: Annotated[bool, typer.Option("--transcript", help="What models saw and said, step by step.")] = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Show every event of one trace, by time."""
    if tree and transcript:
        raise typer.BadParameter("--tree or --transcript, not both")
    found = Client().get(f"/api/v1/traces/{trace}")
    if output is Format.JSON:
        show_json(found)
        return
    if tree or transcript:
        for line in (tree_lines if tree else transcript_lines)(found["spans"]):
            typer.echo(line)
        return
    rows = [
        (each["start_at"], each["kind"], each["agent"], each["name"], "ok" if each["ok"] else each["error_type"] or "failed")
        for each in found["spans"]
    ]
    show_table(("at", "kind", "agent", "name", "result"), rows)
