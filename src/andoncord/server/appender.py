"""Group commit: requests that arrive together become durable together."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from andoncord.detect.ports import TelemetryWriter
from andoncord.telemetry.batch import Batch

MAX_GROUP = 64


class Appender:
    """Appends batches to the ingest log; `append` returns once the batch is on disk.

    While one transaction is being written the next batches gather: under load they share the cost of a disk flush, and without
    it none waits for company.
    """

    def __init__(self, writer: TelemetryWriter) -> None:
        self._writer = writer
        self._waiting: list[tuple[Batch, asyncio.Future[int]]] = []
        self._writing: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="append")

    async def append(self, batch: Batch) -> int:
        """The batch's place in the log.

        Raises:
            Exception: whatever the store raised; the batch was not accepted.
        """
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting.append((batch, future))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())
        return await future

    async def _write(self) -> None:
        try:
            while self._waiting:
                group, self._waiting = self._waiting[:MAX_GROUP], self._waiting[MAX_GROUP:]
                await self._write_group(group)
        finally:
            self._writing = None

    async def _write_group(self, group: list[tuple[Batch, asyncio.Future[int]]]) -> None:
        loop = asyncio.get_running_loop()
        try:
            places = await loop.run_in_executor(self._thread, self._writer.append, [batch for batch, _ in group])
        except Exception as error:
            for _, future in group:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), place in zip(group, places, strict=True):
            if not future.done():
                future.set_result(place)

    def close(self) -> None:
        """Wait for what is being written."""
        self._thread.shutdown(wait=True)
