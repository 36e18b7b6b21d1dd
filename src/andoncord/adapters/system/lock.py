"""One server per data directory."""

import fcntl
import os
from pathlib import Path
from typing import IO

from andoncord.kernel.errors import CallerError


class DirectoryLock:
    """Held until closed or until the process ends, however it ends.

    Raises:
        CallerError: another process holds it.
    """

    def __init__(self, path: Path) -> None:
        self._file: IO[str] = path.open("a+")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.seek(0)
            holder = self._file.read(20).strip() or "unknown"
            self._file.close()
            raise CallerError(
                f"another server uses {path.parent} (process {holder})",
                remedy="stop that one, or choose another directory with --home",
            ) from None
        self._file.truncate(0)
        self._file.write(str(os.getpid()))
        self._file.flush()

    def close(self) -> None:
        """Let the next one in."""
        self._file.close()
