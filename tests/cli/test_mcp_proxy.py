"""`andon mcp-proxy`, as a client starts it."""

import json
import subprocess
import sys
from pathlib import Path

SERVER = Path(__file__).resolve().parents[2] / "sdk/tests/mcp_plain_server.py"
ANDON = [sys.executable, "-m", "andoncord.cli.main", "mcp-proxy", "--offline"]


def test_calls_pass_the_guard(tmp_path: Path) -> None:
    """What is declared is called, the rest is refused, and options after the -- are the server's."""
    options = ["--agent", "a", "--allow", "echo=read", "--", sys.executable, str(SERVER), str(tmp_path / "calls"), "--agent"]
    answers = {}
    with subprocess.Popen([*ANDON, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as proxy:
        assert proxy.stdin is not None
        assert proxy.stdout is not None
        for id_, tool in ((1, "echo"), (2, "pay")):
            call = {"jsonrpc": "2.0", "id": id_, "method": "tools/call", "params": {"name": tool, "arguments": {"n": id_}}}
            proxy.stdin.write(json.dumps(call).encode() + b"\n")
        proxy.stdin.flush()
        for _ in range(2):
            answer = json.loads(proxy.stdout.readline())
            answers[answer["id"]] = answer["result"]
        proxy.stdin.close()
    assert proxy.returncode == 0
    assert answers[1]["structuredContent"] == {"n": 1}
    assert answers[2]["isError"] is True
    assert len((tmp_path / "calls").read_text().splitlines()) == 1


def test_wrong_usage_is_named() -> None:
    """A mistake is told before anything is started."""
    done = subprocess.run(
        [*ANDON, "--agent", "a", "--let", "all", "--", "x"], capture_output=True, text=True, check=False, timeout=30
    )
    assert done.returncode == 2
    assert "not for 'all'" in done.stderr


def test_a_server_that_is_missing_is_named() -> None:
    """With the exit code shells use for it."""
    command = [*ANDON, "--agent", "a", "--", "/nonexistent/server"]
    done = subprocess.run(command, input="", capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 127
    assert "/nonexistent/server" in done.stderr
