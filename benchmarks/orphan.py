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
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import httpx2

from andoncord.adapters.system.server_process import ServerProcess, launch
from andoncord.server.leases import TTL_MS
from benchmarks.result import Result, quantile

AGENTS = 4
"""Under each server."""
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


class Trial(NamedTuple):
    """One server that was killed: when each of its agents, and one without a server, wrote last after that, seconds."""

    leased_s: list[float]
    alone_s: float


def run(*, trials: int = 50, at_once: int = 8) -> Result:
    """Kill servers under load, some at the same time, and see when each of their agents made its last change."""
    chance = random.Random(7)
    settle_s = [SETTLE_S + chance.random() * 1.5 for _ in range(trials)]
    with ThreadPoolExecutor(at_once) as pool:
        seen = list(pool.map(trial, settle_s))
    leased = [after_s for each in seen for after_s in each.leased_s]
    return Result(
        figures={
            "last_write_s_max": max(leased),
            "last_write_s_p50": quantile(leased, 0.5),
            "trials": len(seen),
            "agents": len(leased),
        },
        baselines={"no_lease_last_write_s_max": max(each.alone_s for each in seen)},
        notes=(
            f"{trials} servers killed with SIGKILL, {at_once} at a time, each under {AGENTS} agents.",
            f"Each agent writes and reports every 10 ms; lease of {TTL_MS / 1_000:g} s; watched for {WATCH_S:g} s.",
            "Supervision: none; the guard's lease alone ends the writing.",
            "The baseline is a guard that follows no server: it writes until the watching ends.",
        ),
    )


def trial(settle_s: float) -> Trial:
    """Start a server and agents that write, kill it after `settle_s`, and watch."""
    with tempfile.TemporaryDirectory() as folder, launch(Path(folder) / "home") as server, writers(server) as child:
        _pause(settle_s)
        killed_ns = time.monotonic_ns()
        server.kill()
        _pause(WATCH_S)
        seen = told(child)
    after_s = {agent: (last - killed_ns) / 1e9 for agent, (last, _) in seen.items()}
    alone_s = after_s.pop("alone")
    assert min(after_s.values()) > -0.5, f"an agent did not write when the server was killed: {after_s}"
    assert all(seen[agent][1] for agent in after_s), f"an agent was never refused: {seen}"
    return Trial(list(after_s.values()), alone_s)


@contextlib.contextmanager
def writers(server: ServerProcess) -> Iterator["subprocess.Popen[bytes]"]:
    """A process whose agents write without end."""
    headers = {"Authorization": f"Bearer {server.admin_token}"}
    body = {"name": "bench", "scope": "agent", "agent": "bench-*"}
    token = httpx2.post(f"{server.api_url}/api/v1/tokens", json=body, headers=headers).raise_for_status().json()["token"]
    agents = [f"bench-{number}" for number in range(AGENTS)]
    command = [sys.executable, "-c", WRITERS, server.api_url, server.otlp_url, token, *agents]
    pipe = subprocess.PIPE
    # What the guards log about the lost server is expected here.
    child = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == b"up\n"
        yield child
    finally:
        child.kill()
        child.wait()


def told(child: "subprocess.Popen[bytes]") -> dict[str, list[int]]:
    """What the agents saw: when the last write was let through, and how many were refused for want of a lease."""
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.close()
    seen: dict[str, list[int]] = json.loads(child.stdout.readline())
    return seen


def _pause(seconds: float) -> None:
    threading.Event().wait(seconds)
