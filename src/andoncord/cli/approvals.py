"""`andon approvals`: what agents want to do and may not without a person's word."""

from typing import Annotated, Any

import msgspec
import typer

from andoncord.cli.client import Client
from andoncord.cli.exits import Exit
from andoncord.cli.output import Format, OutputOption, fail, say, show_json, show_table
from andoncord.kernel.text import visible, visible_block

app = typer.Typer(no_args_is_help=True)
COLUMNS = ("id", "status", "role", "agent", "tool", "until", "arguments")


@app.command("ls")
def list_approvals(
    status: Annotated[str, typer.Option(help="waiting, granted, denied, expired, used or all.")] = "waiting",
    output: OutputOption = Format.TABLE,
) -> None:
    """List requests, the oldest first. What is shown here may be cut: `grant` shows the whole."""
    items = Client().get("/api/v1/approvals", status=status)["items"]
    if output is Format.JSON:
        show_json(items)
    else:
        show_table(COLUMNS, [[{**each, **each["action"]}[column] for column in COLUMNS] for each in items])


@app.command()
def grant(
    request: Annotated[str, typer.Argument(metavar="ID")],
    reason: Annotated[str, typer.Option("--reason", "-r", help="Why; it goes into the record.")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask: the digest below has been read elsewhere.")] = False,
    digest: Annotated[str, typer.Option("--digest", help="With --yes: the digest that was read.")] = "",
) -> None:
    """Show one call whole, and approve exactly it."""
    client = Client()
    found = client.get(f"/api/v1/approvals/{request}")
    if yes and digest != found["digest"]:
        raise fail("--yes needs --digest with the digest of what was read", Exit.USAGE)
    _tell(found)
    if not yes:
        typer.confirm("Approve exactly this call, once?", abort=True)
    client.post(f"/api/v1/approvals/{request}/grant", {"digest": found["digest"], "reason": reason})
    say(f"{request} granted")


@app.command()
def deny(
    request: Annotated[str, typer.Argument(metavar="ID")],
    reason: Annotated[str, typer.Option("--reason", "-r", help="Why; it goes into the record.")] = "",
) -> None:
    """Refuse one call."""
    Client().post(f"/api/v1/approvals/{request}/deny", {"reason": reason})
    say(f"{request} denied")


def _tell(found: dict[str, Any]) -> None:
    """The whole action: nothing of it is cut."""
    action = found["action"]
    for name in ("agent", "run_id", "tool", "policy_id", "policy_digest", "role", "epoch", "people"):
        print(f"{name:14} {visible(str(action[name]), 400)}")
    print(f"{'digest':14} {found['digest']}")
    print(f"{'arguments':14}")
    pretty = msgspec.json.format(action["arguments"].encode(), indent=2).decode()
    print(visible_block(pretty, len(pretty) + 1))
