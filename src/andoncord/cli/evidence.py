"""`andon evidence`: sealed evidence, taken out of the server and checked without it."""

import os
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import msgspec
import typer
from sqlalchemy.exc import DBAPIError

from andoncord.adapters.sql.database import Database
from andoncord.adapters.sql.journal import SqlJournal
from andoncord.adapters.system.environment import home_directory
from andoncord.adapters.system.signing import PUBLIC_FILE, read_public, signature_problem
from andoncord.app_both import CONTROL_FILE
from andoncord.cli.client import Client
from andoncord.cli.exits import Exit
from andoncord.cli.output import Format, OutputOption, cell, fail, say, show_json, show_table
from andoncord.kernel.errors import CallerError
from andoncord.kernel.text import visible
from andoncord.kernel.time import rfc3339
from andoncord.respond.archive import MANIFEST, MAX_ARCHIVE_BYTES, MAX_FILES, SIGNATURE, Checked, check, unpack

app = typer.Typer(no_args_is_help=True)
SHOWN_LINES = 40
MAX_LINE = 2_000
CAPTURE_S = 10.0


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What is known about a bundle that somebody holds in their hands."""

    ok: bool
    sha256: str
    files: str
    """`verified`, or `changed`."""
    signature: str
    """`verified`, `wrong`, `unsigned`, or `unknown` where no key is pinned."""
    journal: str
    """`verified` where a journal has the digest of this manifest, `wrong` where one has another, else `unknown`."""
    problems: tuple[str, ...]


BundleArgument = Annotated[Path, typer.Argument(metavar="BUNDLE", help="An archive that `export` wrote, or a folder.")]


@app.command("ls")
def list_bundles(incident: Annotated[str, typer.Argument(metavar="INCIDENT")], output: OutputOption = Format.TABLE) -> None:
    """List what was sealed for an incident, and whether it still is what was sealed."""
    items = Client().get(f"/api/v1/incidents/{incident}/evidence")["items"]
    if output is Format.JSON:
        show_json(items)
        return
    columns = ("intent", "agent", "at", "files", "signed", "state", "sha256")
    rows = [
        (
            each["intent"],
            each["agent"],
            rfc3339(each["at_ns"]),
            len(each["files"]),
            "yes" if each["signed_by"] else "no",
            "; ".join(each["problems"]) or "as sealed",
            each["sha256"],
        )
        for each in items
    ]
    show_table(columns, rows)


@app.command()
def capture(
    agent: Annotated[str, typer.Argument(metavar="AGENT")],
    reason: Annotated[str, typer.Option("--reason", "-r", help="Why; it goes into the record.")] = "",
    output: OutputOption = Format.TABLE,
) -> None:
    """Seal evidence about an agent as it is now; nothing is stopped by it."""
    client = Client()
    done = client.post(f"/api/v1/agents/{quote(agent, safe='')}/evidence", {"reason": reason})
    receipt = client.receipt(done["receipt_url"], timeout_s=CAPTURE_S)
    if receipt is None:
        raise fail(f"no receipt within {CAPTURE_S:g} s", Exit.TOO_LONG)
    if output is Format.JSON:
        show_json({**done, "receipt": receipt})
    else:
        print(f"{done['incident']}  {receipt['wanted']}: {receipt['text']}")
    if receipt["outcome"] != "done":
        raise typer.Exit(Exit.UNCONFIRMED)
    say(f"take it out: andon evidence export {done['incident']}")


@app.command()
def export(
    incident: Annotated[str, typer.Argument(metavar="INCIDENT")],
    folder: Annotated[Path, typer.Option("--to", help="Where the archives go.")] = Path(),
) -> None:
    """Write every bundle of an incident to a file of its own. An existing file is not overwritten."""
    client = Client()
    items = client.get(f"/api/v1/incidents/{incident}/evidence")["items"]
    if not items:
        raise fail(f"no evidence was sealed for {incident}", Exit.NOT_FOUND)
    for each in items:
        target = folder / f"{each['intent']}.evidence.zip"
        content = client.content(f"/api/v1/incidents/{incident}/evidence/{each['intent']}/archive")
        try:
            with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(content)
        except OSError as error:
            raise fail(f"{target}: {error.strerror}", Exit.ERROR) from None
        print(target)
        for problem in each["problems"]:
            say(f"{each['intent']}: {problem}")


@app.command()
def verify(
    bundle: BundleArgument,
    key: Annotated[
        Path | None, typer.Option(help=f"The pinned key. Default: {PUBLIC_FILE} of the data directory, where there is one.")
    ] = None,
    home: Annotated[Path | None, typer.Option(help="Data directory with the journal. Default: $ANDON_HOME, if any.")] = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Check a bundle: its files against its manifest, the manifest against the pinned key and against the journal.

    The key in use is never taken from the bundle. Exits with 1 when something does not hold.
    """
    files = _files(bundle)
    verdict = _verdict(files, key=key, home=home or home_directory())
    if output is Format.JSON:
        show_json(verdict)
    else:
        print(f"files      {verdict.files}\nsignature  {verdict.signature}\njournal    {verdict.journal}")
        print(f"manifest   {verdict.sha256}")
        for problem in verdict.problems:
            print(f"  {cell(problem)}")
    if not verdict.ok:
        raise typer.Exit(Exit.ERROR)


