"""`andon tail`."""

from threading import Event
from typing import Annotated, Any

import typer

from andoncord.cli.client import Client
from andoncord.cli.exits import Exit
from andoncord.cli.output import Format, cell, show_json
from andoncord.kernel.money import usd_text

LOOK_EVERY_S = 0.5
PAGE = 500


def tail(
    agent: Annotated[str, typer.Option(help="Only of this agent.")] = "",
    kind: Annotated[list[str] | None, typer.Option(help="Only of this kind, such as tool.failed; can be repeated.")] = None,
    after: Annotated[int | None, typer.Option(help="Begin after this place instead of with what comes from now on.")] = None,
    once: Annotated[bool, typer.Option("--once", help="Show what is there and end.")] = False,
    output: Annotated[
        Format, typer.Option("--output", "-o", help="table for people, json for one object a line.")
    ] = Format.TABLE,
) -> None:
    """Follow what comes in, event by event, until Ctrl-C. It ends with 130, as every command that is interrupted."""
    client, pause = Client(), Event()
    query: dict[str, str | int] = {"agent": agent, "kind": ",".join(kind or []), "limit": PAGE}
    place = after if after is not None else (0 if once else client.get("/api/v1/events", **query)["next"])
    try:
        while True:
            page = client.get("/api/v1/events", after=place, **query)
            for event in page["items"]:
                if output is Format.JSON:
                    show_json(event)
                else:
                    typer.echo(_line(event))
            place = page["next"]
            if len(page["items"]) == PAGE:
                continue
            if once:
                return
            pause.wait(LOOK_EVERY_S)
    except KeyboardInterrupt:
        raise typer.Exit(Exit.INTERRUPTED) from None


def _line(event: dict[str, Any]) -> str:
    parts = [event["start_at"], f"{event['kind']:16}", f"{cell(event['agent']):20}", cell(event["name"])]
    if event["input_tokens"] or event["output_tokens"]:
        parts.append(f"{event['input_tokens']} tokens in, {event['output_tokens']} out")
    if event["cost_micro_usd"]:
        parts.append(usd_text(event["cost_micro_usd"]))
    if not event["ok"]:
        parts.append(f"FAILED {cell(event['error_type']) if event['error_type'] else ''}".rstrip())
    return "  ".join(parts)
