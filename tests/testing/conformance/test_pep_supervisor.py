"""The supervisor holds a process tree as `andoncord.testing.conformance.pep` wants it, with real processes."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from andoncord.testing.conformance.pep import HolderContract

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="supervision needs Linux")

AT_WORK = """
import sys, threading
pause = threading.Event()
with open(sys.argv[1], "wb", buffering=0) as file:
    while True:
        file.write(b".")
        pause.wait(0.005)
"""
WATCH_S = 0.1


class SupervisedAgent:
    """An agent that leaves marks all the time, below a supervisor."""

    def __init__(self, marks: Path, *, url: str, token: str) -> None:
        self._marks = marks
        supervisor = [sys.executable, "-m", "andoncord_sdk.supervise", "--agent", "a", "--server", url]
        self._supervisor = subprocess.Popen(
            [*supervisor, "--", sys.executable, "-c", AT_WORK, str(marks)], env={**os.environ, "ANDON_TOKEN": token}
        )

    def goes_on(self) -> bool:
        before = self._count()
        threading.Event().wait(WATCH_S)
        return self._count() > before

    def close(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._supervisor.send_signal(number)
        self._supervisor.wait(10)

    def _count(self) -> int:
        return self._marks.stat().st_size if self._marks.exists() else 0


class TestSupervisor(HolderContract):
    """Every case of the contract, on the supervisor."""

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    def make(self, *, url: str, token: str) -> SupervisedAgent:
        return SupervisedAgent(self.folder / "marks", url=url, token=token)
