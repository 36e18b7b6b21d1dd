"""Simulated agents end with the process that started them, even when it is killed and cannot say so."""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def end_with_parent(ending: signal.Signals = signal.SIGKILL) -> None:
    """Have the kernel send `ending` to this process when its parent is gone.

    Works also for a process that holds its interpreter lock for ever, which could watch no pipe. Linux only; elsewhere it does
    nothing.
    """
    if sys.platform != "linux":
        return
    parent = os.getppid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(ending), 0, 0, 0)
    if os.getppid() != parent:  # It went away before the request took effect.
        os.kill(os.getpid(), ending)
