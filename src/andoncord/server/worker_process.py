"""The control process's side of the two processes: starts the worker, listens to it, and starts it again when it dies."""

import asyncio
import logging
import socket
import sys
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from andoncord.server.figures import FIGURES, FINDINGS, MISUSE, READY, Misuse, WorkerFigures, read

logger = logging.getLogger(__name__)

BACK_OFF_MIN_S = 0.2
BACK_OFF_MAX_S = 10.0
STEADY_S = 30.0
"""A worker that lived this long starts the back-off anew."""
STOP_S = 1.5
HUNG_S = 20.0
"""A worker tells its figures every five seconds; one that was not heard of for this long hangs."""


class WorkerProcess:
    """Keeps one worker running on a socket that stays open meanwhile, so that senders wait instead of being refused.

    Args:
        command: how the worker is started; gets the number of the socket's descriptor as its last argument.
        setup: written to its standard input, one line.
        on_findings: it stored new findings.
        on_death: it ended by itself, with this code; told before it is started again.
        on_misuse: it refused a token for its scope.
    """

    def __init__(
        self,
        *,
        command: Sequence[str],
        setup: bytes,
        listener: socket.socket,
        on_findings: Callable[[], None],
        on_death: Callable[[int], Awaitable[None]],
        on_misuse: Callable[[Misuse], Awaitable[None]],
    ) -> None:
        self._command = tuple(command)
        self._setup = setup
        self._listener = listener
        self._on_findings = on_findings
        self._on_death = on_death
        self._on_misuse = on_misuse
        self._child: asyncio.subprocess.Process | None = None
        self._stopping = asyncio.Event()
        self._heard_s = 0.0
        self.ready = asyncio.Event()
        self.figures: WorkerFigures | None = None
        """What it last told about itself."""

    @property
    def state(self) -> tuple[bool, int | None]:
        """Whether it is up and works, and its process id. One that is there and tells nothing any more hangs."""
        child = self._child
        works = self.ready.is_set() and asyncio.get_running_loop().time() - self._heard_s < HUNG_S
        return works, child.pid if child and child.returncode is None else None

    async def run(self) -> None:
        """Keep it running until `stop`."""
        loop = asyncio.get_running_loop()
        back_off_s = BACK_OFF_MIN_S
        while not self._stopping.is_set():
            started_s = loop.time()
            code = await self._run_once()
            self.ready.clear()
            if self._stopping.is_set():
                return
            logger.error("the ingest worker ended with code %s; starting it again in %.1f s", code, back_off_s)
            await self._on_death(code)
            await asyncio.sleep(back_off_s)
            steady = loop.time() - started_s > STEADY_S
            back_off_s = BACK_OFF_MIN_S if steady else min(BACK_OFF_MAX_S, back_off_s * 2)

    async def stop(self) -> None:
        """End the worker: asked first, then not asked."""
        self._stopping.set()
        child = self._child
        if child is None or child.returncode is not None:
            return
        child.terminate()
        try:
            async with asyncio.timeout(STOP_S):
                await child.wait()
        except TimeoutError:
            child.kill()
            await child.wait()

    async def _run_once(self) -> int:
        descriptor = self._listener.fileno()
        child = await asyncio.create_subprocess_exec(
            *self._command,
            str(descriptor),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            pass_fds=(descriptor,),
        )
        self._child = child
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(self._setup + b"\n")
        async for line in child.stdout:
            if line == FINDINGS:
                self._on_findings()
            elif line == READY:
                self._heard_s = asyncio.get_running_loop().time()
                self.ready.set()
            elif line.startswith(FIGURES):
                self._heard_s = asyncio.get_running_loop().time()
                self.figures = read(line.removeprefix(FIGURES)) or self.figures
            elif line.startswith(MISUSE):
                await self._on_misuse(msgspec.json.decode(line.removeprefix(MISUSE), type=Misuse))
        return await child.wait()


def python_command(module: str) -> tuple[str, ...]:
    """How to run a module in a process of its own."""
    return (sys.executable, "-m", module)
