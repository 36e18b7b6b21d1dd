"""Whether a process that named itself is still there, with real processes."""

import json
import subprocess
import sys

import pytest

from andoncord.adapters.system.processes import SystemProcesses
from andoncord_sdk.proctree import own_identity

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")

NAMED = """
import json, sys
from andoncord_sdk.proctree import own_identity
print(json.dumps(own_identity()), flush=True)
sys.stdin.read()
"""


def test_a_process_is_here_and_then_gone() -> None:
    """By number and start: a zombie is gone, and so is a process whose number was given to another."""
    processes = SystemProcesses()
    with subprocess.Popen([sys.executable, "-c", NAMED], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        named = json.loads(child.stdout.readline())
        assert (processes.is_here(named), processes.is_gone(named)) == (True, False)
        assert processes.is_gone({**named, "started": named["started"] - 1})

        child.kill()
        child.wait()
    assert (processes.is_here(named), processes.is_gone(named)) == (False, True)


@pytest.mark.parametrize("other", [{"boot": "another"}, {"namespace": "pid:[1]"}, {"pid": "7"}, {"pid": -1}, {"started": None}])
def test_what_cannot_be_seen_from_here_is_not_said_to_be_gone(other: dict[str, object]) -> None:
    """Another machine, another boot, another container, or nonsense: silence is no proof."""
    named = {**own_identity(), **other}
    processes = SystemProcesses()
    assert (processes.is_here(named), processes.is_gone(named)) == (False, False)
    assert (processes.is_here({}), processes.is_gone({})) == (False, False)
