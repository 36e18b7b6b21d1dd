"""Reading back through a real server, as a person does: fleet, series, tail, touched, doctor and the figures for Prometheus."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from andoncord.adapters.system.clock import SystemClock
from andoncord.adapters.system.server_process import ServerProcess, launch

TRACE_ID = "ab" * 16
SETTINGS = """
agents:
  planner: {tools: {search: read}, owner: ada, criticality: high, talks_to: [writer]}
prices:
  - {model: scripted-1, input: 100, output: 1000, source: the test, date: 2026-01-01}
deadman: {every_s: 1, file: beat.json}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that was told of one trace."""
    home = tmp_path_factory.mktemp("reading") / "home"
    home.mkdir(mode=0o700)
    (home / "andon.yaml").write_text(SETTINGS)
    with launch(home, config=home / "andon.yaml") as running:
        send(running, 1)
        pause = threading.Event()
        for _ in range(300):
            found = andon(running, "fleet", "show", "planner", "-o", "json")
            if found.returncode == 0 and json.loads(found.stdout)["tools"][0]["count"]:
                break
            pause.wait(0.1)
        yield running


def andon(server: ServerProcess, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, timeout=60, check=False, env=surroundings(server)
    )


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "andoncord.cli.main", *arguments]


def surroundings(server: ServerProcess) -> dict[str, str]:
    return {**os.environ, "ANDON_HOME": str(server.home), "ANDON_TOKEN": "", "ANDON_SERVER": ""}


def send(server: ServerProcess, number: int) -> None:
    """One run of the planner, which calls a model, a shell that fails, and the writer."""
    now = SystemClock().now()

    def span(place: int, above: int, operation: str, **more: Any) -> dict[str, Any]:
        attributes = {"gen_ai.operation.name": operation, "gen_ai.agent.name": "planner", **more}
        failed: dict[str, Any] = {"status": {"code": 2}} if "error.type" in more else {}
        return {
            "traceId": TRACE_ID,
            "spanId": f"{number:08x}{place:08x}",
            "parentSpanId": f"{number:08x}{above:08x}" if above else "",
            "name": operation,
            "startTimeUnixNano": str(now - 1_000_000_000),
            "endTimeUnixNano": str(now - 500_000_000),
            "attributes": [
                {"key": key, "value": {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}}
                for key, value in attributes.items()
            ],
            **failed,
        }

    shell = {"command": "curl https://api.example.com/v1 > out.json"}
    spans = [
        span(1, 0, "invoke_agent"),
        span(2, 1, "chat", **{"gen_ai.request.model": "scripted-1", "gen_ai.usage.input_tokens": 100}),
        span(3, 1, "execute_tool", **{"gen_ai.tool.name": "search", "gen_ai.tool.call.arguments": json.dumps(shell)}),
        span(4, 3, "invoke_agent", **{"gen_ai.agent.name": "writer"}),
        span(5, 1, "execute_tool", **{"gen_ai.tool.name": "bash", "error.type": "Refused"}),
    ]
    body = {"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}
    assert httpx2.post(f"{server.otlp_url}/v1/traces", json=body).status_code == 200


def test_the_fleet_map(server: ServerProcess) -> None:
    """Declared and seen together; an agent that nobody knows is not found, with the known ones named."""
    listed = andon(server, "fleet", "ls")
    whole = json.loads(andon(server, "fleet", "show", "planner", "-o", "json").stdout)
    nobody = andon(server, "fleet", "show", "nobody")

    assert "planner" in listed.stdout
    assert "writer" in listed.stdout
    assert whole["owner"] == "ada"
    assert {tool["name"]: tool["permission"] for tool in whole["tools"]} == {"bash": "not declared", "search": "read"}
    assert [(edge["agent"], edge["how"], edge["declared"]) for edge in whole["talks_to"]] == [("writer", "called", True)]
    assert whole["state"] == "reporting"
    assert nobody.returncode == 3
    assert "planner" in nobody.stderr


def test_series_and_what_was_touched(server: ServerProcess) -> None:
    """The cost comes from the price table, the minutes before are unknown, and files and systems are read off the calls."""
    found = json.loads(andon(server, "series", "planner", "--minutes", "30", "-o", "json").stdout)
    heard = [point for point in found["points"] if point["heard"]]
    files = json.loads(andon(server, "fleet", "show", "planner", "--files", "-o", "json").stdout)
    systems = andon(server, "trace", "show", TRACE_ID, "--systems")
    wrong = andon(server, "series", "planner", "--minutes", "0")

    assert sum(point["cost_micro_usd"] for point in heard) == 10_000
    assert sum(point["tool_errors"] for point in heard) == 1
    assert len(heard) <= 2 < len(found["points"])
    assert [file["path"] for file in files["files"]] == ["out.json"]
    assert "api.example.com" in systems.stdout
    assert wrong.returncode == 2


def test_the_trace_comes_in_pages(server: ServerProcess) -> None:
    """Pages of two spans, one after the other, hold the whole trace once."""
    headers = {"Authorization": f"Bearer {server.admin_token}"}
    after: int | None = 0
    seen: list[str] = []
    while after is not None:
        address = f"{server.api_url}/api/v1/traces/{TRACE_ID}?limit=2&after={after}"
        page = httpx2.get(address, headers=headers).json()
        seen += [span["span_id"] for span in page["spans"]]
        after = page["next"]

    assert len(seen) == len(set(seen)) == page["total"] == 5


@pytest.mark.parametrize(
    "path",
    [
        "fleet/planner/series?until=0001-01-01T00:00:00%2B23:59",
        "fleet/planner/series?until=9999-12-31",
        "fleet/planner/series?until=now",
        "fleet/planner/series?step_s=0",
        "fleet/planner/touched?minutes=99999999999999999999",
        "events?after=99999999999999999999",
        "events?after=-1",
        "events?limit=0",
        f"traces/{TRACE_ID}?after=-1",
    ],
)
def test_what_cannot_be_meant_is_refused(server: ServerProcess, path: str) -> None:
    """Times outside of time, places that are none and pages of nothing are the caller's error, never ours."""
    answer = httpx2.get(f"{server.api_url}/api/v1/{path}", headers={"Authorization": f"Bearer {server.admin_token}"})

    assert answer.status_code == 422
    assert answer.json()["detail"]


