"""`andon run`, with a real server and an agent that never heard of Andoncord."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from andoncord.adapters.system.server_process import ServerProcess, launch

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="supervision needs Linux")

AGENT = """
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
        beat.wait(0.01)
"""
DEADLINE_S = 20.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    with launch(tmp_path / "home") as running:
        yield running


def andon(server: ServerProcess, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """One command of the person at the server."""
    environment = {**os.environ, "ANDON_HOME": str(server.home), "ANDON_TOKEN": "", "ANDON_SERVER": ""}
    command = [sys.executable, "-m", "andoncord.cli.main", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)


def poll(condition: Callable[[], Any]) -> Any:
    pause = threading.Event()
    for _ in range(int(DEADLINE_S / 0.05)):
        if found := condition():
            return found
        pause.wait(0.05)
    raise AssertionError("what the test waits for did not happen")


def test_an_agent_without_the_sdk_is_paused_resumed_and_killed_with_proof(server: ServerProcess, tmp_path: Path) -> None:
    """Every order is confirmed by the supervisor and VERIFIED by what it saw."""

    def marks() -> list[int]:
        return [int(path.read_text() or 0) for path in sorted(tmp_path.glob("mark-*"))]

    def verdict_of(incident: str, count: int) -> str:
        given = poll(lambda: len(found := person.get(f"/api/v1/incidents/{incident}").json()["verdicts"]) >= count and found)
        return str(given[-1]["verdict"])

    with httpx2.Client(base_url=server.api_url, headers={"Authorization": f"Bearer {server.admin_token}"}) as person:
        token = person.post("/api/v1/tokens", json={"name": "legacy", "scope": "agent", "agent": "legacy"}).json()["token"]
        environment = {**os.environ, "ANDON_HOME": str(server.home), "ANDON_TOKEN": token, "ANDON_SERVER": ""}
        command = [sys.executable, "-m", "andoncord.cli.main", "run", "--agent", "legacy", "--hide-token"]
        agent = subprocess.Popen([*command, "--", sys.executable, "-c", AGENT, str(tmp_path / "mark")], env=environment)
        try:
            poll(lambda: any(each["state"] == "running" for each in person.get("/api/v1/agents").json()["items"]))
            poll(lambda: len(marks()) == 2 and min(marks()) > 0)

            paused = andon(server, "pause", "legacy", "--output", "json")
            assert paused.returncode == 0, paused.stderr
            stood = marks()
            incident = json.loads(paused.stdout)["incident"]
            assert (verdict_of(incident, 1), marks()) == ("VERIFIED", stood)

            assert andon(server, "resume", "legacy", "--reason", "checked").returncode == 0
            poll(lambda: all(now > then for now, then in zip(marks(), stood, strict=True)))

            killed = andon(server, "kill", "legacy", "--output", "json")
            assert killed.returncode == 0, killed.stderr
            ended = marks()
            last = json.loads(killed.stdout)["incident"]
            assert verdict_of(last, 2 if last == incident else 1) == "VERIFIED"
            assert (marks(), agent.poll()) == (ended, None)
        finally:
            agent.send_signal(signal.SIGTERM)
            agent.send_signal(signal.SIGINT)
            agent.wait(DEADLINE_S)


def test_without_a_token_of_an_agent_the_remedy_is_said(tmp_path: Path) -> None:
    """A person's token does not start agents."""
    environment = {**os.environ, "ANDON_HOME": str(tmp_path), "ANDON_TOKEN": "andon_pat_x"}
    command = [sys.executable, "-m", "andoncord.cli.main", "run", "--", "true"]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)

    assert refused.returncode == 4
    assert "andon token create true --agent true" in refused.stderr
