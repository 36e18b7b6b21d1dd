"""What a supervisor sees of its agent when it is asked: processes, environment, and the state of the code.

Whatever the agent can write is hostile: it may have set up its repository so that git runs a program of its own. So git never
sees that repository's settings: it works on a folder of ours that borrows nothing of it but objects, index and HEAD.
"""

import os
import re
import select
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from andoncord_sdk import _platform
from andoncord_sdk.inventory import PROC, masked, take_inventory
from andoncord_sdk.proctree import Process

ENVIRONMENTS_MAX = 8
"""Processes whose environment is read."""
DIFF_MAX_BYTES = 128 * 1024
UNTRACKED_MAX_BYTES = 16 * 1024
INDEX_MAX_BYTES = 32 * 1024 * 1024
SMALL_FILE_MAX_BYTES = 4 * 1024 * 1024
GIT_MAX_S = 0.8
"""For all that git is asked."""
LOOK_S = 0.01
"""How often it is looked whether an order has come meanwhile."""
_COMMIT = re.compile(r"[0-9a-f]{40}")
_REF = re.compile(r"refs/[\w./+@-]+")


class _GiveUpError(Exception):
    """It cannot be said, and why."""


def take_capture(processes: Sequence[Process], *, is_called_away: Callable[[], bool]) -> dict[str, Any]:
    """Describe a tree that stands, within bounds.

    Args:
        is_called_away: whether an order has come: what is not seen by then is left out.
    """
    began_s = _platform.monotonic_s()
    seen = take_inventory(processes, environments=ENVIRONMENTS_MAX)
    for described in seen["processes"]:
        described["cwd"] = _cwd(described["pid"])
    folder = next((each["cwd"] for each in seen["processes"] if each.get("cwd")), "") or str(Path.cwd())
    code = code_state(Path(folder), is_called_away=is_called_away)
    return {**seen, "code": code, "took_ms": round((_platform.monotonic_s() - began_s) * 1000, 1)}


def code_state(folder: Path, *, is_called_away: Callable[[], bool] = lambda: False) -> dict[str, Any]:
    """The commit that is checked out around `folder`, and what differs from it; `missing` says what cannot be told and why."""
    deadline_s = _platform.monotonic_s() + GIT_MAX_S
    try:
        root, repository = _repository(folder)
        known = {"root": str(root), "head": _head(repository)}
    except (_GiveUpError, OSError, ValueError) as error:
        return {"missing": str(error)}
    try:
        return {**known, **_difference(root, repository, known["head"], deadline_s, is_called_away)}
    except (_GiveUpError, OSError, ValueError) as error:
        return {**known, "missing": str(error)}


def _cwd(pid: int) -> str:
    try:
        return str((PROC / str(pid) / "cwd").readlink())
    except OSError:
        return ""


def _repository(folder: Path) -> tuple[Path, Path]:
    """The root of the checkout that `folder` is in, and where its HEAD and index are."""
    for root in (folder, *folder.parents):
        place = root / ".git"
        if place.is_dir():
            return root, place
        if place.is_file():
            said = _read(place).removeprefix("gitdir:").strip()
            return root, (root / said)
    raise _GiveUpError(f"{folder} is in no git repository")


def _shared(repository: Path) -> Path:
    """Where the objects and refs are: of a further worktree, in the main one."""
    named = repository / "commondir"
    return repository / _read(named).strip() if named.is_file() else repository


def _head(repository: Path) -> str:
    """The commit that is checked out."""
    head = _read(repository / "HEAD").strip()
    if _COMMIT.fullmatch(head):
        return head
    ref = head.removeprefix("ref:").strip()
    if not _REF.fullmatch(ref) or ".." in ref:
        raise _GiveUpError("HEAD names no branch that can be read")
    for place in (repository, _shared(repository)):
        if (place / ref).is_file() and _COMMIT.fullmatch(commit := _read(place / ref).strip()):
            return commit
    packed = _shared(repository) / "packed-refs"
    for line in _read(packed).splitlines() if packed.is_file() else ():
        commit, _, name = line.partition(" ")
        if name == ref and _COMMIT.fullmatch(commit):
            return commit
    raise _GiveUpError(f"{ref} has no commit yet")


