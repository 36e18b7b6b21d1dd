"""One command and everything that descends from it: started, frozen, let go, ended; and what the kernel says of it.

In a cgroup of its own where one can be made, else by signals to every descendant. Either way /proc has the last word: nothing
is called frozen that does not stand, nor empty while a descendant can run.
"""

import os
import select
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from andoncord_sdk import _platform
from andoncord_sdk.cgroup import Cgroup, CgroupUnavailableError
from andoncord_sdk.inventory import take_inventory
from andoncord_sdk.proctree import STOPPED, Process, is_stopped, living_descendants, send, send_group

FREEZE_MAX_S = 1.0
"""A tree that does not stand by then is reported as not frozen."""
FREEZE_BEFORE_END_S = 0.2
"""Ending does not wait longer for what will not stand: it is ended as it is."""
DESCRIBED_BEFORE_END_MAX = 24
"""Processes: evidence must not hold up the end."""
PRIORITY_TO_END = -20
END_MAX_S = 3.0
"""A tree that is not empty by then is reported as not empty."""
POLL_S = 0.005
"""Between two looks at a tree that is being frozen or ended."""
PIDS_MAX = 256

Mode = Literal["cgroup", "process_group"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What was seen of a tree at one instant."""

    is_frozen: bool
    """Everything in it stands, or nothing is in it."""
    pids: tuple[int, ...]
    worked: int
    """Clock ticks of processor time that those processes have used: it does not move while they stand."""

    @property
    def is_empty(self) -> bool:
        return not self.pids


class ProcessTree:
    """Runs one command at a time. Not thread-safe; the process must be a subreaper, and have no other children.

    Args:
        name: of the cgroup, unique on this machine.
        environment: the command's; ours if None.
        may_use_cgroup: False to use signals even where a cgroup could be made.
    """

    def __init__(
        self, command: Sequence[str], *, name: str, environment: Mapping[str, str] | None = None, may_use_cgroup: bool = True
    ) -> None:
        self._command = list(command)
        self._environment = environment
        self._child: subprocess.Popen[bytes] | None = None
        self._code: int | None = None
        self._stood_before: set[tuple[int, int]] | None = None
        """Who stood before we froze the tree, and is not ours to let go on; None while it is not frozen."""
        self._cgroup: Cgroup | None = None
        self.why_no_cgroup = "" if may_use_cgroup else "not wanted"
        if may_use_cgroup:
            try:
                self._cgroup = Cgroup.create(name)
            except CgroupUnavailableError as lacking:
                self.why_no_cgroup = str(lacking)

    @property
    def mode(self) -> Mode:
        """What freezes and ends it."""
        return "process_group" if self._cgroup is None else "cgroup"

    @property
    def pid(self) -> int | None:
        """Of the command itself, while it runs."""
        return None if self._child is None else self._child.pid

    def start(self) -> int:
        """Start the command in a session of its own, so that Ctrl-C in the terminal reaches us alone; its pid."""
        self._stood_before = self._code = None
        if self._cgroup is None:
            self._child = subprocess.Popen(self._command, start_new_session=True, env=self._environment)
        else:
            with self._cgroup.entered():
                self._child = subprocess.Popen(self._command, start_new_session=True, env=self._environment)
        return self._child.pid

    def reap(self) -> int | None:
        """Take in every child that has ended, ours or adopted. The command's exit code, once, if it has ended."""
        self._bury()
        code, self._code = self._code, None
        return code

    def _bury(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if self._child is not None and pid == self._child.pid:
                ended = os.waitstatus_to_exitcode(status)
                self._child.returncode = ended
                self._child = None
                self._code = ended if ended >= 0 else 128 - ended

    def freeze(self, *, at_most_s: float = FREEZE_MAX_S) -> dict[str, Any]:
        """Stop everything where it is; then what it is, in the states it was in before."""
        return take_inventory(self._freeze(at_most_s))

    def _freeze(self, at_most_s: float) -> list[Process]:
        deadline_s = _platform.monotonic_s() + at_most_s
        self._bury()
        living = living_descendants(_platform.pid())
        before = {process.key: process for process in living}
        if self._stood_before is None:
            self._stood_before = {process.key for process in living if process.state in STOPPED}
        is_frozen = False
        if self._cgroup is not None:
            self._cgroup.freeze(at_most_s)
            look, living = self._see()
            is_frozen = look.is_frozen
        while not is_frozen and _platform.monotonic_s() < deadline_s:
            self._signal(signal.SIGSTOP, [process for process in self._beyond_cgroup(living) if not is_stopped(process)])
            self._bury()
            look, living = self._see()
            is_frozen = look.is_frozen
            if not is_frozen:
                _pause()
        return [before.get(process.key, process) for process in living]

    def thaw(self) -> None:
        """Let everything that we stopped go on."""
        if self._cgroup is not None:
            self._cgroup.thaw()
        stood_before, self._stood_before = self._stood_before, None
        if stood_before is not None:
            for process in self._beyond_cgroup(living_descendants(_platform.pid())):
                if process.state in STOPPED and process.key not in stood_before:
                    send(process, signal.SIGCONT)

    def look(self) -> Look:
        """Look at it once."""
        return self._see()[0]

    def _see(self) -> tuple[Look, list[Process]]:
        living = living_descendants(_platform.pid())
        stands = self._cgroup is None or self._cgroup.is_frozen
        look = Look(
            is_frozen=not living or (stands and all(is_stopped(process) for process in self._beyond_cgroup(living))),
            pids=tuple(process.pid for process in living),
            worked=sum(process.worked for process in living),
        )
        return look, living

    def end(self) -> dict[str, Any]:
        """Stop everything, note what it was, end it, and look until nothing is left or the time is up."""
        began_s = _platform.monotonic_s()
        with _haste():
            remaining = self._freeze(FREEZE_BEFORE_END_S)
            inventory = take_inventory(remaining, at_most=DESCRIBED_BEFORE_END_MAX)
            signalled = {process.pid for process in remaining}
            if self._cgroup is not None:
                self._cgroup.kill(END_MAX_S)
                remaining = []  # So it should be: the next look says.
            while True:
                signalled |= {process.pid for process in remaining}
                self._signal(signal.SIGKILL, remaining)
                self._bury()
                remaining = living_descendants(_platform.pid())
                is_empty = not remaining and (self._cgroup is None or self._cgroup.is_empty)
                if is_empty or _platform.monotonic_s() - began_s > END_MAX_S:
                    break
                _pause()
            self._bury()  # The last of them may have become a zombie between the reaping and the look.
        self._stood_before = None
        return {
            "process_tree_empty": is_empty,
            "signalled": sorted(signalled)[:PIDS_MAX],
            "remaining": [process.pid for process in remaining][:PIDS_MAX],
            "took_ms": round((_platform.monotonic_s() - began_s) * 1000, 1),
            "mode": self.mode,
            "state_before": inventory["processes"],
            "left_out": inventory["left_out"],
        }

    def close(self) -> None:
        """Give the cgroup back."""
        if self._cgroup is not None:
            self._cgroup.remove()

    def _signal(self, number: signal.Signals, processes: Sequence[Process]) -> None:
        """Signal the groups that these are in, and then each. Every session but ours was begun in the tree: it is all in it."""
        own = os.getsid(0)
        for group in {process.group for process in processes if process.session != own and process.group > 1}:
            send_group(group, number)
        for process in processes:
            send(process, number)

    def _beyond_cgroup(self, processes: list[Process]) -> list[Process]:
        """Those that the cgroup does not hold: all of them without one, and with one whoever was allowed to leave it."""
        members = set() if self._cgroup is None else self._cgroup.members()
        return [process for process in processes if process.pid not in members]


@contextmanager
def _haste() -> Iterator[None]:
    """Come before what burns every processor, where we may: a tree must not slow down its own end."""
    usual = os.getpriority(os.PRIO_PROCESS, 0)
    try:
        os.setpriority(os.PRIO_PROCESS, 0, PRIORITY_TO_END)
    except OSError:
        yield  # Not root: as fast as anybody.
        return
    try:
        yield
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, usual)


def _pause() -> None:
    select.select([], [], [], POLL_S)
