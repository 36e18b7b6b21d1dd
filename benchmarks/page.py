"""How long it takes until somebody is told: from an incident to the message at a mail server of this machine."""

import contextlib
import re
import smtplib
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import yaml

from andoncord.adapters.system.server_process import launch
from benchmarks.result import Result, quantile

PACE_S = 0.1
"""Between two incidents: each page is measured by itself."""
DEADLINE_S = 90.0
LOOK_S = 0.1
TOKEN = "a-bearer-token-of-the-benchmark"


def run(*, incidents: int = 60, burst: int = 20) -> Result:
    """Have a real server page a real mail server: incidents one after another, then several at once.

    Args:
        incidents: how many one after another; one critical alert about one agent each.
        burst: how many at once, after them.
    """
    with contextlib.ExitStack() as stack:
        mailbox = stack.enter_context(mail_server())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        settings = folder / "andon.yaml"
        settings.write_text(yaml.safe_dump(_settings(mailbox.port)))
        (folder / "alerts.token").write_text(TOKEN)
        server = stack.enter_context(launch(folder / "home", config=settings))
        person = stack.enter_context(
            httpx2.Client(base_url=server.api_url, headers={"Authorization": f"Bearer {server.admin_token}"}, timeout=60)
        )
        sent: dict[str, int] = {}
        for number in range(incidents):
            sent[f"bench-{number:04}"] = _alert(server.api_url, [f"bench-{number:04}"])
            threading.Event().wait(PACE_S)
        mailbox.wait_for(incidents)
        several = [f"burst-{number:04}" for number in range(burst)]
        sent |= dict.fromkeys(several, _alert(server.api_url, several))
        mailbox.wait_for(incidents + burst)
        opened = {each["incident"]: each["at_ns"] for each in _journal(person) if each["kind"] == "incident.opened"}
        agents = {
            each["id"]: each["agents"][0] for each in person.get("/api/v1/incidents", params={"limit": 500}).json()["items"]
        }
        alone = [name for name in opened if agents[name].startswith("bench")]
        together = [name for name in opened if agents[name].startswith("burst")]
        bare = _bare(mailbox)
    first = mailbox.first
    return Result(
        figures={
            "page_s_p50": quantile([(first[name] - opened[name]) / 1e9 for name in alone], 0.5),
            "page_s_p99": quantile([(first[name] - opened[name]) / 1e9 for name in opened], 0.99),
            "burst_page_s_max": max((first[name] - opened[name]) / 1e9 for name in together),
            "reported_to_page_s_p99": quantile([(first[name] - sent[agents[name]]) / 1e9 for name in opened], 0.99),
            "incidents_n": float(len(opened)),
            "pages_n": float(mailbox.pages),
        },
        baselines={"bare_mail_s_p50": quantile(bare, 0.5), "bare_mail_s_p99": quantile(bare, 0.99)},
        notes=(
            "From the incident's opening in the journal to the end of the message at the mail server, both by the same clock.",
            "Reported: from before a critical alert is sent to the server. Baseline: a bare message to the same server.",
        ),
    )


class Mailbox:
    """When the first message about each incident was there, and how many there were."""

    def __init__(self) -> None:
        self.port = 0
        self.first: dict[str, int] = {}
        self.pages = 0

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        now_ns = time.time_ns()
        found = re.search(rb"(?m)^Subject: .*?(inc_[0-9]+)", envelope.content)
        if found:
            self.pages += 1
            self.first.setdefault(found[1].decode(), now_ns)
        return "250 OK"

    def wait_for(self, count: int) -> None:
        """Wait until so many incidents were paged."""
        end_s = time.monotonic() + DEADLINE_S
        while len(self.first) < count:
            if time.monotonic() >= end_s:
                raise AssertionError(f"{len(self.first)} of {count} incidents were paged within {DEADLINE_S:g} s")
            threading.Event().wait(LOOK_S)


@contextlib.contextmanager
def mail_server() -> Iterator[Mailbox]:
    """An SMTP server while the block runs."""
    from aiosmtpd.controller import Controller

    mailbox = Mailbox()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        mailbox.port = free.getsockname()[1]
    controller = Controller(mailbox, hostname="127.0.0.1", port=mailbox.port)
    controller.start()
    try:
        yield mailbox
    finally:
        controller.stop()


def _settings(port: int) -> dict[str, Any]:
    mail = {"kind": "email", "host": "127.0.0.1", "port": port, "tls": "none", "from": "andon@bench.example"}
    layer = {"people": ["ada", "bob"], "starts": "2026-01-01", "every": "1d"}
    return {
        "sources": {"alerts": {"kind": "alertmanager", "secret_file": "alerts.token"}},
        "channels": {f"{name}-mail": {**mail, "to": [f"{name}@bench.example"]} for name in ("ada", "bob")},
        "oncall": {
            "people": {name: {"channels": [f"{name}-mail"]} for name in ("ada", "bob")},
            "rotas": {"primary": {"time_zone": "Europe/Berlin", "layers": [layer]}},
            "escalation": {"levels": [{"who": ["primary"], "wait": "10m"}, {"who": ["ada", "bob"], "wait": "10m"}]},
        },
    }


def _alert(url: str, agents: list[str]) -> int:
    """Send critical alerts, one for each agent; when that began."""
    alerts = [
        {
            "status": "firing",
            "labels": {"agent": agent, "severity": "critical", "alertname": "Refunds"},
            "annotations": {"summary": f"{agent} refunds without end"},
            "fingerprint": agent,
        }
        for agent in agents
    ]
    now_ns = time.time_ns()
    headers = {"Authorization": f"Bearer {TOKEN}"}
    answer = httpx2.post(f"{url}/api/v1/sources/alerts/alerts", json={"version": "4", "alerts": alerts}, headers=headers)
    assert answer.is_success, answer.text
    return now_ns


def _journal(person: httpx2.Client) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = []
    while page := person.get("/api/v1/journal", params={"limit": 500, "after": len(entries)}).json()["items"]:
        entries += page
    return entries


def _bare(mailbox: Mailbox) -> list[float]:
    """Seconds for a message that nobody decided about."""
    times: list[float] = []
    for _ in range(30):
        start_s = time.perf_counter()
        with smtplib.SMTP("127.0.0.1", mailbox.port, timeout=10) as server:
            server.sendmail("andon@bench.example", ["ada@bench.example"], "Subject: bare\r\n\r\nbare\r\n")
        times.append(time.perf_counter() - start_s)
    return times
