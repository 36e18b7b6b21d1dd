"""`andon series`."""

from typing import Annotated, Any
from urllib.parse import quote

import typer

from andoncord.cli.client import Client
from andoncord.cli.output import Format, OutputOption, show_json, show_table
from andoncord.kernel.money import usd_text


def series(
    agent: Annotated[str, typer.Argument(metavar="AGENT")],
    minutes: Annotated[int, typer.Option(min=1, max=1440, help="How far back.")] = 60,
    step: Annotated[int, typer.Option(min=1, help="Seconds of one line.")] = 60,
    output: OutputOption = Format.TABLE,
) -> None:
    """Show an agent's figures, a minute at a time. Where nothing was heard, they are unknown and not 0."""
    found = Client().get(f"/api/v1/fleet/{quote(agent, safe='')}/series", minutes=minutes, step_s=step)
    if output is Format.JSON:
        show_json(found)
        return
    rows = [_row(point) for point in found["points"]]
    names = ("at", "runs", "failed", "steps", "failed", "tool errors", "tokens in", "out", "cost", "p50 ms", "p95 ms")
    show_table(names, _shortened(rows))
    if found["is_cut"]:
        typer.echo("There is more than is read at once: what is older is unknown here.", err=True)


def _row(point: dict[str, Any]) -> tuple[Any, ...]:
    if not point["heard"]:
        return (point["at"], *["unknown"] * 10)
    cost = usd_text(point["cost_micro_usd"])
    if point["unpriced"]:
        cost = f"{cost} + {point['unpriced']} unpriced" if point["cost_micro_usd"] else f"{point['unpriced']} unpriced"
    names = ("runs", "failed_runs", "steps", "failed_steps", "tool_errors", "input_tokens", "output_tokens")
    return (point["at"], *(point[name] for name in names), cost, *(_rounded(point[name]) for name in ("p50_ms", "p95_ms")))


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


def _shortened(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Without the unknown before the first and after the last that is known; all unknown is one line."""
    known = [place for place, row in enumerate(rows) if row[1] != "unknown"]
    return rows[known[0] : known[-1] + 1] if known else rows[-1:]
