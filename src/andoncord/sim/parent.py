"""Simulated processes end with the one that started them, even when it is killed and cannot say so.

python -m andoncord.sim.parent PID SIGNAL COMMAND…

becomes the command, which gets the signal when process PID, its parent, is gone.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

PR_SET_PDEATHSIG = 1
STARTER = "ANDON_SIM_STARTER"
"""Names the process that all of a simulation belong to."""
NOBODY_LEFT = 1


def end_with_parent(ending: signal.Signals = signal.SIGKILL, *, environment: Mapping[str, str] = os.environ) -> None:
    """Have the kernel send `ending` to this process when its parent is gone; and now, if whoever started it is gone already.

    Works also for a process that holds its interpreter lock for ever, which could watch no pipe. Linux only; elsewhere it does
    nothing.
    """
    if sys.platform != "linux":
        return
    parent = os.getppid()
    _ask(ending)
    # Between its start and this line the parent may have been killed, and somebody else's child is what it is then.
    is_orphan = os.getppid() != parent
    if starter := environment.get(STARTER):
        is_orphan = int(starter) not in (parent, _parent_of(parent)) or is_orphan
    if is_orphan:
        os.kill(os.getpid(), ending)


def bound_to(pid: int, ending: signal.Signals, command: Sequence[str]) -> list[str]:
    """The command by which process `pid` starts `command` so that it never outlives it."""
    if sys.platform != "linux":
        return list(command)
    return [sys.executable, "-m", "andoncord.sim.parent", str(pid), ending.name, *command]


def main() -> None:
    """Become the command, unless whoever wanted it is gone."""
    starter, ending, *command = sys.argv[1:]
    _ask(signal.Signals[ending])
    if os.getppid() != int(starter):
        raise SystemExit(NOBODY_LEFT)
    os.execvp(command[0], command)


def _ask(ending: signal.Signals) -> None:
    """The request outlives exec."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(ending), 0, 0, 0)


def _parent_of(pid: int) -> int:
    """0 where that cannot be read, because the process is gone."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
    except OSError:
        return 0


if __name__ == "__main__":
    main()
