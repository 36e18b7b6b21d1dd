"""`andon serve`."""

import os
import signal
import sys
import threading
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from andoncord import config as configuration
from andoncord.adapters.sql.settings import DatabaseSettings
from andoncord.adapters.system.environment import database_from_environment, home_directory
from andoncord.adapters.system.server_process import ADDRESS_FILE, Announcement
from andoncord.app import Addresses
from andoncord.app import serve as run_server
from andoncord.cli.exits import Exit
from andoncord.cli.output import fail
from andoncord.kernel.errors import CallerError

MAX_PORT = 65_535
TEXT = """\
Andoncord is up. Ctrl-C ends it.
  console    {login_url}
             (works once, for five minutes; `andon login` prints another)
  telemetry  {otlp_url}   OTLP/HTTP: traces and logs, protobuf or JSON
             {grpc_url}   OTLP/gRPC: the same
  API        {api_url}/api/v1
  data       {home}
"""


class Announce(StrEnum):
    """How the server says that it is up."""

    TEXT = "text"
    JSON = "json"


def serve(
    config: Annotated[
        Path | None, typer.Option(help=f"Settings file. Default: {configuration.FILE_NAME} here, else in the data directory.")
    ] = None,
    home: Annotated[
        Path | None, typer.Option(help="Data directory. Default: $ANDON_HOME, else the user's state folder.")
    ] = None,
    api_port: Annotated[
        int | None, typer.Option(min=0, max=MAX_PORT, help="Instead of server.api_port; 0 lets the system choose.")
    ] = None,
    otlp_port: Annotated[
        int | None, typer.Option(min=0, max=MAX_PORT, help="Instead of server.otlp_port; 0 lets the system choose.")
    ] = None,
    grpc_port: Annotated[
        int | None, typer.Option(min=0, max=MAX_PORT, help="Instead of server.grpc_port; 0 lets the system choose.")
    ] = None,
    bind: Annotated[str | None, typer.Option(help="Instead of server.bind.")] = None,
    announce: Annotated[Announce, typer.Option(help="How to say that the server is up.")] = Announce.TEXT,
    while_stdin: Annotated[bool, typer.Option("--while-stdin", hidden=True, help="End when standard input closes.")] = False,
) -> None:
    """Run the server: telemetry in, orders out, API and console.

    Exits with 2 when it cannot start: a setting is wrong, a port is in use, the data directory is in use, or the address can be
    reached from outside without a token.
    """
    directory = (home or home_directory()).absolute()
    if while_stdin:
        threading.Thread(target=_end_with_stdin, name="andoncord-parent", daemon=True).start()
    try:
        file = _settings_file(config, directory)
        settings = configuration.load_file(file)
        changes = {"api_port": api_port, "otlp_port": otlp_port, "grpc_port": grpc_port, "bind": bind}
        chosen = {name: value for name, value in changes.items() if value is not None}
        settings = msgspec.structs.replace(settings, server=msgspec.structs.replace(settings.server, **chosen))
        if url := database_from_environment():
            settings = msgspec.structs.replace(settings, database=DatabaseSettings(url=url))
        run_server(directory, settings, beside=file.parent, on_ready=lambda where: _announce(where, directory, announce))
    except CallerError as error:
        raise fail(str(error), Exit.USAGE) from None


def _end_with_stdin() -> None:
    """Whoever started us holds the other end, and lets go of it however it ends; SIGKILL included."""
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _settings_file(given: Path | None, home: Path) -> Path:
    if given is not None:
        if not given.is_file():
            raise CallerError("there is no such file", place=str(given))
        return given.absolute()
    here = Path(configuration.FILE_NAME)
    return here.absolute() if here.is_file() else home / configuration.FILE_NAME


def _announce(where: Addresses, home: Path, how: Announce) -> None:
    said = Announcement(
        api_url=where.api_url,
        otlp_url=where.otlp_url,
        grpc_url=where.grpc_url,
        login_url=where.login_url,
        pid=os.getpid(),
    )
    # The login link is for whoever started the server, and stays out of files.
    public = msgspec.structs.replace(said, login_url="")
    (home / ADDRESS_FILE).write_bytes(msgspec.json.encode(public))
    if how is Announce.JSON:
        sys.stdout.write(msgspec.json.encode(said).decode() + "\n")
    else:
        sys.stdout.write(TEXT.format(home=home, **msgspec.structs.asdict(said)))
    sys.stdout.flush()
