"""`andon trace`."""

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from andoncord.cli.client import Client
from andoncord.cli.output import Format, OutputOption, show_json, show_table
from andoncord.cli.trace_view import touched as touched_lines
from andoncord.cli.trace_view import transcript as transcript_lines
from andoncord.cli.trace_view import tree as tree_lines

PAGE = 500

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Show what was recorded of one trace."""


@app.command()
def show(
    trace: Annotated[str, typer.Argument(metavar="TRACE_ID")],
    tree: Annotated[bool, typer.Option("--tree", help="Steps below their parents, with durations, tokens and cost.")] = False,
    transcript: Annotated[bool, typer.Option("--transcript", help="What models saw and said, step by step.")] = False,
    files: Annotated[bool, typer.Option("--files", help="The files that were changed.")] = False,
    commands: Annotated[bool, typer.Option("--commands", help="The commands that were run.")] = False,
    systems: Annotated[bool, typer.Option("--systems", help="The systems outside that were reached.")] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="With --tree: also the spans of frameworks that only wrap others.")
    ] = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Show every event of one trace, by time; or one view of it."""
    if tree + transcript + files + commands + systems > 1:
        raise typer.BadParameter("one of --tree, --transcript, --files, --commands and --systems")
    if everything and not tree:
        raise typer.BadParameter("--all goes with --tree")
    client, path = Client(), f"/api/v1/traces/{trace}"
    if transcript:
        steps = list(_pages(client, f"{path}/transcript"))
        _print({"trace_id": trace, "steps": steps}, transcript_lines(steps), output)
    elif files or commands or systems:
        what = "files" if files else "commands" if commands else "systems"
        found = client.get(f"{path}/touched")
        _print({what: found[what], "left_out": found["left_out"]}, touched_lines(what, found), output)
    else:
        spans = list(_pages(client, path, fold=int(tree and not everything)))
        if tree and output is not Format.JSON:
            _print(None, tree_lines(spans), output)
        elif output is Format.JSON:
            show_json({"trace_id": trace.lower(), "spans": spans})
        else:
            rows = [(each["start_at"], each["kind"], each["agent"], each["name"], _result(each)) for each in spans]
            show_table(("at", "kind", "agent", "name", "result"), rows)


def _pages(client: Client, path: str, **query: int) -> Iterator[dict[str, Any]]:
    """Everything behind a path that answers in pages."""
    after: int | None = 0
    while after is not None:
        page = client.get(path, after=after, limit=PAGE, **query)
        yield from page.get("spans", page.get("steps"))
        after = page["next"]


def _print(found: Any, lines: Iterator[str], output: Format) -> None:
    if output is Format.JSON:
        show_json(found)
        return
    for line in lines:
        typer.echo(line)


def _result(span: dict[str, Any]) -> str:
    return "ok" if span["ok"] else span["error_type"] or "failed"
