"""`andon incidents`."""

from typing import Annotated, Any

import typer

from andoncord.cli.client import Client
from andoncord.cli.output import Format, OutputOption, cell, show_json, show_table

app = typer.Typer(no_args_is_help=True)
COLUMNS = ("id", "state", "severity", "sev", "agents", "containment", "contained_in_s", "awaiting", "title")


@app.command("ls")
def list_incidents(
    state: Annotated[str, typer.Option(help="open, all, or one state of the lifecycle.")] = "all",
    limit: Annotated[int, typer.Option(help="At most so many.")] = 50,
    output: OutputOption = Format.TABLE,
) -> None:
    """List incidents, the worst and newest first."""
    items = Client().get("/api/v1/incidents", state=state, limit=limit)["items"]
    if output is Format.JSON:
        show_json(items)
    else:
        show_table(COLUMNS, [[each[column] for column in COLUMNS] for each in items])


@app.command()
def show(incident: Annotated[str, typer.Argument(metavar="ID")], output: OutputOption = Format.TABLE) -> None:
    """Show everything about one incident."""
    view = Client().get(f"/api/v1/incidents/{incident}")
    if output is Format.JSON:
        show_json(view)
    else:
        _tell(view)


@app.command()
def timeline(incident: Annotated[str, typer.Argument(metavar="ID")], output: OutputOption = Format.TABLE) -> None:
    """Show what happened, in order of time; the moments that tell the story are marked."""
    moments = Client().get(f"/api/v1/incidents/{incident}")["timeline"]
    if output is Format.JSON:
        show_json(moments)
        return
    rows = [("*" if each["key"] else " ", each["at"], each["kind"], each["agent"], each["text"]) for each in moments]
    show_table(("", "at", "kind", "agent", "text"), rows)


def _tell(view: dict[str, Any]) -> None:
    print(f"{view['id']}  {cell(view['title'])}")
    facts = (
        "state",
        "severity",
        "sev",
        "category",
        "pattern",
        "agents",
        "environment",
        "opened_at",
        "containment",
        "contained_in_s",
    )
    for fact in facts:
        print(f"  {fact:15} {cell(view[fact])}")
    print(f"  {'impact':15} {cell(view['impact'].get('text'))}")
    _tell_extent(view)
    if view["next"]:
        print(f"\nnext: {cell(view['next']['title'])}\n  {cell(view['next']['why'])}")
    _list("verdicts", view["verdicts"], lambda each: f"{each['verdict']}  {'; '.join(each['missing'] or each['evidence'])}")
    _list("receipts", view["receipts"], lambda each: f"{each['at']}  {each['text']}")
    _list(
        "root causes",
        view["root_causes"],
        lambda each: f"{each['score']:.2f}  {each['claim']} {each['type']}: {each['summary']}",
    )
    _list(
        "responsible",
        view["responsible"],
        lambda each: f"{each['score']:.2f}  {each['agent']} {each['span_id']}: {each['why']}",
    )
    _list("findings", view["findings"], lambda each: f"{each['severity']}  {each['rule']}: {each['summary']}")


def _tell_extent(view: dict[str, Any]) -> None:
    """When it began, what kinds of incident it is, and how far it reaches."""
    between = ""
    if view["onset_earliest_at"] and view["onset_earliest_at"] != view["onset_latest_at"]:
        between = f", between {view['onset_earliest_at']} and {view['onset_latest_at']}"
    print(f"  {'began':15} {view['onset_at']}{between} ({view['onset_basis']})")
    also = [
        f"{each['category']} {each['score']:.2f}" for each in view["categories"] if each["holds"] and not each["is_primary"]
    ]
    if also:
        print(f"  {'also':15} {', '.join(also)}")
    reach = view["blast_radius"]
    if reach:
        told = [
            f"{each['runs']} runs of {len(each['agents'])} agents, {each['effects']} effects, {len(each['systems'])} systems"
            for each in (reach["exact"], reach["possible"])
        ]
        print(f"  {'reaches':15} for certain {told[0]}")
        print(f"  {'':15} possibly {told[1]}; {reach['at_risk']} other runs of the same versions")


def _list(title: str, items: list[dict[str, Any]], line: Any) -> None:
    if items:
        print(f"\n{title}:")
        for each in items:
            print(f"  {cell(line(each))}")
