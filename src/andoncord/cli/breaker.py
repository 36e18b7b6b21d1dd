"""`andon breaker`: circuit breakers as guards report them; held open or closed by order."""

from collections.abc import Callable
from typing import Annotated

import typer

from andoncord.cli.client import Client
from andoncord.cli.contain import Wait
from andoncord.cli.order import For, Reason, Target, Yes, give
from andoncord.cli.output import Format, OutputOption, show_json, show_table

app = typer.Typer(help="Circuit breakers: show them, hold them open or closed.", no_args_is_help=True)

Agent = Annotated[str, typer.Argument(metavar="AGENT", help="A name, or a pattern; '*' for every agent.")]
Tool = Annotated[str, typer.Option("--tool", help="The tool or model that is called; a pattern is allowed.")]


@app.command()
def show(output: OutputOption = Format.TABLE) -> None:
    """List the breakers that are not closed, and those that an order holds."""
    items = Client().get("/api/v1/breakers")["items"]
    if output is Format.JSON:
        show_json(items)
        return
    rows = [
        (each["agent"], each["breaker"], each["state"].replace("_", "-"), each["forced"] or "by itself", each["instance"])
        for each in items
    ]
    show_table(("agent", "breaker", "state", "held by", "instance"), rows)


def _hold_command(state: str, sentence: str) -> Callable[..., None]:
    """A command that holds breakers in one state."""

    def command(
        agent: Agent,
        tool: Tool = "",
        reason: Reason = "",
        lasts: For = "",
        wait: Wait = True,
        yes: Yes = False,
        output: OutputOption = Format.TABLE,
    ) -> None:
        target = Target(agent, run="", role="", tool=tool, fleet=False)
        give(target, {"breaker": state, "reason": reason}, lasts=lasts, wait=wait, yes=yes, output=output)

    command.__doc__ = sentence
    return command


app.command("open")(
    _hold_command(
        "open", "Hold a breaker open: its calls are refused until `andon resume --order`, or for as long as --for says."
    )
)
app.command("close")(_hold_command("closed", "Hold a breaker closed: its calls are made although they fail."))
