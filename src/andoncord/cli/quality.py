"""`andon quality`: how good answers are, as judged and as corrected for the judge's errors."""

from typing import Annotated, Any

import typer

from andoncord.cli.client import Client
from andoncord.cli.output import Format, OutputOption, show_json, show_table


def quality(
    agent: Annotated[str, typer.Argument(metavar="[AGENT]", help="One agent; all without it.")] = "",
    days: Annotated[int, typer.Option(min=1, max=90, help="How far back.")] = 7,
    output: OutputOption = Format.TABLE,
) -> None:
    """Show how good answers are, and whether the evaluators do their work."""
    client = Client()
    found = client.get("/api/v1/quality", agent=agent, days=days)
    evaluators = client.get("/api/v1/evaluators")["items"]
    if output is Format.JSON:
        show_json({**found, "evaluators": evaluators})
        return
    names = ("agent", "evaluator", "runs", "as judged", "corrected", "labels", "objective", "state")
    show_table(names, [_row(each) for each in found["items"]])
    for each in found["items"]:
        if why := each["corrected"]["refused"]:
            typer.echo(f"{each['agent']}, {each['evaluator']}: not corrected, {why}", err=True)
        if each["without_verdict"]:
            typer.echo(
                f"{each['agent']}, {each['evaluator']}: asked {each['without_verdict']} times without a verdict", err=True
            )
    if found["is_cut"]:
        typer.echo("There are more scores than are read at once: the oldest are left out.", err=True)
    if evaluators:
        headings = ("evaluator", "agents", "runs", "drawn", "judged", "failed", "left out", "cost", "last failure")
        show_table(headings, [_standing(each) for each in evaluators])


def _row(each: dict[str, Any]) -> tuple[Any, ...]:
    rate = each["corrected"]
    known = "unknown" if rate["rate"] is None else f"{rate['rate']:.1%} ({rate['low']:.1%} to {rate['high']:.1%})"
    judged = "unknown" if rate["judged"] is None else f"{rate['judged']:.1%}"
    objective = "none" if each["objective"] is None else f"{each['objective']:.1%}"
    agent = each["agent"] if each["trusted"] else f"{each['agent']} (no token)"
    return (agent, each["evaluator"], each["runs"], judged, known, rate["labels"], objective, each["state"])


def _standing(each: dict[str, Any]) -> tuple[Any, ...]:
    counts = (each[name] for name in ("runs", "drawn", "judged", "failed", "left_out"))
    return (each["name"], each["agents"], *counts, f"${each['cost_usd']:.2f}", each["last_failure"] or "none")
