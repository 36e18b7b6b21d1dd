"""`andon incidents merge`, `split`, `assign`, `note`, `star`, `dispose` and `changes`."""

from typing import Annotated, Any

import typer

from andoncord.cli.client import Client
from andoncord.cli.exits import Exit
from andoncord.cli.incidents import app
from andoncord.cli.output import Format, OutputOption, fail, show_json, show_table
from andoncord.incident.changes import Role
from andoncord.kernel.vocabulary import Disposition

Incident = Annotated[str, typer.Argument(metavar="ID")]
Reason = Annotated[str, typer.Option(help="Why; the record keeps it.")]


@app.command()
def merge(
    incident: Incident, other: Annotated[str, typer.Argument(help="The incident that becomes part of it.")], reason: Reason
) -> None:
    """Make another incident part of this one. Nothing is lost, and what the other held goes on being held."""
    _do(incident, "merge", {"other": other, "reason": reason})
    print(f"{other} is part of {incident}")


@app.command()
def split(
    incident: Incident,
    reason: Reason,
    finding: Annotated[list[str] | None, typer.Option(help="A finding that leaves; may be given several times.")] = None,
    agent: Annotated[str, typer.Option(help="Every finding about this agent leaves.")] = "",
    title: Annotated[str, typer.Option(help="What the new incident is called.")] = "",
) -> None:
    """Give findings an incident of their own, and print its id."""
    done = _do(incident, "split", {"findings": finding or [], "agent": agent, "title": title, "reason": reason})
    print(done["incident"])


@app.command()
def assign(
    incident: Incident,
    role: Role,
    person: Annotated[str, typer.Argument(help="Who has it; empty to leave it open.")],
    reason: Reason = "",
) -> None:
    """Say who commands, who tells everybody else, and who works on the agents."""
    _do(incident, "crew", {"role": role.value, "person": person, "reason": reason})
    print(f"{role.value}: {person or 'nobody'}")


@app.command()
def note(incident: Incident, text: str) -> None:
    """Add a note to the record."""
    _do(incident, "notes", {"text": text})


@app.command()
def star(
    incident: Incident,
    moment: Annotated[str, typer.Argument(help="A moment's id, from `andon incidents timeline -o json`.")],
    remove: Annotated[bool, typer.Option("--remove", help="Take the mark away.")] = False,
) -> None:
    """Mark a moment of the timeline as one that tells the story."""
    _do(incident, "stars", {"moment": moment, "star": not remove})


@app.command()
def dispose(incident: Incident, disposition: Disposition, reason: Reason) -> None:
    """Say what the incident turned out to be. Anything but `real` also closes it, once nothing of it is held."""
    if not reason.strip():
        raise fail("the reason is empty: say how you know", Exit.USAGE)
    _do(incident, "disposition", {"disposition": disposition.value, "reason": reason})
    print(f"{incident}: {disposition.value.replace('_', ' ')}")


@app.command()
def changes(incident: Incident, output: OutputOption = Format.TABLE) -> None:
    """Show who changed what about an incident, and why."""
    items = Client().get(f"/api/v1/incidents/{incident}")["changes"]
    if output is Format.JSON:
        show_json(items)
    else:
        show_table(("at", "by", "what", "why"), [(each["at"], each["by"], each["what"], each["why"]) for each in items])


def _do(incident: str, what: str, body: dict[str, Any]) -> dict[str, Any]:
    done: dict[str, Any] = Client().post(f"/api/v1/incidents/{incident}/{what}", body)
    return done
