"""Hooks: told by standard input, bounded in time and output."""

import asyncio
import sys

import pytest

from andoncord.adapters.system.hook import HookAnswer, run_hook


def hook(code: str, value: bytes = b"{}", *, timeout_s: float = 10.0, output_bytes: int = 1_000) -> HookAnswer:
    argv = [sys.executable, "-c", code]
    return asyncio.run(run_hook(argv, value, timeout_s=timeout_s, output_bytes=output_bytes))


def test_the_value_comes_by_standard_input_and_no_secret_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it is told it reads; what we know it does not."""
    monkeypatch.setenv("ANDON_TOKEN", "s3cret")
    answer = hook("import os, sys; print(sys.stdin.read(), 'ANDON_TOKEN' in os.environ, len(sys.argv))", b'{"a": "$(id)"}')

    assert answer.is_done
    assert answer.stdout.decode().split() == ['{"a":', '"$(id)"}', "False", "1"]


def test_a_hook_that_does_not_end_is_ended_with_what_it_started() -> None:
    """It and its children are gone when the answer is there, and the answer says why."""
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import threading; threading.Event().wait(60)'])"
    answer = hook(code, timeout_s=0.5)

    assert answer.exit_code is None
    assert "did not end within 0.5 s" in answer.why


def test_output_is_bounded_and_a_bad_end_is_told() -> None:
    """A talkative hook is cut, and its exit code kept."""
    answer = hook("import sys; print('x' * 100_000); sys.exit(3)", output_bytes=100)

    assert (answer.exit_code, len(answer.stdout), answer.is_cut, answer.is_done) == (3, 100, True, False)


def test_a_program_that_is_not_there_is_a_value() -> None:
    """The world failed: no exception."""
    answer = asyncio.run(run_hook(["/no/such/program"], b"", timeout_s=1, output_bytes=10))
    assert "did not start" in answer.why
