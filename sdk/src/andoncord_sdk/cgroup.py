"""A control group (cgroup v2) of our own: the kernel freezes and ends its members as one, whatever session they chose."""

import os
import re
import select
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from andoncord_sdk import _platform

MOUNTS = Path("/proc/self/mountinfo")
OWN = Path("/proc/self/cgroup")
NEEDED = ("cgroup.procs", "cgroup.events", "cgroup.freeze", "cgroup.kill")
"""Freezing came with Linux 5.2, ending with 5.14."""
_OCTAL = re.compile(r"\\([0-7]{3})")
"""How the kernel writes spaces and the like in names."""
LOOK_S = 0.002
"""Between two looks at a group's events: the kernel holds back a notice for up to 10 ms after the one before."""


class CgroupUnavailableError(Exception):
    """No group can be made or used here; the text says why."""


class Cgroup:
    """One group below the one that this process is in. Made by `create`."""

    def __init__(self, folder: Path, *, home: Path) -> None:
        self._folder = folder
        self._home = home

    @classmethod
    def create(cls, name: str) -> "Cgroup":
        """Make a group, and find out by doing it that processes can be moved into it and out again.

        Raises:
            CgroupUnavailableError: that is not so: no cgroup v2, no right to it, or a kernel that is too old.
        """
        try:
            home = own_folder(MOUNTS.read_text(), OWN.read_text())
        except OSError as hidden:
            raise CgroupUnavailableError(f"cannot read which groups there are: {hidden}") from hidden
        group = cls(home / name, home=home)
        try:
            group._folder.mkdir()
        except OSError as refused:
            raise CgroupUnavailableError(f"no group can be made below {home}: {refused.strerror}") from refused
        try:
            if missing := [file for file in NEEDED if not (group._folder / file).exists()]:
                raise CgroupUnavailableError(f"this kernel's groups have no {', '.join(missing)}")
            with group.entered():
                pass
        except OSError as refused:
            group.remove()
            raise CgroupUnavailableError(f"no process can be moved into a group below {home}: {refused.strerror}") from refused
        except CgroupUnavailableError:
            group.remove()
            raise
        return group

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Be in the group for a moment: what is started meanwhile is in it from its first instruction.

        Raises:
            OSError: the kernel refused.
        """
        self.thaw()  # Whoever enters a frozen group is frozen.
        self._write("cgroup.procs", "0")
        try:
            yield
        finally:
            (self._home / "cgroup.procs").write_text("0")

    def freeze(self, timeout_s: float) -> bool:
        """Stop every member where it is. Says whether the kernel reports that all of them stand."""
        self._write("cgroup.freeze", "1")
        return self._wait("frozen", "1", timeout_s)

    def thaw(self) -> None:
        """Let them go on."""
        self._write("cgroup.freeze", "0")

    def kill(self) -> None:
        """End every member, frozen ones too. They are gone when the group `is_empty`, a moment later."""
        self._write("cgroup.kill", "1")

    @property
    def is_frozen(self) -> bool:
        return self._events()["frozen"] == "1"

    @property
    def is_empty(self) -> bool:
        return self._events()["populated"] == "0"

    def members(self) -> set[int]:
        """Pids in the group and in the groups that members made below it."""
        pids: set[int] = set()
        for folder, _, _ in os.walk(self._folder):
            try:
                pids.update(int(line) for line in (Path(folder) / "cgroup.procs").read_text().split())
            except OSError:
                continue  # Gone meanwhile, or a threaded group, whose members are listed above it.
        return pids

    def remove(self) -> bool:
        """Remove the group; False where it is not empty."""
        for folder, _, _ in os.walk(self._folder, topdown=False):
            try:
                Path(folder).rmdir()
            except OSError:
                return False
        return True

    def _write(self, file: str, text: str) -> None:
        (self._folder / file).write_text(text)

    def _events(self) -> dict[str, str]:
        return dict(line.split() for line in (self._folder / "cgroup.events").read_text().splitlines())

    def _wait(self, key: str, value: str, timeout_s: float) -> bool:
        """Until an event has that value; the kernel marks the file as changed."""
        deadline_s = _platform.monotonic_s() + timeout_s
        with (self._folder / "cgroup.events").open() as events:
            notice = select.poll()
            notice.register(events, select.POLLPRI)
            while self._events()[key] != value:
                left_s = deadline_s - _platform.monotonic_s()
                if left_s <= 0:
                    return False
                events.seek(0)
                events.read()  # Reading it makes the next change a new one.
                if self._events()[key] != value:
                    notice.poll(min(left_s, LOOK_S) * 1_000)
        return True


def own_folder(mounts: str, own: str) -> Path:
    """The folder of this process's own group.

    >>> str(own_folder("30 24 0:26 / /sys/fs/cgroup rw,relatime shared:4 - cgroup2 cgroup2 rw", "0::/user.slice/a.scope"))
    '/sys/fs/cgroup/user.slice/a.scope'
    """
    path = next((line.removeprefix("0::") for line in own.splitlines() if line.startswith("0::")), None)
    for line in mounts.splitlines():
        fields, _, kind = line.partition(" - ")
        if not kind.startswith("cgroup2 ") or path is None:
            continue
        root, place = fields.split()[3:5]
        below = path.removeprefix(root.rstrip("/"))
        if (path != root and not below.startswith("/")) or ".." in below:
            continue  # Another part of the hierarchy is mounted here.
        return Path(_OCTAL.sub(lambda found: chr(int(found[1], 8)), place), below.lstrip("/"))
    raise CgroupUnavailableError("cgroup v2 is not mounted, or our own group lies outside of what is mounted")
