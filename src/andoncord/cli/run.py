"""`andon run`: an agent's command under the supervisor."""

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from andoncord.adapters.system.environment import token_from_environment
from andoncord.cli.client import known_telemetry, server_address
from andoncord.cli.exits import Exit
from andoncord.cli.output import fail
from andoncord.kernel.access import AGENT_PREFIX


def run(
    command: Annotated[list[str], typer.Argument(metavar="-- COMMAND…", help="Program and arguments.", show_default=False)],
    agent: Annotated[str, typer.Option(help="The agent's name. Default: the program's name.")] = "",
    on_pause: Annotated[
        Literal["freeze", "leave"],
        typer.Option(help="freeze: pause freezes the whole process tree, kill ends it. leave: both are up to its guard."),
    ] = "freeze",
    hide_token: Annotated[bool, typer.Option("--hide-token", help="Keep $ANDON_TOKEN from an agent without a guard.")] = False,
    telemetry: Annotated[
        str, typer.Option(help="Where a start without an answer is reported. Default: as the server here says, else port 4318.")
    ] = "",
    run_tokens: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Make a token for this run, for an MCP proxy that looks into the same folder."),
    ] = None,
    run_token_env: Annotated[str, typer.Option(help="The command's variable that has that token.")] = "ANDON_RUN_TOKEN",
    no_cgroup: Annotated[bool, typer.Option("--no-cgroup", help="Stop by signals even where a cgroup could be made.")] = False,
) -> None:
    """Start any agent so that it can be paused, resumed and killed, even one that never heard of Andoncord. Linux only.

    Needs a token that is bound to the agent in $ANDON_TOKEN: `andon token create NAME --agent NAME`. Ends as the command ends.
    """
    name = agent or Path(command[0]).name
    if not token_from_environment().startswith(AGENT_PREFIX):
        raise fail(
            f"ANDON_TOKEN holds no token of an agent; make one with: andon token create {name} --agent {name}", Exit.NOT_ALLOWED
        )
    options = [
        "--agent",
        name,
        "--server",
        server_address(),
        "--on-pause",
        on_pause,
        "--telemetry",
        telemetry or known_telemetry(),
    ]
    if run_tokens is not None:
        options += ["--run-tokens", str(run_tokens), "--run-token-env", run_token_env]
    options += ["--hide-token"] * hide_token + ["--no-cgroup"] * no_cgroup
    sys.stdout.flush()
    sys.stderr.flush()
    # In our place: signals, terminal and exit code are then those of the supervisor.
    os.execv(sys.executable, [sys.executable, "-m", "andoncord_sdk.supervise", *options, "--", *command])
