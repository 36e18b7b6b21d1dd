"""The canary against a real server: stopped through the real path, and told when it was not."""

import json
import subprocess
import sys
from pathlib import Path

from andoncord.adapters.system.environment import environment_with
from andoncord.adapters.system.server_process import launch


def andon(home: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run one command where the server runs."""
    command = [sys.executable, "-m", "andoncord.cli.main", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, env=environment_with(ANDON_HOME=str(home)), check=False
    )


def test_a_canary_is_stopped_and_proven_and_leaves_nothing_in_force(tmp_path: Path) -> None:
    """Acknowledged in time, no step by its own account, VERIFIED; its incident is closed as a test. A miss is an incident."""
    with launch(tmp_path / "home") as server:
        done = andon(server.home, "canary", "-o", "json")
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        assert (told["ok"], told["verdict"]) == (True, "VERIFIED")
        assert told["fence_ms"] < 1_000
        shown = json.loads(andon(server.home, "incidents", "show", told["incident"], "-o", "json").stdout)
        assert (shown["disposition"], shown["state"]) == ("test", "resolved")

        wrong = andon(server.home, "canary", "--every", "soon")
        assert wrong.returncode == 2
        assert "not a duration" in wrong.stderr

        missed = andon(server.home, "canary", "--limit-ms", "1")
        assert missed.returncode == 6
        assert "the canary was not stopped as promised" in andon(server.home, "incidents", "ls", "-o", "json").stdout
