"""How long from a finding to an acknowledged stop, across processes: rule, incident, journal, order, guard, receipt."""

import contextlib
import http.client
import itertools
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2

from andoncord.adapters.system.server_process import ServerProcess, launch
from benchmarks.result import Result, quantile

PROCESSES = 5
PACE_S = 0.1
"""Between two findings: each stop is measured by itself, while the incidents before it are still being verified."""
DEADLINE_S = 60.0
BY_HAND_AFTER = 200
"""Looks at what is open, ten a second."""
ROUND_TRIPS = 300

CALL_EVERY_S = 0.5
GUARDS = """
import sys, threading, time
from andoncord_sdk import Guard, GuardError
api, otlp, token, every, *agents = sys.argv[1:]

def work(guard):
    number = 0
    while True:
        try:
            with guard.run("look orders up") as run:
                for _ in range(20):
                    number += 1
                    run.call("orders.lookup", str, object=number)
                    time.sleep(float(every))
        except GuardError:
            time.sleep(float(every))

for agent in agents:
    guard = Guard(agent, server=api, telemetry=otlp, token=token, tools={"orders.lookup": "read"})
    guard.probe(lambda index: True)
    threading.Thread(target=work, args=(guard,), daemon=True).start()
print("up", flush=True)
sys.stdin.read()
"""


def run(*, agents_n: int = 50, rounds: int = 10) -> Result:
    """Stop every agent in every round, each on a finding of its own that came in as telemetry; each recovers by itself."""
    agents = [f"bench-{number:02}" for number in range(agents_n)]
    with (
        tempfile.TemporaryDirectory() as folder,
        launch(Path(folder) / "home") as server,
        httpx2.Client(base_url=server.api_url, headers={"Authorization": f"Bearer {server.admin_token}"}, timeout=60) as person,
    ):
        made = person.post("/api/v1/tokens", json={"name": "bench", "scope": "agent", "agent": "bench-*"}).json()
        with guards(server, made["token"], agents):
            wait_connected(person, len(agents))
            trips = round_trips(server)
            stops: dict[str, int] = {}
            after = 0
            unconfirmed: list[bool] = []
            for number in range(rounds):
                for agent in agents:
                    send_finding(server, made["token"], agent, f"run {number} of {agent}")
                    threading.Event().wait(PACE_S)
                found, after = wait_stopped(person, len(agents), after, unconfirmed)
                stops |= found
                wait_recovered(person)
            stored = finding_times(server.home)
        fences = [(stops[finding] - stored[finding]) / 1_000_000 for finding in stops]
    return Result(
        figures={
            "fence_ms_p50": quantile(fences, 0.5),
            "fence_ms_p99": quantile(fences, 0.99),
            "fence_ms_max": max(fences),
            "stops_n": len(fences),
            "unconfirmed_n": sum(unconfirmed),
        },
        baselines={"round_trip_ms_p50": quantile(trips, 0.5), "round_trip_ms_p99": quantile(trips, 0.99)},
        notes=(
            f"{len(agents)} agents in {PROCESSES} processes with the SDK's guard, stopped {rounds} times each while they work:",
            f"a call every {CALL_EVERY_S:g} s, and its report. Supervision: none; flag or stream, whichever is first.",
            "From the finding's row in the store to the receipt that every guard of the agent acknowledged the pause.",
            "The baseline is a bare HTTP round trip to the same server on an open connection.",
        ),
    )


@contextlib.contextmanager
def guards(server: ServerProcess, token: str, agents: list[str]) -> Iterator[None]:
    """Agent processes that hold a guard for each agent."""
    children: list[subprocess.Popen[bytes]] = []
    try:
        for place in range(PROCESSES):
            command = [sys.executable, "-c", GUARDS, server.api_url, server.otlp_url, token, str(CALL_EVERY_S)]
            command += agents[place::PROCESSES]
            children.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        for child in children:
            assert child.stdout is not None
            assert child.stdout.readline() == b"up\n"
        yield
    finally:
        for child in children:
            child.kill()
            child.communicate()