def _difference(
    root: Path, repository: Path, head: str, deadline_s: float, is_called_away: Callable[[], bool]
) -> dict[str, Any]:
    git, objects, index = shutil.which("git"), (_shared(repository) / "objects").resolve(), repository / "index"
    if git is None:
        raise _GiveUpError("git is not installed")
    if "\n" in str(objects) or str(objects).startswith('"') or not objects.is_dir():
        raise _GiveUpError("the objects of the repository are not where they should be")
    if not index.is_file() or index.stat().st_size > INDEX_MAX_BYTES:
        raise _GiveUpError(f"the index is missing or larger than {INDEX_MAX_BYTES >> 20} MiB")
    with tempfile.TemporaryDirectory(prefix="andon-capture-") as made:
        own = Path(made)
        for name in ("objects/info", "refs"):
            (own / name).mkdir(parents=True)
        (own / "objects/info/alternates").write_text(f"{objects}\n")
        (own / "HEAD").write_text(f"{head}\n")
        shutil.copyfile(index, own / "index")
        ask = [git, f"--git-dir={own}", f"--work-tree={root}"]
        shown = ["--no-ext-diff", "--no-textconv", "--no-color", "--no-renames", "--ignore-submodules=all"]
        diff, is_whole = _run([*ask, "diff", *shown, "HEAD"], root, DIFF_MAX_BYTES, deadline_s, is_called_away)
        names, are_all = _run(
            [*ask, "ls-files", "--others", "--exclude-standard"], root, UNTRACKED_MAX_BYTES, deadline_s, is_called_away
        )
    return {
        "dirty": bool(diff or names),
        "diff": "\n".join(masked([line]) for line in diff.split("\n")),
        "diff_is_whole": is_whole,
        "untracked": [masked([name]) for name in names.splitlines()],
        "untracked_are_all": are_all,
    }


def _run(
    command: list[str], folder: Path, at_most: int, deadline_s: float, is_called_away: Callable[[], bool]
) -> tuple[str, bool]:
    """What a command prints, up to `at_most` bytes, and whether that was all. It is ended when time is up or an order comes."""
    environment = {
        "PATH": os.defpath,
        "LC_ALL": "C",
        "HOME": "/nonexistent",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_NO_LAZY_FETCH": "1",
    }
    child = subprocess.Popen(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert child.stdout is not None
    pieces: list[bytes] = []
    size = 0
    try:
        with child.stdout as output:
            while size <= at_most:
                if is_called_away():
                    raise _GiveUpError("an order came first")
                if _platform.monotonic_s() >= deadline_s:
                    raise _GiveUpError(f"git did not answer within {GIT_MAX_S:g} s")
                if not select.select([output], [], [], LOOK_S)[0]:
                    continue
                piece = os.read(output.fileno(), 64 * 1024)
                if not piece:
                    break
                pieces.append(piece)
                size += len(piece)
    finally:
        if size > at_most or (child.poll() is None and not _ends(child, deadline_s)):
            child.kill()
        code = child.wait()
    is_whole = size <= at_most
    if is_whole and code != 0:
        raise _GiveUpError(f"git could not say: it ended with {code}")
    return b"".join(pieces)[:at_most].decode("utf-8", "replace"), is_whole


def _ends(child: "subprocess.Popen[bytes]", deadline_s: float) -> bool:
    try:
        child.wait(max(0.0, deadline_s - _platform.monotonic_s()))
    except subprocess.TimeoutExpired:
        return False
    return True


def _read(path: Path) -> str:
    """A small file; links to devices and pipes that never end are not followed into."""
    if not path.is_file():
        raise _GiveUpError(f"{path.name} is no file")
    with path.open("rb") as file:
        return file.read(SMALL_FILE_MAX_BYTES).decode("utf-8", "replace")
