"""Logs never show what an exception stumbled over."""

import subprocess
import sys

from tests.telemetry.test_redact import KEY

PROGRAM = """
import logging, sys, threading
from andoncord.adapters.system.logs import log_to_stderr
log_to_stderr()
def broken():
    raise ValueError("stumbled over " + sys.argv[1])
thread = threading.Thread(target=broken, name="reading")
thread.start(); thread.join()
try:
    broken()
except ValueError:
    logging.getLogger("test").exception("one\\ntwo for ann@example.org")
broken()
"""


def test_exceptions_in_threads_in_log_calls_and_at_the_end_are_masked() -> None:
    """All three are in the log, with their tracebacks, and the secret is in none."""
    done = subprocess.run([sys.executable, "-c", PROGRAM, KEY], capture_output=True, text=True, check=False, timeout=30)

    assert done.returncode == 1
    assert (KEY in done.stderr, "ann@" in done.stderr) == (False, False)
    assert done.stderr.count("ValueError: stumbled over [redacted:aws-access-key]") == 3
    for said in ("CRITICAL", "thread reading ends", r"one\ntwo for [redacted:email-", "the process ends", "Traceback"):
        assert said in done.stderr
