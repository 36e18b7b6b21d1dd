"""`andon token`."""

from typing import Annotated

import typer

from andoncord.cli.client import Client
from andoncord.cli.output import Format, OutputOption, say, show_json, show_table
from andoncord.kernel.access import Scope

app = typer.Typer(no_args_is_help=True)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Whose token it is.")],
    agent: Annotated[str, typer.Option(help='Agents it is bound to, such as "refund-*". Scope: agent, or ingest.')] = "",
    scope: Annotated[list[Scope] | None, typer.Option(help="Default: agent with --agent, else read. May be repeated.")] = None,
    owner: Annotated[str, typer.Option(help="The account that answers for it, and bounds it.")] = "",
    days: Annotated[float, typer.Option(help="After how many days it ends; 0 for never.", min=0)] = 0.0,
    output: OutputOption = Format.TABLE,
) -> None:
    """Make a token. Its secret is printed this once; only a digest of it is kept."""
    wanted = scope or [Scope.AGENT if agent else Scope.READ]
    scopes = [each.value for each in wanted]
    made = Client().post("/api/v1/tokens", {"name": name, "scopes": scopes, "agent": agent, "owner": owner, "days": days})
    if output is Format.JSON:
        show_json(made)
        return
    print(made["token"])
    say(f"{made['id']}: shown this once. Undo: andon token revoke {made['id']}")


@app.command("list")
def list_tokens(output: OutputOption = Format.TABLE) -> None:
    """List every token ever made."""
    items = Client().get("/api/v1/tokens")["items"]
    if output is Format.JSON:
        show_json(items)
        return
    columns = ("id", "name", "owner", "scopes", "agent", "created_at", "used_at", "expires_at", "revoked_at")
    show_table(columns, [[{**each, "scopes": ",".join(each["scopes"])}[column] for column in columns] for each in items])


@app.command()
def revoke(token: Annotated[str, typer.Argument(metavar="ID", help="The token's id, from `andon token list`.")]) -> None:
    """End a token. What it opened is closed at once."""
    Client().delete(f"/api/v1/tokens/{token}")
    say(f"{token} is revoked")
