"""`andon approvals`: what agents want to do and may not without a person's word."""

from typing import Annotated, Any

import msgspec
import typer

from andoncord.cli.client import Client
from andoncord.cli.exits import Exit
from andoncord.cli.output import Format, OutputOption, fail, say, show_json, show_table
from andoncord.kernel.text import visible, visible_block
from andoncord.respond.approval import Asked, Request, whole

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
def show(request: Annotated[str, typer.Argument(metavar="ID")], output: OutputOption = Format.TABLE) -> None:
    """Show one call whole."""
    found = Client().get(f"/api/v1/approvals/{request}")
    if output is Format.JSON:
        show_json(found)
        return
    told = [("Status", found["status"]), ("Until", found["until"]), ("Asked by", visible(found["requested_by"], 400))]
    told += [("Approved by", visible(", ".join([*found["approved_by"], *([found["by"]] if found["by"] else [])]), 400))]
    for name, text in told:
        print(f"{name:22} {text}")
    _tell(found)


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
    after = client.get(f"/api/v1/approvals/{request}")
    if after["status"] == "waiting":
        say(f"{request}: {len(after['approved_by'])} of {after['people']} approved; somebody else has to as well")
    else:
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
    """The whole action, whose digest is made anew here: nothing of it is cut.

    Raises:
        typer.Exit: it cannot be shown whole.
    """
    action = msgspec.convert(found["action"], Asked)
    request = Request(
        id=found["id"], action=action, digest=found["digest"], requested_by=found["requested_by"], asked_ns=0, until_ns=0
    )
    told = whole(request)
    if not told:
        raise fail(
            "it cannot be shown whole (that needs scope approve), so it cannot be approved; it can be denied", Exit.NOT_NOW
        )
    for name, text in told:
        print(f"{name:22} {text}")
    pretty = msgspec.json.format(action.arguments.encode(), indent=2).decode()
    print(f"The arguments, in lines:\n{visible_block(pretty, len(pretty) + 1)}")