def send_finding(server: ServerProcess, token: str, agent: str, run_id: str) -> None:
    """Report a call that a guard refused because of a loop: the telemetry that a rule makes a finding of."""
    attributes = {
        "gen_ai.agent.name": agent,
        "andoncord.run.id": run_id,
        "gen_ai.tool.name": "orders.lookup",
        "andoncord.decision.code": "loop",
        "andoncord.decision.action": "stop_run",
        "andoncord.decision.message": "orders.lookup has repeated without progress",
    }
    record = {
        "timeUnixNano": str(time.time_ns()),
        "eventName": "andoncord.guard.denied",
        "attributes": [{"key": key, "value": {"stringValue": value}} for key, value in attributes.items()],
    }
    body = {"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}
    headers = {"Authorization": f"Bearer {token}"}
    httpx2.post(f"{server.otlp_url}/v1/logs", json=body, headers=headers, timeout=DEADLINE_S).raise_for_status()


def wait_connected(person: httpx2.Client, count: int) -> None:
    """Wait until every guard listens."""

    def connected() -> bool:
        items = person.get("/api/v1/agents").json()["items"]
        return len([1 for item in items for instance in item["instances"] if instance["connected"]]) >= count

    wait_for(connected)


def wait_stopped(person: httpx2.Client, count: int, after: int, unconfirmed: list[bool]) -> tuple[dict[str, int], int]:
    """When the order that each finding led to was confirmed, once so many are; and how far the journal was read.

    One that was not confirmed by all counts with the time after which it was given up, and is added to `unconfirmed` as True.
    """
    stops: dict[str, int] = {}
    findings: dict[str, str] = {}
    orders: dict[str, str] = {}

    def all_stopped() -> bool:
        nonlocal after
        entries: list[dict[str, Any]] = person.get("/api/v1/journal", params={"after": after, "limit": 500}).json()["items"]
        for entry in entries:
            after, body = entry["seq"], entry["body"]
            if entry["kind"] == "finding.recorded":
                findings[entry["incident"]] = body["finding"]["id"]
            elif entry["kind"] == "intent.issued" and body["step"].startswith("1/fence"):
                orders[body["intent"]] = findings[entry["incident"]]
            elif entry["kind"] == "receipt.recorded" and body["receipt"]["intent"] in orders:
                unconfirmed.append(body["receipt"]["outcome"] != "done")
                stops.setdefault(orders[body["receipt"]["intent"]], body["receipt"]["at_ns"])
        return len(stops) >= count

    wait_for(all_stopped)
    return stops, after


def wait_recovered(person: httpx2.Client) -> None:
    """Wait until every incident ran its course: verified, recovered by itself, and the agent released.

    What a person has to look at, because it could not be verified, is released by hand.
    """
    looks = itertools.count()

    def all_over() -> bool:
        open_now = person.get("/api/v1/incidents", params={"state": "open", "limit": 500}).json()["items"]
        if next(looks) == BY_HAND_AFTER:
            for incident in open_now:
                for agent in incident["agents"]:
                    person.post(f"/api/v1/incidents/{incident['id']}/release", json={"agent": agent, "reason": "bench"})
                person.post(f"/api/v1/incidents/{incident['id']}/disposition", json={"disposition": "test", "reason": "bench"})
        return not open_now

    wait_for(all_over)


def wait_for(holds: Any) -> None:
    """Look every 100 ms until something holds."""
    pause = threading.Event()
    for _ in range(int(DEADLINE_S / 0.1)):
        if holds():
            return
        pause.wait(0.1)
    raise AssertionError(f"not within {DEADLINE_S:g} s")


def finding_times(home: Path) -> dict[str, int]:
    """When each finding was stored, by its id."""
    with contextlib.closing(sqlite3.connect(home / "telemetry.db")) as connection:
        return dict(connection.execute("SELECT id, stored_ns FROM findings"))


def round_trips(server: ServerProcess) -> list[float]:
    """Milliseconds of bare requests on one open connection."""
    address = urlsplit(server.api_url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port)
    taken: list[float] = []
    for _ in range(ROUND_TRIPS):
        began = time.perf_counter()
        connection.request("GET", "/livez")
        connection.getresponse().read()
        taken.append((time.perf_counter() - began) * 1_000)
    connection.close()
    return taken
