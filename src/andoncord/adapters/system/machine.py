"""What this machine says about itself: memory, disk, clock, and who may write where."""

import ctypes
import os
import shutil
import stat
from pathlib import Path

PAGE = os.sysconf("SC_PAGE_SIZE")
TIME_ERROR = 5
"""What `adjtimex` answers when the kernel's clock is not synchronised."""
TIMEX_BYTES = 208
"""The size of `struct timex` on 64-bit Linux; all zero, it asks and sets nothing."""


def resident_bytes(pid: int | None = None) -> int | None:
    """The memory that a process holds, this one where none is named; None where it cannot be seen."""
    try:
        pages = Path(f"/proc/{'self' if pid is None else pid}/statm").read_text(encoding="ascii").split()[1]
    except (OSError, IndexError):
        return None
    return int(pages) * PAGE


def user_of(pid: int) -> int | None:
    """The user that a process runs as; None where it cannot be seen."""
    try:
        return Path(f"/proc/{pid}").stat().st_uid
    except OSError:
        return None


def own_user() -> int:
    """The user that this process runs as."""
    return os.getuid()


def disk_bytes(path: Path) -> tuple[int, int]:
    """Free and total bytes of the disk that `path` is on."""
    usage = shutil.disk_usage(path)
    return usage.free, usage.total


def clock_is_synchronised() -> bool | None:
    """Whether the kernel says that its clock is kept in step with others; None where it does not say."""
    try:
        answer = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.create_string_buffer(TIMEX_BYTES))
    except (OSError, AttributeError):
        return None
    return None if answer < 0 else answer != TIME_ERROR


def has_program(name: str) -> bool:
    """Whether a program can be started by this name."""
    return shutil.which(name) is not None


def openings(home: Path) -> list[str]:
    """Ways in which others than the owner could write into `home` or replace it, a sentence each."""
    found: list[str] = []
    resolved = home.resolve()
    mode = resolved.stat().st_mode
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        found.append(f"{resolved} has mode {stat.S_IMODE(mode):04o}; others than its owner can look in")
    if resolved.stat().st_uid != os.getuid():
        found.append(f"{resolved} belongs to user {resolved.stat().st_uid}, and this is user {os.getuid()}")
    for parent in resolved.parents:
        about = parent.stat()
        writable = about.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        if writable and not about.st_mode & stat.S_ISVTX and about.st_uid in (0, os.getuid()):
            found.append(f"{parent} can be written by others, who could put another folder in the place of {resolved.name}")
        elif about.st_uid not in (0, os.getuid()):
            found.append(
                f"{parent} belongs to user {about.st_uid}, who could put another folder in the place of {resolved.name}"
            )
    return found


def surroundings(home: Path) -> dict[str, object]:
    """This machine and this process at one moment, for the record."""
    free, total = disk_bytes(home)
    return {
        "host": os.uname().nodename,
        "kernel": os.uname().release,
        "load": list(os.getloadavg()),
        "processors": os.cpu_count(),
        "resident_bytes": resident_bytes(),
        "disk_free_bytes": free,
        "disk_bytes": total,
        "clock_is_synchronised": clock_is_synchronised(),
    }
