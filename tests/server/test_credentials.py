"""Credentials after a kill: revoked, tried, and part of the verdict; with real hooks and a real web service."""

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from andoncord.adapters.credentials.by_hook import Command, HookBroker
from andoncord.adapters.credentials.by_proxy import ProxyBroker
from andoncord.adapters.credentials.by_webhook import WebhookBroker
from andoncord.adapters.system.server_process import ServerProcess, launch
from andoncord.app_settings import credentials_held
from andoncord.config import load
from andoncord.kernel.effect import Effect, EffectKind, Outcome
from andoncord.kernel.errors import CallerError
from andoncord.respond.credential import Said, Subject
from andoncord.server.credentials import Held, RevokePerformer
from andoncord.testing.system import HandClock
from andoncord_sdk import Guard
from andoncord_sdk.run_tokens import RunTokens

SUBJECT = Subject(credential="crm", agent="a", incident="inc_1", key="inc_1.002")
REVOKE = "import json, sys; told = json.load(sys.stdin); open(sys.argv[1], 'a').write(told['credential'] + chr(10))"
PROBE = (
    "import json, pathlib, sys; told = json.load(sys.stdin); path = pathlib.Path(sys.argv[1])\n"
    "print(json.dumps({'refused': path.exists() and told['credential'] in path.read_text().split()}))"
)


def command(program: str, *arguments: str) -> Command:
    return Command(argv=[sys.executable, "-c", program, *arguments], timeout_s=10, output_bytes=1024)


def test_a_kill_revokes_what_the_agent_holds_and_tries_it(tmp_path: Path, person_at: Callable[[ServerProcess], Any]) -> None:
    """The verdict passes CREDENTIALS_REVOKED because the hooks revoked and tried the credential; another's is left alone."""
    revoked = tmp_path / "revoked"
    hooks = {
        "revoke": {"run": [sys.executable, "-c", REVOKE, str(revoked)]},
        "probe": {"run": [sys.executable, "-c", PROBE, str(revoked)]},
    }
    credentials = {
        name: {"agents": [agent], "revoke_hook": "revoke", "probe_hook": "probe"}
        for name, agent in (("crm-key", "refund-*"), ("other-key", "other"))
    }
    settings = tmp_path / "andon.yaml"
    settings.write_text(yaml.safe_dump({"hooks": hooks, "credentials": credentials}))
    with launch(tmp_path / "home", config=settings) as server:
        person = person_at(server)
        token = person.agent_token()
        guard = Guard("refund-1", server=server.api_url, telemetry=server.otlp_url, token=token, heartbeat_s=0.2)
        try:
            given = person.post("/api/v1/agents/refund-1/orders", {"rung": "kill", "reason": "test"})
            view = person.eventually(f"/api/v1/incidents/{given['incident']}", lambda view: view["verdicts"])
        finally:
            guard.close()
    (verdict,) = view["verdicts"]
    stages = [each["stage"] for each in verdict["stages"]]
    assert stages == ["REQUESTED", "FENCED", "CREDENTIALS_REVOKED", "STOPPED", "VERIFIED"], verdict["missing"]
    assert revoked.read_text().split() == ["crm-key"]


@pytest.mark.parametrize(
    ("revoking", "probing", "outcome", "is_refused", "why"),
    [
        ("pass", "print('{\"refused\": true}')", Outcome.DONE, True, ""),
        ("pass", "print('{\"refused\": false}')", Outcome.PARTIAL, False, ""),
        ("pass", "print('it is refused')", Outcome.PARTIAL, None, "did not say"),
        ("pass", "raise SystemExit('no such host')", Outcome.PARTIAL, None, "no such host"),
        ("pass", "", Outcome.PARTIAL, None, "no probe_hook"),
        ("raise SystemExit('not allowed')", "print('{\"refused\": true}')", Outcome.FAILED, None, "not allowed"),
    ],
)
def test_only_a_refusal_counts(revoking: str, probing: str, outcome: Outcome, is_refused: bool | None, why: str) -> None:
    """A hook that fails, says nothing or is missing leaves the credential unproven, and says why."""
    broker = HookBroker(revoking=command(revoking), probing=command(probing) if probing else None)
    performer = RevokePerformer(held={"crm": Held(agents=("a",), broker=broker)}, clock=HandClock())
    effect = Effect(
        kind=EffectKind.REVOKE,
        target="a",
        incident="inc_1",
        key="k",
        deadline_ms=30_000,
        reversal="-",
        parameters={"credential": "crm", "order": "o"},
    )
    receipt = asyncio.run(performer.perform("inc_1.002", effect))
    assert (receipt.outcome, receipt.detail["is_refused"]) == (outcome, is_refused)
    assert why in receipt.detail["why"]


