"""How long agents go on writing after the control plane was killed with SIGKILL: the lease ends it."""

import contextlib
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2

from andoncord.adapters.system.server_process import ServerProcess, launch
from andoncord.server.leases import TTL_MS
from benchmarks.result import Result, quantile

PROCESSES = 3
GUARDS_PER_PROCESS = 5
WATCH_S = TTL_MS / 1_000 + 2.5
SETTLE_S = 2.0

WRITERS = """
import json, sys, threading, time
from andoncord_sdk import CallDenied, Guard
api, otlp, token, *agents = sys.argv[1:]
ended, seen = threading.Event(), {}

def write(name, guard):
    last, denied = 0, 0
    with guard.run("write for ever") as run:
        number = 0
        while not ended.wait(0.01):
            number += 1
            try:
                with run.step("ledger.write", {"line": number}) as step:
                    last = time.monotonic_ns()
                    step.result = number
            except CallDenied as refusal:
                denied += refusal.code == "lease"
    seen[name] = [last, denied]

tools = {"ledger.write": "write"}
guards = {agent: Guard(agent, server=api, telemetry=otlp, token=token, tools=tools) for agent in agents}
guards["alone"] = Guard("alone", tools=tools)
threads = [threading.Thread(target=write, args=each) for each in guards.items()]
for thread in threads:
    thread.start()
print("up", flush=True)
sys.stdin.read()
ended.set()
for thread in threads:
    thread.join()
print(json.dumps(seen), flush=True)
"""


def run(*, rounds: int = 4) -> Result:
    """In each round kill a server under load, and see when each of its agents made its last change."""
    chance = random.Random(7)
    leased: list[float] = []
    alone: list[float] = []
    for _ in range(rounds):
        with (
            tempfile.TemporaryDirectory() as folder,
            launch(Path(folder) / "home") as server,
            writers(server) as children,
        ):
            _pause(SETTLE_S + chance.random() * 1.5)
            killed_ns = time.monotonic_ns()
            server.kill()
            _pause(WATCH_S)
            for seen in told(children):
                after_s = {agent: (last - killed_ns) / 1e9 for agent, (last, _) in seen.items()}
                alone.append(after_s.pop("alone"))
                leased += after_s.values()
                assert min(after_s.values()) > -0.5, f"an agent did not write when the server was killed: {after_s}"
                assert all(seen[agent][1] for agent in after_s), f"an agent was never refused: {seen}"
    return Result(
        figures={
            "last_write_s_max": max(leased),
            "last_write_s_p50": quantile(leased, 0.5),
            "trials": len(leased),
        },
        baselines={"no_lease_last_write_s_max": max(alone)},
        notes=(
            f"{rounds} servers killed, each under {PROCESSES * GUARDS_PER_PROCESS} agents in {PROCESSES} processes.",
            f"Each agent writes and reports every 10 ms; lease of {TTL_MS / 1_000:g} s; watched for {WATCH_S:g} s.",
            "Supervision: none; the guard's lease alone ends the writing.",
            "The baseline is a guard that follows no server: it writes until the watching ends.",
        ),
    )


@contextlib.contextmanager
def writers(server: ServerProcess) -> Iterator[list["subprocess.Popen[bytes]"]]:
    """Processes whose agents write without end."""
    headers = {"Authorization": f"Bearer {server.admin_token}"}
    body = {"name": "bench", "scope": "agent", "agent": "bench-*"}
    token = httpx2.post(f"{server.api_url}/api/v1/tokens", json=body, headers=headers).raise_for_status().json()["token"]
    children: list[subprocess.Popen[bytes]] = []
    try:
        for place in range(PROCESSES):
            agents = [f"bench-{place}-{number}" for number in range(GUARDS_PER_PROCESS)]
            command = [sys.executable, "-c", WRITERS, server.api_url, server.otlp_url, token, *agents]
            # What the guards log about the lost server is expected here.
            pipe = subprocess.PIPE
            children.append(subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL))
        for child in children:
            assert child.stdout is not None
            assert child.stdout.readline() == b"up\n"
        yield children
    finally:
        for child in children:
            child.kill()
            child.wait()


def told(children: "list[subprocess.Popen[bytes]]") -> list[dict[str, list[int]]]:
    """What the writers saw, by agent: when the last write was let through, and how many were refused for want of a lease."""
    for child in children:
        assert child.stdin is not None
        child.stdin.close()
    return [json.loads(child.stdout.readline()) for child in children if child.stdout is not None]


def _pause(seconds: float) -> None:
    threading.Event().wait(seconds)
