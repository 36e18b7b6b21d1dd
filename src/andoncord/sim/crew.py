"""The processes of the fleet: started, kept count of, and ended by id."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO

from andoncord.sim import watch
from andoncord.sim.parent import STARTER, bound_to

END_DEADLINE_S = 3.0


class Crew:
    """Every process it started has ended when its block is left; a watch sees to it when we are killed.

    Args:
        logs: the directory for what each process writes.
    """

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._members: dict[str, subprocess.Popen[bytes]] = {}
        self._watch = watch.start()
        logs.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> "Crew":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.end()

    def start(
        self,
        name: str,
        module: str,
        *arguments: str,
        environment: Mapping[str, str],
        ending: signal.Signals = signal.SIGKILL,
    ) -> int:
        """Start `python -m module arguments…` and return its process id.

        Args:
            ending: what it gets at once when we are killed. The watch comes later: it may not have heard of it yet.
        """
        command = [sys.executable, "-m", module, *arguments]
        with (self._logs / f"{name}.log").open("ab") as log:
            member = subprocess.Popen(
                bound_to(os.getpid(), ending, command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environment, STARTER: str(os.getpid())},
                start_new_session=True,  # Ctrl-C in the terminal is for the demo alone.
            )
        self._members[name] = member
        self.watch_over(member.pid)
        return member.pid

    def watch_over(self, pid: int) -> None:
        """Have the watch end this process too when we are killed."""
        pipe = self._pipe()
        pipe.write(f"{pid}\n")
        pipe.flush()

    def gone(self) -> dict[str, int]:
        """The members that ended by themselves, with their exit codes."""
        codes = {name: member.poll() for name, member in self._members.items()}
        return {name: code for name, code in codes.items() if code is not None}

    def end(self) -> None:
        """Ask every member to end, wait for all together, and kill what is left."""
        for member in self._members.values():
            if member.poll() is None:
                member.send_signal(signal.SIGTERM)
        for member in self._members.values():
            try:
                member.wait(timeout=END_DEADLINE_S)
            except subprocess.TimeoutExpired:
                member.kill()
                member.wait()
        self._members.clear()
        if self._watch.poll() is None:
            self._pipe().write("done\n")
            self._pipe().close()
            self._watch.wait()

    def _pipe(self) -> IO[str]:
        assert self._watch.stdin is not None
        return self._watch.stdin
