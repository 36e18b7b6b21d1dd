"""`andon handover`: work that agents may not do, in a person's inbox."""

from typing import Annotated, Any

import msgspec
import typer

from andoncord.cli.client import Client
from andoncord.cli.output import Format, OutputOption, say, show_json, show_table
from andoncord.kernel.text import visible, visible_block

app = typer.Typer(no_args_is_help=True)
COLUMNS = ("id", "status", "agent", "what", "because", "by", "received_at")
TEXT = 4_000

Item = Annotated[str, typer.Argument(metavar="ID")]
Reason = Annotated[str, typer.Option("--reason", "-r", help="Why; it goes into the record.")]


@app.command("list")
def list_items(
    status: Annotated[str, typer.Option(help="open, waiting, taken, done, returned, closed or all.")] = "open",
    agent: Annotated[str, typer.Option(help="Only this agent's.")] = "",
    output: OutputOption = Format.TABLE,
) -> None:
    """List what was handed over, the oldest first."""
    items = Client().get("/api/v1/handover", status=status, agent=agent)["items"]
    if output is Format.JSON:
        show_json(items)
        return
    rows = [
        (
            each["id"],
            each["status"],
            each["work"]["agent"],
            each["work"]["tool"] or each["work"]["task"],
            each["work"]["reason"],
            each["by"],
            each["received_at"],
        )
        for each in items
    ]
    show_table(COLUMNS, rows)


@app.command()
def show(item: Item, output: OutputOption = Format.TABLE) -> None:
    """Show one item with everything that came along."""
    _tell(Client().get(f"/api/v1/handover/{item}"), output)


@app.command()
def take(item: Item, output: OutputOption = Format.TABLE) -> None:
    """Take an item up, so that nobody else does the same, and show it."""
    client = Client()
    client.post(f"/api/v1/handover/{item}/take", {})
    _tell(client.get(f"/api/v1/handover/{item}"), output)


@app.command()
def done(item: Item, answer: Annotated[str, typer.Option("--answer", "-a", help="What came of it.")]) -> None:
    """Say that the work is done."""
    Client().post(f"/api/v1/handover/{item}/finish", {"reason": answer})
    say(f"{item} is done")


@app.command("return")
def give_back(item: Item, reason: Reason) -> None:
    """Let the agent do it after all: the program that handed it over may begin it again."""
    Client().post(f"/api/v1/handover/{item}/return", {"reason": reason})
    say(f"{item} goes back to its agent")


@app.command()
def close(item: Item, reason: Reason) -> None:
    """Say that nobody is to do it."""
    Client().post(f"/api/v1/handover/{item}/close", {"reason": reason})
    say(f"{item} is closed")


def _tell(found: dict[str, Any], output: Format) -> None:
    if output is Format.JSON:
        show_json(found)
        return
    work = found["work"]
    if found["shown"] != "exact":
        why = "you have no scope respond" if found["shown"] == "masked" else "the exact form is gone, or cannot be opened"
        say(f"secrets and personal data are masked: {why}")
    for name, value in (("id", found["id"]), ("status", found["status"]), ("by", found["by"]), ("answer", found["answer"])):
        print(f"{name:10} {visible(str(value), TEXT)}")
    for name in ("agent", "key", "task", "tool", "arguments", "reason", "run_id", "trace_id"):
        print(f"{name:10} {visible(str(work[name]), TEXT)}")
    print(f"{'incident':10} {found['incident'] or 'none'}")
    pretty = msgspec.json.format(msgspec.json.encode(work["context"]), indent=2).decode()
    print(f"{'context':10}\n{visible_block(pretty, len(pretty) + 1)}")
