"""`andon fleet`."""

from collections.abc import Iterator
from typing import Annotated, Any
from urllib.parse import quote

import typer

from andoncord.cli.client import Client
from andoncord.cli.output import Format, OutputOption, cell, say, show_json, show_table
from andoncord.cli.trace_view import touched as touched_lines
from andoncord.kernel.money import usd_text

app = typer.Typer(no_args_is_help=True)

CHANGES_SHOWN = 12


@app.callback()
def _group() -> None:
    """Show which agents there are, their versions, tools and partners."""


@app.command("ls")
def ls(output: OutputOption = Format.TABLE) -> None:
    """List every agent that is declared, was seen or has a guard, with its state now. Silence is unknown, never healthy."""
    items = Client().get("/api/v1/fleet")["items"]
    if output is Format.JSON:
        show_json(items)
        return
    rows = [
        (
            each["agent"] + (" (service)" if each["is_inferred"] else ""),
            each["state"],
            each["criticality"],
            each["owner"] or each["team"],
            each["version"],
            each["tools"],
            each["models"],
            each["talks_to"],
            each["last_seen_at"],
        )
        for each in items
    ]
    show_table(("agent", "state", "criticality", "owner", "version", "tools", "models", "talks to", "last seen"), rows)


@app.command()
def show(
    agent: Annotated[str, typer.Argument(metavar="AGENT")],
    minutes: Annotated[int, typer.Option(help="With --files, --commands and --systems: how far back to look.")] = 60,
    files: Annotated[bool, typer.Option("--files", help="The files it changed.")] = False,
    commands: Annotated[bool, typer.Option("--commands", help="The commands it ran.")] = False,
    systems: Annotated[bool, typer.Option("--systems", help="The systems outside that it reached.")] = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Show one agent: what is declared, what was seen, what changed, whom it reaches and who reaches it."""
    if files + commands + systems > 1:
        raise typer.BadParameter("one of --files, --commands and --systems")
    client, path = Client(), f"/api/v1/fleet/{quote(agent, safe='')}"
    if files or commands or systems:
        what = "files" if files else "commands" if commands else "systems"
        found = client.get(f"{path}/touched", minutes=minutes)
        if output is Format.JSON:
            show_json({what: found[what], **{name: found[name] for name in ("since_at", "until_at", "left_out", "is_cut")}})
            return
        lines: Iterator[str] = touched_lines(what, found)
        if found["is_cut"]:
            typer.echo("There is more than is read at once: only the latest is shown.", err=True)
    else:
        whole = client.get(path)
        if output is Format.JSON:
            show_json(whole)
            return
        lines = _lines(whole)
    for line in lines:
        typer.echo(line)


@app.command()
def runs(
    agent: Annotated[str, typer.Argument(metavar="AGENT")],
    minutes: Annotated[int, typer.Option(help="How far back to look.")] = 60,
    limit: Annotated[int, typer.Option(min=1, max=500, help="Runs of one page.")] = 500,
    after: Annotated[str, typer.Option(metavar="NEXT", help="Go on from here, as the page before said.")] = "",
    output: OutputOption = Format.TABLE,
) -> None:
    """List the runs of an agent, the latest first, each with its trace for `andon trace show`."""
    found = Client().get(f"/api/v1/fleet/{quote(agent, safe='')}/runs", minutes=minutes, limit=limit, after=after)
    if output is Format.JSON:
        show_json(found)
        return
    rows = [
        (
            each["start_at"],
            f"{each['duration_s']:g} s",
            "goes on" if not each["has_ended"] else "ok" if each["ok"] else "failed",
            each["steps"],
            each["failed_steps"],
            each["denied"],
            each["tokens"],
            usd_text(each["cost_micro_usd"]) if each["cost_micro_usd"] or not each["unpriced"] else "unknown",
            each["trace_id"],
        )
        for each in found["items"]
    ]
    show_table(("at", "took", "result", "steps", "failed", "refused", "tokens", "cost", "trace"), rows)
    if found["next"]:
        say(f"older: the same with --after {found['next']}")
    elif found["is_cut"]:
        say("The latest 100 000 events of that time were read; earlier runs are not listed (`until` in the API reads those).")


@app.command()
def influence(
    agent: Annotated[str, typer.Option(help="Only what this agent is part of.")] = "",
    minutes: Annotated[int, typer.Option(min=1, max=1440, help="How far back to look.")] = 60,
    output: OutputOption = Format.TABLE,
) -> None:
    """Show who influences whom: how many messages one message makes, and circles in which that grows."""
    found = Client().get("/api/v1/influence", minutes=minutes, agent=agent)
    if output is Format.JSON:
        show_json(found)
        return
    show_table(
        ("from", "to", "messages", "passed on", "by chance", "gain", "at least", "at most", "p", "after"),
        [
            (
                *(each[name] for name in ("sender", "receiver", "messages", "passed_on", "by_chance")),
                *(each[name] for name in ("gain", "at_least", "at_most", "p")),
                f"{each['lag_s']:g} s" if each["lag_s"] is not None else None,
            )
            for each in found["edges"]
        ],
    )
    for each in found["circles"]:
        way = " → ".join((*each["agents"], each["agents"][0]))
        bounds = "too few messages to bound it" if each["at_most"] is None else f"{each['at_least']:g} to {each['at_most']:g}"
        typer.echo(f"circle {cell(way)}: gain {each['gain']:g} ({bounds}){', growing' if each['is_growing'] else ''}")
    if found["is_cut"]:
        typer.echo("There is more than is read at once: only the latest is in it.", err=True)


def _lines(agent: dict[str, Any]) -> Iterator[str]:
    name = f"{cell(agent['agent'])}{' (known by the name of its service)' if agent['is_inferred'] else ''}"
    yield f"{name}: {agent['state']}, {cell(agent['why'])}"
    if agent["incident"]:
        yield f"incident    {agent['incident']}"
    declared = "yes" if agent["declared"] else "no: add it to andon.yaml to say what it may do"
    for title, value in (
        ("declared", declared),
        ("about", agent["description"]),
        ("role", agent["role"]),
        ("team", agent["team"]),
        ("owner", agent["owner"]),
        ("criticality", agent["criticality"]),
        ("environment", agent["environment"]),
        ("version", _version(agent)),
        ("runs seen", agent["runs"]),
        ("first seen", agent["first_seen_at"]),
        ("last seen", agent["last_seen_at"]),
        ("needs", agent["depends_on"]),
    ):
        if value not in ("", [], None):
            yield f"{title:11} {cell(value)}"
    yield from _table("tools", agent["tools"], lambda row: f"{row['permission']:12} {_count(row)}")
    yield from _table("models", agent["models"], _count)
    yield from _table("talks to", agent["talks_to"], _edge)
    yield from _table("reached by", agent["called_by"], _edge)
    changes = agent["changes"]
    if changes:
        yield "changes"
    for change in changes[:CHANGES_SHOWN]:
        became = f"{cell(change['before'])} → {cell(change['after'])}"
        how = "announced" if change["announced"] else "inferred from what was seen"
        yield f"  {change['at']}  {cell(change['what'])}: {became} ({how})"
    if len(changes) > CHANGES_SHOWN:
        yield f"  and {len(changes) - CHANGES_SHOWN} earlier"


def _version(agent: dict[str, Any]) -> str:
    seen, wanted = agent["version"], agent["version_declared"]
    if wanted and seen and wanted != seen:
        return f"{seen}, while {wanted} is declared"
    return str(seen or (f"{wanted} declared, none seen" if wanted else ""))


def _table(title: str, rows: list[dict[str, Any]], say: Any) -> Iterator[str]:
    if rows:
        yield title
    for row in rows:
        yield f"  {cell(row.get('name') or row['agent']):32} {say(row)}"


def _count(row: dict[str, Any]) -> str:
    if not row["count"]:
        return "never seen"
    failed = f", {row['failed']} failed" if row["failed"] else ""
    return f"{row['count']} times{failed}, last {row['last_seen_at']}"


def _edge(row: dict[str, Any]) -> str:
    strange = "  not declared" if row.get("declared") is False else ""
    return f"{row['how'] or 'declared'}: {_count(row)}{strange}"
