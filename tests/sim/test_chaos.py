"""Kill -9 at persisted steps: the restart loses nothing and does nothing twice, on both databases."""

import subprocess
import sys

import msgspec
import pytest

from andoncord.sim.chaos import scenarios, shortened
from andoncord.sim.chaos_run import Line
from andoncord.testing.story import SHIPPED

DEADLINE_S = 240


def test_every_shipped_playbook_has_a_scenario() -> None:
    """A playbook that is added is killed too."""
    assert {each.playbook for each in scenarios()} == {each.id for each in SHIPPED}
    assert [each.id for each in shortened()] == [each.id for each in SHIPPED]


@pytest.mark.parametrize(
    ("store", "sample", "only"),
    [("sqlite", 1, []), ("postgresql", 1, ["0", "4", "13", "16"])],
    ids=["sqlite", "postgresql"],
)
def test_a_killed_response_comes_to_the_same_end(store: str, sample: int, only: list[str]) -> None:
    """The same incident, the same steps with the same outcomes, every effect once. `just nightly` kills at every point."""
    command = [sys.executable, "-m", "andoncord.sim.chaos_run", store, "--sample", str(sample)]
    command += ["--only", *only] if only else []
    ended = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    lines = [msgspec.json.decode(line, type=Line) for line in ended.stdout.splitlines()]

    assert [line for line in lines if not line.is_good] == []
    assert ended.returncode == 0, ended.stderr[-2_000:]
    assert len(lines) == (len(only) or len(scenarios()))
    assert sum(line.died for line in lines) == sample * len(lines)
