"""How long from a person's order until an agent on this machine makes no call any more: by shared memory, and by stream."""

import contextlib
import json
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2

from andoncord.adapters.system.server_process import ServerProcess, launch
from benchmarks.result import Result, quantile

PROCESSES = 1
"""It computes on one processor; the server has the other."""
THREADS = 2
"""Busy threads beside the agents' own in each process: they compute, as agents do that parse and embed."""
PACE_S = 0.15
TOLD_S = 10.0

AGENTS = """
import json, sys, threading, time
from andoncord_sdk import Guard, GuardError
api, token, threads, *agents = sys.argv[1:]
said = threading.Lock()

def work(name, guard):
    last, is_held = 0, False
    with guard.run("for ever") as run:
        number = 0
        while True:
            number += 1
            try:
                with run.step("look", {"at": number}):
                    last = time.monotonic_ns()
                if is_held:
                    is_held = False
                    with said: print(json.dumps([name, "again", last]), flush=True)
            except GuardError:
                if not is_held:
                    is_held = True
                    with said: print(json.dumps([name, "held", last]), flush=True)
            time.sleep(0.002)

def compute():
    while True: sum(range(2_000))

tools = {"look": "read"}
for name in agents:
    guard = Guard(name, server=api, token=token, tools=tools, hold_max_s=0.0, may_share_memory=name.startswith("flag"))
    threading.Thread(target=work, args=(name, guard), daemon=True).start()
for _ in range(int(threads)):
    threading.Thread(target=compute, daemon=True).start()
print(json.dumps(["", "up", 0]), flush=True)
sys.stdin.read()
"""


class Told:
    """What the agents say of themselves."""

    def __init__(self) -> None:
        self._said: queue.SimpleQueue[tuple[str, str, int]] = queue.SimpleQueue()

    def listen(self, child: "subprocess.Popen[bytes]") -> None:
        """Take in the lines of one process, in a thread of its own."""
        assert child.stdout is not None
        for line in child.stdout:
            self._said.put(tuple(json.loads(line)))

    def wait(self, agent: str, word: str) -> int:
        """The time that comes with the next word of this kind from this agent."""
        while (said := self._said.get(timeout=TOLD_S))[:2] != (agent, word):
            pass
        return said[2]


def run(*, stops: int = 60) -> Result:
    """Pause agents in turn, one that shares memory and one that does not, each in the midst of its calls."""
    waited: dict[str, list[float]] = {"flag": [], "stream": []}
    with (
        tempfile.TemporaryDirectory() as folder,
        launch(Path(folder) / "home") as server,
        httpx2.Client(base_url=server.api_url, headers={"Authorization": f"Bearer {server.admin_token}"}) as person,
        agents(server, person) as told,
    ):
        for number in range(stops):
            for way, taken in waited.items():
                agent = f"{way}-{number % PROCESSES}"
                threading.Event().wait(PACE_S)
                began_ns = time.monotonic_ns()
                order = {"rung": "pause", "reason": "bench"}
                given = person.post(f"/api/v1/agents/{agent}/orders", json=order).raise_for_status().json()
                # Its last call may have ended before the order: then it was stopped before it could make another.
                taken.append(max(0, told.wait(agent, "held") - began_ns) / 1e6)
                body = {"agent": agent, "reason": "bench"}
                person.post(f"/api/v1/incidents/{given['incident']}/release", json=body).raise_for_status()
                told.wait(agent, "again")
    return Result(
        figures={
            "fence_ms_p50": quantile(waited["flag"], 0.5),
            "fence_ms_p99": quantile(waited["flag"], 0.99),
            "fence_ms_max": max(waited["flag"]),
            "stops_n": stops,
        },
        baselines={
            "stream_fence_ms_p50": quantile(waited["stream"], 0.5),
            "stream_fence_ms_p99": quantile(waited["stream"], 0.99),
            "stream_fence_ms_max": max(waited["stream"]),
        },
        notes=(
            f"One process with an agent of each kind and {THREADS} threads that compute all the time; a call every 2 ms.",
            "From before the request that gives the order until the agent's last call that was let through began.",
            "The baseline is a guard that does not share memory, in the same process. Supervision: none; the guard enforces.",
        ),
    )


@contextlib.contextmanager
def agents(server: ServerProcess, person: httpx2.Client) -> Iterator[Told]:
    """Agent processes at work."""
    token = person.post("/api/v1/tokens", json={"name": "bench", "scope": "agent", "agent": "*-*"}).raise_for_status().json()
    told = Told()
    children: list[subprocess.Popen[bytes]] = []
    listeners: list[threading.Thread] = []
    try:
        for place in range(PROCESSES):
            names = [f"{way}-{place}" for way in ("flag", "stream")]
            command = [sys.executable, "-c", AGENTS, server.api_url, token["token"], str(THREADS), *names]
            children.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
            listeners.append(threading.Thread(target=told.listen, args=(children[-1],), daemon=True))
            listeners[-1].start()
        for _ in range(PROCESSES):
            told.wait("", "up")
        yield told
    finally:
        for child in children:
            child.kill()
            child.wait()
        for listener in listeners:
            listener.join()
        for child in children:
            if child.stdin is not None and child.stdout is not None:
                child.stdin.close()
                child.stdout.close()