@app.command()
def show(
    bundle: BundleArgument,
    file: Annotated[str, typer.Option(help="Print the beginning of this file of it.")] = "",
    output: OutputOption = Format.TABLE,
) -> None:
    """Show what is in a bundle, and how far each fact can be relied on."""
    files = _files(bundle)
    if file:
        if file not in files:
            raise fail(f"the bundle has no {file!r}; it has: {', '.join(sorted(files))}", Exit.NOT_FOUND)
        _show_file(files[file])
        return
    checked = _checked(files)
    if output is Format.JSON:
        show_json(checked)
        return
    manifest = checked.manifest
    print(f"{cell(manifest.get('incident'))}  {cell(manifest.get('agent'))}  sealed {rfc3339(int(manifest['sealed_at_ns']))}")
    show_table(("fact", "state", "why"), [(f["fact"], f["state"], f["why"]) for f in manifest.get("facts", ())])
    print()
    show_table(("file", "bytes", "sha256"), [(f["name"], f["bytes"], f["sha256"]) for f in manifest["files"]])
    for line in (*manifest.get("cut", ()), *checked.problems):
        print(f"  {cell(line)}")


@app.command()
def extract(bundle: BundleArgument, folder: Annotated[Path, typer.Argument(help="A new folder.")]) -> None:
    """Write the files of a bundle into a new folder. Nothing is written outside of it."""
    files = _files(bundle)
    try:
        folder.mkdir(mode=0o700)
    except OSError as error:
        raise fail(f"{folder}: {error.strerror}", Exit.ERROR) from None
    for name, content in files.items():
        with os.fdopen(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
    print(f"{len(files)} files in {folder}")


def _files(bundle: Path) -> dict[str, bytes]:
    """The files of a bundle, within bounds, from an archive or a folder."""
    try:
        if bundle.is_dir():
            return _in_folder(bundle)
        with bundle.open("rb") as file:
            return unpack(file.read(MAX_ARCHIVE_BYTES + 1))
    except OSError as error:
        raise fail(f"{bundle}: {error.strerror}", Exit.NOT_FOUND) from None
    except CallerError as error:
        raise fail(f"{bundle}: {error}", Exit.USAGE) from None


def _in_folder(folder: Path) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for path in sorted(folder.glob("[!.]*"))[:MAX_FILES]:
        if path.is_symlink() or not path.is_file() or path.stat().st_size > MAX_ARCHIVE_BYTES:
            raise CallerError(f"{path.name} is a link, a folder or too large", remedy="this is no evidence bundle")
        found[path.name] = path.read_bytes()
    return found


def _checked(files: dict[str, bytes]) -> Checked:
    try:
        return check(files)
    except CallerError as error:
        raise fail(str(error), Exit.USAGE) from None


def _verdict(files: dict[str, bytes], *, key: Path | None, home: Path) -> Verdict:
    checked = _checked(files)
    problems = list(checked.problems)
    pinned = key or home / PUBLIC_FILE
    signature = "unsigned"
    if SIGNATURE in files:
        signature = "unknown"
        if key or pinned.is_file():
            try:
                problem = signature_problem(files[MANIFEST], files[SIGNATURE], read_public(pinned))
            except CallerError as error:
                raise fail(str(error), Exit.USAGE) from None
            signature = "wrong" if problem else "verified"
            problems += [problem] if problem else []
    elif key:
        problems.append("a key is pinned and the bundle is not signed")
    journal = _in_journal(home / CONTROL_FILE, checked)
    if journal == "wrong":
        problems.append("the journal has no bundle with this digest")
    return Verdict(
        ok=not problems,
        sha256=checked.sha256,
        files="changed" if checked.problems else "verified",
        signature=signature,
        journal=journal,
        problems=tuple(problems),
    )


def _in_journal(path: Path, checked: Checked) -> str:
    """Whether the journal at `path` says that this manifest was sealed for this incident."""
    if not path.is_file():
        return "unknown"
    database = Database.in_file(path, read_only=True)
    incident = str(checked.manifest.get("incident", ""))
    try:
        receipts = (entry.body["receipt"] for entry in SqlJournal(database).read() if _is_receipt(entry, incident))
        return "verified" if any(each.get("detail", {}).get("sha256") == checked.sha256 for each in receipts) else "wrong"
    except DBAPIError:
        return "unknown"
    finally:
        database.close()


def _is_receipt(entry: Any, incident: str) -> bool:
    return bool(entry.kind == "receipt.recorded" and entry.incident == incident)


def _show_file(content: bytes) -> None:
    lines = content.decode("utf-8", "replace").splitlines()
    for line in lines[:SHOWN_LINES]:
        typer.echo(visible(line, MAX_LINE))
    if len(lines) > SHOWN_LINES:
        say(f"{len(lines) - SHOWN_LINES} more lines: extract the bundle to read them")
