"""What commands print: results to standard output, everything else to standard error. Agent text is made inert first."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any

import msgspec
import typer

from andoncord.kernel.text import visible

MAX_CELL = 80


class Format(StrEnum):
    """How results are printed."""

    TABLE = "table"
    JSON = "json"


OutputOption = Annotated[Format, typer.Option("--output", "-o", help="table for people, json for scripts.")]


def show_json(value: Any) -> None:
    """One JSON document."""
    typer.echo(msgspec.json.encode(value).decode())


def show_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Rows under their columns."""
    lines = [tuple(columns), *(tuple(cell(each) for each in row) for row in rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(columns))]
    for line in lines:
        typer.echo("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


def cell(value: object) -> str:
    r"""A value as one short line; nothing that a terminal would obey.

    >>> cell(None), cell(0.25), cell(["a", "b"]), cell("\x1b[31mred")
    ('-', '0.25', 'a, b', '␛[31mred')
    """
    if value is None or value == "":
        return "-"
    if isinstance(value, list | tuple):
        return cell(", ".join(str(each) for each in value))
    return visible(str(value), MAX_CELL)


def say(text: str) -> None:
    """Words for whoever is at the terminal."""
    typer.echo("\n".join(visible(line, 400) for line in text.splitlines()), err=True)


def fail(text: str, code: int) -> typer.Exit:
    """Say why, and give back what to raise."""
    say(f"error: {text}")
    return typer.Exit(code)
