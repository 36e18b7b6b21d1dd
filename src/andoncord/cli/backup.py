"""`andon backup` and `andon restore`: the data directory, copied while the server runs."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from andoncord.adapters.system.backup import Backup, back_up
from andoncord.adapters.system.backup import restore as restore_backup
from andoncord.adapters.system.clock import SystemClock
from andoncord.adapters.system.environment import home_directory
from andoncord.cli.exits import Exit
from andoncord.cli.output import Format, OutputOption, fail, say, show_json
from andoncord.kernel.errors import CallerError
from andoncord.kernel.time import rfc3339

HomeOption = Annotated[Path | None, typer.Option(help="Data directory. Default: $ANDON_HOME, else the user's state folder.")]
MIB = 1024 * 1024


def backup(
    folder: Annotated[Path, typer.Argument(help="A new folder for this backup.")],
    home: HomeOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Copy the whole record into a new folder while the server runs: journal, telemetry, evidence, reviews.

    Segments are linked, not copied, where both are on one disk. Tokens still work after a restore; the keys that belong to this
    machine (`admin.token`, `lease.key`, `vault.key`) are not copied and are made anew.
    """
    try:
        made = back_up(home or home_directory(), folder, now=SystemClock().now())
    except CallerError as error:
        raise fail(str(error), Exit.ERROR) from None
    _show(made, folder, output)
    if not made.has_control:
        say("the control data is in a database server: dump that one first, then run this again, and keep both together")


def restore(
    folder: Annotated[Path, typer.Argument(help="A folder that `andon backup` wrote.")],
    home: HomeOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Put a backup into a data directory that has no record yet.

    An agent whose guards know newer orders than the backup is held until a person has looked.
    """
    try:
        made = restore_backup(folder, home or home_directory())
    except CallerError as error:
        raise fail(str(error), Exit.ERROR) from None
    _show(made, home or home_directory(), output)


def _show(made: Backup, place: Path, output: Format) -> None:
    if output is Format.JSON:
        show_json({"folder": str(place), **msgspec.to_builtins(made)})
    else:
        taken = rfc3339(made.taken_ns)
        typer.echo(f"{len(made.files)} files, {made.size / MIB:.1f} MiB, as of {taken}, in {place}")
