"""`andon held`: side effects of agents that wait for a person's word."""

from typing import Annotated, Any

import msgspec
import typer

from andoncord.cli.client import Client
from andoncord.cli.exits import Exit
from andoncord.cli.output import Format, OutputOption, fail, say, show_json, show_table
from andoncord.kernel.text import visible, visible_block

app = typer.Typer(no_args_is_help=True)
RELEASE_S = 25.0
"""How long one side effect may take, and a little."""
WHY_NOT = {
    "masked": "secrets and personal data are masked for who has no scope approve",
    "missing": "its exact form is gone, or was changed, or the server has not the key; it can be discarded, not released",
}
COLUMNS = ("id", "status", "agent", "tool", "arguments", "held_at", "came")

Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID]…")]
Incident = Annotated[str, typer.Option("--incident", help="All that this incident holds.")]
Reason = Annotated[str, typer.Option("--reason", "-r", help="Why; it goes into the record.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask: the digest was read elsewhere.")]
Digest = Annotated[str, typer.Option("--digest", help="With --yes: the digest that was read, of exactly these in this order.")]


@app.command("list")
def list_held(
    status: Annotated[str, typer.Option(help="held, released, done, failed, unknown, discarded or all.")] = "held",
    agent: Annotated[str, typer.Option(help="Only this agent's.")] = "",
    incident: Incident = "",
    output: OutputOption = Format.TABLE,
) -> None:
    """List side effects, the oldest first. What is shown here may be cut: `release` shows the whole."""
    found = Client().get("/api/v1/held", status=status, agent=agent, incident=incident)
    if output is Format.JSON:
        show_json(found)
        return
    show_table(COLUMNS, [[{**each, **each["effect"]}[column] for column in COLUMNS] for each in found["items"]])
    if found["left_off"]:
        say(f"and {found['left_off']} more")


@app.command()
def release(
    ids: Ids = None, incident: Incident = "", reason: Reason = "", yes: Yes = False, digest: Digest = "", wait: bool = True
) -> None:
    """Show side effects whole, and have exactly these carried out, each once. Exits with 6 when not all were."""
    client = Client()
    found = _read(client, ids or [], incident, yes=yes, digest=digest, reason=reason)
    if not yes:
        typer.confirm(f"Have {_counted(found)} carried out, exactly so?", abort=True)
    chosen = [each["id"] for each in found["items"]]
    done = client.post("/api/v1/held/release", {"ids": chosen, "digest": found["digest"], "reason": reason})
    if not wait:
        say(f"{', '.join(chosen)} released: {done['intent']}")
        return
    came = client.until(lambda: _settled(client, chosen), timeout_s=RELEASE_S * len(chosen), what="still under way")
    for each in came:
        say(f"{each['id']} {each['status']}{': ' + visible(each['came'], 300) if each['came'] else ''}")
    if any(each["status"] != "done" for each in came):
        raise typer.Exit(Exit.UNCONFIRMED)


@app.command()
def discard(ids: Ids = None, incident: Incident = "", reason: Reason = "", yes: Yes = False, digest: Digest = "") -> None:
    """Show side effects whole, and drop exactly these for good."""
    client = Client()
    found = _read(client, ids or [], incident, yes=yes, digest=digest, reason=reason)
    if not yes:
        typer.confirm(f"Drop {_counted(found)} for good?", abort=True)
    chosen = [each["id"] for each in found["items"]]
    client.post("/api/v1/held/discard", {"ids": chosen, "digest": found["digest"], "reason": reason})
    say(f"{', '.join(chosen)} dropped")


def _read(client: Client, ids: list[str], incident: str, *, yes: bool, digest: str, reason: str) -> dict[str, Any]:
    """The side effects that are meant, shown whole; ends the command when it is not clear which."""
    if not reason:
        raise fail("say why: --reason", Exit.USAGE)
    if bool(ids) is bool(incident):
        raise fail("name side effects, or --incident", Exit.USAGE)
    found: dict[str, Any] = client.get("/api/v1/held", ids=",".join(ids), incident=incident)
    if not found["items"]:
        raise fail("nothing is held there", Exit.NOT_NOW)
    if yes and digest != found["digest"]:
        raise fail("--yes needs --digest with the digest of what was read", Exit.USAGE)
    for each in found["items"]:
        _tell(each)
    print(f"{'together':10} {found['digest']}")
    return found


def _counted(found: dict[str, Any]) -> str:
    count = len(found["items"])
    return "this side effect" if count == 1 else f"these {count} side effects"


def _settled(client: Client, ids: list[str]) -> list[dict[str, Any]] | None:
    items: list[dict[str, Any]] = client.get("/api/v1/held", ids=",".join(ids))["items"]
    return None if any(each["status"] == "released" for each in items) else items


def _tell(held: dict[str, Any]) -> None:
    """The whole of it, where whoever asks may read it: nothing is cut."""
    effect = held["effect"]
    for name, value in (("id", held["id"]), ("agent", effect["agent"]), ("tool", effect["tool"]), ("run", effect["run_id"])):
        print(f"{name:10} {visible(str(value), 400)}")
    pretty = effect["arguments"]
    if held["shown"] == "exact":
        pretty = msgspec.json.format(pretty.encode(), indent=2).decode()
    else:
        say(f"{held['id']} is not shown whole: {WHY_NOT[held['shown']]}")
    print(f"{'digest':10} {held['digest']}\n{'arguments':10}\n{visible_block(pretty, len(pretty) + 1)}\n")
