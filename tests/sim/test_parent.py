"""Simulated processes never outlive whoever started them, however early that is killed."""

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from andoncord.sim.parent import NOBODY_LEFT, STARTER, bound_to

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's death signal is Linux's")
DEADLINE_S = 20.0
BEGIN = "from andoncord.sim.parent import end_with_parent; end_with_parent(); print('going on')"


def test_a_process_whose_parent_died_before_it_could_ask_does_not_begin(tmp_path: Path) -> None:
    """It has become somebody else's child by then, whom no signal would come from."""
    command = bound_to(_gone(), signal.SIGKILL, ["touch", str(tmp_path / "begun")])
    assert subprocess.run(command, timeout=DEADLINE_S, check=False).returncode == NOBODY_LEFT
    assert not (tmp_path / "begun").exists()


@pytest.mark.parametrize(("starter", "code"), [("gone", -signal.SIGKILL), ("parent", 0), ("grandparent", 0)])
def test_an_agent_looks_that_its_starter_is_there(starter: str, code: int) -> None:
    """A parent or, with a supervisor in between, a grandparent; else it ends."""
    pids = {"gone": _gone(), "parent": os.getpid(), "grandparent": os.getppid()}
    environment = {**os.environ, STARTER: str(pids[starter])}
    ended = subprocess.run([sys.executable, "-c", BEGIN], env=environment, timeout=DEADLINE_S, capture_output=True, check=False)
    assert (ended.returncode, b"going on" in ended.stdout) == (code, code == 0)


def test_the_signal_comes_also_after_it_has_become_the_command() -> None:
    """The kernel keeps the request through exec: a parent that is killed at any later moment takes the command with it."""
    code = (
        "import os, signal, subprocess; from andoncord.sim.parent import bound_to\n"
        "child = subprocess.Popen(bound_to(os.getpid(), signal.SIGTERM, ['sleep', '600']))\n"
        "print(child.pid, flush=True); signal.pause()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        handle = os.pidfd_open(int(parent.stdout.readline()))
        parent.kill()
    try:
        assert select.select([handle], [], [], DEADLINE_S)[0]
    finally:
        os.close(handle)


def _gone() -> int:
    """A process id that is not in use: its process was ours, and is over."""
    with subprocess.Popen(["true"]) as over:
        pass
    return over.pid
