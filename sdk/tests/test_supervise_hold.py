"""A supervisor as an enforcement point: it freezes, thaws and ends agents that never heard of it, with real processes."""

import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from sdk.tests.test_supervise import TREE, Supervise, poll, supervise, wait_for_tree
from sdk.tests.wire_server import WireServer

from andoncord_sdk.cgroup import Cgroup, CgroupUnavailableError
from andoncord_sdk.proctree import is_stopped, living_descendants, read_process, send
from andoncord_sdk.run_tokens import RunTokens

__all__ = ["supervise"]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="supervision needs Linux")

COUNTER = """
import os, sys, threading
if os.fork() == 0:
    os.setsid()
number = 0
beat = threading.Event()
with open(f"{sys.argv[1]}-{os.getpid()}", "w") as file:
    while True:
        number += 1
        file.seek(0)
        file.write(str(number))
        file.flush()
        beat.wait(0.005)
"""
"""An agent of two processes, one in a session of its own, that both leave a mark all the time."""


@pytest.fixture(params=["cgroup", "process_group"])
def mode(request: pytest.FixtureRequest) -> str:
    """Both ways to hold a tree; the first only where groups can be made."""
    if request.param == "cgroup":
        try:
            Cgroup.create("andon-test-probe").remove()
        except CgroupUnavailableError as lacking:
            pytest.skip(str(lacking))
    return str(request.param)


def options(mode: str) -> tuple[str, ...]:
    return ("--no-cgroup",) if mode == "process_group" else ()


def marks(folder: Path) -> list[int]:
    return [int(path.read_text() or 0) for path in sorted(folder.glob("mark-*"))]


def go_on(folder: Path) -> bool:
    """Whether every process of the agent leaves marks."""
    first = marks(folder)
    poll(lambda: len(marks(folder)) >= 2 and all(now > then for now, then in zip(marks(folder), first, strict=False)))
    return True


def test_an_agent_without_a_guard_is_paused_and_goes_on(
    wire: WireServer, supervise: Supervise, tmp_path: Path, mode: str
) -> None:
    """Pause freezes every process, other sessions included, and says so twice; release lets them go on where they were."""
    supervisor = supervise(COUNTER, str(tmp_path / "mark"), options=options(mode))
    wire.wait_stream()
    assert go_on(tmp_path)

    order = wire.order("pause", (1, 1))
    first = wire.ack_of(order)
    wire.wait(lambda: [ack for ack in wire.acks if ack["order_id"] == order and ack["state"]["tree"]["looks"] == 2])
    stood = marks(tmp_path)

    assert (first["outcome"], first["state"]["tree"]["frozen"], first["state"]["tree"]["mode"]) == ("enforced", True, mode)
    assert first["detail"]["enforces"] == ["pause", "kill", "terminate", "restart"]
    assert wire.hellos[0]["capabilities"][-1] == mode
    pids = sorted(process.pid for process in living_descendants(supervisor.pid))
    assert sorted(first["state"]["tree"]["pids"]) == pids
    assert sorted(seen["pid"] for seen in first["detail"]["capture"]["processes"]) == pids
    assert all(any("mark-" in name for name in seen["files"]) for seen in first["detail"]["capture"]["processes"])
    assert marks(tmp_path) == stood

    assert wire.ack_of(wire.order("none", (1, 2)))["outcome"] == "enforced"
    assert go_on(tmp_path)
    assert all(now > then for now, then in zip(marks(tmp_path), stood, strict=True))


def test_kill_ends_the_tree_and_release_starts_the_command_again(
    wire: WireServer, supervise: Supervise, tmp_path: Path, mode: str
) -> None:
    """A kill order needs no guard either; nothing comes back before the order is lifted."""
    up = tmp_path / "up"
    supervisor = supervise(TREE, str(up), options=options(mode))
    pids = wait_for_tree(wire, supervisor, up)

    wire.ack_of(wire.order("pause", (1, 1)))
    killed = wire.ack_of(wire.order("kill", (1, 2)))
    refused = wire.ack_of(wire.push("restart", {}))

    assert (killed["outcome"], killed["state"]["tree"]["empty"]) == ("enforced", True)
    assert [pid for pid in pids if (process := read_process(pid)) and process.state != "Z"] == []
    assert refused["outcome"] == "failed"
    assert "kill is in force" in refused["detail"]["error"]

    released = wire.ack_of(wire.order("none", (1, 3)))
    assert released["detail"]["pid"] in wait_for_tree(wire, supervisor, up, starts=2)


