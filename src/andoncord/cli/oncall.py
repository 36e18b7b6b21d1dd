"""`andon oncall`: who is on call, whether they can be reached, and what will hurt in the night."""

from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from andoncord.adapters.system.clock import SystemClock
from andoncord.cli.client import Client
from andoncord.cli.exits import Exit
from andoncord.cli.output import Format, OutputOption, cell, fail, say, show_json, show_table
from andoncord.kernel.errors import CallerError

app = typer.Typer(no_args_is_help=True)


@app.command()
def who(
    days: Annotated[int, typer.Option(help="Show the shifts of so many days ahead.")] = 0,
    output: OutputOption = Format.TABLE,
) -> None:
    """Say who is on call now."""
    found = Client().get("/api/v1/oncall", days=days)
    if output is Format.JSON:
        show_json(found)
        return
    rotas: list[dict[str, Any]] = found["rotas"]
    if days:
        rows = [(each["rota"], shift["from"], shift["until"], shift["person"]) for each in rotas for shift in each["shifts"]]
        show_table(("rota", "from", "until", "person"), [(*row[:3], row[3] or "nobody") for row in rows])
    else:
        rows = [(each["rota"], each["person"] or "nobody", each["until"], ", ".join(each["channels"])) for each in rotas]
        show_table(("rota", "person", "until", "channels"), rows)
    if not rotas:
        say("no rota is configured: add oncall.rotas to andon.yaml")
    for doubt in found["doubts"]:
        say(f"{cell(doubt['text'])}: {cell(doubt['remedy'])}")


@app.command("test")
def send_test(
    to: Annotated[
        str, typer.Argument(metavar="[NAME]", help="A rota, a person or a channel; everybody without it.", show_default=False)
    ] = "",
    output: OutputOption = Format.TABLE,
) -> None:
    """Send a test message, and say what became of it. Exits with 6 when it did not reach everybody it was for."""
    came = Client().post("/api/v1/oncall/test", {"to": to})
    if output is Format.JSON:
        show_json(came)
    else:
        for each in came.get("deliveries", []):
            print(f"{each['state']:10} {cell(each['channel'])} {cell(each['person'])} {cell(each['why'])}".rstrip())
        for text in came.get("missing", []):
            say(cell(text))
    if came["outcome"] != "done":
        raise typer.Exit(Exit.UNCONFIRMED)


@app.command()
def deliveries(
    incident: Annotated[str, typer.Argument(metavar="INCIDENT")],
    output: OutputOption = Format.TABLE,
) -> None:
    """Say what became of every message about an incident, on its way to everybody it was for."""
    found: list[dict[str, Any]] = Client().get(f"/api/v1/incidents/{incident}/deliveries")["items"]
    if output is Format.JSON:
        show_json(found)
        return
    rows = [(e["at"], e["state"], e["channel"], e["person"], str(e["attempts"]), e["provider_id"], e["why"]) for e in found]
    show_table(("at", "state", "channel", "person", "attempts", "provider id", "why"), rows)
    if not found:
        say(f"nobody was told about {incident}")


@app.command()
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The settings file.")] = Path("andon.yaml"),
    output: OutputOption = Format.TABLE,
) -> None:
    """Find in a settings file what would hurt in the night: gaps within a week, people and levels that nothing reaches.

    Nothing is sent. Exits with 1 when something was found.
    """
    from andoncord import config as configuration
    from andoncord.app_channels import channels_of, trackers_of

    if not file.is_file():
        raise fail(f"{file} is not there", Exit.NOT_FOUND)
    clock = SystemClock()
    try:
        config = configuration.load_file(file)
        oncall = configuration.load_oncall(config, beside=file.parent)
        channels_of(config, beside=file.parent, clock=clock)
        trackers_of(config, beside=file.parent, clock=clock)
        config.alertmanager.check()
    except CallerError as error:
        raise fail(str(error), Exit.ERROR) from None
    doubts = list(oncall.doubts(clock.now()))
    if oncall.escalation is None:
        doubts.append(("nobody is paged, whatever happens", "add oncall.escalation"))
    if output is Format.JSON:
        show_json([{"text": text, "remedy": remedy} for text, remedy in doubts])
    else:
        for text, remedy in doubts:
            print(f"{text}: {remedy}")
    if doubts:
        raise typer.Exit(Exit.ERROR)
    say("everybody can be reached, and no rota has a gap in the next 7 days")


@app.command()
def schema() -> None:
    """Print the JSON schema of the section `oncall`, for editors."""
    from andoncord.respond.oncall import Oncall

    show_json(msgspec.json.schema(Oncall))
