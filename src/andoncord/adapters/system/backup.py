"""Backup of a data directory while its server runs, and restoring it.

The control data is copied before the telemetry. So a restored server has seen no finding that its telemetry does not hold, and
meets again those that came in between, which it knows by their ids. What was ordered after the backup only the guards remember.
"""

import hashlib
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec

from andoncord.adapters.parquet import manifest
from andoncord.adapters.sqlite.connection import connect
from andoncord.adapters.system.lock import DirectoryLock
from andoncord.kernel.errors import CallerError
from andoncord.kernel.time import Instant

LIST_FILE = "backup.json"
CONTROL_FILE = "control.db"
TELEMETRY_FILE = "telemetry.db"
LOCK_FILE = "serve.lock"
FOLDERS = ("evidence", "reviews")
FORMAT = 1
TRIES = 3
"""Snapshots that are taken at most until every segment that one names could be linked: merging goes on meanwhile."""
MODE = 0o700


class BackedUp(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a backup."""

    name: str
    size: int
    sha256: str = ""
    """Of the databases; segments are told by their size."""


class Backup(msgspec.Struct, frozen=True, kw_only=True):
    """What is in a backup: the file `backup.json`, written last."""

    format: int
    taken_ns: int
    has_control: bool
    """False where the control data is in a database server, which has backups of its own."""
    files: tuple[BackedUp, ...]

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)


def back_up(home: Path, target: Path, *, now: Instant) -> Backup:
    """Copy what a data directory holds into a new folder. Its server may go on. Keys and tokens for this machine are left out.

    Raises:
        CallerError: there is nothing to copy, or the folder is not empty.
    """
    if not (home / TELEMETRY_FILE).is_file():
        raise CallerError("there is no record here", place=str(home), remedy="name the data directory with --home")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise CallerError("exists and is not empty", place=str(target), remedy="name a new folder for each backup")
    target.mkdir(parents=True, exist_ok=True, mode=MODE)
    target.chmod(MODE)
    try:
        has_control = (home / CONTROL_FILE).is_file()
        if has_control:
            _copy_database(home / CONTROL_FILE, target / CONTROL_FILE)
        for folder in FOLDERS:
            _link_tree(home / folder, target / folder)
        _copy_telemetry(home, target)
        made = Backup(format=FORMAT, taken_ns=now, has_control=has_control, files=tuple(_listed(target)))
        (target / LIST_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(made)))
    except BaseException:
        # Without its list it is no backup; better none than one that looks like one.
        for child in target.iterdir():
            shutil.rmtree(child) if child.is_dir() else child.unlink()
        raise
    return made


def read_backup(source: Path) -> Backup:
    """What a backup says it holds.

    Raises:
        CallerError: it is no backup, or not whole.
    """
    try:
        made = msgspec.json.decode((source / LIST_FILE).read_bytes(), type=Backup)
    except OSError:
        raise CallerError(f"is no backup: it has no {LIST_FILE}", place=str(source)) from None
    except msgspec.DecodeError as error:
        raise CallerError(f"cannot be read: {error}", place=str(source / LIST_FILE)) from None
    if made.format > FORMAT:
        raise CallerError("was made by a newer version", place=str(source), remedy="update andoncord")
    for file in made.files:
        path = source / file.name
        if not path.is_file() or path.stat().st_size != file.size:
            raise CallerError("is missing or not as it was written", place=str(path), remedy="use another backup")
        if file.sha256 and _sha256(path) != file.sha256:
            raise CallerError("is not as it was written", place=str(path), remedy="use another backup")
    return made


def restore(source: Path, home: Path) -> Backup:
    """Put a backup where a server finds it. The databases come last: before that no server would start on it.

    Raises:
        CallerError: the backup is not whole, a server is running there, or the data directory already has a record.
    """
    made = read_backup(source)
    home.mkdir(parents=True, exist_ok=True, mode=MODE)
    home.chmod(MODE)
    with closing(DirectoryLock(home / LOCK_FILE)):
        for name in (CONTROL_FILE, TELEMETRY_FILE, manifest.FOLDER):
            if (home / name).exists():
                raise CallerError(
                    f"already has a record: {name}", place=str(home), remedy="move it away, or restore into another directory"
                )
        databases = {CONTROL_FILE, TELEMETRY_FILE}
        for file in sorted(made.files, key=lambda each: each.name in databases):
            target = home / file.name
            target.parent.mkdir(parents=True, exist_ok=True, mode=MODE)
            if file.name in databases:
                shutil.copyfile(source / file.name, target)
                target.chmod(0o600)
            else:
                _link(source / file.name, target)
        (home / manifest.FOLDER).mkdir(mode=MODE, exist_ok=True)
    return made


def _copy_telemetry(home: Path, target: Path) -> None:
    """A snapshot of `telemetry.db`, and every segment that it names."""
    segments = target / manifest.FOLDER
    for attempt in range(1, TRIES + 1):
        (target / TELEMETRY_FILE).unlink(missing_ok=True)
        shutil.rmtree(segments, ignore_errors=True)
        segments.mkdir(mode=MODE)
        _copy_database(home / TELEMETRY_FILE, target / TELEMETRY_FILE)
        with closing(connect(target / TELEMETRY_FILE)) as connection:
            # Files that were kept for readers of this directory have none in another.
            connection.execute("DELETE FROM garbage")
            names = manifest.named_files(connection)
            connection.execute("PRAGMA journal_mode = DELETE")
        try:
            for name in names:
                _link(home / manifest.FOLDER / name, segments / name)
        except FileNotFoundError:
            if attempt == TRIES:
                raise CallerError(
                    "a segment that the manifest names is missing", place=str(home), remedy="see `andon doctor`"
                ) from None
        else:
            return


def _copy_database(source: Path, target: Path) -> None:
    """A consistent copy of a database that others go on writing to, in one file."""
    with closing(connect(source, read_only=True)) as original, closing(sqlite3.connect(target)) as copy:
        original.backup(copy)
    target.chmod(0o600)


def _link_tree(source: Path, target: Path) -> None:
    for path in source.rglob("*") if source.is_dir() else ():
        # What is being written has a name that begins with a dot.
        if path.is_file() and not path.name.startswith("."):
            place = target / path.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True, mode=MODE)
            _link(path, place)


def _link(source: Path, target: Path) -> None:
    """The same file under another name, or a copy of it on another disk. None of these files is ever changed in place."""
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copyfile(source, target)


def _listed(folder: Path) -> Iterator[BackedUp]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            is_database = path.suffix == ".db"
            name = path.relative_to(folder).as_posix()
            yield BackedUp(name=name, size=path.stat().st_size, sha256=_sha256(path) if is_database else "")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