def test_what_could_not_be_started_at_the_release_is_started_by_the_next_one(
    wire: WireServer, supervise: Supervise, tmp_path: Path
) -> None:
    """The folder of its tokens was away when a kill was lifted: the answer says so, and the supervisor does not forget."""
    up, tokens, away = tmp_path / "up", tmp_path / "tokens", tmp_path / "away"
    supervisor = supervise(TREE, str(up), options=("--no-cgroup", "--run-tokens", str(tokens)))
    wait_for_tree(wire, supervisor, up)
    wire.ack_of(wire.order("kill", (1, 1)))
    assert RunTokens(tokens).revoked("hung-agent"), "the run that had it is over"

    tokens.rename(away)
    tokens.touch()
    failed = wire.ack_of(wire.order("none", (1, 2)))
    tokens.unlink()
    away.rename(tokens)
    released = wire.ack_of(wire.order("none", (1, 3)))

    assert failed["outcome"] == "failed"
    assert released["detail"]["pid"] in wait_for_tree(wire, supervisor, up, starts=2)


def test_orders_that_come_together_are_followed_one_after_the_other(
    wire: WireServer, supervise: Supervise, tmp_path: Path
) -> None:
    """A termination and a restart in one breath leave a supervisor with a running command."""
    up = tmp_path / "up"
    supervisor = supervise(TREE, str(up))
    wait_for_tree(wire, supervisor, up)

    for starts in range(2, 5):
        wire.push("terminate", {})
        again = wire.ack_of(wire.push("restart", {}))
        assert again["detail"]["pid"] in wait_for_tree(wire, supervisor, up, starts=starts)


def test_what_is_set_going_from_outside_is_stopped_again_and_told(
    wire: WireServer, supervise: Supervise, tmp_path: Path
) -> None:
    """Signals can be undone by whoever may send them: the supervisor looks again, and does not call that frozen."""
    supervisor = supervise(COUNTER, str(tmp_path / "mark"), options=("--no-cgroup",))
    wire.wait_stream()
    assert go_on(tmp_path)
    order = wire.order("pause", (1, 1))
    wire.ack_of(order)

    for process in living_descendants(supervisor.pid):
        assert send(process, signal.SIGCONT)
    told: list[dict[str, Any]] = wire.wait(
        lambda: [ack for ack in wire.acks if ack["order_id"] == order and ack["outcome"] == "failed"]
    )

    assert "from outside" in told[0]["detail"]["error"]
    poll(lambda: all(is_stopped(process) for process in living_descendants(supervisor.pid)))


def test_an_agent_that_is_to_be_held_is_not_started(wire: WireServer, supervise: Supervise, tmp_path: Path) -> None:
    """Launched while a pause is in force, the command waits for the release, not the other way round."""
    wire.in_force = {"rung": "pause", "epoch": [1, 4], "reason": "test"}
    supervise(COUNTER, str(tmp_path / "mark"))
    wire.wait_stream()

    held = wire.ack_of("in-force")
    assert (held["state"]["tree"]["empty"], held["state"]["runs_active"], marks(tmp_path)) == (True, 0, [])

    wire.ack_of(wire.order("none", (1, 5)))
    assert go_on(tmp_path)


def test_left_to_the_guard_nothing_is_frozen(wire: WireServer, supervise: Supervise, tmp_path: Path) -> None:
    """With `--on-pause leave` it declares neither pause nor kill, and does neither."""
    supervise(COUNTER, str(tmp_path / "mark"), options=("--on-pause", "leave"))
    wire.wait_stream()

    ack = wire.ack_of(wire.order("pause", (1, 1)))

    assert (ack["detail"]["enforces"], "tree" in ack["state"]) == (["terminate", "restart"], False)
    assert go_on(tmp_path)


def test_a_hidden_token_stays_with_the_supervisor(supervise: Supervise, tmp_path: Path) -> None:
    """An agent without a guard need not be able to speak in its supervisor's name."""
    seen = tmp_path / "seen"
    program = "import os, sys; open(sys.argv[1], 'w').write(os.environ.get('ANDON_TOKEN', 'none'))"

    assert supervise(program, str(seen), options=("--hide-token",)).wait(10) == 0
    assert seen.read_text() == "none"


RUNNER = """
import os, sys
os.setsid()
open(sys.argv[1], "w").write("up")
for _ in range(20_000):
    if os.fork():
        os._exit(0)
"""
"""A process whose child takes its place all the time, within bounds: a pid that is looked up is gone a moment later."""


def test_what_forks_all_the_time_does_not_get_away(wire: WireServer, supervise: Supervise, tmp_path: Path, mode: str) -> None:
    """Groups are signalled at once, so that no child slips through between two looks."""
    start = f"subprocess.Popen([sys.executable, '-c', {RUNNER!r}, sys.argv[1]])"
    program = f"import subprocess, sys, threading; {start}; threading.Event().wait()"
    supervisor = supervise(program, str(tmp_path / "up"), options=options(mode))
    wire.wait_stream()
    poll((tmp_path / "up").exists)

    ack = wire.ack_of(wire.order("kill", (1, 1)))

    assert (ack["outcome"], ack["state"]["tree"]["empty"]) == ("enforced", True)
    assert living_descendants(supervisor.pid) == []
