"""A SEV-1 at three in the morning, with real processes: an agent, a server that is killed twice, a mail server, two people."""

import contextlib
import functools
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import httpx2
from tests.adapters.notify_receivers import Mailbox, mail_server

from andoncord.adapters.system.server_process import ServerProcess, launch

DEADLINE_S = 40.0
INCIDENT = "inc_000001"
SETTINGS = """
channels:
  ada-mail: {{kind: email, host: 127.0.0.1, port: {smtp}, tls: none, from: andon@example.org, to: [ada@example.org]}}
  bob-mail: {{kind: email, host: 127.0.0.1, port: {smtp}, tls: none, from: andon@example.org, to: [bob@example.org]}}
oncall:
  people: {{ada: {{channels: [ada-mail]}}, bob: {{channels: [bob-mail]}}}}
  escalation: {{levels: [{{who: [ada], wait: 2s}}, {{who: [bob], wait: 30s}}], loops: 1}}
approvals: {{roles: {{finance: [bob]}}}}
outbox: {{role: finance, to: [ada]}}
notices: {{executive: [bob]}}
playbooks: [night.yaml]
"""
PLAYBOOK = """
id: money-first
version: 1
when: {severity: critical, pattern: unauthorized_action}
source: an agreement with the payments team
steps:
  - mitigate: {to: hold, tool: "payments.*", name: hold, at_most: 1s, undo: lift}
  - draft: {notice: executive, name: executives, at_most: 5s, undo: nothing to undo}
"""
AGENT = """
import sys, threading
from andoncord_sdk import CallHeld, Guard, GuardError
url, telemetry, token, path = sys.argv[1:]
guard = Guard("refunds", server=url, telemetry=telemetry, token=token, tools={"payments.refund": "write"})
lock, pause = threading.Lock(), threading.Event()
@guard.tool("payments.refund", effect=True)
def refund(order):
    with lock, open(path, "a") as file:
        file.write(order + "\\n")
def batch(worker):
    with guard.run(f"refunds of {worker}", key=f"batch-{worker}") as run:
        for number in range(10_000):
            try:
                refund(f"{worker}-{number}")
            except CallHeld as held:
                print("held", held.item, f"{worker}-{number}", flush=True)
                return
            pause.wait(0.05)
threads = [threading.Thread(target=batch, args=(worker,)) for worker in range(3)]
print("ready", flush=True)
sys.stdin.readline()
for each in threads:
    each.start()
pause.wait(0.3)
try:
    with guard.run("look something up") as run:
        run.call("wire_transfer", print)
except GuardError as refused:
    print("refused", refused.code, flush=True)
for each in threads:
    each.join()
print("frozen", flush=True)
threading.Event().wait()
"""


def until(found: Callable[[], Any], what: str) -> Any:
    """What `found` gives as soon as it is true."""
    end_s = time.monotonic() + DEADLINE_S
    while not (came := found()):
        assert time.monotonic() < end_s, f"{what}: not in time"
        threading.Event().wait(0.05)
    return came


def free_ports() -> list[int]:
    """Three ports that nobody listens on just now, so that a server comes back where it was."""
    with contextlib.ExitStack() as stack:
        found = [stack.enter_context(socket.socket()) for _ in range(3)]
        for each in found:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in found]


def client(server: ServerProcess, token: str) -> httpx2.Client:
    return httpx2.Client(base_url=f"{server.api_url}/api/v1", headers={"Authorization": f"Bearer {token}"}, timeout=20)


