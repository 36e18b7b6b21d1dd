"""The desk end to end: a real agent's refunds are held, outlive it, and are made once, when a person says so."""

import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import httpx2
import pytest

from andoncord.adapters.system.server_process import ServerProcess, launch
from andoncord_sdk import Guard, RunHandedOver

SETTINGS = """
outbox: {role: finance}
approvals: {roles: {finance: [ada]}}
agents:
  refunds: {fallbacks: {"payments.*": hold}}
"""
DEADLINE_S = 20.0
AGENT = """
import os, sys, threading
from andoncord_sdk import CallHeld, Guard
url, token, path = sys.argv[1:]
guard = Guard("refunds", server=url, token=token)
@guard.tool("payments.refund", effect=True)
def refund(order, usd):
    if order == "die":
        os.kill(os.getpid(), 9)
    with open(path, "a") as file:
        file.write(f"{order} {usd!r}\\n")
print("ready", flush=True)
sys.stdin.readline()
with guard.run("refund a batch") as run:
    for number in range(3):
        try:
            refund(f"order-{number}", usd=10.5)
        except CallHeld as held:
            print(held.item, flush=True)
threading.Event().wait()
"""


def until(found: Callable[[], object]) -> None:
    end_s = time.monotonic() + DEADLINE_S
    while not found():
        assert time.monotonic() < end_s, "it did not come in time"
        threading.Event().wait(0.05)


def client(server: ServerProcess, token: str) -> httpx2.Client:
    return httpx2.Client(base_url=f"{server.api_url}/api/v1", headers={"Authorization": f"Bearer {token}"}, timeout=20)


@contextlib.contextmanager
def agent_process(server: ServerProcess, token: str, paid: Path) -> Iterator[tuple["subprocess.Popen[str]", IO[str], IO[str]]]:
    """An agent that is connected, has declared its side effect and begun nothing: its process, its input and its output."""
    command = [sys.executable, "-c", AGENT, server.api_url, token, str(paid)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            assert child.stdout.readline() == "ready\n"
            with client(server, server.admin_token) as admin:
                until(lambda: '"outbox"' in admin.get("/agents").text)
            yield child, child.stdin, child.stdout
        finally:
            child.kill()


def test_what_is_held_outlives_its_process_and_is_made_once_or_not_at_all(tmp_path: Path) -> None:
    """The next process of the agent makes exactly what was read. Where one dies in the middle, nobody repeats it."""
    settings, paid = tmp_path / "andon.yaml", tmp_path / "paid.txt"
    settings.write_text(SETTINGS)
    with launch(tmp_path / "home", config=settings) as server, client(server, server.admin_token) as admin:
        token = admin.post("/tokens", json={"name": "fleet", "scope": "agent", "agent": "refunds"}).json()["token"]
        ada = admin.post("/tokens", json={"name": "ada", "scope": "approve"}).json()["token"]
        order = {"scope": {"agent": "refunds"}, "instead": "hold", "reason": "fraud"}
        assert admin.get("/fallbacks", params={"agent": "refunds", "tool": "payments.refund"}).json() == {"to": "hold"}
        with agent_process(server, token, paid) as (_, told, heard):
            done = admin.post("/orders", json=order).json()
            until(lambda: admin.get(done["receipt_url"].removeprefix("/api/v1")).json().get("outcome") == "done")
            told.write("go\n")
            told.flush()
            assert [heard.readline().strip() for _ in range(3)] == [f"eff_{number:06d}" for number in (1, 2, 3)]

        with agent_process(server, token, paid) as (child, _, _), client(server, ada) as person, client(server, token) as agent:
            held = person.get("/held").json()
            said = {"ids": [each["id"] for each in held["items"]], "digest": held["digest"], "reason": "checked"}
            assert held["items"][0]["effect"]["arguments"] == '{"order":"order-0","usd":10.5}'
            assert person.post("/held/release", json={**said, "digest": "0" * 64}).status_code == 409
            assert admin.post("/held/release", json=said).status_code == 409
            assert person.post("/held/release", json=said).status_code == 202
            until(lambda: {each["status"] for each in person.get("/held?status=all").json()["items"]} == {"done"})
            assert person.post("/held/release", json=said).status_code == 409
            assert paid.read_text() == "order-0 10.5\norder-1 10.5\norder-2 10.5\n"

            effect = {"agent": "refunds", "run_id": "r", "tool": "payments.refund", "arguments": '{"order":"die","usd":1}'}
            name = agent.post("/held", json=effect).json()["id"]
            assert agent.post("/held", json={**effect, "agent": "another"}).status_code == 403
            last = person.get("/held", params={"ids": name}).json()
            said = {"ids": [name], "digest": last["digest"], "reason": "checked"}
            person.post("/held/release", json=said)
            assert child.wait(DEADLINE_S) == -9
            until(lambda: person.get("/held", params={"ids": name}).json()["items"][0]["status"] == "unknown")
            assert person.post("/held/release", json=said).status_code == 409

            work = {"agent": "refunds", "key": "ticket-1", "task": "refund"}
            assert [agent.post("/handover", json=work).json()["id"] for _ in range(2)] == ["hnd_000001"] * 2
        admin.post("/orders", json={"scope": {"agent": "refunds"}, "instead": "hand-over", "reason": "fraud"})
        with contextlib.closing(Guard("refunds", server=server.api_url, token=token)) as guard:
            with pytest.raises(RunHandedOver):
                guard.run("refund", key="ticket-1").begin()
            assert len(admin.get("/handover").json()["items"]) == 1
            admin.post("/handover/hnd_000001/finish", json={"reason": "paid by hand"})
            assert guard.handed_over("hnd_000001") == {"id": "hnd_000001", "status": "done", "answer": "paid by hand"}
