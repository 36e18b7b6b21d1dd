"""How long until an order is in force in each of a thousand guards, all on connections of their own."""

import tempfile
import threading
import time
from pathlib import Path

import httpx2

from andoncord.adapters.system.server_process import ServerProcess, launch
from benchmarks.fleet import told_by, wire_guards
from benchmarks.result import Result, quantile

AGENT = "fleet"
PROCESSES = 4
PACE_S = 1.0
"""Between two orders: what the one before set off has settled, and leases are being renewed."""
ROUND_TRIPS = 200


def run(*, guards: int = 1_000, orders: int = 10) -> Result:
    """Pause one agent of so many processes, again and again, and release it in between."""
    with (
        tempfile.TemporaryDirectory() as folder,
        launch(Path(folder) / "home") as server,
        httpx2.Client(base_url=server.api_url, headers={"Authorization": f"Bearer {server.admin_token}"}, timeout=30) as person,
    ):
        made = person.post("/api/v1/tokens", json={"name": "bench", "scope": "agent", "agent": AGENT}).json()
        trips = round_trips(person)
        with wire_guards(server.api_url, made["token"], agent=AGENT, guards=guards, processes=PROCESSES) as children:
            in_force: list[float] = []
            acknowledged: list[float] = []
            late: list[int] = []
            for _ in range(orders):
                threading.Event().wait(PACE_S)
                began_ns = time.monotonic_ns()
                given = person.post(f"/api/v1/agents/{AGENT}/orders", json={"rung": "pause", "reason": "bench"}).json()
                for child in children:
                    for in_force_ns, acknowledged_ns in told_by(child)["times"]:
                        in_force.append((in_force_ns - began_ns) / 1e6)
                        acknowledged.append((acknowledged_ns - began_ns) / 1e6)
                late.append(unconfirmed_in(person, given["receipt_url"]))
                release = {"agent": AGENT, "reason": "bench"}
                person.post(f"/api/v1/incidents/{given['incident']}/release", json=release).raise_for_status()
                for child in children:
                    told_by(child)
            control_mb, worker_mb = resident_mb(server)
    return Result(
        figures={
            "fence_ms_p50": quantile(acknowledged, 0.5),
            "fence_ms_p99": quantile(acknowledged, 0.99),
            "fence_ms_max": max(acknowledged),
            "in_force_ms_p50": quantile(in_force, 0.5),
            "in_force_ms_p99": quantile(in_force, 0.99),
            "late_n": sum(late),
            "server_rss_mb": control_mb,
            "worker_rss_mb": worker_mb,
            "guards_n": guards,
            "orders_n": orders,
        },
        baselines={"round_trip_ms_p50": quantile(trips, 0.5), "round_trip_ms_p99": quantile(trips, 0.99)},
        notes=(
            f"{guards} guards of one agent in {PROCESSES} processes, three connections each, leases renewed every 1.5 s.",
            "in_force: from before the request that gives the order until a guard has it in force, over every guard and order;",
            "late_n: acknowledgements after the second that an order waits for; they count for the verdict.",
            "fence: until the server has answered that guard's acknowledgement. Supervision: none, stream alone.",
            "The baseline is a bare request to the same server before the guards came.",
        ),
    )


def unconfirmed_in(person: httpx2.Client, receipt_url: str) -> int:
    """How many acknowledgements the server did not wait for, because they came after the deadline of the order."""
    pause = threading.Event()
    for _ in range(600):
        receipt = person.get(receipt_url)
        if receipt.status_code == 200 and (said := receipt.json()):
            return len(said["detail"]["unconfirmed"])
        pause.wait(0.05)
    raise AssertionError("no receipt within 30 s")


def resident_mb(server: ServerProcess) -> tuple[float, float]:
    """Memory of the control process and of its worker, MB."""
    found = [memory_mb(pid) for pid in (server.pid, *children_of(server.pid))]
    return found[0], sum(found[1:])


def children_of(pid: int) -> list[int]:
    """Processes that this process started."""
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def memory_mb(pid: int) -> float:
    """Resident memory of a process, MB."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) / 1_000


def round_trips(person: httpx2.Client) -> list[float]:
    """Milliseconds of bare requests on one open connection."""
    taken: list[float] = []
    for _ in range(ROUND_TRIPS):
        began = time.perf_counter()
        person.get("/livez")
        taken.append((time.perf_counter() - began) * 1_000)
    return taken
