"""What a process was doing: its command line without secrets and the names of its open files. Of its environment, the names."""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from andoncord_sdk.proctree import Process

PROC = Path("/proc")
CMD_MAX_CHARS = 200
CMD_READ_MAX_BYTES = 8192
FILES_MAX = 256
"""Over all processes of an inventory."""
FILES_PER_PROCESS_MAX = 16
FILE_MAX_CHARS = 200
PROCESSES_MAX = 64
"""Described; the others are counted."""
ENVIRON_READ_MAX_BYTES = 64 * 1024
VARIABLES_MAX = 100
PLAIN = frozenset(
    {"HOME", "HOSTNAME", "LANG", "LC_ALL", "LOGNAME", "PATH", "PWD", "PYTHONPATH", "SHELL", "TZ", "USER", "VIRTUAL_ENV"}
)
"""Variables whose values are shown; of every other one only the name is."""
VALUE_MAX_CHARS = 500
MASK = "***"

_SECRET_NAME = r"[\w.-]*(?:token|secret|passw|pwd|api_?-?key|credential|auth)[\w.-]*"
_NAMES_SECRET = re.compile(rf"--?{_SECRET_NAME}", re.IGNORECASE)
_ASSIGNED = re.compile(rf"({_SECRET_NAME}[\"']?\s*[=:]\s*[\"']?)([^\s\"'&;,]+)", re.IGNORECASE)
_SCHEMES = re.compile(r"\b(bearer|basic)\s+\S+", re.IGNORECASE)
_IN_URL = re.compile(r"(://)[^/\s@]+@")
_SHAPES = re.compile(
    r"\b(?:sk|pk|rk|gh[opsu]|github_pat|glpat|xox[abprs]|andon_sdk|andon_pat)[-_][\w-]{8,}"
    r"|\bAKIA[0-9A-Z]{12,}|\bAIza[\w-]{20,}|\beyJ[\w-]+\.[\w-]+\.[\w-]*"
)
_SUSPECT = re.compile(
    r"token|secret|passw|pwd|key|credential|auth|bearer|basic|://|\b(?:sk|pk|rk|gh[opsu]|glpat|xox|andon_|akia|aiza|eyj)",
    re.IGNORECASE,
)
"""Without any of these there is nothing to mask, which one search says."""


def masked(arguments: Iterable[str]) -> str:
    """Arguments as one line, without what is obviously a secret.

    >>> masked(["agent", "--api-key", "hunter two", "TOKEN=abc", "https://me:pw@host/x", "sk-proj-0123456789", "--verbose"])
    'agent --api-key *** TOKEN=*** https://***@host/x *** --verbose'
    """
    shown: list[str] = []
    hides_next = False
    every = list(arguments)
    if not _SUSPECT.search(whole := " ".join(every)):
        return whole
    for argument in every:
        if hides_next and not argument.startswith("-"):
            shown.append(MASK)
        else:
            text = _SCHEMES.sub(rf"\1 {MASK}", _ASSIGNED.sub(rf"\1{MASK}", argument))
            shown.append(_SHAPES.sub(MASK, _IN_URL.sub(rf"\1{MASK}@", text)))
        hides_next = _NAMES_SECRET.fullmatch(argument) is not None
    return " ".join(shown)


def command_line(pid: int) -> str:
    """A process's command line, masked and cut; "" where there is none any more."""
    try:
        file = os.open(f"{PROC}/{pid}/cmdline", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        text = os.read(file, CMD_READ_MAX_BYTES)
    except OSError:
        return ""  # It has just ended.
    finally:
        os.close(file)
    arguments = text.decode("utf-8", "replace").rstrip("\0").split("\0")
    return masked(arguments).strip()[:CMD_MAX_CHARS]


def open_files(pid: int, at_most: int) -> list[str]:
    """Names behind a process's descriptors, the standard ones included: files, pipes, sockets. Never what is in them."""
    folder = f"{PROC}/{pid}/fd"
    names: list[str] = []
    try:
        for number in sorted(os.listdir(folder), key=int)[:at_most]:  # noqa: PTH208  # names are all we need
            names.append(masked([os.readlink(f"{folder}/{number}")])[:FILE_MAX_CHARS])  # noqa: PTH115  # as above
    except OSError:
        pass  # It has just ended, or is not ours to look into.
    return names


def environment_of(pid: int) -> dict[str, str]:
    """The variables that a process was started with; the values of all but harmless ones are masked."""
    try:
        with (PROC / str(pid) / "environ").open("rb") as file:
            text = file.read(ENVIRON_READ_MAX_BYTES).decode("utf-8", "replace")
    except OSError:
        return {}  # It has ended, or is not ours to look into.
    shown: dict[str, str] = {}
    for line in text.split("\0")[:VARIABLES_MAX]:
        name, is_assigned, value = line.partition("=")
        if is_assigned:
            shown[name[:VALUE_MAX_CHARS]] = masked([value])[:VALUE_MAX_CHARS] if name in PLAIN else MASK
    return shown


def take_inventory(processes: Iterable["Process"], *, at_most: int = PROCESSES_MAX, environments: int = 1) -> dict[str, Any]:
    """Describe processes, within bounds: what was left out is counted.

    Args:
        environments: of how many of them, the command itself first, the environment is told.
    """
    every = list(processes)
    left = FILES_MAX
    described: list[dict[str, Any]] = []
    for number, process in enumerate(every[:at_most]):
        files = open_files(process.pid, min(left, FILES_PER_PROCESS_MAX))
        left -= len(files)
        told = {"pid": process.pid, "state": process.state, "cmd": process.command, "files": files}
        described.append({**told, "environment": environment_of(process.pid)} if number < environments else told)
    return {"processes": described, "left_out": len(every) - len(described)}
