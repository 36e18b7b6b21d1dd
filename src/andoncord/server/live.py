"""Telling open pages and tools that an incident changed."""

import asyncio
from collections.abc import AsyncIterator, Callable

from andoncord.engine.run import Engine
from andoncord.kernel.errors import ConflictError
from andoncord.server.server_event import server_event

PING_S = 15.0
MAX_STREAMS = 100


class LiveStreams:
    """Server-sent events about incidents; ends them all when the server stops, which an open stream would else prevent."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._open = 0
        self._closing = asyncio.Event()

    def close(self) -> None:
        """End every stream."""
        self._closing.set()

    def stream(self, *, is_welcome: Callable[[], bool] = lambda: True) -> AsyncIterator[bytes]:
        """One `incident` event, `{id, seq}`, for every entry about an incident.

        Args:
            is_welcome: asked before everything that is sent; the stream ends when who opened it may not read any more.

        Raises:
            ConflictError: too many streams are open.
        """
        if self._open >= MAX_STREAMS:
            raise ConflictError(f"{MAX_STREAMS} streams are open already", remedy="close one and try again")
        return self._events(is_welcome)

    async def _events(self, is_welcome: Callable[[], bool]) -> AsyncIterator[bytes]:
        self._open += 1
        entries = self._engine.subscribe()
        closing = asyncio.ensure_future(self._closing.wait())
        coming = asyncio.ensure_future(anext(entries, None))
        try:
            yield b": open\n\n"
            while True:
                done, _ = await asyncio.wait((coming, closing), timeout=PING_S, return_when=asyncio.FIRST_COMPLETED)
                if closing in done or not is_welcome():
                    return
                if coming not in done:
                    yield b": ping\n\n"
                    continue
                entry = coming.result()
                if entry is None:
                    return
                coming = asyncio.ensure_future(anext(entries, None))
                if entry.incident:
                    yield server_event("incident", entry.seq, {"id": entry.incident, "seq": entry.seq})
        finally:
            self._open -= 1
            coming.cancel()
            closing.cancel()
