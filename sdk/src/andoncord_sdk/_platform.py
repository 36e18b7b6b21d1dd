"""The one place of the SDK that reads clocks, chance, the environment and the host."""

import os
import random
import socket
import sys
import time

LINUX = sys.platform == "linux"

_chance = random.SystemRandom()


def now_ns() -> int:
    """Wall-clock time, nanoseconds UTC: for records, never for measuring."""
    return time.time_ns()


def monotonic_s() -> float:
    """A clock that never steps back, for deadlines."""
    return time.monotonic()


def trace_id() -> str:
    """A random 128-bit id in hex."""
    return os.urandom(16).hex()


def span_id() -> str:
    """A random 64-bit id in hex."""
    return os.urandom(8).hex()


def jittered(seconds: float) -> float:
    """A random part of `seconds`, half to whole, so that a fleet does not reconnect in step."""
    return seconds * _chance.uniform(0.5, 1.0)


def hostname() -> str:
    return socket.gethostname()


def pid() -> int:
    return os.getpid()


def instance_name() -> str:
    """A name for this process that no other process has."""
    return f"{hostname()}-{pid()}-{os.urandom(3).hex()}"


def environment_variable(name: str) -> str | None:
    return os.environ.get(name)
