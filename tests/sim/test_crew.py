"""The processes of the demo end with it, whatever happens to it."""

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

from andoncord.sim import watch
from andoncord.sim.crew import Crew

DEADLINE_S = 20.0


def _ended(pid: int) -> bool:
    """Wait until a process that is not our child has ended."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], DEADLINE_S)[0])
    finally:
        os.close(handle)


def test_leaving_the_crew_ends_its_members(tmp_path: Path) -> None:
    """A member that would run on is ended when the block is left."""
    with Crew(tmp_path) as crew:
        pid = crew.start("server", "http.server", "--bind", "127.0.0.1", "0", environment={})
        assert not crew.gone()

    assert _ended(pid)


def test_a_member_that_ends_by_itself_is_known(tmp_path: Path) -> None:
    """The crew tells who is gone, with the exit code."""
    with Crew(tmp_path) as crew:
        pid = crew.start("this", "this", environment={})
        assert _ended(pid)

        assert crew.gone() == {"this": 0}


def test_the_watch_ends_processes_whose_owner_was_killed() -> None:
    """When the pipe closes without `done`, the processes named in it are ended."""
    member = subprocess.Popen(["sleep", "600"])
    guard = watch.start()
    assert guard.stdin is not None
    guard.stdin.write(f"{member.pid}\n")

    guard.stdin.close()

    assert member.wait(timeout=DEADLINE_S) == -signal.SIGTERM
    assert guard.wait(timeout=DEADLINE_S) == 0


def test_the_watch_leaves_processes_alone_after_a_tidy_end() -> None:
    """After `done` it ends nothing."""
    member = subprocess.Popen(["sleep", "600"])
    guard = watch.start()
    assert guard.stdin is not None
    guard.stdin.write(f"{member.pid}\ndone\n")
    guard.stdin.close()

    assert guard.wait(timeout=DEADLINE_S) == 0
    assert member.poll() is None
    member.terminate()
    member.wait(timeout=DEADLINE_S)


def test_an_agent_ends_with_the_process_that_started_it() -> None:
    """Killing the starter ends a process that asked to end with its parent, even one that never looks up."""
    inner = "from andoncord.sim.parent import end_with_parent; end_with_parent(); print('on', flush=True); input()"
    outer = (
        "import os, subprocess, sys; "
        f"inner = subprocess.Popen([sys.executable, '-c', {inner!r}], stdin=subprocess.PIPE, stdout=subprocess.PIPE); "
        "inner.stdout.readline(); print(inner.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    starter = subprocess.Popen([sys.executable, "-c", outer], stdout=subprocess.PIPE, text=True)
    assert starter.stdout is not None

    pid = int(starter.stdout.readline())
    starter.wait(timeout=DEADLINE_S)
    starter.stdout.close()

    assert _ended(pid)
