"""Tokens of runs: made by the supervisor, asked for by the MCP proxy, gone with the run; with real processes."""

import http.client
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from andoncord_sdk.run_tokens import REVOKED_KEPT, RunTokens

DEADLINE_S = 20.0
PING = '{"jsonrpc":"2.0","id":1,"method":"ping"}'
AGENT = "import os, sys, threading; open(sys.argv[1], 'w').write(os.environ['MCP_TOKEN']); threading.Event().wait()"


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[int]:
    """The port of a proxy that asks its clients for the token of a run."""
    options = ["--offline", "--agent", "payer", "--http", "http://127.0.0.1:1/mcp", "--client-tokens", str(tmp_path / "tokens")]
    running = subprocess.Popen([sys.executable, "-m", "andoncord_sdk.mcp_proxy", *options], stderr=subprocess.PIPE)
    assert running.stderr is not None
    try:
        yield int(running.stderr.readline().rsplit(b":", 1)[1].split(b"/")[0])
    finally:
        running.kill()
        running.wait(DEADLINE_S)
        running.stderr.close()


def asked(port: int, token: str = "", *, method: str = "POST") -> int:
    """What the proxy answers; 400 is what a message without a session gets from one that listens."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)
    connection.request(method, "/mcp", PING, {"Authorization": f"Bearer {token}"} if token else {})
    response = connection.getresponse()
    response.read()
    connection.close()
    assert (response.status == 401) == ("WWW-Authenticate" in response.headers)
    return response.status


@pytest.mark.skipif(sys.platform != "linux", reason="supervision needs Linux")
def test_a_token_opens_the_proxy_for_as_long_as_its_run_lasts(proxy: int, tmp_path: Path) -> None:
    """The supervisor puts it into the environment; nobody else's token is taken; when the run ends it is refused."""
    told, tokens = tmp_path / "told", RunTokens(tmp_path / "tokens")
    ours = ["--agent", "payer", "--server", "http://127.0.0.1:1", "--telemetry", "http://127.0.0.1:1"]
    ours += ["--run-tokens", str(tmp_path / "tokens"), "--run-token-env", "MCP_TOKEN"]
    command = [sys.executable, "-m", "andoncord_sdk.supervise", *ours, "--", sys.executable, "-c", AGENT, str(told)]
    supervisor = subprocess.Popen(command, env={**os.environ, "ANDON_TOKEN": "andon_sdk_test"}, stderr=subprocess.DEVNULL)
    try:
        pause = threading.Event()
        for _ in range(int(DEADLINE_S / 0.05)):
            if told.exists() and told.read_text():
                break
            pause.wait(0.05)
        token = told.read_text()

        assert asked(proxy, token) == 400
        assert asked(proxy) == 401
        assert asked(proxy, token[:-1]) == 401
        assert asked(proxy, tokens.make("somebody-else")) == 401
        assert asked(proxy, "../" + token) == 401
        assert [asked(proxy, method=method) for method in ("GET", "DELETE")] == [401, 401]
    finally:
        supervisor.send_signal(signal.SIGTERM)
        supervisor.wait(DEADLINE_S)
    assert asked(proxy, token) == 401
    assert tokens.revoked("payer") == [token]


def test_tokens_are_for_their_owner_and_are_forgotten_in_the_end(tmp_path: Path) -> None:
    """A folder that others can look into is refused; revoked tokens are kept up to a bound."""
    tokens = RunTokens(tmp_path / "tokens")
    for _ in range(REVOKED_KEPT + 3):
        tokens.make("a")
    kept = tokens.make("b")
    assert tokens.revoke_agent("a") == REVOKED_KEPT + 3
    assert len(tokens.revoked("a")) == REVOKED_KEPT
    assert tokens.holds(kept, "b")
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "tokens").iterdir()} == {0o600}

    (tmp_path / "open").mkdir(mode=0o755)
    with pytest.raises(ValueError, match="0700"):
        RunTokens(tmp_path / "open")


def test_tokens_are_for_http_alone(tmp_path: Path) -> None:
    """Over standard streams the client has started the proxy, and there is nobody to tell apart."""
    options = ["--offline", "--agent", "a", "--client-tokens", str(tmp_path / "tokens"), "--", "true"]
    command = [sys.executable, "-m", "andoncord_sdk.mcp_proxy", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 2
    assert "over HTTP" in done.stderr
