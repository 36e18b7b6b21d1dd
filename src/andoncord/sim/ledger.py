"""Two agents that only write: what the demo shows the death of the control plane with.

ANDON_TOKEN=… python -m andoncord.sim.ledger --server URL --telemetry URL --folder PATH

Each keeps a file of its own account, one line for each write that was let through (`write <monotonic ns>`) and for each that
was refused for want of a lease (`refused <monotonic ns>`): evidence that does not come from the guard.
"""

import argparse
import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from andoncord.sim.parent import end_with_parent
from andoncord_sdk import CallDenied, Guard, GuardError

AGENTS = ("ledger", "archive")
TOOL = "ledger.write"
WRITE_EVERY_S = 0.02
WRITES_PER_RUN = 100
HEARTBEAT_S = 0.25


def account_of(folder: Path, agent: str) -> Path:
    """The file in which an agent keeps its account."""
    return folder / f"{agent}.account"


def keep_writing(guard: Guard, account: Path) -> None:
    """Write for ever, each line another, in one run after the other."""
    pause = threading.Event()
    number = 0
    with account.open("a", buffering=1, encoding="utf-8") as file:

        def write(line: int) -> int:
            file.write(f"write {time.monotonic_ns()}\n")
            return line

        while True:
            try:
                with guard.run("keep the books") as run:
                    for _ in range(WRITES_PER_RUN):
                        number += 1
                        try:
                            run.call(TOOL, write, line=number)
                        except CallDenied as refusal:
                            if refusal.code == "lease":
                                file.write(f"refused {time.monotonic_ns()}\n")
                        pause.wait(WRITE_EVERY_S)
            except GuardError:
                pause.wait(WRITE_EVERY_S)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write until ended."""
    parser = argparse.ArgumentParser(prog="python -m andoncord.sim.ledger")
    for option in ("--server", "--telemetry", "--folder"):
        parser.add_argument(option, required=True)
    options = parser.parse_args(arguments)
    end_with_parent()
    for agent in AGENTS:
        guard = Guard(
            agent,
            server=options.server,
            telemetry=options.telemetry,
            token=os.environ.get("ANDON_TOKEN"),
            tools={TOOL: "write"},
            environment="test",
            heartbeat_s=HEARTBEAT_S,
        )
        account = account_of(Path(options.folder), agent)
        threading.Thread(target=keep_writing, args=(guard, account), name=agent, daemon=True).start()
    threading.Event().wait()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
