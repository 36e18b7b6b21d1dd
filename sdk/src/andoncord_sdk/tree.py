"""One command and everything that descends from it: started, frozen, let go, ended; and what the kernel says of it.

In a cgroup of its own where one can be made, else by signals to every descendant. Reading /proc takes time, in which something
that forks all the time can be missed. So a tree is called empty only when the kernel says that we have no child, which no
descendant survives, because orphans become ours; and one held by signals is called frozen only when nothing came or went.
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
from andoncord_sdk.proctree import STOPPED, Process, can_run, is_stopped, living_descendants, read_process, send, send_group

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
BURY_EVERY_S = 0.001
"""While an end is waited for, those that have ended are taken in this often: one call, where a look needs one per process."""
BURY_FOR_S = 0.015
"""Then there is a look at who is left, and what is left is signalled again."""
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
    is_empty: bool
    """We have no child, so no descendant either."""
    buried: int
    """Processes of the tree that have ended so far: what stands does not end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Burial:
    """What was found when those that have ended were taken in."""

    groups: frozenset[int]
    """Process groups that they were in: a child of theirs may go on in it."""
    is_childless: bool


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
        self._buried = 0
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

    def start(self, more: Mapping[str, str] | None = None) -> int:
        """Start the command in a session of its own, so that Ctrl-C in the terminal reaches us alone; its pid.

        Args:
            more: variables of this start, beside its environment.
        """
        self._stood_before = self._code = None
        given = more or {}
        environment = _platform.environment_with(given) if self._environment is None else {**self._environment, **given}
        if self._cgroup is None:
            self._child = subprocess.Popen(self._command, start_new_session=True, env=environment)
        else:
            with self._cgroup.entered():
                self._child = subprocess.Popen(self._command, start_new_session=True, env=environment)
        return self._child.pid

    def reap(self) -> int | None:
        """Take in every child that has ended, ours or adopted. The command's exit code, once, if it has ended."""
        self._bury()
        code, self._code = self._code, None
        return code

    def _bury(self) -> _Burial:
        groups: set[int] = set()
        own = os.getsid(0)
        while True:
            try:
                process = self._next_to_bury() if self._cgroup is None else None
                if process is not None and process.session != own:
                    groups.add(process.group)
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return _Burial(groups=frozenset(groups), is_childless=True)
            if pid == 0:
                return _Burial(groups=frozenset(groups), is_childless=False)
            self._buried += 1
            if self._child is not None and pid == self._child.pid:
                code = os.waitstatus_to_exitcode(status)
                self._child.returncode = code
                self._child = None
                self._code = code if code >= 0 else 128 - code

    @staticmethod
    def _next_to_bury() -> Process | None:
        """A child that has ended, still listed: without a cgroup, its group is what leads to a child that it left behind."""
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        return None if ended is None else read_process(ended.si_pid)

    def freeze(self, *, at_most_s: float = FREEZE_MAX_S) -> dict[str, Any]:
        """Stop everything where it is; then what it is, in the states it was in before."""
        return take_inventory(self._freeze(at_most_s, is_last_word=True))

    def _freeze(self, at_most_s: float, *, is_last_word: bool) -> list[Process]:
        deadline_s = _platform.monotonic_s() + at_most_s
        self._bury()
        living = living_descendants(_platform.pid())
        before = {process.key: process for process in living}
        if self._stood_before is None:
            self._stood_before = {process.key for process in living if process.state in STOPPED}
        groups: frozenset[int] = frozenset()
        seen: Look | None = None
        if self._cgroup is not None:
            self._cgroup.freeze(at_most_s)
            seen, living, groups = self._see()
        while _platform.monotonic_s() < deadline_s:
            beyond = self._beyond_cgroup(living)
            if seen is not None and seen.is_frozen and not beyond:
                break  # The group holds all of them, and the kernel says that they stand.
            self._signal(signal.SIGSTOP, [process for process in beyond if not is_stopped(process)], groups)
            before_that = seen
            seen, living, groups = self._see()
            if seen.is_frozen and (not is_last_word or seen == before_that):
                break
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

    def _see(self) -> tuple[Look, list[Process], frozenset[int]]:
        burial = self._bury()
        living = [] if burial.is_childless else living_descendants(_platform.pid())
        stands = bool(living) and (self._cgroup is None or self._cgroup.is_frozen)
        look = Look(
            is_frozen=burial.is_childless or (stands and all(is_stopped(process) for process in self._beyond_cgroup(living))),
            is_empty=burial.is_childless,
            buried=self._buried,
            pids=tuple(process.pid for process in living),
            worked=sum(process.worked for process in living),
        )
        return look, living, burial.groups

    def end(self) -> dict[str, Any]:
        """Stop everything, note what it was, end it, and look until nothing is left or the time is up."""
        began_s = _platform.monotonic_s()
        with _haste():
            remaining = self._stand_still()
            inventory = take_inventory(remaining, at_most=DESCRIBED_BEFORE_END_MAX)
            signalled = {process.pid for process in remaining}
            if self._cgroup is not None:
                self._cgroup.kill()
                remaining = self._beyond_cgroup(remaining)
            groups: frozenset[int] = frozenset()
            is_first = True
            while True:
                signalled |= {process.pid for process in remaining}
                self._signal(signal.SIGKILL, remaining, groups, trusts_groups=is_first)
                is_first = False
                self._bury_for(BURY_FOR_S)
                look, remaining, groups = self._see()
                is_empty = look.is_empty and (self._cgroup is None or self._cgroup.is_empty)
                if is_empty or _platform.monotonic_s() - began_s > END_MAX_S:
                    break
        self._stood_before = self._code = None  # It was ended, it did not end.
        return {
            "process_tree_empty": is_empty,
            "signalled": sorted(signalled)[:PIDS_MAX],
            "remaining": [process.pid for process in remaining][:PIDS_MAX],
            "took_ms": round((_platform.monotonic_s() - began_s) * 1000, 1),
            "mode": self.mode,
            "state_before": inventory["processes"],
            "left_out": inventory["left_out"],
        }

    def _stand_still(self) -> list[Process]:
        """Freeze what will be ended in a moment; what it was. Whoever was missed is ended all the same."""
        if self._cgroup is None:
            return self._freeze(FREEZE_BEFORE_END_S, is_last_word=False)
        living = living_descendants(_platform.pid())
        self._cgroup.freeze(FREEZE_BEFORE_END_S)
        known = {process.pid for process in living}
        born = (read_process(pid) for pid in self._cgroup.members() - known)
        return [*living, *(process for process in born if process is not None and can_run(process))]

    def _bury_for(self, at_most_s: float) -> None:
        """Take in those that end, until no child is left or the time is up."""
        deadline_s = _platform.monotonic_s() + at_most_s
        while not self._bury().is_childless and _platform.monotonic_s() < deadline_s:
            _pause(BURY_EVERY_S)

    def close(self) -> None:
        """Give the cgroup back."""
        if self._cgroup is not None:
            self._cgroup.remove()

    def _signal(
        self, number: signal.Signals, processes: Sequence[Process], groups: frozenset[int], *, trusts_groups: bool = False
    ) -> None:
        """Signal groups, those that these processes are in as well, and then each process.

        Every session but ours was begun in the tree, so all of its groups are in the tree.

        Args:
            trusts_groups: leave out those whose group was signalled. Who is there at the next look was not reached by that.
        """
        own = os.getsid(0)
        seen = {process.group for process in processes if process.session != own and process.group > 1}
        for group in seen | {group for group in groups if group > 1}:
            send_group(group, number)
        for process in processes:
            if not trusts_groups or process.group not in seen:
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


def _pause(seconds: float = POLL_S) -> None:
    select.select([], [], [], seconds)
