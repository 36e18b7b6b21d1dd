"""What guards report, read back through a real server: `andon taint`, incidents by a common datum, and runs by the page."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from andoncord.adapters.system.server_process import ServerProcess, launch
from andoncord_sdk import Guard

DEADLINE_S = 15.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One real server for all."""
    with launch(tmp_path_factory.mktemp("taint") / "home") as running:
        yield running


@pytest.fixture
def make_guard(server: ServerProcess) -> Iterator[Callable[[str], Guard]]:
    """Makes guards that report to the server."""
    token = andon(server, "token", "create", "fleet", "--agent", "*").stdout.strip().splitlines()[0]
    made: list[Guard] = []

    def make(agent: str) -> Guard:
        made.append(Guard(agent, server=server.api_url, telemetry=server.otlp_url, token=token))
        return made[-1]

    yield make
    for guard in made:
        guard.close()


def andon(server: ServerProcess, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run one command against the server."""
    environment = {**os.environ, "ANDON_HOME": str(server.home), "ANDON_TOKEN": "", "ANDON_SERVER": ""}
    command = [sys.executable, "-m", "andoncord.cli.main", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)


def eventually(read: Callable[[], Any], holds: Callable[[Any], bool]) -> Any:
    """What `read` gives, as soon as it holds."""
    pause, found = threading.Event(), read()
    for _ in range(int(DEADLINE_S / 0.1)):
        if holds(found):
            break
        pause.wait(0.1)
        found = read()
    return found


def test_what_steps_say_they_read_and_wrote_is_followed_and_correlates(
    server: ServerProcess, make_guard: Callable[[str], Guard]
) -> None:
    """Two agents in traces of their own, tied together by a datum alone: downstream for certain, and one incident."""
    writer, reader, other = (make_guard(agent) for agent in ("scribe", "teller", "bystander"))
    with writer.run("sum up") as run, run.step("sum_up", {"ticket": 1}) as step:
        step.reads("doc:17")
        step.writes("cache:sum, of 17")
    with reader.run("tell") as run:
        with run.model_step("scripted-1", max_cost_usd=0.01) as model:
            model.reads("cache:sum, of 17")
        with run.step("answer", {"path": "doc:17-is-not-what-this-names"}) as step:
            step.writes("answer:1")
    with other.run("tell") as run, run.step("answer", {}) as step:
        step.reads("doc:18")

    for guard in (writer, reader, other):
        guard.validator("sum")(lambda _: False)
        with guard.run("leave a state") as run:
            with run.step("look", {}) as step:
                step.reads("doc:18" if guard is other else "doc:17")
            run.report_state({"sum": -1})
        assert guard.flush(DEADLINE_S)

    def incidents() -> list[list[str]]:
        items = json.loads(andon(server, "incidents", "ls", "-o", "json").stdout)
        return sorted(sorted(each["agents"]) for each in items)

    assert eventually(incidents, lambda found: sum(map(len, found)) == 3) == [["bystander"], ["scribe", "teller"]]

    def taint() -> dict[str, Any]:
        found: dict[str, Any] = json.loads(andon(server, "taint", "doc:17", "-o", "json").stdout)["exact"]
        return found

    exact = eventually(taint, lambda found: len(found["agents"]) == 2)
    assert set(exact["agents"]) == {"scribe", "teller"}
    assert {"cache:sum%2C of 17", "answer:1"} <= set(exact["data"])


def test_runs_are_listed_by_the_page(server: ServerProcess, make_guard: Callable[[str], Guard]) -> None:
    """A page says how to go on, and going on shows the rest of the same time."""
    guard = make_guard("pager")
    for number in range(3):
        with guard.run(f"task {number}"):
            pass
    assert guard.flush(DEADLINE_S)

    def listed(*more: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(andon(server, "fleet", "runs", "pager", *more, "-o", "json").stdout)
        return found

    whole = eventually(listed, lambda found: len(found["items"]) == 3)
    assert whole["next"] is None
    first = listed("--limit", "2")
    rest = listed("--limit", "2", "--after", first["next"])
    assert first["items"] + rest["items"] == whole["items"]
    assert rest["next"] is None
    assert f"--after {first['next'].partition('-')[0][:4]}" in andon(server, "fleet", "runs", "pager", "--limit", "2").stderr
    assert andon(server, "fleet", "runs", "pager", "--after", "nowhere").returncode == 2
