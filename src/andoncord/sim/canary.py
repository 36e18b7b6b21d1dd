"""The canary: a synthetic agent that does nothing but take steps, so that stopping it can be measured through the real path.

ANDON_TOKEN=… python -m andoncord.sim.canary --name NAME --server URL --telemetry URL

It writes one line to standard output for each step it takes (`step <monotonic ns>`) and one when it is stopped: evidence that
does not come from the guard. It ends when its standard input closes.
"""

import argparse
import os
import sys
import threading
import time
from collections.abc import Sequence

from andoncord.sim.parent import end_with_parent
from andoncord_sdk import AgentStopped, Guard, GuardError

STEP_EVERY_S = 0.01
HEARTBEAT_S = 0.25
TOOL = "canary.sing"


def sing(guard: Guard, closing: threading.Event) -> None:
    """Take a step every `STEP_EVERY_S` seconds until stopped; each step differs from the last, so that it is no loop."""

    def step(number: int) -> int:
        print(f"step {time.monotonic_ns()}", flush=True)
        return number

    number = 0
    try:
        with guard.run("canary") as run:
            while not closing.wait(STEP_EVERY_S):
                number += 1
                run.call(TOOL, step, number=number)
    except AgentStopped:
        print(f"stopped {time.monotonic_ns()}", flush=True)
    except GuardError as refusal:
        print(f"refused {refusal.code}", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Sing until stopped; leave when standard input closes."""
    parser = argparse.ArgumentParser(prog="python -m andoncord.sim.canary")
    for option in ("--name", "--server", "--telemetry"):
        parser.add_argument(option, required=True)
    options = parser.parse_args(arguments)
    end_with_parent()
    guard = Guard(
        options.name,
        server=options.server,
        telemetry=options.telemetry,
        token=os.environ.get("ANDON_TOKEN"),
        tools={TOOL: "read"},
        environment="test",
        heartbeat_s=HEARTBEAT_S,
    )
    closing = threading.Event()
    singer = threading.Thread(target=sing, args=(guard, closing), name="canary", daemon=True)
    singer.start()
    sys.stdin.read()
    closing.set()
    singer.join(timeout=1.0)
    guard.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
