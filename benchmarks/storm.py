"""Ten thousand findings in a minute about five causes, and lists of ten thousand incidents."""

import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import httpx2

from andoncord.adapters.sql.database import Database
from andoncord.adapters.sql.journal import SqlJournal
from andoncord.adapters.sql.migrate import migrate
from andoncord.adapters.system.server_process import ServerProcess, launch
from andoncord.app_both import CONTROL_FILE
from andoncord.engine.facts import PersonAsked
from andoncord.engine.run import take
from andoncord.engine.state import State
from andoncord.kernel.journal import Entry
from andoncord.testing.story import SHIPPED
from benchmarks.result import Result, quantile

CAUSES = 5
STEP_S = 0.2
"""Between two requests of telemetry."""
DEADLINE_S = 90.0
LOOKS = 400
LOOK_EVERY_S = 0.02
SETTLE_S = 5.0
"""After a start, which itself takes what the machine has."""
PAGE = 500
PAGED = frozenset({"high", "critical"})
"""Severities that are paged for where no channel is configured: one page an incident."""
SEEDED_AT_NS = 1_760_000_000_000_000_000


def run(*, findings: int = 10_000, seconds: int = 60, incidents: int = 10_000) -> Result:
    """Send findings to a real server while lists are read, then read lists of a server with many open incidents.

    Args:
        findings: about five agents, each of a run of its own.
        seconds: over which they are sent.
        incidents: open ones, in the second part.
    """
    with tempfile.TemporaryDirectory() as folder, launch(Path(folder) / "home") as server, _person(server) as person:
        told = _storm(server, person, findings, seconds)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        _seed(home, incidents)
        with launch(home) as server, _person(server) as person:
            found = person.get("/api/v1/incidents", params={"limit": 1, "state": "open"}).json()
            assert found["items"], "nothing was seeded"
            threading.Event().wait(SETTLE_S)
            lists, bare = _lists(person, LOOKS)
    return Result(
        figures={
            "pages": float(told["pages"]),
            "list_ms_p99": quantile(lists, 0.99),
            "list_ms_p50": quantile(lists, 0.5),
            "storm_list_ms_p99": quantile(told["lists"], 0.99),
            "incidents_n": float(told["incidents"]),
            "findings_n": float(told["accounted"]),
            "grouped_n": float(told["grouped"]),
            "settled_s": told["settled_s"],
            "journal_mb": told["journal_mb"],
        },
        baselines={"bare_ms_p50": quantile(bare, 0.5), "bare_ms_p99": quantile(bare, 0.99)},
        notes=(
            f"{findings} findings in {seconds} s about {CAUSES} agents; then {incidents} open ones, read by 50 and {PAGE}.",
            "Pages: notices in the journal; where no channel is configured, the incidents that would be paged for.",
            "Settled: after the last finding was sent, until every one is in an incident. findings_n must be all of them.",
            "The baseline is the bare answer of the same server that it is alive.",
        ),
    )


def _person(server: ServerProcess) -> httpx2.Client:
    return httpx2.Client(base_url=server.api_url, headers={"Authorization": f"Bearer {server.admin_token}"}, timeout=60)


def _storm(server: ServerProcess, person: httpx2.Client, findings: int, seconds: int) -> dict[str, Any]:
    made = person.post("/api/v1/tokens", json={"name": "bench", "scope": "agent", "agent": "bench-*"}).json()
    lists: list[float] = []
    rest = threading.Event()
    began_s = time.monotonic()
    per_step = max(1, round(findings * STEP_S / seconds))
    with httpx2.Client(headers={"Authorization": f"Bearer {made['token']}"}, timeout=60) as sender:
        for step, first in enumerate(range(0, findings, per_step)):
            numbers = range(first, min(findings, first + per_step))
            body = {"resourceLogs": [{"scopeLogs": [{"logRecords": [_denied(number) for number in numbers]}]}]}
            sender.post(f"{server.otlp_url}/v1/logs", json=body).raise_for_status()
            lists.append(_timed(person, "/api/v1/incidents?state=open"))
            rest.wait(max(0.0, began_s + (step + 1) * STEP_S - time.monotonic()))
    sent_s = time.monotonic()
    while True:
        items = person.get("/api/v1/incidents", params={"limit": PAGE}).json()["items"]
        accounted = sum(each["findings_n"] for each in items)
        if accounted >= findings or time.monotonic() - sent_s > DEADLINE_S:
            break
        rest.wait(0.1)
    settled_s = time.monotonic() - sent_s
    views = [person.get(f"/api/v1/incidents/{each['id']}").json() for each in items]
    notices = [each for each in _journal(person) if _is_page(each)]
    would_be = sum(each["severity"] in PAGED for each in items)
    control = server.home / CONTROL_FILE
    return {
        "pages": len(notices) or would_be,
        "lists": lists,
        "incidents": len(items),
        "accounted": accounted,
        "grouped": sum(each["count"] for view in views for each in view["grouped"]),
        "settled_s": settled_s,
        "journal_mb": sum(path.stat().st_size for path in control.parent.glob(f"{CONTROL_FILE}*")) / 1e6,
    }


def _denied(number: int) -> dict[str, Any]:
    attributes = {
        "gen_ai.agent.name": f"bench-{number % CAUSES}",
        "andoncord.run.id": f"run {number}",
        "gen_ai.tool.name": "orders.lookup",
        "andoncord.decision.code": "loop",
        "andoncord.decision.action": "stop_run",
        "andoncord.decision.message": "orders.lookup has repeated without progress",
    }
    return {
        "timeUnixNano": str(time.time_ns()),
        "eventName": "andoncord.guard.denied",
        "attributes": [{"key": key, "value": {"stringValue": value}} for key, value in attributes.items()],
    }


def _journal(person: httpx2.Client) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = []
    while page := person.get("/api/v1/journal", params={"limit": PAGE, "after": len(entries)}).json()["items"]:
        entries += page
    return entries


def _is_page(entry: dict[str, Any]) -> bool:
    """An intent to tell somebody at once."""
    return bool(entry["kind"] == "intent.issued" and entry["body"]["effect"]["kind"] == "notify")


def _lists(person: httpx2.Client, looks: int) -> tuple[list[float], list[float]]:
    """Milliseconds for lists, and for as many bare answers in between."""
    paths = ("/api/v1/incidents", "/api/v1/incidents?state=open", f"/api/v1/incidents?limit={PAGE}")
    rest = threading.Event()
    lists: list[float] = []
    bare: list[float] = []
    for number in range(looks):
        lists.append(_timed(person, paths[number % len(paths)]))
        bare.append(_timed(person, "/livez"))
        rest.wait(LOOK_EVERY_S)
    return lists, bare


def _timed(person: httpx2.Client, path: str) -> float:
    began = time.perf_counter()
    person.get(path).raise_for_status()
    return (time.perf_counter() - began) * 1_000


def _seed(home: Path, incidents: int) -> None:
    """A control database with open incidents, written by the engine's own decisions."""
    home.mkdir(mode=0o700)
    database = Database.in_file(home / CONTROL_FILE)
    migrate(database)
    journal, state = SqlJournal(database), State()
    for first in range(0, incidents, 1_000):
        entries: list[Entry] = []
        for number in range(first, min(incidents, first + 1_000)):
            wish = PersonAsked(
                command="declare",
                by="person:bench",
                agent=f"agent-{number % 500:03}",
                parameters={"severity": ("low", "medium", "high")[number % 3], "title": f"seen {number}"},
            )
            entries += take(state, wish, now=SEEDED_AT_NS + number * 1_000_000_000, playbooks=SHIPPED)
        journal.append(entries)
    database.close()
