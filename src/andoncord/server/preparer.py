"""The ingest worker's side of the process that prepares requests: gives it jobs in order, and starts it again when it ends."""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence

from andoncord.server.prepare import FRAME_BYTES, Answer, Job, Setup, frame, packed_job, packed_setup, read_answer

logger = logging.getLogger(__name__)

UP_S = 20.0
"""How long a start may take."""
JOB_S = 30.0
"""A job that takes longer is given up, and the process with it."""
BACK_OFF_MIN_S = 0.1
BACK_OFF_MAX_S = 5.0
STREAM_BYTES = 4 * 1024 * 1024
"""Bytes of answers buffered before the process has to wait."""


class NotPreparedError(Exception):
    """The process ended before it answered; the request may be sent again."""


class Preparer:
    """One process, kept running. Jobs are answered in the order in which they were given.

    Args:
        command: how it is started.
        setup: what it is told each time.
    """

    def __init__(self, command: Sequence[str], setup: Setup) -> None:
        self._command = tuple(command)
        self._setup = frame(packed_setup(setup))
        self._child: asyncio.subprocess.Process | None = None
        self._up = asyncio.Event()
        self._waiting: deque[asyncio.Future[bytes]] = deque()
        self._keeping: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to start it; jobs wait until it is up."""
        self._keeping = asyncio.create_task(self._keep())

    async def stop(self) -> None:
        """End it. Jobs that are not answered by now are not."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)

    async def prepare(self, job: Job) -> Answer:
        """What became of a job, with its batch.

        Raises:
            CallerError: what is wrong with the request.
            BrokenJobError: it cannot be prepared through a fault of ours.
            NotPreparedError: the process ended.
        """
        await self._be_up()
        child = self._child
        assert child is not None
        assert child.stdin is not None
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        child.stdin.write(frame(packed_job(job)))
        try:
            await child.stdin.drain()
            return read_answer(await asyncio.wait_for(asyncio.shield(future), JOB_S))
        except (ConnectionError, TimeoutError) as gone:
            if child.returncode is None:
                child.kill()
            raise NotPreparedError(f"the preparing process did not answer: {type(gone).__name__}") from None

    async def _be_up(self) -> None:
        try:
            await asyncio.wait_for(self._up.wait(), UP_S)
        except TimeoutError:
            raise NotPreparedError("the preparing process does not start") from None

    async def _keep(self) -> None:
        back_off_s = BACK_OFF_MIN_S
        while True:
            try:
                has_answered = await self._run_once()
            except OSError as error:
                # The machine has no room for a process right now, most likely.
                logger.error("the preparing process could not be started: %s", error)
                has_answered = False
            back_off_s = BACK_OFF_MIN_S if has_answered else min(BACK_OFF_MAX_S, back_off_s * 2)
            logger.error("the preparing process ended; starting it again in %.1f s", back_off_s)
            await asyncio.sleep(back_off_s)

    async def _run_once(self) -> bool:
        """Start it and hand out its answers until it ends; whether it answered anything."""
        pipe = asyncio.subprocess.PIPE
        child = await asyncio.create_subprocess_exec(*self._command, stdin=pipe, stdout=pipe, limit=STREAM_BYTES)
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(self._setup)
        self._child = child
        has_answered = False
        try:
            while True:
                size = int.from_bytes(await child.stdout.readexactly(FRAME_BYTES))
                if not size:
                    self._up.set()
                    continue
                message = await child.stdout.readexactly(size)
                has_answered = True
                future = self._waiting.popleft()
                if not future.done():
                    future.set_result(message)
        except (asyncio.IncompleteReadError, ConnectionError):
            return has_answered
        finally:
            self._up.clear()
            for future in self._waiting:
                if not future.done():
                    future.set_exception(ConnectionError("ended"))
                    future.exception()  # Whoever waited may have gone.
            self._waiting.clear()
            await _end(child)


async def _end(child: asyncio.subprocess.Process) -> None:
    """See that a process is gone, and its pipes with it."""
    assert child.stdin is not None
    assert child.stdout is not None
    if child.returncode is None:
        child.kill()
    child.stdin.close()
    await child.wait()
    while await child.stdout.read(STREAM_BYTES):
        pass
