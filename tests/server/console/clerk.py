"""An agent for the browser test: reads a note over and over through the guard, and ends when its standard input does."""

import sys
import threading

from andoncord_sdk import Guard, RunStopped


def work(server: str, telemetry: str, token: str, over: threading.Event) -> None:
    """Run after run, one short step after the other, held when the guard is."""
    guard = Guard("clerk", server=server, telemetry=telemetry, token=token, tools={"notes.read": "read"}, environment="prod")
    number = 0
    while not over.is_set():
        if not guard.wait_released(timeout=0.2):
            continue
        try:
            with guard.run("read the notes") as run:
                while not over.wait(0.05):
                    number += 1
                    run.call("notes.read", lambda number: f"note {number}", number=number)
        except RunStopped:
            continue
    guard.close()


def watch(over: threading.Event) -> None:
    """Say that it is over when the one who started this process lets go of its standard input."""
    sys.stdin.read()
    over.set()


if __name__ == "__main__":
    api_url, otlp_url, agent_token = sys.argv[1:]
    ended = threading.Event()
    threading.Thread(target=watch, args=(ended,), daemon=True).start()
    work(api_url, otlp_url, agent_token, ended)
