"""The server's process: started with little of our environment, heard, and ended with all it started."""

import asyncio
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import IO

from andoncord_sdk import _platform
from andoncord_sdk.proctree import become_subreaper, living_descendants, send

INHERITED = (
    "PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "LC_COLLATE", "LC_CTYPE", "LC_MESSAGES", "LC_MONETARY", "LC_NUMERIC", "LC_TIME",
)  # fmt: skip
"""What a server gets of our environment without being named."""
OWN_PREFIX = "ANDON"
TOKEN_MARKS = ("andon_sdk_", "andon_pat_", "andon_run_")
"""How Andoncord's own tokens begin. They are for the guard, never for a server."""

LEAVE_S = 1.0
"""A server whose input has ended may take this long to end by itself; clients wait about twice that for us."""
TERMINATE_S = 0.5
KILL_S = 2.0
POLL_S = 0.01
LOG_LINE_MAX_CHARS = 4_000
LOG_LINES_MAX = 1_000
"""Lines waiting for a standard error that nobody reads; then our own notes are dropped, and the server waits."""


def environment_for_server(names: Sequence[str], command: Sequence[str]) -> dict[str, str]:
    """The environment a server gets: the usual few, and what is named.

    Raises:
        ValueError: one of Andoncord's own tokens would be passed on.
    """
    if own := [name for name in names if name.upper().startswith(OWN_PREFIX)]:
        raise ValueError(f"{own[0]} is Andoncord's own and is not passed to a server")
    found = {name: value for name in (*INHERITED, *names) if (value := _platform.environment_variable(name)) is not None}
    if holders := [name for name, value in found.items() if any(mark in value for mark in TOKEN_MARKS)]:
        raise ValueError(f"{holders[0]} holds a token of Andoncord, which is not passed to a server")
    if any(mark in word for word in command for mark in TOKEN_MARKS):
        raise ValueError("the server's command holds a token of Andoncord, which is not passed to a server")
    return found


class Log:
    """Lines for standard error, written by a thread of its own: a client that does not read them must not stop the messages."""

    def __init__(self) -> None:
        self._lines: queue.Queue[str] = queue.Queue(LOG_LINES_MAX)
        threading.Thread(target=self._write, name="andoncord-mcp-log", daemon=True).start()

    def note(self, text: str) -> None:
        """A sentence of our own."""
        try:
            self._lines.put_nowait(f"mcp-proxy: {visible(text)}")
        except queue.Full:
            pass  # Whoever should read them does not; the messages go on.

    def copy(self, stream: IO[bytes]) -> None:
        """What a server writes to its standard error, line by line, until it ends."""

        def read() -> None:
            with stream:
                while line := stream.readline(LOG_LINE_MAX_CHARS):
                    self._lines.put(visible(line.decode("utf-8", "replace").rstrip("\r\n")))

        threading.Thread(target=read, name="andoncord-mcp-stderr", daemon=True).start()

    def _write(self) -> None:
        while True:
            try:
                sys.stderr.write(self._lines.get() + "\n")
                sys.stderr.flush()
            except (OSError, ValueError):
                pass  # Nobody is there to read. Lines are still taken, or the server would wait for ever.


def visible(text: str) -> str:
    r"""`text`, with what a terminal would obey shown instead.

    >>> visible("ok\x1b[2J\ttab")
    'ok\\x1b[2J\ttab'
    """
    return "".join(each if each.isprintable() or each == "\t" else ascii(each)[1:-1] for each in text)[:LOG_LINE_MAX_CHARS]


class ServerProcess:
    """A running server. Made inside an event loop.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(self, command: Sequence[str], environment: dict[str, str], log: Log) -> None:
        if _platform.LINUX:
            become_subreaper()
        loop = asyncio.get_running_loop()
        # A group of its own: a signal to ours reaches us first, and we end it in order.
        self._process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self.stdin, self.stdout = self._process.stdin, self._process.stdout
        self.exited: asyncio.Future[int] = loop.create_future()
        """Its exit code, once it has ended."""
        log.copy(self._process.stderr)
        threading.Thread(target=self._reap, args=(loop,), name="andoncord-mcp-server", daemon=True).start()

    async def end(self) -> int:
        """End it, and what it has started. Its input has been closed before. The exit code, as a shell would give it."""
        await self._wait(LEAVE_S)
        if self._signal_all(signal.SIGTERM):
            await self._wait(TERMINATE_S)
        began_s = _platform.monotonic_s()
        # Nobody tells us of the end of processes that are not our children, so we look.
        while self._signal_all(signal.SIGKILL) and _platform.monotonic_s() - began_s < KILL_S:  # noqa: ASYNC110
            await asyncio.sleep(POLL_S)
        await self._wait(TERMINATE_S)
        code = self.exited.result() if self.exited.done() else -signal.SIGKILL
        return code if code >= 0 else 128 - code

    async def _wait(self, at_most_s: float) -> None:
        await asyncio.wait({self.exited}, timeout=at_most_s)

    def _signal_all(self, number: signal.Signals) -> bool:
        """Signal what is left of the server and of what it started; whether there was anything."""
        if _platform.LINUX:
            reached = [send(process, number) for process in living_descendants(_platform.pid())]
            return any(reached)
        try:
            os.killpg(self._process.pid, number)
        except (ProcessLookupError, PermissionError):
            return False
        return not self.exited.done()

    def _reap(self, loop: asyncio.AbstractEventLoop) -> None:
        code = self._process.wait()
        try:
            loop.call_soon_threadsafe(self.exited.set_result, code)
        except RuntimeError:
            pass  # The loop has closed: nobody waits any more.
