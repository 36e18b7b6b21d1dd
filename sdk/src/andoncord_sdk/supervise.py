"""Start an agent's command, and be able to stop it: the command line of `Supervisor`.

python -m andoncord_sdk.supervise --agent NAME [--server URL] [--token-env VAR] [--on-pause freeze|leave] -- COMMAND…
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from andoncord_sdk import _platform
from andoncord_sdk.run_tokens import RunTokens
from andoncord_sdk.supervisor import DEFAULT_TOKEN_VARIABLE, Supervisor
from andoncord_sdk.wire import Endpoint


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m andoncord_sdk.supervise", description="Start an agent and be able to stop it."
    )
    parser.add_argument("--agent", required=True, help="the agent's name")
    parser.add_argument("--server", default="http://127.0.0.1:8420", help="the control plane (default: %(default)s)")
    parser.add_argument("--telemetry", default="http://127.0.0.1:4318", help="the OTLP receiver (default: %(default)s)")
    parser.add_argument("--token-env", default="ANDON_TOKEN", help="variable that holds the token (default: %(default)s)")
    parser.add_argument("--hide-token", action="store_true", help="keep that variable from the command, which has no guard")
    parser.add_argument("--instance", help="names this supervisor (default: made up)")
    parser.add_argument(
        "--on-pause",
        choices=("freeze", "leave"),
        default="freeze",
        help="freeze the tree on pause and end it on kill, or leave both to the guard in the agent (default: %(default)s)",
    )
    parser.add_argument(
        "--run-tokens", type=Path, metavar="FOLDER", help="make a token for each start, for an MCP proxy that looks there"
    )
    parser.add_argument(
        "--run-token-env", default=DEFAULT_TOKEN_VARIABLE, help="the command's variable that has it (default: %(default)s)"
    )
    parser.add_argument("--no-cgroup", action="store_true", help="stop by signals even where a cgroup could be made")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND", help="program and arguments")
    given = parser.parse_args(arguments)
    command = given.command[1:] if given.command[:1] == ["--"] else given.command
    if not command:
        parser.error("name the command after --")
    if not _platform.LINUX:
        parser.error("a supervisor needs Linux: only there can it prove that a process tree is empty")
    try:
        token = _platform.environment_variable(given.token_env)
        endpoint, telemetry = Endpoint(given.server, token), Endpoint(given.telemetry, token)
    except ValueError as mistake:
        parser.error(f"--server and --telemetry: {mistake}")
    try:
        tokens = None if given.run_tokens is None else RunTokens(given.run_tokens)
    except (ValueError, OSError) as wrong:
        parser.error(f"--run-tokens: {wrong}")
    try:
        return Supervisor(
            given.agent,
            command,
            endpoint,
            telemetry=telemetry,
            instance=given.instance,
            on_pause=given.on_pause,
            environment=_platform.environment_without(given.token_env) if given.hide_token else None,
            tokens=tokens,
            token_variable=given.run_token_env,
            may_use_cgroup=not given.no_cgroup,
        ).supervise()
    except OSError as missing:
        if missing.filename is None:
            raise
        print(f"supervise: {missing}", file=sys.stderr)  # noqa: T201  # a command line speaks to its terminal
        return 127 if isinstance(missing, FileNotFoundError) else 126


if __name__ == "__main__":
    raise SystemExit(main())
