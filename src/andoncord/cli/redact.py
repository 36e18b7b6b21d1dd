"""`andon redact`: what would be masked in a file, where and by which rule, without sending it anywhere."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from andoncord.cli.exits import Exit
from andoncord.cli.output import Format, OutputOption, fail, say, show_json, show_table
from andoncord.kernel.text import visible
from andoncord.telemetry.redact import Place, default_redactor

STDIN = "-"
MAX_BYTES = 256 * 1024 * 1024
AROUND = 24
"""Characters of the masked text shown on either side."""


class Masked(msgspec.Struct, frozen=True, kw_only=True):
    """One piece of a file that would be masked. What it says is not among the fields."""

    line: int
    where: str
    """The column in a line of text, from 1; the path in a line of JSON."""
    rule: str
    chars: int
    """How long it is; 0 where a whole attribute goes for its name."""
    becomes: str
    around: str
    """The text around it, as masked."""


def redact(
    file: Annotated[str, typer.Argument(help="A file of text or of JSON lines, such as OTLP/JSON; - for standard input.")],
    masked: Annotated[
        bool, typer.Option("--masked", help="Print the file as it would be stored, instead of the list.")
    ] = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Show what would be masked in a file before it is stored. Sends nothing, and never prints what it finds."""
    try:
        with sys.stdin.buffer if file == STDIN else Path(file).open("rb") as opened:
            body = opened.read(MAX_BYTES + 1)
    except OSError as wrong:
        raise fail(f"{file}: {wrong.strerror}", Exit.NOT_FOUND) from None
    if len(body) > MAX_BYTES:
        raise fail(f"{file}: larger than {MAX_BYTES >> 20} MiB: give it in parts", Exit.USAGE)
    redactor = default_redactor()
    if masked:
        for line in body.splitlines(keepends=True):
            ending = line[len(line.rstrip(b"\r\n")) :]
            whole, _ = redactor.json(line.rstrip(b"\r\n"))
            sys.stdout.buffer.write(whole + ending)
        return
    found = [each for number, line in enumerate(body.splitlines(), 1) for each in places_in(line, number)]
    if output is Format.JSON:
        show_json({"items": found})
        return
    if found:
        rows = [(each.line, each.where, each.rule, each.chars, each.becomes, each.around) for each in found]
        show_table(("line", "where", "rule", "chars", "becomes", "around"), rows)
    rules = sorted({each.rule for each in found})
    say(
        f"{len(found)} places would be masked, by {len(rules)} rules: {', '.join(rules)}"
        if found
        else "nothing would be masked"
    )


def places_in(line: bytes, number: int) -> Iterator[Masked]:
    """What would be masked in one line.

    >>> [(each.where, each.rule, each.around) for each in places_in(b"mail ann@example.org now", 1)]
    [('6', 'email', 'mail [redacted:email-...] now')]
    """
    redactor = default_redactor()
    try:
        value = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        value = None
    if isinstance(value, dict | list):
        for path, text, place in redactor.in_json(value):
            yield _masked(number, path, text, place)
        return
    text = line.decode("utf-8", "replace")
    for place in redactor.places(text):
        yield _masked(number, str(place.start + 1), text, place)


def _masked(number: int, where: str, text: str, place: Place) -> Masked:
    becomes = f"[redacted:{place.tag}]"
    # The whole text is masked before a piece of it is shown: another secret may stand right beside.
    before, _ = default_redactor().text(text[: place.start])
    after, _ = default_redactor().text(text[place.end :])
    around = before[-AROUND:] + becomes + after[:AROUND]
    return Masked(
        line=number,
        where=visible(where, 120),
        rule=place.rule,
        chars=place.end - place.start,
        becomes=becomes,
        around=visible(around, 200),
    )
