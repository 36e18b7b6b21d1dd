"""The life of the control process: comes up, feeds the engine, and goes down within two seconds."""

import asyncio
import logging
import signal
import socket
from collections.abc import Callable, Coroutine, Mapping
from typing import Protocol

import msgspec

from andoncord.detect.ports import TelemetryReader
from andoncord.engine.facts import SystemNoted
from andoncord.engine.run import Engine
from andoncord.kernel.ports import Host
from andoncord.server.deadman import Deadman
from andoncord.server.feeds import DigestFeed, FindingFeed
from andoncord.server.figures import Misuse
from andoncord.server.holds import HoldFeed
from andoncord.server.hub import GONE_AFTER_NS, GuardHub
from andoncord.server.listening import WebServer
from andoncord.server.live import LiveStreams
from andoncord.server.ports import ServerClock
from andoncord.server.worker_process import WorkerProcess

logger = logging.getLogger(__name__)

RETURN_S = 2.5
"""After a start, guards that were there a moment ago get this long to come back before effects are performed again.
Meanwhile each is told what is in force as it registers, so nothing is let go by waiting."""


class CarrierLife(Protocol):
    """Durable execution, from its start to its end."""

    async def run(self, host: Host) -> None: ...

    async def close(self) -> None: ...


class ControlProcess:
    """Everything that runs on the control process's event loop.

    Args:
        beside: what else runs for as long as it does, by name.
    """

    def __init__(
        self,
        *,
        engine: Engine,
        hub: GuardHub,
        live: LiveStreams,
        telemetry: TelemetryReader,
        clock: ServerClock,
        server: WebServer,
        listener: socket.socket,
        findings: FindingFeed,
        digests: DigestFeed,
        deadman: Deadman,
        holds: HoldFeed,
        carrier: CarrierLife,
        beside: Mapping[str, Callable[[], Coroutine[None, None, None]]] | None = None,
    ) -> None:
        self._engine = engine
        self._hub = hub
        self._live = live
        self._telemetry = telemetry
        self._clock = clock
        self._server = server
        self._listener = listener
        self._findings = findings
        self._digests = digests
        self._deadman = deadman
        self._holds = holds
        self._carrier = carrier
        self._beside = dict(beside or {})
        self._stop = asyncio.Event()
        self._notes: set[asyncio.Task[None]] = set()

    async def run(self, worker: WorkerProcess, *, on_ready: Callable[[], None], watch: Coroutine[None, None, None]) -> None:
        """Run until SIGINT or SIGTERM, or until a part that must not end does.

        Args:
            watch: ends when this server may not write any more.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop.set)
        parts = {
            asyncio.create_task(self._server.run_on(self._listener), name="web server"),
            asyncio.create_task(worker.run(), name="worker"),
            asyncio.create_task(self._holds.run(), name="holds"),
            asyncio.create_task(watch, name="lease"),
        }
        stopping = asyncio.create_task(self._stop.wait())
        try:
            up = asyncio.create_task(self._is_up(worker), name="start")
            await asyncio.wait({up, stopping, *parts}, return_when=asyncio.FIRST_COMPLETED)
            if up.done():
                on_ready()
                parts |= {
                    asyncio.create_task(self._resume_and_feed(), name="findings"),
                    asyncio.create_task(self._digests.run(), name="digests"),
                    asyncio.create_task(self._deadman.run(), name="heartbeat out"),
                    asyncio.create_task(self._engine.keep_time(), name="time"),
                    asyncio.create_task(self._carrier.run(self._engine), name="durable execution"),
                    *(asyncio.create_task(run(), name=name) for name, run in self._beside.items()),
                }
                await asyncio.wait({stopping, *parts}, return_when=asyncio.FIRST_COMPLETED)
            up.cancel()
            broken = [part for part in parts if part.done()]
        finally:
            await self._end(worker, parts)
            stopping.cancel()
        for part in broken:
            logger.error("%s ended unexpectedly", part.get_name())
            part.result()

    async def _is_up(self, worker: WorkerProcess) -> None:
        await self._server.is_up()
        await worker.ready.wait()

    async def note_worker_death(self, code: int) -> None:
        """Write down that the worker died."""
        await self._engine.submit(SystemNoted(what="ingest worker started again", detail={"exit_code": code}))

    async def note_misuse(self, misuse: Misuse) -> None:
        """Write down that a token was used for what it is not good for."""
        await self._engine.submit(SystemNoted(what="token refused for its scope", detail=msgspec.structs.asdict(misuse)))

    def note_misuse_soon(self, misuse: Misuse) -> None:
        """The same, for who cannot wait."""
        note = asyncio.get_running_loop().create_task(self.note_misuse(misuse))
        self._notes.add(note)
        note.add_done_callback(self._notes.discard)

    async def _resume_and_feed(self) -> None:
        if self._engine.state.outstanding:
            await self._guards_return()
        again = await self._engine.resume()
        if again:
            logger.info("%d effects without a receipt are performed again", again)
        await self._findings.run()

    async def _guards_return(self) -> None:
        """Wait until the guards that were alive at the last heartbeat are connected again, or for `RETURN_S`."""
        horizon = self._clock.now() - GONE_AFTER_NS
        agents = {
            intent.effect.target for intent in map(self._engine.state.intents.__getitem__, self._engine.state.outstanding)
        }
        missing = {
            (beat.agent, beat.instance)
            for beat in self._telemetry.beats()
            if beat.trusted and beat.last_seen_ns > horizon and beat.agent in agents
        }
        deadline = asyncio.get_running_loop().time() + RETURN_S
        for agent, instance in missing:
            rest = deadline - asyncio.get_running_loop().time()
            await self._hub.wait_for_instance(agent, instance, timeout_s=max(0.0, rest))

    async def _end(self, worker: WorkerProcess, parts: set[asyncio.Task[None]]) -> None:
        # Open streams would keep the web server from ending.
        self._hub.close()
        self._live.close()
        self._server.stop()
        await worker.stop()
        lasting = {part for part in parts if part.get_name() == "web server"}
        for part in parts - lasting:
            part.cancel()
        await asyncio.gather(*parts, return_exceptions=True)
        await self._digests.digest()
        await self._carrier.close()
        await self._engine.stop()
