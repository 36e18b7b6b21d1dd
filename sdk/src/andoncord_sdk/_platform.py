"""The one place of the SDK that reads clocks, chance, the environment and the host."""

import functools
import os
import random
import socket
import sys
import time
from collections.abc import Callable, Mapping

LINUX = sys.platform == "linux"

_chance = random.SystemRandom()
_ids = random.Random(os.urandom(32))
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _ids.seed(os.urandom(32)))

_BOOT_CLOCK: int | None = getattr(time, "CLOCK_BOOTTIME", None)
if _BOOT_CLOCK is None and sys.platform == "darwin":
    _BOOT_CLOCK = time.CLOCK_MONOTONIC  # There it runs on in sleep, unlike what time.monotonic() reads.


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
    """A random 64-bit id in hex; no secret, so it need not come from the system each time."""
    return f"{_ids.getrandbits(64):016x}"


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


boot_ns: Callable[[], int] = time.monotonic_ns if _BOOT_CLOCK is None else functools.partial(time.clock_gettime_ns, _BOOT_CLOCK)
"""A clock that never steps back and runs on while the machine is suspended, nanoseconds."""


def nonce() -> str:
    """128 random bits in hex, used once."""
    return os.urandom(16).hex()


def environment_with(more: Mapping[str, str]) -> dict[str, str]:
    """Every variable, and these."""
    return {**os.environ, **more}


def environment_without(name: str) -> dict[str, str]:
    """Every variable but one: for a child that must not have it."""
    return {key: value for key, value in os.environ.items() if key != name}