def test_the_tail_follows_and_ends_cleanly(server: ServerProcess) -> None:
    """What is there with --once; then what comes while it runs, and Ctrl-C ends it with 130 and nothing on standard error."""
    there = andon(server, "tail", "--once", "--agent", "planner", "--kind", "tool.failed")
    assert there.stdout.count("FAILED Refused") == 1
    assert andon(server, "tail", "--kind", "nonsense").returncode == 2

    follower = subprocess.Popen(
        command("tail", "--agent", "writer", "--after", "0", "-o", "json"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=surroundings(server),
    )
    assert follower.stdout is not None
    first = json.loads(follower.stdout.readline())
    send(server, 2)
    second = json.loads(follower.stdout.readline())
    follower.send_signal(signal.SIGINT)
    _, errors = follower.communicate(timeout=30)

    assert (first["agent"], second["agent"]) == ("writer", "writer")
    assert second["place"] > first["place"]
    assert (follower.returncode, errors) == (130, "")


def test_the_doctor(server: ServerProcess) -> None:
    """A healthy server passes with warnings; a data directory that others can read, or no server, fails with a remedy."""
    healthy = andon(server, "doctor", "-o", "json")
    checks = {check["name"]: check["verdict"] for check in json.loads(healthy.stdout)["checks"]}
    assert healthy.returncode == 0, healthy.stdout
    assert {checks[name] for name in ("engine", "ingest worker", "loss ledger", "record", "promises")} == {"ok"}
    assert checks["kill path"] == "warn"

    server.home.chmod(0o755)
    open_to_others = andon(server, "doctor")
    server.home.chmod(0o700)
    assert open_to_others.returncode == 1
    assert "chmod 700" in open_to_others.stdout

    environment = {**surroundings(server), "ANDON_SERVER": "http://127.0.0.1:9"}
    gone = subprocess.run(command("doctor"), capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert gone.returncode == 1
    assert "start `andon serve`" in gone.stdout


def test_figures_for_prometheus(server: ServerProcess) -> None:
    """Every figure has its help, nothing is told without a token, and the ledger balances."""
    address = f"{server.api_url}/metrics"
    text = httpx2.get(address, headers={"Authorization": f"Bearer {server.admin_token}"}).text
    names = {line.split("{")[0].split(" ")[0] for line in text.splitlines() if line and not line.startswith("#")}
    helped = {line.split(" ")[2] for line in text.splitlines() if line.startswith("# HELP")}

    assert httpx2.get(address).status_code == 401
    bare = {name.removesuffix("_count").removesuffix("_sum") for name in names}
    assert bare <= helped
    assert "andoncord_loss_ledger_balanced 1.0" in text
    assert 'andoncord_ingest_records_total{outcome="stored",reason="",signal="traces"}' in text
    assert 'andoncord_batch_detection_seconds_quantile{quantile="0.99"}' in text
    assert "andoncord_false_alarms_expected_total" in text
    assert "planner" not in text


def test_the_heartbeat_goes_out(server: ServerProcess) -> None:
    """The file is there, fresh, and says up to which entry the journal goes."""
    beat = json.loads((server.home / "beat.json").read_text())

    assert beat["every_s"] == 1
    assert beat["journal_entries"] >= 0
