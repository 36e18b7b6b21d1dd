"""A few seconds of fuzzing; `just nightly` takes longer."""

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest


def run(*command: str) -> "subprocess.CompletedProcess[str]":
    """A fuzzing program in a process of its own: it instruments what it imports, and ends it."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(("src", "sdk/src", "."))}
    return subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, check=False, timeout=180, env=env)


@pytest.mark.skipif(find_spec("atheris") is None, reason="atheris has no build for this platform")
def test_no_body_brings_the_decoders_down() -> None:
    """Any bytes, in every encoding: nothing raises, and what was seen is accounted for."""
    done = run("tests.fuzz.decoders", "-runs=4000", "-max_total_time=10", "-seed=7")

    assert done.returncode == 0, done.stderr[-3_000:]
    assert "Done" in done.stderr


def test_no_request_is_answered_with_5xx() -> None:
    """Every operation of the OpenAPI document, with made-up parameters and bodies."""
    done = run("tests.fuzz.api", "1")

    assert done.returncode == 0, (done.stdout + done.stderr)[-4_000:]
    assert "Tested:" in done.stdout
