"""`andon taint`: what is downstream of a datum that is wrong."""

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from andoncord.cli.client import Client
from andoncord.cli.output import Format, OutputOption, cell, say, show_json
from andoncord.kernel.money import usd_text
from andoncord.kernel.vocabulary import Severity

SHOWN = 30


def taint(
    datum: Annotated[str, typer.Argument(help="A file, memory or document as events name it, or the id of a span.")],
    hours: Annotated[int, typer.Option(min=1, max=720, help="How far back to look.")] = 24,
    declare: Annotated[bool, typer.Option("--declare", help="Open an incident for it.")] = False,
    reason: Annotated[str, typer.Option(help="With --declare: how you know that it is wrong.")] = "",
    severity: Annotated[Severity, typer.Option(help="With --declare: how bad it is.")] = Severity.HIGH,
    output: OutputOption = Format.TABLE,
) -> None:
    """Show which runs, agents, decisions and effects are downstream of a wrong datum: for certain, and possibly."""
    client = Client()
    found = client.get("/api/v1/taint", datum=datum, hours=hours)
    if declare:
        found["incident"] = _declare(client, found, reason=reason, severity=severity)
    if output is Format.JSON:
        show_json(found)
        return
    for line in _lines(found):
        typer.echo(line)
    if found["is_cut"]:
        say("There is more than is read at once: what is older is not in these figures.")
    if declare:
        say(f"incident {found['incident']}; nothing is stopped yet")


def _declare(client: Client, found: dict[str, Any], *, reason: str, severity: Severity) -> str:
    agents = found["exact"]["agents"] or found["possible"]["agents"]
    if not agents:
        raise typer.BadParameter(
            "nothing is downstream of it, so there is no agent to open an incident for", param_hint="DATUM"
        )
    bounds = f"Downstream {_told(found['exact'])}; possibly {_told(found['possible'])}. Agents: {', '.join(agents)}"
    body = {
        "agent": agents[0],
        "title": f"Wrong datum: {found['datum']}"[:200],
        "severity": severity.value,
        "reason": f"{reason}\n\n{bounds}".strip()[:4_000],
    }
    return str(client.post("/api/v1/incidents", body)["incident"])


def _told(bound: dict[str, Any]) -> str:
    return f"{bound['runs']} runs of {len(bound['agents'])} agents, {bound['decisions']} decisions, {bound['effects']} effects"


def _lines(found: dict[str, Any]) -> Iterator[str]:
    exact, possible = found["exact"], found["possible"]
    yield f"{cell(found['datum'])}: {'first seen ' + found['first_at'] if found['first_at'] else 'no event names it'}"
    yield f"  {'':12} {'for certain':>12} {'possibly':>12}"
    for title, count in (
        ("runs", lambda bound: bound["runs"]),
        ("agents", lambda bound: len(bound["agents"])),
        ("decisions", lambda bound: bound["decisions"]),
        ("effects", lambda bound: bound["effects"]),
        ("data", lambda bound: len(bound["data"])),
        ("files", lambda bound: bound["files"]),
        ("systems", lambda bound: len(bound["systems"])),
        ("spent", lambda bound: usd_text(bound["cost_micro_usd"])),
    ):
        yield f"  {title:12} {count(exact):>12} {count(possible):>12}"
    yield from _part("runs", found["runs"], ("since_at", "agent", "run_id", "why"))
    yield from _part("effects", found["effects"], ("at", "agent", "tool"))
    for assumption in found["assumptions"]:
        yield f"  {assumption}"


def _part(title: str, rows: list[dict[str, Any]], names: tuple[str, ...]) -> Iterator[str]:
    if rows:
        yield title
    for row in rows[:SHOWN]:
        yield f"  {'certain ' if row['is_exact'] else 'possible'}  {'  '.join(cell(row[name]) for name in names)}"
    if len(rows) > SHOWN:
        yield f"  and {len(rows) - SHOWN} more: -o json"
