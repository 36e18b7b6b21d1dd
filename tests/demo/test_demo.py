"""`andon demo` with real processes, from the outside."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from andoncord.sim.fleet import FLEET

DEADLINE_S = 90.0
ENDING_S = 20.0
COMMAND = [sys.executable, "-m", "andoncord.cli.main", "demo"]


def _processes_about(path: Path) -> list[str]:
    """Command lines of the processes that were started with something under `path`."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if str(path) in line:
                found.append(line)
    return found


def _wait_until(holds: Callable[[], bool], *, deadline_s: float) -> bool:
    """Look every 50 ms until something holds."""
    pause = threading.Event()
    for _ in range(int(deadline_s / 0.05)):
        if holds():
            return True
        pause.wait(0.05)
    return holds()


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, "subprocess.CompletedProcess[str]"]:
    """One headless telling with seed 7."""
    home = tmp_path_factory.mktemp("home")
    command = [*COMMAND, "--headless", "--json", "--seed", "7"]
    environment = {**os.environ, "ANDON_HOME": str(home)}
    return home, subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=DEADLINE_S, check=False, cwd=home
    )


@pytest.fixture(scope="module")
def document(told: tuple[Path, "subprocess.CompletedProcess[str]"]) -> dict[str, Any]:
    """The one document on standard output."""
    loaded: dict[str, Any] = json.loads(told[1].stdout)
    return loaded


def test_the_demo_ends_well(told: tuple[Path, "subprocess.CompletedProcess[str]"], document: dict[str, Any]) -> None:
    """Exit code 0: nothing missed, nothing healthy stopped, within a minute."""
    assert told[1].returncode == 0, told[1].stderr
    assert document["missed"] == []
    assert (document["false_incidents"], document["false_stops"]) == (0, 0)
    assert document["wall_s"] <= 60


def test_each_failure_is_one_incident(document: dict[str, Any]) -> None:
    """Four failures, four incidents, each contained with proof, recovered and reviewed."""
    by_letter = {incident["failure"]: incident for incident in document["incidents"]}

    assert sorted(by_letter) == ["a", "b", "c", "d"]
    for incident in by_letter.values():
        assert incident["containment"] == "VERIFIED"
        assert incident["recovered"]
        assert Path(incident["review"]).is_file()


def test_the_hung_agent_is_unverified_first(document: dict[str, Any]) -> None:
    """What was not proven is said so, before the supervisor made it provable."""
    (hung,) = [incident for incident in document["incidents"] if incident["failure"] == "d"]

    assert [given["verdict"] for given in hung["verdicts"]] == ["UNVERIFIED", "VERIFIED"]


def test_the_applied_proposal_changes_behaviour(document: dict[str, Any]) -> None:
    """The document that did harm is refused when it comes again."""
    assert document["proposal_refused_again"]


def test_the_death_of_the_control_plane_stops_writers(document: dict[str, Any]) -> None:
    """Within the lease and half a second; what was held stays held through the restart, and all goes on."""
    outage = document["control_plane_death"]
    assert 0 < outage["last_write_s"] <= outage["allowed_s"]
    assert outage["refused"] > 0
    assert (outage["held_through"], outage["released"]) == (True, True)
    assert outage["back_s"] is not None


def test_nothing_is_left_running(told: tuple[Path, "subprocess.CompletedProcess[str]"]) -> None:
    """Server, supervisor and agents have ended with the demo."""
    assert not _processes_about(told[0])


def test_a_killed_demo_leaves_nothing_running(tmp_path: Path) -> None:
    """Even when the demo is killed and cannot tidy up, its processes end."""
    demo = subprocess.Popen(
        [*COMMAND, "--headless"],
        env={**os.environ, "ANDON_HOME": str(tmp_path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert _wait_until(lambda: len(_processes_about(tmp_path)) > len(FLEET), deadline_s=DEADLINE_S)

    demo.send_signal(signal.SIGKILL)
    demo.wait()

    assert _wait_until(lambda: not _processes_about(tmp_path), deadline_s=ENDING_S), _processes_about(tmp_path)
