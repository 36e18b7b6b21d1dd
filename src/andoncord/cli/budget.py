"""`andon budget`."""

from typing import Any

import typer

from andoncord.cli.client import Client
from andoncord.cli.output import Format, OutputOption, show_json, show_table
from andoncord.kernel.money import usd_text
from andoncord.kernel.time import rfc3339
from andoncord.policy.allotment import UNITS

app = typer.Typer(no_args_is_help=True)


@app.callback()
def budget() -> None:
    """What agents may spend together, and what they have spent."""


@app.command()
def show(output: OutputOption = Format.TABLE) -> None:
    """List every shared budget: its limit, what was spent, what guards hold and what of the spent nobody reported."""
    items = Client().get("/api/v1/budgets")["items"]
    if output is Format.JSON:
        show_json(items)
        return
    rows = [
        (each["level"], each["name"], each["per"], rfc3339(each["since_ns"])[:16], unit, *_amounts(each[unit], unit))
        for each in items
        for unit in UNITS
        if unit in each
    ]
    show_table(("level", "name", "per", "since", "of", "limit", "spent", "held", "unreported"), rows)


def _amounts(amounts: dict[str, Any], unit: str) -> list[str]:
    shown = [amounts[part] for part in ("limit", "spent", "held", "unreported")]
    return [usd_text(each) if unit == "micro_usd" else f"{each:,}" for each in shown]
