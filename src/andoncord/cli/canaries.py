"""`andon canaries`: tasks with known answers, and what came of them."""

from typing import Annotated
from urllib.parse import quote

import typer

from andoncord.cli.client import Client
from andoncord.cli.output import Format, OutputOption, say, show_json, show_table


def canaries(
    ask: Annotated[str, typer.Option(metavar="NAME", help="Ask this one now, out of turn.")] = "",
    output: OutputOption = Format.TABLE,
) -> None:
    """Show the tasks with known answers that agents are asked on a schedule."""
    client = Client()
    if ask:
        client.post(f"/api/v1/canaries/{quote(ask, safe='')}", {})
        say(f"{ask} is being asked; see `andon canaries`")
        return
    found = client.get("/api/v1/canaries")
    if output is Format.JSON:
        show_json(found)
        return
    names = ("canary", "agent", "every", "last", "asked", "due", "right", "wrong", "missed", "why")
    rows = [
        (
            *(each[name] for name in ("name", "agent", "every", "state", "asked_at", "due_at")),
            *(each["since_start"][name] for name in ("right", "wrong", "missed")),
            each["why"],
        )
        for each in found["items"]
    ]
    show_table(names, rows)
