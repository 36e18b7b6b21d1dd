"""A PostgreSQL of one's own, from the installed package: for tests and benchmarks that need the real thing."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType

PACKAGED = Path("/usr/lib/postgresql")
"""Where Debian keeps the programs, by version; they are not on the PATH there."""
UNPRIVILEGED = ("postgres", "nobody")
"""Who runs it when we are root, which PostgreSQL refuses."""
START_S = 20.0
POLL_S = 0.02


class PostgresMissingError(Exception):
    """It is not installed; the text says what to do."""


class PostgresProcess:
    """A cluster in a temporary folder, on a free port of this machine. Leaving the `with` block ends and deletes it.

    Args:
        durable: flush every commit to disk; without it a crash of the machine may lose some, a crash of a process never.

    Raises:
        PostgresMissingError: the programs are not there.
    """

    def __init__(self, *, durable: bool = False) -> None:
        programs = programs_folder()
        self.folder = Path(tempfile.mkdtemp(prefix="andon-pg-"))
        user = _user()
        if user is not None:
            shutil.chown(self.folder, user)
        places = self.folder / "data"
        made = [str(programs / "initdb"), "-D", str(places), "-U", "andon", "--auth=trust", "--no-sync"]
        made += ["-E", "UTF8", "--locale=C"]
        subprocess.run(made, check=True, stdout=subprocess.DEVNULL, user=user, cwd=self.folder)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        options = ["-D", str(places), "-p", str(self.port), "-k", str(self.folder), "-h", "127.0.0.1"]
        options += [] if durable else ["-F"]
        self._log = (self.folder / "log").open("wb")
        self._child = subprocess.Popen(
            [str(programs / "postgres"), *options], stdout=self._log, stderr=self._log, user=user, cwd=self.folder
        )
        self._programs = programs
        self._user = user
        self._count = 0
        self._wait()

    def _wait(self) -> None:
        end_s = time.monotonic() + START_S
        asking = [str(self._programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        while subprocess.run(asking, check=False).returncode != 0:
            if self._child.poll() is not None or time.monotonic() > end_s:
                said = (self.folder / "log").read_text(encoding="utf-8", errors="replace")[-2_000:]
                self.close()
                raise PostgresMissingError(f"PostgreSQL did not come up: {said}")
            time.sleep(POLL_S)

    def new_database(self, *, like: str = "") -> str:
        """A database; its address.

        Args:
            like: the address of one to copy, which nobody is connected to; without it the new one is empty.
        """
        self._count += 1
        name = f"andon_{self._count}"
        template = ["-T", like.rpartition("/")[2]] if like else []
        subprocess.run([str(self._programs / "createdb"), *self._where, *template, name], check=True)
        return f"postgresql://andon@127.0.0.1:{self.port}/{name}"

    def drop_database(self, url: str) -> None:
        """Delete a database, whoever is connected to it."""
        subprocess.run([str(self._programs / "dropdb"), *self._where, "--force", url.rpartition("/")[2]], check=True)

    @property
    def _where(self) -> list[str]:
        return ["-h", "127.0.0.1", "-p", str(self.port), "-U", "andon"]

    def close(self) -> None:
        """End it at once and delete its files."""
        if self._child.poll() is None:
            self._child.send_signal(signal.SIGINT)
            try:
                self._child.wait(10)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.wait()
        self._log.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> "PostgresProcess":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()


def programs_folder() -> Path:
    """Where `initdb` and `postgres` are: on the PATH, or where Debian's newest package has them.

    Raises:
        PostgresMissingError: nowhere.
    """
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    versions = sorted(PACKAGED.glob("*/bin/initdb"), key=lambda path: float(path.parents[1].name))
    if not versions:
        raise PostgresMissingError(
            "PostgreSQL is not installed. On Debian or Ubuntu: sudo apt-get install postgresql; "
            "elsewhere put initdb and postgres on the PATH"
        )
    return versions[-1].parent


def _user() -> str | None:
    """Somebody who is not root, if we are."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next((name for name in UNPRIVILEGED if name in known), None)
