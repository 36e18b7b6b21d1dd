"""The supervisor, with real processes: it ends whole trees, proves it, and starts again."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sdk.tests.wire_server import DEADLINE_S, WireServer

from andoncord_sdk.proctree import can_run, living_descendants, read_process, send

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="supervision needs Linux")

TREE = """
import os, signal, subprocess, sys, threading
signal.signal(signal.SIGTERM, signal.SIG_IGN)
nap = [sys.executable, "-c", "import threading; threading.Event().wait()"]
child = subprocess.Popen(nap)
escaped = subprocess.Popen(nap, start_new_session=True)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execv(nap[0], nap)
    os._exit(0)
os.wait()
open(sys.argv[1], "a").write("up\\n")
threading.Event().wait()
"""
"""A command that ignores SIGTERM, with a child, a child in another session, and an orphaned grandchild in a third."""

Supervise = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def supervise(wire: WireServer) -> Iterator[Supervise]:
    """Starts supervisors of Python programs; ends what is left of them."""
    started: list[subprocess.Popen[bytes]] = []

    def start(program: str, *arguments: str, options: tuple[str, ...] = ()) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", program, *arguments]
        supervisor = [sys.executable, "-m", "andoncord_sdk.supervise", "--agent", "hung-agent", "--server", wire.url, *options]
        environment = {**os.environ, "ANDON_TOKEN": "andon_sdk_test"}
        started.append(subprocess.Popen([*supervisor, "--", *command], env=environment))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.send_signal(signal.SIGINT)
            process.wait(DEADLINE_S)


def poll(condition: Callable[[], Any]) -> Any:
    """What `condition` gives as soon as that is true: for what nobody can notify us of."""
    pause = threading.Event()
    for _ in range(int(DEADLINE_S / 0.02)):
        if found := condition():
            return found
        pause.wait(0.02)
    raise AssertionError("what the test waits for did not happen")


def wait_for_tree(wire: WireServer, supervisor: subprocess.Popen[bytes], up: Path, *, starts: int = 1) -> list[int]:
    """Pids of the tree below a supervisor, as soon as the program says that it is complete."""
    wire.wait_stream()
    poll(lambda: up.exists() and len(up.read_text().splitlines()) == starts)
    pids = [process.pid for process in living_descendants(supervisor.pid)]
    assert len(pids) == 4
    return pids


def test_terminate_ends_the_whole_tree_and_proves_it(wire: WireServer, supervise: Supervise, tmp_path: Path) -> None:
    """Children in other sessions and orphans are found, described and ended; a restart brings the tree back."""
    up = tmp_path / "up"
    supervisor = supervise(TREE, str(up))
    pids = wait_for_tree(wire, supervisor, up)

    ack = wire.ack_of(wire.push("terminate", {"agent": "hung-agent", "reason": "ignores the order to stop"}))

    detail = ack["detail"]
    assert (ack["outcome"], detail["process_tree_empty"], detail["remaining"]) == ("enforced", True, [])
    assert sorted(pids) == sorted(entry["pid"] for entry in detail["state_before"]) == detail["signalled"]
    assert all(entry["cmd"] and entry["state"] in "RSD" for entry in detail["state_before"])
    assert [pid for pid in pids if (process := read_process(pid)) and process.state != "Z"] == []
    assert (ack["state"]["runs_active"], supervisor.poll()) == (0, None)

    again = wire.ack_of(wire.push("restart", {"agent": "hung-agent", "reason": "recovered"}))
    assert again["outcome"] == "enforced"
    assert again["detail"]["pid"] in wait_for_tree(wire, supervisor, up, starts=2)


def test_terminate_on_an_empty_tree_is_no_fault(wire: WireServer, supervise: Supervise, tmp_path: Path) -> None:
    """Ordered twice, there is nothing to do the second time, and that is proven as well."""
    up = tmp_path / "up"
    supervisor = supervise(TREE, str(up))
    wait_for_tree(wire, supervisor, up)
    wire.ack_of(wire.push("terminate", {}))

    ack = wire.ack_of(wire.push("terminate", {}))

    assert (ack["outcome"], ack["detail"]["process_tree_empty"], ack["detail"]["signalled"]) == ("enforced", True, [])


def test_registration_and_orders(wire: WireServer, supervise: Supervise, tmp_path: Path) -> None:
    """A supervisor registers as such, notes orders, and refuses stale ones."""
    supervise(TREE, str(tmp_path / "up"))
    wire.wait_stream()

    noted = wire.ack_of(wire.order("pause", (1, 3)))
    stale = wire.ack_of(wire.order("none", (1, 2)))

    assert (wire.hellos[0]["kind"], wire.hellos[0]["agent"]) == ("supervisor", "hung-agent")
    assert (noted["outcome"], noted["state"]["rung"], stale["outcome"]) == ("enforced", "pause", "refused")
    assert wire.authorizations == {"Bearer andon_sdk_test"}


@pytest.mark.parametrize(("program", "code"), [("raise SystemExit(7)", 7), ("import os; os.abort()", 128 + signal.SIGABRT)])
def test_the_exit_code_is_the_commands(supervise: Supervise, program: str, code: int) -> None:
    """A command that ends by itself ends its supervisor, with its code."""
    assert supervise(program).wait(DEADLINE_S) == code


def test_leftover_children_end_with_the_supervisor(wire: WireServer, supervise: Supervise, tmp_path: Path) -> None:
    """When the command ends and leaves children behind, they are ended."""
    left = tmp_path / "left"
    program = (
        "import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', 'import threading; threading.Event().wait()'], "
        "start_new_session=True); open(sys.argv[1], 'w').write(str(p.pid)); p.returncode = 0"
    )
    assert supervise(program, str(left)).wait(DEADLINE_S) == 0

    process = read_process(int(left.read_text()))
    assert process is None or process.state == "Z"


def test_a_signal_is_passed_on(wire: WireServer, supervise: Supervise, tmp_path: Path) -> None:
    """SIGTERM reaches the command, which may end in its own way."""
    ready = tmp_path / "ready"
    program = (
        "import signal, sys, threading\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))\n"
        "open(sys.argv[1], 'w').write('yes')\n"
        "while True: signal.pause()\n"
    )
    supervisor = supervise(program, str(ready))
    poll(lambda: ready.exists() and ready.read_text() == "yes")

    supervisor.send_signal(signal.SIGTERM)

    assert supervisor.wait(DEADLINE_S) == 5


def test_a_second_signal_ends_a_command_that_ignores_the_first(wire: WireServer, supervise: Supervise, tmp_path: Path) -> None:
    """Nobody has to search for what a supervisor started."""
    up = tmp_path / "up"
    supervisor = supervise(TREE, str(up))
    pids = wait_for_tree(wire, supervisor, up)

    supervisor.send_signal(signal.SIGTERM)
    supervisor.send_signal(signal.SIGINT)

    assert supervisor.wait(DEADLINE_S) > 128
    assert [pid for pid in pids if (process := read_process(pid)) and process.state != "Z"] == []


def test_a_command_that_does_not_exist_is_named(capfd: Any) -> None:
    """The mistake is told with the exit code shells use for it."""
    result = subprocess.run(
        [sys.executable, "-m", "andoncord_sdk.supervise", "--agent", "a", "--", "/nonexistent/agent"],
        check=False,
        timeout=DEADLINE_S,
    )

    assert result.returncode == 127
    assert "/nonexistent/agent" in capfd.readouterr().err


def test_a_process_whose_first_thread_has_ended_is_still_alive(tmp_path: Path) -> None:
    """It looks like a zombie and still acts: found, it can be ended."""
    program = (
        "import ctypes, threading\n"
        "threading.Thread(target=threading.Event().wait).start()\n"
        "print('up', flush=True)\n"
        "ctypes.CDLL(None).pthread_exit(None)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        process = poll(lambda: (now := read_process(child.pid)) and now.state == "Z" and now)

        assert child.pid in [found.pid for found in living_descendants(os.getpid())]
        assert send(process, signal.SIGKILL)
        child.wait(DEADLINE_S)
    assert can_run(process) is False


def test_a_start_without_an_answer_is_reported_once_somebody_listens(tmp_path: Path) -> None:
    """No server is there when the command starts; when it comes back, the start is told it, and once."""
    with WireServer() as gone:
        port = gone.port
    up = tmp_path / "up"
    command = [sys.executable, "-c", "import sys, threading; open(sys.argv[1], 'w').close(); threading.Event().wait()", str(up)]
    url = f"http://127.0.0.1:{port}"
    ours = ["-m", "andoncord_sdk.supervise", "--agent", "alone", "--server", url, "--telemetry", url]
    supervisor = subprocess.Popen(
        [sys.executable, *ours, "--", *command], env={**os.environ, "ANDON_TOKEN": "andon_sdk_test"}, stderr=subprocess.DEVNULL
    )
    try:
        poll(up.exists)
        with WireServer(port=port) as wire:
            told = wire.wait_log("andoncord.guard.degraded")
            wire.wait_stream()
            assert told["andoncord.decision.code"] == "started_unheard"
            assert told["gen_ai.agent.name"] == "alone"
            assert len(wire.logs_named("andoncord.guard.degraded")) == 1
    finally:
        supervisor.send_signal(signal.SIGTERM)
        assert supervisor.wait(DEADLINE_S) == 128 + signal.SIGTERM