@contextlib.contextmanager
def agent_at(server: ServerProcess, token: str, paid: Path) -> Iterator[tuple[IO[str], IO[str]]]:
    """The agent, connected; its input and its output."""
    command = [sys.executable, "-c", AGENT, server.api_url, server.otlp_url, token, str(paid)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            assert child.stdout.readline() == "ready\n"
            yield child.stdin, child.stdout
        finally:
            child.kill()


def paged(mailbox: Mailbox, whom: str) -> list[str]:
    """The ids of the pages that somebody got about the incident, without repetitions of the same."""
    mails = [mail for mail in list(mailbox.mails) if mail["To"] == whom and f"[SEV-1] {INCIDENT}:" in str(mail["Subject"])]
    return list(dict.fromkeys(str(mail["Message-ID"]) for mail in mails))


def andon(
    server: ServerProcess, *arguments: str, token: str = "", home: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """The command line, as a person uses it."""
    mine = {"ANDON_SERVER": server.api_url, "ANDON_TOKEN": token or server.admin_token}
    command = [sys.executable, "-m", "andoncord.cli.main", *arguments]
    return subprocess.run(command, env={**os.environ, **mine}, capture_output=True, text=True, timeout=60, check=False)


def test_a_night_of_three_alarms(tmp_path: Path) -> None:
    """Frozen, sealed, paged, escalated, held for approval, through two kills; undone by one command; the journal verifies."""
    home, settings, paid = tmp_path / "home", tmp_path / "andon.yaml", tmp_path / "paid.txt"
    with mail_server() as mailbox:
        (tmp_path / "night.yaml").write_text(PLAYBOOK)
        settings.write_text(SETTINGS.format(smtp=mailbox.port))
        api, otlp, grpc = free_ports()
        started = functools.partial(launch, home, config=settings, api_port=api, otlp_port=otlp, grpc_port=grpc)
        with contextlib.ExitStack() as night:
            with started() as server, client(server, server.admin_token) as admin:
                agents = admin.post("/tokens", json={"name": "fleet", "scope": "agent", "agent": "refunds"}).json()["token"]
                bob = admin.post("/tokens", json={"name": "bob", "scope": "approve"}).json()["token"]
                told, said = night.enter_context(agent_at(server, agents, paid))
                until(lambda: '"outbox"' in admin.get("/agents").text, "the agent declares its side effects")
                told.write("go\n")
                told.flush()
                until(lambda: paged(mailbox, "ada@example.org"), "the first responder is paged")
                server.kill()

            with started() as server, client(server, server.admin_token) as admin:
                until(lambda: paged(mailbox, "bob@example.org"), "nobody answers, so the next is paged")
                server.kill()

            with started() as server, client(server, server.admin_token) as admin:
                # Frozen, and proven to be.
                until(lambda: admin.get(f"/incidents/{INCIDENT}").json()["containment"] == "VERIFIED", "the agent is frozen")
                lines = [said.readline().split() for _ in range(5)]
                heard = Counter(line[0] for line in lines)
                assert heard == {"refused": 1, "held": 3, "frozen": 1}, lines
                made_before = paid.read_text().split()

                # Sealed.
                (bundle,) = admin.get(f"/incidents/{INCIDENT}/evidence").json()["items"]
                assert (bundle["problems"], bundle["outcome"]) == ([], "done")

                # Held for approval, and drafted for executives, with nothing sent by itself.
                held = admin.get("/held").json()
                waiting = [json.loads(each["effect"]["arguments"])["order"] for each in held["items"]]
                assert sorted(waiting) == sorted(line[2] for line in lines if line[0] == "held")
                (drafted,) = until(
                    lambda: [each for each in admin.get(f"/incidents/{INCIDENT}/notices").json()["items"] if each["text"]],
                    "the notice is drafted",
                )
                assert (drafted["audience"], drafted["state"], drafted["to"]) == ("executive", "draft", ["bob"])
                answered = andon(server, "ack", INCIDENT, token=bob)
                assert answered.returncode == 4, "whoever may only approve does not acknowledge"
                assert andon(server, "ack", INCIDENT).returncode == 0

                # Undone by one command; what is held stays held.
                undone = andon(server, "undo", INCIDENT, "--reason", "a drill")
                assert undone.returncode == 0, undone.stdout + undone.stderr
                assert admin.get("/orders").json()["items"] == []
                assert len(admin.get("/held").json()["items"]) == 3

                # Let go by whoever may, once, byte for byte.
                refused = andon(
                    server, "held", "release", "--incident", INCIDENT, "-r", "me", "--yes", "--digest", held["digest"]
                )
                assert refused.returncode == 5, "the admin is not in the role"
                mine = ("held", "release", "--incident", INCIDENT, "-r", "checked", "--yes", "--digest", held["digest"])
                released = andon(server, *mine, token=bob)
                assert released.returncode == 0, released.stdout + released.stderr
                assert paid.read_text().split() == [*made_before, *waiting]

                entries = admin.get("/journal", params={"limit": 500}).json()["items"]
                issued = Counter(each["body"]["step"] for each in entries if each["kind"] == "intent.issued")
                received = Counter(each["body"]["receipt"]["intent"] for each in entries if each["kind"] == "receipt.recorded")
                assert max(issued.values()) == max(received.values()) == 1
            assert len(paged(mailbox, "ada@example.org")) == len(paged(mailbox, "bob@example.org")) == 1
            verified = andon(server, "verify", "--home", str(home))
            assert verified.returncode == 0, verified.stdout + verified.stderr
