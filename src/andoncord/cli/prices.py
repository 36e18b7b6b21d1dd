"""`andon prices`: what model calls cost by the tables that are in force, and tables of further providers to put there."""

import re
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from andoncord.adapters.price_library import take as taken_from_library
from andoncord.adapters.system.clock import SystemClock
from andoncord.app_both import load_prices
from andoncord.cli.exits import Exit
from andoncord.cli.output import Format, OutputOption, fail, say, show_json, show_table
from andoncord.config import load_file
from andoncord.kernel.errors import CallerError
from andoncord.kernel.time import rfc3339
from andoncord.telemetry.prices import Price

app = typer.Typer(no_args_is_help=True)

_PLAIN = re.compile(r"[A-Za-z][\w./-]*")


@app.command("ls")
def ls(
    provider: Annotated[str, typer.Option("--provider", help="Only those of one, as telemetry names it.")] = "",
    config: Annotated[Path | None, typer.Option("--config", help="The settings file, whose prices stand first.")] = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Show every price with its source and date. US dollars for a million tokens."""
    try:
        settings = load_file(config) if config else load_file(Path("andon.yaml"))
        found = load_prices(settings, beside=(config or Path("andon.yaml")).absolute().parent)
    except CallerError as wrong:
        raise fail(str(wrong), Exit.USAGE) from None
    shown = [price for price in found if not provider or provider in (price.provider, *price.also)]
    if output is Format.JSON:
        show_json({"items": msgspec.to_builtins(shown)})
        return
    columns = ("model", "provider", "input", "output", "cache_read", "cache_write", "up_to_input_tokens", "date", "source")
    show_table(columns, [[getattr(price, name) for name in columns] for price in shown])


@app.command("take")
def take(
    provider: Annotated[
        str, typer.Argument(help="Whose prices, as the library calls it: openai, google, mistral, azure, aws…")
    ],
    models: Annotated[
        list[str] | None, typer.Option("--models", help="Only names that match this glob; may be repeated.")
    ] = None,
    on: Annotated[
        str, typer.Option("--on", help="The prices of this day, such as 2026-11-21; today where it is left out.")
    ] = "",
) -> None:
    """Print a provider's prices, as the library genai-prices has them, as a table to review and name under `price_files`."""
    try:
        day = date.fromisoformat(on or rfc3339(SystemClock().now())[:10])
    except ValueError:
        raise fail(f"--on {on}: not a day such as 2026-11-21", Exit.USAGE) from None
    try:
        taken = taken_from_library(provider, models=models or ("*",), on=day)
    except CallerError as wrong:
        raise fail(str(wrong), Exit.USAGE) from None
    if not taken.prices:
        raise fail(f"no model of {provider} fits", Exit.NOT_FOUND)
    typer.echo(table(taken.prices), nl=False)
    if taken.left_out:
        say(f"left out, so that their price is unknown: {len(taken.left_out)} models")
        for name, why in taken.left_out.items():
            say(f"  {name}: {why}")


def table(prices: tuple[Price, ...]) -> str:
    """Prices of one provider, source and date as a file of the price table.

    >>> from datetime import date
    >>> print(
    ...     table((Price(model="m-1", provider="acme", input=0.5, output=2, source="https://a", date=date(2026, 1, 2)),)),
    ...     end="",
    ... )
    version: 1
    provider: acme
    source: https://a
    date: 2026-01-02
    models:
      - {model: m-1, input: 0.5, output: 2}
    """
    first = prices[0]
    lines = ["version: 1", f"provider: {first.provider}"]
    if first.also:
        lines.append(f"also: [{', '.join(first.also)}]")
    lines += [f"source: {first.source}", f"date: {first.date.isoformat()}", "models:"]
    common = ("provider", "also", "source", "date")
    for price in prices:
        row = {name: value for name, value in msgspec.to_builtins(price).items() if name not in common and value is not None}
        lines.append("  - {" + ", ".join(f"{name}: {_scalar(value)}" for name, value in row.items()) + "}")
    return "\n".join(lines) + "\n"


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        return value if _PLAIN.fullmatch(value) else msgspec.json.encode(value).decode()
    return f"{value:g}" if isinstance(value, float) and value < 1e6 else str(value)
