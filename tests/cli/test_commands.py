"""The commands that speak with a server, as a person runs them."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from andoncord.adapters.system.server_process import ServerProcess, launch
from andoncord.cli.main import COMMANDS
from andoncord_sdk import Guard


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One real server for all, with an agent that is declared and never comes."""
    folder = tmp_path_factory.mktemp("cli")
    settings = folder / "andon.yaml"
    settings.write_text("agents: {absent-1: {environment: test}, absent-2: {environment: test}}\n", encoding="utf-8")
    with launch(folder / "home", config=settings) as running:
        yield running


def andon(home: Path, *arguments: str, token: str = "") -> "subprocess.CompletedProcess[str]":
    """Run one command against the server of a data directory."""
    environment = {**os.environ, "ANDON_HOME": str(home), "ANDON_TOKEN": token, "ANDON_SERVER": ""}
    command = [sys.executable, "-m", "andoncord.cli.main", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)


def test_help_lists_every_command_without_loading_them() -> None:
    """Help comes at once, because no command is imported for it."""
    code = (
        "import sys; from andoncord.cli.main import build; build([]);"
        "print([name for name in ('fastapi', 'andoncord.app', 'httpx2', 'rich.progress') if name in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert ended.stdout.strip() == "[]"

    shown = andon(Path("/nonexistent"), "--help").stdout
    assert all(word in shown for word in COMMANDS)


@pytest.mark.parametrize("word", sorted(COMMANDS))
def test_every_command_has_its_help(word: str) -> None:
    """Each command that is listed exists and explains itself."""
    shown = andon(Path("/nonexistent"), word, "--help")

    assert shown.returncode == 0, shown.stderr
    assert "Usage" in shown.stdout


def test_without_a_server_the_remedy_is_said(tmp_path: Path) -> None:
    """Nothing listens: exit 1 and what to do. Nobody known: exit 4."""
    ended = andon(tmp_path, "agents", token="andon_pat_x")
    assert ended.returncode == 1
    assert "andon serve" in ended.stderr
    assert andon(tmp_path, "agents").returncode == 4


def test_exit_codes_tell_what_went_wrong(server: ServerProcess) -> None:
    """Not found, not allowed, not now."""
    assert andon(server.home, "incidents", "show", "inc_999999").returncode == 3
    assert andon(server.home, "incidents", "ls", token="andon_pat_unknown").returncode == 4
    assert andon(server.home, "resume", "nobody", "--reason", "none").returncode == 5
    assert andon(server.home, "incidents", "ls", "--state", "nonsense").returncode == 2
    assert andon(server.home, "serve", "--api-port", "99999").returncode == 2


def test_an_agent_is_paused_and_resumed(server: ServerProcess) -> None:
    """The order is confirmed by the agent's guard, the undo is told, and the agent goes on."""
    token = andon(server.home, "token", "create", "fleet", "--agent", "cli-*").stdout.strip()
    assert token.startswith("andon_sdk_")
    guard = Guard("cli-agent", server=server.api_url, telemetry=server.otlp_url, token=token)
    try:
        paused = andon(server.home, "pause", "cli-agent", "--reason", "looks odd")
        assert paused.returncode == 0, paused.stderr
        assert "1/1 confirmed" in paused.stdout
        assert "andon resume cli-agent" in paused.stderr
        assert guard.state.rung == "pause"
        assert "contained" in andon(server.home, "agents").stdout

        resumed = andon(server.home, "resume", "cli-agent", "--reason", "it was nothing", "-o", "json")
        assert resumed.returncode == 0, resumed.stderr
        assert json.loads(resumed.stdout)["receipt"]["outcome"] == "done"
        assert guard.state.rung == "none"
    finally:
        guard.close()


def test_an_order_that_nobody_confirms_exits_with_6(server: ServerProcess) -> None:
    """Applied but not confirmed is not success."""
    ended = andon(server.home, "kill", "absent-1", "--reason", "just in case", "-o", "json")

    assert ended.returncode == 6
    assert json.loads(ended.stdout)["receipt"]["outcome"] == "partial"


def test_an_order_to_an_unknown_agent_is_refused(server: ServerProcess) -> None:
    """An order to nobody would look like an order that was obeyed; the known agents are named."""
    for name in ("ghost", "ghost-*"):
        ended = andon(server.home, "kill", name, "--yes")
        assert ended.returncode == 3
        assert "absent-1" in ended.stderr


def test_a_pattern_orders_every_agent_that_matches_and_asks_first(server: ServerProcess) -> None:
    """Without --yes and without a terminal several agents are refused; with it each has its own receipt."""
    refused = andon(server.home, "pause", "absent-*")
    assert refused.returncode == 2
    assert "absent-1, absent-2" in refused.stderr

    ended = andon(server.home, "pause", "absent-*", "--yes", "-o", "json")
    assert ended.returncode == 6
    assert {receipt["target"] for receipt in json.loads(ended.stdout)["receipts"]} == {"absent-1", "absent-2"}


def test_code_of_a_held_agent_is_not_deployed(server: ServerProcess) -> None:
    """The gate is open for an agent that nothing is wrong with, and closed while one is held; the reason is said."""
    assert andon(server.home, "deploy-gate", "somebody-else").returncode == 0
    andon(server.home, "pause", "absent-2", "--reason", "look at it first")
    closed = andon(server.home, "deploy-gate", "somebody-else", "absent-2", "-o", "json")
    assert closed.returncode == 5
    free, held = json.loads(closed.stdout)
    assert free["allowed"]
    assert not held["allowed"]
    assert any("in force" in why for why in held["why"])


def test_a_token_is_listed_and_revoked(server: ServerProcess) -> None:
    """A revoked token opens nothing, and its secret is never shown again."""
    made = json.loads(andon(server.home, "token", "create", "ana", "--scope", "read", "-o", "json").stdout)
    assert andon(server.home, "incidents", "ls", token=made["token"]).returncode == 0
    assert andon(server.home, "pause", "x", token=made["token"]).returncode == 4

    assert andon(server.home, "token", "revoke", made["id"]).returncode == 0
    assert andon(server.home, "incidents", "ls", token=made["token"]).returncode == 4
    listed = andon(server.home, "token", "list").stdout
    assert made["id"] in listed
    assert made["token"] not in listed


def test_the_record_of_a_running_server_can_be_checked(server: ServerProcess) -> None:
    """Checking does not need the server to stop."""
    assert andon(server.home, "verify", "--home", str(server.home)).returncode == 0


def test_figures_and_login(server: ServerProcess) -> None:
    """The rest of the commands answer."""
    assert "mttd" in andon(server.home, "kpi").stdout
    assert andon(server.home, "login").stdout.startswith(f"{server.api_url}/login#code=")
    assert andon(server.home, "trace", "show", "ab" * 16).returncode == 3
