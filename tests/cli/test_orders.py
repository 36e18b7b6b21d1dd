"""Orders for a scope, as a person gives them to real guards through a real server."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from andoncord.adapters.system.server_process import ServerProcess, launch
from andoncord_sdk import CallDenied, Guard, RunStopped

SETTINGS = """
agents:
  clerk-*: {role: clerk, breakers: {"pay": {calls_min: 2, open_s: 60}}}
"""
DEADLINE_S = 15.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One real server for all."""
    folder = tmp_path_factory.mktemp("orders")
    (folder / "andon.yaml").write_text(SETTINGS, encoding="utf-8")
    with launch(folder / "home", config=folder / "andon.yaml") as running:
        yield running


@pytest.fixture
def make_guard(server: ServerProcess) -> Iterator[Callable[..., Guard]]:
    """Makes guards that follow the server."""
    token = andon(server.home, "token", "create", "fleet", "--agent", "*").stdout.strip().splitlines()[0]
    made: list[Guard] = []

    def make(agent: str, **more: Any) -> Guard:
        made.append(Guard(agent, server=server.api_url, telemetry=server.otlp_url, token=token, **more))
        return made[-1]

    yield make
    for guard in made:
        guard.close()


def andon(home: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run one command against the server of a data directory."""
    environment = {**os.environ, "ANDON_HOME": str(home), "ANDON_TOKEN": "", "ANDON_SERVER": ""}
    command = [sys.executable, "-m", "andoncord.cli.main", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)


def in_force(server: ServerProcess) -> list[dict[str, Any]]:
    """Every order in force."""
    items: list[dict[str, Any]] = json.loads(andon(server.home, "orders", "-o", "json").stdout)
    return items


def eventually(holds: Callable[[], Any]) -> Any:
    """What `holds` gives, as soon as that is true."""
    pause = threading.Event()
    for _ in range(int(DEADLINE_S / 0.05)):
        if found := holds():
            return found
        pause.wait(0.05)
    raise AssertionError("what the test waits for did not happen")


def test_a_tool_is_killed_for_everybody_and_given_back(server: ServerProcess, make_guard: Callable[..., Guard]) -> None:
    """Two agents and one that comes later may not call it; lifting that order leaves another one alone."""
    guards = [make_guard("clerk-1"), make_guard("writer-1")]
    killed = andon(server.home, "kill", "--tool", "pay", "--reason", "fraud", "--yes")
    assert (killed.returncode, killed.stdout.count("1/1 confirmed")) == (0, 2), killed.stderr
    assert killed.stdout.count("VERIFIED") == 2
    slowed = andon(server.home, "throttle", "--role", "clerk", "--rate", "0.5", "--reason", "slow", "--yes", "-o", "json")
    assert slowed.returncode == 0, slowed.stderr
    for guard in (*guards, make_guard("writer-2")):
        with guard.run() as run, pytest.raises(CallDenied, match="fraud"):
            run.call("pay", lambda: "paid")
    assert [(each["what"], each["agent"]) for each in in_force(server)] == [
        ("kill", "tool pay"),
        ("throttle to 0.5 of the usual rate", "role clerk"),
    ]

    lifted = andon(server.home, "resume", "--order", in_force(server)[0]["id"], "--reason", "it was a drill")
    assert lifted.returncode == 0, lifted.stderr
    with guards[1].run() as run:
        assert run.call("pay", lambda: "paid") == "paid"
    assert [each["rung"] for each in in_force(server)] == ["throttle"]
    assert andon(server.home, "resume", "--order", json.loads(slowed.stdout)["order"], "--reason", "done").returncode == 0


def test_one_run_is_killed(server: ServerProcess, make_guard: Callable[..., Guard]) -> None:
    """Found by its id alone; the agent's other runs go on. A run that nobody has open is not counted as stopped."""
    guard = make_guard("writer-3")
    with guard.run("one") as one, guard.run("other") as other:
        guard.flush()
        ended = eventually(lambda: (done := andon(server.home, "kill", "--run", one.id, "-r", "stop")).returncode == 0 and done)
        assert f"run {one.id} of agent writer-3" in ended.stdout
        with pytest.raises(RunStopped):
            one.call("look", lambda: "seen")
        assert other.call("look", lambda: "seen") == "seen"
    assert andon(server.home, "kill", "--run", "nonsense", "-r", "stop").returncode == 3
    absent = andon(server.home, "kill", "writer-3", "--run", "nonsense", "-r", "stop")
    assert (absent.returncode, "has run nonsense open" in absent.stdout) == (6, True)


def test_what_no_guard_can_do_is_refused(server: ServerProcess, make_guard: Callable[..., Guard]) -> None:
    """Not ordered and counted, but refused with what they can do; where one of two can, the other stays unconfirmed."""
    make_guard("lame-1").reached_through("a framework", lacks=("quarantine",))
    refused = eventually(
        lambda: (done := andon(server.home, "quarantine", "lame-1", "-r", "alone")).returncode == 5 and done,
    )
    assert "can do this (quarantine for agent lame-1), they can: breaker, budget" in refused.stderr
    make_guard("lame-2")
    half = andon(server.home, "quarantine", "lame-*", "-r", "alone", "--yes", "-o", "json")
    said = {each["target"]: (each["outcome"], each["text"]) for each in json.loads(half.stdout)["receipts"]}
    assert (half.returncode, said["lame-2"][0]) == (6, "done")
    assert said["lame-1"][0] == "failed"
    assert "does not announce quarantine" in said["lame-1"][1]


def test_an_open_breaker_is_shown_and_is_a_finding(server: ServerProcess, make_guard: Callable[..., Guard]) -> None:
    """Breakers of the settings work in the guard; an order holds one closed."""
    guard = make_guard("clerk-9")

    def fail() -> None:
        raise RuntimeError("down")

    with guard.run() as run:
        for _ in range(2):
            with pytest.raises(RuntimeError):
                run.call("pay", fail)
        with pytest.raises(CallDenied, match="2 of 2 calls failed"):
            run.call("pay", lambda: "paid")
        eventually(lambda: "clerk-9  pay      open" in andon(server.home, "breaker", "show").stdout)
        closed = andon(server.home, "breaker", "close", "clerk-9", "--tool", "pay", "--for", "1m", "-r", "it is up")
        assert closed.returncode == 0, closed.stderr
        assert run.call("pay", lambda: "paid") == "paid"
    guard.flush()
    eventually(lambda: "clerk-9 stopped calling a dependency" in andon(server.home, "incidents", "ls").stdout)


def test_what_is_meant_has_to_be_said(server: ServerProcess) -> None:
    """Nobody named, too much named, no such role, a rate that is none: nothing is ordered."""
    before = in_force(server)
    for arguments, code in (
        (("pause",), 2),
        (("pause", "--fleet", "--role", "clerk"), 2),
        (("kill", "--role", "nobody", "--yes"), 3),
        (("throttle", "x", "--rate", "7"), 2),
        (("pause", "--fleet", "--for", "soon"), 2),
        (("resume", "--order", "ord_999999", "-r", "x"), 3),
        (("resume", "-r", "x"), 2),
    ):
        assert andon(server.home, *arguments).returncode == code, arguments
    assert in_force(server) == before
