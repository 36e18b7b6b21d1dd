"""Reports on disk while the server is away: each waits in a file of its own until this process, or a later one, delivers it.

The files hold what the agent reports as it reports it, prompts and results included: masking happens in the server, before it
stores. So they are readable by their owner alone, and the folder is one that was named on purpose.
"""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from andoncord_sdk import _platform

_locks: Any
try:
    import fcntl as _locks
except ImportError:  # Windows: two processes may then deliver the same file, which the server counts once.
    _locks = None

MAX_BYTES = 64 * 1024 * 1024
"""Size of all files together; with more, the oldest go."""
FOLDER_MODE, FILE_MODE = 0o700, 0o600
SUFFIX, UNFINISHED = ".json", ".part"
DEAD_AFTER_NS = 60_000_000_000
"""A file that is unfinished for so long was left by a process that was killed: writing one takes milliseconds."""

_log = logging.getLogger("andoncord_sdk")


class Spill:
    """A folder of undelivered requests, shared by every process that names it.

    Args:
        folder: made when first needed, for its owner alone.
        max_bytes: bound of all files together.
    """

    def __init__(self, folder: str | Path, *, max_bytes: int = MAX_BYTES) -> None:
        self.folder = Path(folder)
        self._max_bytes = max_bytes
        self._number = 0
        self._bytes = max_bytes
        """At least what all files take, as far as this process knows; looked up before anything goes."""

    def keep(self, path: str, body: Any, count: int) -> int:
        """Put one request on disk; how many records of older ones had to go for it.

        It is there, whole, once this returns, also when the process is killed then. It is not forced through to the medium: a
        machine that loses power may lose it.

        Raises:
            OSError: it cannot be written.
        """
        self.folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        self._number += 1
        name = f"{_platform.now_ns():020}-{_platform.pid()}-{self._number}-{count}"
        text = json.dumps({"path": path, "count": count, "body": body}, separators=(",", ":"))
        unfinished = self.folder / f"{name}{UNFINISHED}"
        unfinished.touch(FILE_MODE)
        try:
            unfinished.write_text(text, encoding="utf-8")
            unfinished.rename(self.folder / f"{name}{SUFFIX}")
        except OSError:
            unfinished.unlink(missing_ok=True)
            raise
        self._bytes += len(text)
        return self._make_room() if self._bytes > self._max_bytes else 0

    def waiting(self) -> list[Path]:
        """The files that wait, oldest first."""
        try:
            return sorted(path for path in self.folder.iterdir() if path.suffix == SUFFIX)
        except OSError:  # Nothing was ever kept, or the folder is gone.
            return []

    def read(self, file: Path) -> tuple[str, Any, int] | None:
        """Path, body and number of records of a request; None where another process has delivered it, or it is broken."""
        try:
            whole = json.loads(file.read_text(encoding="utf-8"))
            return str(whole["path"]), whole["body"], int(whole["count"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as broken:
            _log.warning("a kept report cannot be read and is deleted: %s: %s", file.name, broken)
            self.drop(file)
            return None

    def drop(self, file: Path) -> None:
        """Delete what was delivered, or never will be."""
        try:
            file.unlink(missing_ok=True)
        except OSError as stuck:
            _log.debug("%s cannot be deleted: %s", file, stuck)

    @contextmanager
    def turn(self) -> Iterator[bool]:
        """Whether it is this process's turn to deliver: one at a time does, and a dead one gives up its turn."""
        if _locks is None:
            yield True
            return
        try:
            lock = (self.folder / "lock").open("a", encoding="utf-8")
        except OSError:
            yield False
            return
        with lock:
            try:
                _locks.flock(lock, _locks.LOCK_EX | _locks.LOCK_NB)
            except OSError:
                yield False
                return
            yield True

    def _make_room(self) -> int:
        sizes: list[tuple[Path, int]] = []
        for file in self.waiting():
            try:
                sizes.append((file, file.stat().st_size))
            except OSError:
                continue  # Delivered meanwhile.
        self._bytes = sum(size for _, size in sizes) + self._unfinished()
        excess = self._bytes - self._max_bytes
        lost = 0
        for file, size in sizes[:-1]:
            if excess <= 0:
                break
            self.drop(file)
            lost += _count(file)
            excess -= size
            self._bytes -= size
        return lost

    def _unfinished(self) -> int:
        """What files take that others write now; those that nobody will ever finish are deleted."""
        taken = 0
        for file in self.folder.glob(f"*{UNFINISHED}"):
            try:
                found = file.stat()
            except OSError:
                continue  # Finished meanwhile.
            if abs(_platform.now_ns() - found.st_mtime_ns) > DEAD_AFTER_NS:
                self.drop(file)
            else:
                taken += found.st_size
        return taken


def _count(file: Path) -> int:
    """How many records a file holds, by its name.

    >>> _count(Path("01763-17-3-512.json"))
    512
    """
    number = file.stem.rpartition("-")[2]
    return int(number) if number.isdigit() else 0
