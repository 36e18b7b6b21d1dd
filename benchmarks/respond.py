"""How long a response takes to its first effect, on the embedded store and on PostgreSQL."""

import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2

from andoncord.adapters.system.postgres_process import PostgresProcess
from andoncord.adapters.system.server_process import launch
from benchmarks.contain_http import guards, round_trips, send_finding, wait_connected
from benchmarks.result import Result, quantile

PACE_S = 0.1
"""Between two findings: each response is measured by itself, while those before it are still being verified."""
DEADLINE_S = 60.0
LOOK_S = 0.2
PAGE = 500


def run(*, incidents: int = 60) -> Result:
    """Open incidents one after another on a real server with real guards, and read from the journal how long each took.

    Args:
        incidents: how many on each store; one agent each.
    """
    with PostgresProcess(durable=True) as postgres:
        embedded, whole, unconfirmed, trips = _responses(incidents, {})
        clustered, whole_pg, unconfirmed_pg, _ = _responses(incidents, {"ANDON_DATABASE_URL": postgres.new_database()})
    return Result(
        figures={
            "first_effect_ms_p50": quantile(embedded, 0.5),
            "first_effect_ms_p99": quantile(embedded, 0.99),
            "first_effect_pg_ms_p50": quantile(clustered, 0.5),
            "first_effect_pg_ms_p99": quantile(clustered, 0.99),
            "reported_to_fenced_ms_p99": quantile(whole, 0.99),
            "reported_to_fenced_pg_ms_p99": quantile(whole_pg, 0.99),
            "incidents_n": float(len(embedded)),
            "unconfirmed_n": float(unconfirmed + unconfirmed_pg),
        },
        baselines={"round_trip_ms_p50": quantile(trips, 0.5), "round_trip_ms_p99": quantile(trips, 0.99)},
        notes=(
            "First effect: from the incident's opening to the receipt that the guard acknowledged the fence, both durable.",
            "Reported to fenced: from before the telemetry is sent; in it are ingest, detection and the whole response.",
            "Both databases flush every commit. The baseline is a bare HTTP round trip to the same server.",
        ),
    )


def _responses(incidents: int, environment: Mapping[str, str]) -> tuple[list[float], list[float], int, list[float]]:
    """Milliseconds to the first effect, milliseconds from the report, fences without every acknowledgement, and round trips."""
    agents = [f"bench-{number:03}" for number in range(incidents)]
    with (
        tempfile.TemporaryDirectory() as folder,
        launch(Path(folder) / "home", environment=environment) as server,
        httpx2.Client(base_url=server.api_url, headers={"Authorization": f"Bearer {server.admin_token}"}, timeout=60) as person,
    ):
        made = person.post("/api/v1/tokens", json={"name": "bench", "scope": "agent", "agent": "bench-*"}).json()
        with guards(server, made["token"], agents):
            wait_connected(person, len(agents))
            trips = round_trips(server)
            sent: dict[str, int] = {}
            for agent in agents:
                sent[agent] = time.time_ns()
                send_finding(server, made["token"], agent, f"run of {agent}")
                threading.Event().wait(PACE_S)
            entries = _fenced(person, len(agents))
    return (*_times(entries, sent), trips)


def _fenced(person: httpx2.Client, count: int) -> list[dict[str, Any]]:
    """The journal, once every incident has the receipt of its fence."""
    end_s = time.monotonic() + DEADLINE_S
    while time.monotonic() < end_s:
        entries: list[dict[str, Any]] = []
        while page := person.get("/api/v1/journal", params={"limit": PAGE, "after": len(entries)}).json()["items"]:
            entries += page
        fences = {each["body"]["intent"] for each in entries if each["kind"] == "intent.issued" and _is_fence(each)}
        received = {each["body"]["receipt"]["intent"] for each in entries if each["kind"] == "receipt.recorded"}
        if len(fences & received) >= count:
            return entries
        threading.Event().wait(LOOK_S)
    raise AssertionError(f"not every agent was fenced within {DEADLINE_S:g} s")


def _is_fence(entry: Mapping[str, Any]) -> bool:
    return str(entry["body"]["step"]).startswith("1/fence:")


def _times(entries: list[dict[str, Any]], sent: Mapping[str, int]) -> tuple[list[float], list[float], int]:
    """Milliseconds to the receipt, from the opening and from the report; and the fences that some guard did not acknowledge."""
    unconfirmed = 0
    opened = {each["incident"]: each["at_ns"] for each in entries if each["kind"] == "incident.opened"}
    fences = {
        each["body"]["intent"]: (each["incident"], each["body"]["effect"]["target"])
        for each in entries
        if each["kind"] == "intent.issued" and _is_fence(each)
    }
    first: list[float] = []
    whole: list[float] = []
    for each in entries:
        if each["kind"] != "receipt.recorded" or each["body"]["receipt"]["intent"] not in fences:
            continue
        incident, agent = fences[each["body"]["receipt"]["intent"]]
        unconfirmed += each["body"]["receipt"]["outcome"] != "done"
        first.append((each["at_ns"] - opened[incident]) / 1_000_000)
        whole.append((each["at_ns"] - sent[agent]) / 1_000_000)
    return first, whole, unconfirmed
