"""A small process that ends others when the one that started it is gone.

It reads process ids from its standard input, one a line. When the input ends without `done`, its parent was killed and could
not tidy up: every process it was told of is asked to end, and after a moment made to.
"""

import os
import signal
import subprocess
import sys
import threading

GRACE_S = 3.0


def _send(pids: list[int], ending: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, ending)
        except ProcessLookupError:
            pass


def main() -> None:
    """Watch until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    pids: list[int] = []
    for line in sys.stdin:
        word = line.strip()
        if word == "done":
            return
        pids.append(int(word))
    _send(pids, signal.SIGTERM)
    threading.Event().wait(GRACE_S)
    _send(pids, signal.SIGKILL)


def start() -> "subprocess.Popen[str]":
    """Start the watch; write process ids to its `stdin`."""
    return subprocess.Popen(
        [sys.executable, "-m", "andoncord.sim.watch"], stdin=subprocess.PIPE, text=True, start_new_session=True
    )


if __name__ == "__main__":
    main()
