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

from andoncord_sdk.inventory import PROC, command_line

STAT_MAX_BYTES = 2048
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
    group: int = 0
    session: int = 0
    threads: int = 1
    worked: int = 0
    """Clock ticks of processor time it has used."""

    @property
    def key(self) -> tuple[int, int]:
        """What names it for good."""
        return self.pid, self.started

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
    return _read(f"{PROC}/{pid}/stat", pid)


def own_identity() -> dict[str, str | int]:
    """What names this process on its machine for good: number, start, and the boot and pid namespace that these belong to.

    Empty where there is no /proc to tell.
    """
    try:
        own = read_process(os.getpid())
        boot = (PROC / "sys/kernel/random/boot_id").read_text().strip()
        namespace = str((PROC / "self/ns/pid").readlink())
    except OSError:
        return {}
    return {} if own is None else {"pid": own.pid, "started": own.started, "boot": boot, "namespace": namespace}


def _read(path: str, number: int) -> Process | None:
    """The process or thread that a stat file describes, or None if it is gone. A tree is read often: so, without ceremony."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        text = os.read(file, STAT_MAX_BYTES)
    except OSError:
        return None  # It ended between opening and reading.
    finally:
        os.close(file)
    # The name in parentheses may itself contain spaces and parentheses: everything after the last one has fixed places.
    fields = text[text.rindex(b")") + 2 :].split()
    return Process(
        pid=number,
        parent=int(fields[1]),
        state=chr(fields[0][0]),
        group=int(fields[2]),
        session=int(fields[3]),
        threads=int(fields[17]),
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
    if process.state not in ENDED:
        return True
    return process.threads > 1 and any(state not in ENDED for state in _thread_states(process.pid))


def is_stopped(process: Process) -> bool:
    """Whether none of its threads runs."""
    if process.threads == 1:
        return process.state in STOPPED or process.state in ENDED
    return all(state in STOPPED or state in ENDED for state in _thread_states(process.pid))


def _thread_states(pid: int) -> Iterator[str]:
    try:
        threads = os.listdir(f"{PROC}/{pid}/task")  # noqa: PTH208
    except OSError:
        return
    for thread in threads:
        if (found := _read(f"{PROC}/{pid}/task/{thread}/stat", int(thread))) is not None:
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


def send_group(group: int, number: signal.Signals) -> None:
    """Signal a process group at once: no member gets away by forking, as it can from signals sent one by one."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        pass  # It has ended meanwhile; or nobody in it is ours to signal, and the next look shows them.