def test_a_webhook_is_asked_with_its_token_and_not_followed_elsewhere(tmp_path: Path) -> None:
    """2xx is a revocation; anything else is none, a redirect included: the token is for one address."""
    asked: list[tuple[str, str, Any]] = []

    class Service(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append((self.path, self.headers["Authorization"], body))
            self.send_response(204 if self.path == "/revoke" else 307)
            self.send_header("Location", "/revoke")
            self.send_header("Content-Length", "0")
            self.end_headers()

    service = HTTPServer(("127.0.0.1", 0), Service)
    thread = threading.Thread(target=service.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        (tmp_path / "token").write_text("secret\n")
        url = f"http://127.0.0.1:{service.server_port}"
        said = [
            asyncio.run(WebhookBroker(url=f"{url}{path}", token_file=tmp_path / "token", probing=None).revoke(SUBJECT))
            for path in ("/revoke", "/moved")
        ]
        lost = asyncio.run(WebhookBroker(url=url, token_file=tmp_path / "none", probing=None).revoke(SUBJECT))
    finally:
        service.shutdown()
        service.server_close()
        thread.join()
    assert said == [Said(holds=True), Said(holds=False, why="HTTP 307")]
    assert lost.holds is False
    assert [(path, token) for path, token, _ in asked] == [("/revoke", "Bearer secret"), ("/moved", "Bearer secret")]
    assert asked[0][2]["credential"] == "crm"


@pytest.mark.parametrize(
    ("credential", "said"),
    [
        ({"agents": ["a"]}, "one of revoke_hook, revoke_url and proxy_tokens"),
        ({"agents": ["a"], "proxy_tokens": "runs"}, "go together"),
        ({"agents": ["a"], "proxy_tokens": "runs", "proxy_url": "http://10.0.0.1:8430/mcp"}, "this machine alone"),
        ({"agents": ["a"], "revoke_hook": "revok"}, "there is no hook 'revok'"),
        ({"agents": ["a"], "revoke_url": "http://example.org/revoke"}, "open wire"),
    ],
)
def test_a_credential_that_cannot_be_revoked_as_written_is_refused(credential: dict[str, Any], said: str) -> None:
    """With the place, at the start."""
    settings = load(yaml.safe_dump({"credentials": {"crm": credential}}), place="andon.yaml")
    with pytest.raises(CallerError, match=said):
        credentials_held(settings, beside=Path())


@pytest.fixture
def proxy_url(tmp_path: Path) -> Iterator[str]:
    """An MCP proxy of agent refund-1 that asks for the tokens of runs."""
    options = [
        "--offline",
        "--agent",
        "refund-1",
        "--http",
        "http://127.0.0.1:1/mcp",
        "--client-tokens",
        str(tmp_path / "runs"),
    ]
    proxy = subprocess.Popen([sys.executable, "-m", "andoncord_sdk.mcp_proxy", *options], stderr=subprocess.PIPE, text=True)
    assert proxy.stderr is not None
    try:
        yield proxy.stderr.readline().split()[-1]
    finally:
        proxy.kill()
        proxy.wait(10)
        proxy.stderr.close()


def test_a_kill_takes_tokens_of_runs_away(tmp_path: Path, person_at: Callable[[ServerProcess], Any], proxy_url: str) -> None:
    """The proxy answers 401 to the old token, which is what the verdict rests on; another agent's runs keep theirs."""
    tokens = RunTokens(tmp_path / "runs")
    held, others = tokens.make("refund-1"), tokens.make("refund-2")
    credential = {"agents": ["refund-*"], "proxy_tokens": "runs", "proxy_url": proxy_url}
    settings = tmp_path / "andon.yaml"
    settings.write_text(yaml.safe_dump({"credentials": {"mcp": credential}}))
    with launch(tmp_path / "home", config=settings) as server:
        person = person_at(server)
        guard = Guard("refund-1", server=server.api_url, telemetry=server.otlp_url, token=person.agent_token(), heartbeat_s=0.2)
        try:
            given = person.post("/api/v1/agents/refund-1/orders", {"rung": "kill", "reason": "test"})
            view = person.eventually(f"/api/v1/incidents/{given['incident']}", lambda view: view["verdicts"])
        finally:
            guard.close()
    (verdict,) = view["verdicts"]
    assert [each["stage"] for each in verdict["stages"]][-1] == "VERIFIED", verdict["missing"]
    (receipt,) = [each for each in view["receipts"] if "is_refused" in each["detail"]]
    assert receipt["detail"]["is_refused"] is True
    assert not tokens.holds(held, "refund-1")
    assert tokens.holds(others, "refund-2")


def test_a_proxy_that_takes_everybody_is_no_proof(tmp_path: Path, proxy_url: str) -> None:
    """What answers anything but 401 has not refused, and one that does not answer proves nothing."""
    asking = ProxyBroker(folder=tmp_path / "runs", url=proxy_url)
    assert asyncio.run(asking.probe(SUBJECT)).holds is True
    elsewhere = ProxyBroker(folder=tmp_path / "runs", url=proxy_url.replace("/mcp", "/other"))
    assert asyncio.run(elsewhere.probe(SUBJECT)).holds is False
    gone = ProxyBroker(folder=tmp_path / "runs", url="http://127.0.0.1:1/mcp")
    assert asyncio.run(gone.probe(SUBJECT)).holds is None
