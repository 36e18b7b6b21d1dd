"""The example of a git hook, with real pushes to a real repository and a real server."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from andoncord.adapters.system.server_process import ServerProcess, launch

HOOK = Path(__file__).resolve().parents[2] / "examples/git/pre-receive"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    settings = tmp_path / "andon.yaml"
    settings.write_text("agents: {refund-agent: {environment: test}}\n")
    with launch(tmp_path / "home", config=settings) as running:
        yield running


def test_a_push_is_refused_while_the_agent_is_stopped(server: ServerProcess, tmp_path: Path) -> None:
    """To the branch that is deployed from, and only to that one; and when nobody answers, too."""
    bare, clone, bin_folder = tmp_path / "bare.git", tmp_path / "clone", tmp_path / "bin"
    bin_folder.mkdir()
    (bin_folder / "andon").write_text(f'#!/bin/sh\nexec {sys.executable} -m andoncord.cli.main "$@"\n')
    (bin_folder / "andon").chmod(0o755)
    environment = {
        "PATH": f"{bin_folder}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "ANDON_HOME": str(server.home),
        "GIT_CONFIG_NOSYSTEM": "1",
    }

    def git(*arguments: str, at: Path = clone, checked: bool = True) -> "subprocess.CompletedProcess[str]":
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", *arguments]
        return subprocess.run(command, cwd=at, env=environment, capture_output=True, text=True, check=checked, timeout=60)

    git("init", "-q", "--bare", "-b", "main", str(bare), at=tmp_path)
    shutil.copy(HOOK, bare / "hooks/pre-receive")
    git("clone", "-q", str(bare), str(clone), at=tmp_path)
    git("commit", "-q", "--allow-empty", "-m", "first")
    unnamed = git("push", "-q", "origin", "HEAD:main", checked=False)
    assert unnamed.returncode != 0
    assert "no agent is named" in unnamed.stderr
    git("config", "andoncord.agent", "refund-agent", at=bare)
    git("push", "-q", "origin", "HEAD:main")

    headers = {"Authorization": f"Bearer {server.admin_token}"}
    order = {"rung": "pause", "reason": "test"}
    httpx2.post(f"{server.api_url}/api/v1/agents/refund-agent/orders", json=order, headers=headers).raise_for_status()
    git("commit", "-q", "--allow-empty", "-m", "second")
    refused = git("push", "-q", "origin", "HEAD:main", checked=False)
    assert refused.returncode != 0
    assert "pause is in force" in refused.stderr
    git("push", "-q", "origin", "HEAD:elsewhere")

    server.kill()
    assert git("push", "-q", "origin", "HEAD:main", checked=False).returncode != 0
    assert git("rev-parse", "main", at=bare).stdout == git("rev-parse", "HEAD~1").stdout
