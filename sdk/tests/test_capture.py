"""What a supervisor sees when it is asked, with a repository that the agent set up against it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from sdk.tests.test_supervise import Supervise, supervise
from sdk.tests.wire_server import WireServer

from andoncord_sdk.capture import code_state

__all__ = ["supervise"]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="supervision needs Linux")

READY = """
import os, sys, threading
os.environ["LATER"] = "not shown"
print("up", flush=True)
threading.Event().wait()
"""


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=a", "-c", "user.email=a@example.com")
    environment = {"PATH": os.defpath, "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1"}
    return subprocess.run(
        ["git", *who, *arguments], cwd=folder, env=environment, check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A checkout with one commit, and a change that is not in it."""
    root = tmp_path / "work"
    root.mkdir()
    git(root, "init", "-q", "-b", "main")
    (root / "agent.py").write_text("limit = 10\n")
    git(root, "add", "agent.py")
    git(root, "commit", "-q", "-m", "first")
    (root / "agent.py").write_text("limit = 1000\nkey = 'sk-proj-0123456789abcdef'\n")
    (root / "new.txt").write_text("new\n")
    return root


def test_the_commit_and_what_differs_from_it(repository: Path) -> None:
    """The head is git's own; the change and the new file are there; what looks like a secret is not."""
    state = code_state(repository)

    assert state["head"] == git(repository, "rev-parse", "HEAD")
    assert "+limit = 1000" in state["diff"]
    assert "0123456789abcdef" not in state["diff"]
    assert (state["dirty"], state["untracked"], state["diff_is_whole"]) == (True, ["new.txt"], True)


def test_a_further_worktree_is_read_where_it_is(repository: Path, tmp_path: Path) -> None:
    """Its HEAD is its own; the objects are the main one's."""
    git(repository, "worktree", "add", "-q", "-b", "side", str(tmp_path / "side"))

    state = code_state(tmp_path / "side")

    assert (state["head"], state["dirty"], state.get("missing")) == (git(repository, "rev-parse", "side"), False, None)


def test_nothing_that_the_repository_names_is_run(repository: Path, tmp_path: Path) -> None:
    """Filters, monitors, drivers and hooks of a hostile repository stay words: the agent cannot have us run its programs."""
    mark = tmp_path / "ran"
    trap = tmp_path / "trap"
    trap.write_text(f"#!/bin/sh\ntouch {mark}\ncat\n")
    trap.chmod(0o700)
    (repository / ".gitattributes").write_text("*.py filter=trap diff=trap\n")
    for name in ("filter.trap.clean", "filter.trap.process", "diff.trap.command", "diff.trap.textconv", "core.fsmonitor"):
        git(repository, "config", name, str(trap))
    git(repository, "config", "diff.external", str(trap))
    (repository / ".git/hooks/post-index-change").write_bytes(trap.read_bytes())
    (repository / ".git/hooks/post-index-change").chmod(0o700)

    state = code_state(repository)

    assert "+limit = 1000" in state["diff"]
    assert not mark.exists()


def test_what_cannot_be_told_is_said_to_be_missing(repository: Path, tmp_path: Path) -> None:
    """No repository, and one whose objects are gone: neither is called clean. An order comes first."""
    assert "no git repository" in code_state(tmp_path)["missing"]
    assert code_state(repository, is_called_away=lambda: True)["missing"] == "an order came first"
    (repository / ".git/objects").rename(tmp_path / "gone")
    state = code_state(repository)
    assert "dirty" not in state
    assert "objects" in state["missing"]


def test_a_supervisor_tells_processes_and_masked_environments(wire: WireServer, supervise: Supervise) -> None:
    """Names of variables are told, values only of harmless ones; and the tree goes on as before."""
    supervisor = supervise(READY)
    wire.wait_stream()
    assert "capture" in wire.hellos[0]["capabilities"]

    ack = wire.ack_of(wire.push("capture", {"agent": "hung-agent"}))
    (process,) = ack["detail"]["processes"]

    assert (ack["outcome"], ack["detail"]["frozen"], supervisor.poll()) == ("enforced", False, None)
    assert process["environment"]["PATH"] == os.environ["PATH"]
    assert process["environment"]["ANDON_TOKEN"] == "***"
    assert "andon_sdk_test" not in str(ack)
    assert process["cwd"] == str(Path.cwd())
    assert "head" in ack["detail"]["code"] or "missing" in ack["detail"]["code"]
