"""One command and everything that descends from it: started, frozen, let go, ended; and what the kernel says of it.

In a cgroup of its own where one can be made, else by signals to every descendant. Either way /proc has the last word: nothing
is called frozen that does not stand, nor empty while a descendant can run.
"""

import os
import select
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from andoncord_sdk import _platform
from andoncord_sdk.cgroup import Cgroup, CgroupUnavailableError
from andoncord_sdk.inventory import take_inventory
from andoncord_sdk.proctree import STOPPED, Process, is_stopped, living_descendants, send

FREEZE_MAX_S = 1.0
"""A tree that does not stand by then is reported as not frozen."""
FREEZE_BEFORE_END_S = 0.2
"""Ending does not wait longer for what will not stand: it is ended as it is."""
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
        self._stopped: dict[tuple[int, int], Process] = {}
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
        self._stopped.clear()
        if self._cgroup is None:
            self._child = subprocess.Popen(self._command, start_new_session=True, env=self._environment)
        else:
            with self._cgroup.entered():
                self._child = subprocess.Popen(self._command, start_new_session=True, env=self._environment)
        return self._child.pid

    def reap(self) -> int | None:
        """Take in every child that has ended, ours or adopted. The command's exit code, if it was among them."""
        code = None
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return code
            if pid == 0:
                return code
            if self._child is not None and pid == self._child.pid:
                ended = os.waitstatus_to_exitcode(status)
                self._child.returncode = ended
                self._child = None
                code = ended if ended >= 0 else 128 - ended

    def freeze(self, *, at_most_s: float = FREEZE_MAX_S) -> dict[str, Any]:
        """Stop everything where it is; then what it is, in the states it was in before."""
        deadline_s = _platform.monotonic_s() + at_most_s
        before = {(process.pid, process.started): process for process in living_descendants(_platform.pid())}
        if self._cgroup is not None:
            self._cgroup.freeze(at_most_s)
        while True:
            living = living_descendants(_platform.pid())
            for process in self._beyond_cgroup(living):
                # One that somebody else stopped before is not ours to let go on.
                if process.state not in STOPPED and send(process, signal.SIGSTOP):
                    self._stopped[process.pid, process.started] = process
            for process in living:
                before.setdefault((process.pid, process.started), process)
            if self.look().is_frozen or _platform.monotonic_s() > deadline_s:
                break
            _pause()
        return take_inventory(before.values())

    def thaw(self) -> None:
        """Let everything that we stopped go on."""
        if self._cgroup is not None:
            self._cgroup.thaw()
        for process in self._stopped.values():
            send(process, signal.SIGCONT)
        self._stopped.clear()

    def look(self) -> Look:
        """Look at it once."""
        living = living_descendants(_platform.pid())
        stands = self._cgroup is None or self._cgroup.is_frozen
        return Look(
            is_frozen=not living or (stands and all(is_stopped(process) for process in self._beyond_cgroup(living))),
            pids=tuple(process.pid for process in living),
            worked=sum(process.worked for process in living),
        )

    def end(self) -> dict[str, Any]:
        """Stop everything, note what it was, end it, and look until nothing is left or the time is up."""
        began_s = _platform.monotonic_s()
        inventory = self.freeze(at_most_s=FREEZE_BEFORE_END_S)
        signalled = {process.pid for process in living_descendants(_platform.pid())}
        if self._cgroup is not None:
            self._cgroup.kill(END_MAX_S)
        while True:
            self.reap()
            remaining = living_descendants(_platform.pid())
            is_empty = not remaining and (self._cgroup is None or self._cgroup.is_empty)
            if is_empty or _platform.monotonic_s() - began_s > END_MAX_S:
                break
            signalled |= {process.pid for process in remaining if send(process, signal.SIGKILL)}
            _pause()
        self.reap()  # The last of them may have become a zombie between the reaping and the look.
        self._stopped.clear()
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

    def _beyond_cgroup(self, processes: list[Process]) -> list[Process]:
        """Those that the cgroup does not hold: all of them without one, and with one whoever was allowed to leave it."""
        members = set() if self._cgroup is None else self._cgroup.members()
        return [process for process in processes if process.pid not in members]


def _pause() -> None:
    select.select([], [], [], POLL_S)
