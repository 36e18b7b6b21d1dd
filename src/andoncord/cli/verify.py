"""`andon verify`: the record checked offline, without a server."""

import hashlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from sqlalchemy.exc import DBAPIError

from andoncord.adapters.parquet.reader import ParquetTelemetryReader
from andoncord.adapters.sql.database import Database
from andoncord.adapters.sql.journal import SqlJournal
from andoncord.adapters.system.environment import database_from_environment, home_directory
from andoncord.app_both import CONTROL_FILE, NODE_FILE, TELEMETRY_FILE
from andoncord.cli.exits import Exit
from andoncord.cli.output import Format, OutputOption, fail, show_json
from andoncord.kernel.errors import CallerError
from andoncord.kernel.journal import Break, Entry, check
from andoncord.server.feeds import digest_of
from andoncord.telemetry.batch import unpack_body


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """What was checked, and the first thing that does not hold."""

    ok: bool
    entries: int
    head: str
    """Digest of the last entry. Compare it with one kept elsewhere: a tail that was cut off cannot be seen from here."""
    batches: int
    """Telemetry batches compared with their digests in the journal. Batches past their retention are not kept."""
    broken: Break | None = None


def verify(
    home: Annotated[
        Path | None, typer.Option(help="Data directory. Default: $ANDON_HOME, else the user's state folder.")
    ] = None,
    database: Annotated[
        str, typer.Option(help="Control database. Default: $ANDON_DATABASE_URL, else the file in the data directory.")
    ] = "",
    output: OutputOption = Format.TABLE,
) -> None:
    """Check the record offline: every entry against the one before, telemetry against its digests. Finds a changed byte.

    Exits with 1 when something does not hold, and with 3 when there is no record.
    """
    directory = home or home_directory()
    url = database or database_from_environment()
    if not url and not (directory / CONTROL_FILE).is_file():
        raise fail(f"there is no record in {directory}", Exit.NOT_FOUND)
    try:
        checked = check_record(directory, url=url)
    except CallerError as error:
        raise fail(str(error), Exit.USAGE) from None
    if output is Format.JSON:
        show_json(checked)
    elif checked.broken:
        print(f"entry {checked.broken.seq}: {checked.broken.reason}")
    else:
        print(f"{checked.entries} entries, {checked.batches} telemetry batches: the record holds. Head {checked.head}")
    if not checked.ok:
        raise typer.Exit(Exit.ERROR)


def check_record(home: Path, *, url: str = "") -> Checked:
    """Check the journal in `home`, or in the database at `url`, and the telemetry that it holds digests of.

    Raises:
        CallerError: `url` is not the address of a database.
    """
    node = home / NODE_FILE
    seen = _Seen(node.read_text(encoding="utf-8").strip() if node.is_file() else "")
    database = Database(url, read_only=True) if url else Database.in_file(home / CONTROL_FILE, read_only=True)
    try:
        broken = check(seen.passing(SqlJournal(database).read()))
    except DBAPIError as error:
        broken = Break(seq=seen.count + 1, reason=f"cannot be read: {error.orig}")
    finally:
        database.close()
    batches = 0
    if broken is None and (home / TELEMETRY_FILE).is_file():
        try:
            batches, broken = _check_telemetry(home / TELEMETRY_FILE, seen.digests)
        except sqlite3.Error as error:
            broken = Break(seq=seen.count, reason=f"the telemetry cannot be read: {error}")
    return Checked(ok=broken is None, entries=seen.count, head=seen.head, batches=batches, broken=broken)


class _Seen:
    """What went by while the chain was checked."""

    def __init__(self, log: str) -> None:
        self._logs = ("", log)
        self.count = 0
        self.head = ""
        self.digests: list[Entry] = []

    def passing(self, entries: Iterator[Entry]) -> Iterator[Entry]:
        for entry in entries:
            yield entry
            self.count += 1
            self.head = entry.digest
            if entry.kind == "telemetry.digested" and entry.body.get("log", "") in self._logs:
                self.digests.append(entry)


def _check_telemetry(path: Path, digested: list[Entry]) -> tuple[int, Break | None]:
    """Compare every stretch of the ingest log that is still whole with its digest."""
    telemetry = ParquetTelemetryReader(path)
    compared = 0
    for entry in digested:
        first, last = entry.body["first_seq"], entry.body["last_seq"]
        digests: list[str] = []
        for batch in telemetry.batches(first=first, last=last):
            try:
                digests.append(hashlib.sha256(unpack_body(batch.body_gz)).hexdigest())
            except ValueError:
                return compared, Break(seq=entry.seq, reason=f"telemetry batch {batch.seq} cannot be read any more")
        if len(digests) < last - first + 1:
            continue
        if digest_of(digests) != entry.body["sha256"]:
            return compared, Break(seq=entry.seq, reason=f"telemetry batches {first} to {last} do not match their digest")
        compared += len(digests)
    telemetry.close()
    return compared, None
