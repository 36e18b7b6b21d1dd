"""Process trees as Linux shows them in /proc: who descends from whom, and whether anyone is still alive.

A child that changes its session or group is still a descendant; one whose parent dies is adopted by the nearest subreaper, and
so stays one. A zombie has ended: it is judged by the states of its threads, not by whether a signal can be sent to it.
"""

import ctypes
import os
import signal
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from andoncord_sdk.inventory import PROC, command_line

ENDED = frozenset("ZXx")
"""States of a process that will never run again."""
STOPPED = frozenset("Tt")
"""States of one that stands until somebody lets it go on."""
_PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One process at one instant. `pid` and `started` together name it for good; a pid alone may be given away again."""

    pid: int
    parent: int
    state: str
    """One letter, as in ps: R running, S sleeping, D in the kernel, T stopped, Z ended."""
    started: int
    """Clock ticks after boot."""
    worked: int = 0
    """Clock ticks of processor time it has used."""

    @property
    def command(self) -> str:
        """Its command line, without obvious secrets and cut; "" where there is none any more."""
        return command_line(self.pid)


def become_subreaper() -> None:
    """Adopt descendants whose parents die, so that they can be found and ended.

    Raises:
        OSError: the kernel refused.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "cannot become a subreaper")


def read_process(pid: int) -> Process | None:
    """The process as it is now, or None if there is none of that number."""
    return read_process_at(PROC / str(pid))


def read_process_at(folder: Path) -> Process | None:
    """The process or thread that a folder of /proc describes, or None if it is gone."""
    try:
        text = (folder / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The name in parentheses may itself contain spaces and parentheses: everything after the last one has fixed places.
    fields = text[text.rindex(")") + 2 :].split()
    return Process(
        pid=int(folder.name),
        parent=int(fields[1]),
        state=fields[0],
        started=int(fields[19]),
        worked=int(fields[11]) + int(fields[12]),
    )


def living_descendants(of_pid: int) -> list[Process]:
    """Every descendant that can still run, parents before children."""
    children: defaultdict[int, list[Process]] = defaultdict(list)
    for entry in os.listdir(PROC):  # noqa: PTH208  # one call instead of an object per entry
        if entry.isdecimal() and (process := read_process(int(entry))) is not None:
            children[process.parent].append(process)
    found: list[Process] = []
    generation = children[of_pid]
    while generation:
        found += generation
        generation = [child for parent in generation for child in children[parent.pid]]
    return [process for process in found if can_run(process)]


def can_run(process: Process) -> bool:
    """Whether any thread of it is left. The process shows the state of its first thread, which may end before the others."""
    return process.state not in ENDED or any(state not in ENDED for state in _thread_states(process.pid))


def is_stopped(process: Process) -> bool:
    """Whether none of its threads runs, as of now."""
    return all(state in STOPPED or state in ENDED for state in _thread_states(process.pid))


def _thread_states(pid: int) -> Iterator[str]:
    try:
        threads = os.listdir(PROC / str(pid) / "task")  # noqa: PTH208
    except OSError:
        return
    for thread in threads:
        if (found := read_process_at(PROC / str(pid) / "task" / thread)) is not None:
            yield found.state


def send(process: Process, number: signal.Signals) -> bool:
    """Signal this very process, never another one that was given its number. Says whether it was there to be signalled."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except OSError:
        return False
    try:
        now = read_process(process.pid)
        if now is None or now.started != process.started or not can_run(now):
            return False
        signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)
    return True
