"""`andon notice`: notices to people outside the response, drafted by playbooks, sent by nobody but a person. `andon answer`."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from andoncord.cli.client import Client
from andoncord.cli.exits import Exit
from andoncord.cli.output import Format, OutputOption, fail, say, show_json, show_table
from andoncord.kernel.text import visible, visible_block

app = typer.Typer(no_args_is_help=True)
COLUMNS = ("draft", "audience", "state", "subject", "to", "by", "why")
MAX_FILE = 20_000

Incident = Annotated[str, typer.Argument(metavar="INCIDENT")]
Draft = Annotated[str, typer.Argument(metavar="DRAFT")]
Reason = Annotated[str, typer.Option("--reason", "-r", help="Why; it goes into the record.")]


@app.command("list")
def list_notices(incident: Incident, output: OutputOption = Format.TABLE) -> None:
    """List the notices of an incident, and whom each would go to or has reached."""
    items = Client().get(f"/api/v1/incidents/{incident}/notices")["items"]
    if output is Format.JSON:
        show_json(items)
    else:
        show_table(COLUMNS, [[", ".join(v) if isinstance(v := each[c], list) else v for c in COLUMNS] for each in items])


@app.command()
def show(incident: Incident, draft: Draft) -> None:
    """Print a notice as it would be sent, or as it was: the first line is its subject."""
    found = _found(Client(), incident, draft)
    print(visible(found["subject"], len(found["subject"]) + 1))
    print()
    print(visible_block(found["text"], len(found["text"]) + 1))


@app.command()
def send(
    incident: Incident,
    draft: Draft,
    file: Annotated[
        str, typer.Option("--file", help="The words instead: subject, empty line, text; '-' for standard input.")
    ] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask: it has been read.")] = False,
) -> None:
    """Show a notice, and send it in exactly these words to those whom the settings name."""
    client = Client()
    found = _found(client, incident, draft)
    subject, text = _words(file) if file else (found["subject"], found["text"])
    if not found["to"]:
        raise fail(f"nobody is named for {found['audience']} notices: notices.{found['audience']} in andon.yaml", Exit.NOT_NOW)
    print(f"to: {', '.join(found['to'])}\n{visible(subject, 400)}\n\n{visible_block(text, len(text) + 1)}")
    if not yes:
        typer.confirm("Send it, in exactly these words?", abort=True)
    done = client.post(f"/api/v1/incidents/{incident}/notices/{draft}/send", {"subject": subject, "text": text})
    receipt = client.receipt(done["receipt_url"], timeout_s=35.0)
    if receipt is None or receipt["outcome"] != "done":
        raise fail(f"not sent to all: {receipt['text'] if receipt else 'no receipt yet'}", Exit.UNCONFIRMED)
    say(f"{draft}: {receipt['text']}")


@app.command()
def reject(incident: Incident, draft: Draft, reason: Reason) -> None:
    """Say that a notice is not sent."""
    Client().post(f"/api/v1/incidents/{incident}/notices/{draft}/reject", {"reason": reason})
    say(f"{draft} is not sent")


def answer(
    incident: Incident,
    step: Annotated[str, typer.Argument(metavar="STEP", help="The step that asks, as `andon playbook dry-run` names it.")],
    said: Annotated[str, typer.Argument(metavar="yes|no")],
    reason: Reason = "",
) -> None:
    """Answer what a playbook asks; its next steps look at the answer."""
    Client().post(f"/api/v1/incidents/{incident}/answers", {"step": step, "answer": said, "reason": reason})
    say(f"{step}: {said}")


def _found(client: Client, incident: str, draft: str) -> dict[str, Any]:
    for each in client.get(f"/api/v1/incidents/{incident}/notices")["items"]:
        if each["draft"] == draft:
            return dict(each)
    raise fail(f"{incident} has no draft {draft!r}: andon notice list {incident}", Exit.NOT_FOUND)


def _words(file: str) -> tuple[str, str]:
    try:
        whole = sys.stdin.read(MAX_FILE) if file == "-" else Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise fail(f"{file} cannot be read: {error}", Exit.USAGE) from None
    subject, _, text = whole.strip().partition("\n")
    if not text.strip():
        raise fail(f"{file} needs a subject, an empty line and a text", Exit.USAGE)
    return subject.strip(), text.strip()
