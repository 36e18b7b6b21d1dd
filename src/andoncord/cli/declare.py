"""`andon declare`: an incident opened by hand."""

from typing import Annotated

import typer

from andoncord.cli.client import Client
from andoncord.cli.output import Format, OutputOption, say, show_json
from andoncord.kernel.vocabulary import Severity


def declare(
    agent: Annotated[str, typer.Argument(help="The agent that it is about.")],
    title: Annotated[str, typer.Option(help="What goes wrong, in a few words.")] = "",
    severity: Annotated[Severity, typer.Option(help="How bad it is.")] = Severity.HIGH,
    reason: Annotated[str, typer.Option(help="What you saw.")] = "",
    output: OutputOption = Format.TABLE,
) -> None:
    """Open an incident by hand. Nothing is stopped by it: for that use `andon pause` or `andon kill`."""
    body = {"agent": agent, "title": title, "severity": severity.value, "reason": reason}
    done = Client().post("/api/v1/incidents", body)
    if output is Format.JSON:
        show_json(done)
        return
    print(done["incident"])
    say(f"nothing is stopped yet; to hold the agent: andon pause {agent}")
