"""DBOS behind one door: carries effects across crashes. Its database is disposable: the journal is the truth.

One stable workflow carries any effect; what is to be done is data. Its id is made of the intent's, so that the same intent is
carried once however often it is asked for. It has one step, whose receipt is kept: a process that dies between the effect and
the journal does not perform the effect again, it writes down what came of it.

Everything of DBOS that is used is used here: launch, start, sleep, list, resume, cancel, delete.
"""

import asyncio
import logging
import sqlite3
from collections.abc import Awaitable, Callable
from contextvars import Context
from pathlib import Path
from threading import Lock
from typing import Any

import msgspec

from andoncord.kernel.effect import Outcome, Receipt
from andoncord.kernel.ports import Host
from andoncord.kernel.time import SECOND_NS, rfc3339

logger = logging.getLogger(__name__)

VERSION = "1"
"""Only workflows of the same version are carried on. It is ours, and changes with the workflow below: a newer DBOS or another
playbook must not strand what is running."""
SCHEMA = "andon_durable"
SWEEP_S = 5.0
"""How often work of servers that are gone is looked for."""
KEEP_S = 24 * 3_600.0
"""How long what is done is kept, for looking at; the journal has it for ever."""
FORGET_EVERY_S = 3_600.0
FORGET_AT_ONCE = 500
LISTEN_S = 0.2
"""How often DBOS looks for messages in SQLite; also about how long its end takes."""
LOST = ("ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED")
_ONE = Lock()
"""DBOS is one for a process."""


class DurableCarrier:
    """Carries effects, once it is launched; what is given to it before waits.

    Args:
        url: where DBOS keeps its own data: a SQLite file or a PostgreSQL database.
        executor: the name of this server among those that share the database; no two that live may have the same.
        is_shared: other servers use the same database, and what they leave behind is taken over.
    """

    def __init__(self, url: str, *, executor: str, is_shared: bool) -> None:
        self._url = url
        self._executor = executor
        self._is_shared = is_shared
        self._host: Host | None = None
        self._dbos: Any = None
        self._start: Callable[[str, str, float], Awaitable[Any]] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ready = asyncio.Event()
        self._failed = ""
        self._carrying: set[asyncio.Task[None]] = set()

    @property
    def failure(self) -> str:
        """Why effects are carried by the journal alone; empty when they are not."""
        return self._failed

    async def run(self, host: Host) -> None:
        """Launch, and look after it until cancelled. Without DBOS what was given is performed all the same, and it is said."""
        self._host, self._loop = host, asyncio.get_running_loop()
        try:
            await asyncio.to_thread(self._launch)
        except Exception as error:
            self._failed = f"{type(error).__name__}: {error}"
            logger.exception("durable execution did not start; effects are carried by the journal alone")
            await host.note("durable execution did not start", {"why": self._failed})
        self._ready.set()
        await self._look_after()

    def carry(self, intent: str, *, run: str, wait_s: float, again: bool) -> None:
        """Have an effect performed and its receipt recorded, across crashes.

        Args:
            run: the workflow's id.
            wait_s: let so much time pass first.
            again: it may have been carried before.
        """
        # In a context of its own: what follows from one effect is not a part of the workflow that carried it.
        task = asyncio.get_running_loop().create_task(
            self._carry(intent, run, wait_s, again), name=f"carry {intent}", context=Context()
        )
        self._carrying.add(task)
        task.add_done_callback(self._carrying.discard)

    def drop(self, run: str) -> None:
        """Stop carrying an effect. What it has done by then it has done."""
        task = asyncio.get_running_loop().create_task(self._drop(run), name=f"drop {run}", context=Context())
        self._carrying.add(task)
        task.add_done_callback(self._carrying.discard)

    async def _drop(self, run: str) -> None:
        await self._ready.wait()
        if self._dbos is None:
            return
        try:
            await self._dbos.cancel_workflow_async(run)
        except Exception:
            # The journal has its receipt, which is all that counts.
            logger.exception("%s could not be cancelled in the durable engine", run)

    async def close(self) -> None:
        """Let go at once: what is under way is carried on at the next start."""
        for task in self._carrying:
            task.cancel()
        if self._dbos is not None:
            dbos, self._dbos = self._dbos, None
            await asyncio.to_thread(dbos.destroy, workflow_completion_timeout_sec=0, destroy_registry=True)
            _ONE.release()

    async def _carry(self, intent: str, run: str, wait_s: float, again: bool) -> None:
        await self._ready.wait()
        assert self._host is not None
        try:
            if self._start is None:
                await asyncio.sleep(wait_s)
                await self._host.record(await self._host.perform(intent))
                return
            handle = await self._start(run, intent, wait_s)
            if again:
                await self._record_what_is_known(intent, handle)
        except Exception as error:
            # The engine's database failed under us: the journal carries the effect as it did before there was an engine.
            logger.exception("intent %s is carried by the journal alone", intent)
            await self._host.note("an effect is carried by the journal alone", {"intent": intent, "why": str(error)})
            await self._host.record(await self._host.perform(intent))

    async def _record_what_is_known(self, intent: str, handle: Any) -> None:
        """The journal lacks a receipt that DBOS may have: it ended before a crash, or the journal is of an older day."""
        assert self._host is not None
        status = (await handle.get_status()).status
        if status == "SUCCESS":
            await self._host.record(msgspec.convert(await handle.get_result(), Receipt))
        elif status in LOST:
            why = f"it was given up before: {status.lower().replace('_', ' ')}"
            at_ns = self._host.now()
            await self._host.record(Receipt(intent=intent, outcome=Outcome.FAILED, at_ns=at_ns, detail={"missing": why}))

    def _launch(self) -> None:
        """Load DBOS, which takes a second, and start it. Runs beside the event loop."""
        from dbos import DBOS, DBOSPortableJSONSerializer, SetWorkflowID  # noqa: PLC0415 - a second that no start waits for

        if not _ONE.acquire(blocking=False):
            raise RuntimeError("durable execution runs in this process already")
        host, loop = self._host, self._loop
        assert host is not None
        assert loop is not None

        async def on_loop(call: Awaitable[Any]) -> Any:
            """Await something on the server's own event loop, wherever DBOS runs this."""
            if asyncio.get_running_loop() is loop:
                return await call
            return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_awaited(call), loop))

        try:
            if not self._is_shared:
                _use_wal(Path(self._url.removeprefix("sqlite:///")))
            DBOS(
                config={
                    "name": "andoncord",
                    "system_database_url": self._url,
                    "dbos_system_schema": SCHEMA,
                    "executor_id": self._executor,
                    "application_version": VERSION,
                    "serializer": DBOSPortableJSONSerializer(),
                    "enable_otlp": False,
                    "log_level": "ERROR",
                    "notification_listener_polling_interval_sec": LISTEN_S,
                }
            )

            @DBOS.step(name="perform")
            async def perform(intent: str) -> dict[str, Any]:
                receipt: dict[str, Any] = msgspec.to_builtins(await on_loop(host.perform(intent)))
                return receipt

            @DBOS.workflow(name="carry")
            async def carry(intent: str, wait_s: float) -> dict[str, Any]:
                if wait_s > 0:
                    await DBOS.sleep_async(wait_s)
                receipt = await perform(intent)
                await on_loop(host.record(msgspec.convert(receipt, Receipt)))
                return receipt

            async def start(run: str, intent: str, wait_s: float) -> Any:
                with SetWorkflowID(run):
                    return await DBOS.start_workflow_async(carry, intent, wait_s)

            DBOS.launch()
        except BaseException:
            DBOS.destroy(destroy_registry=True)
            _ONE.release()
            raise
        self._dbos, self._start = DBOS, start

    async def _look_after(self) -> None:
        """Take over what other servers left behind, and forget what was done long ago."""
        loop = asyncio.get_running_loop()
        forget_s = loop.time()
        while True:
            if self._dbos is not None:
                try:
                    if self._is_shared:
                        await self.sweep()
                    if loop.time() >= forget_s:
                        forget_s = loop.time() + FORGET_EVERY_S
                        await asyncio.to_thread(self._forget)
                except Exception:
                    logger.exception("durable execution could not be looked after; it is tried again")
            await asyncio.sleep(SWEEP_S)

    async def sweep(self) -> list[str]:
        """Carry on what servers that are gone were carrying. Whoever calls this is the only one that may write."""
        pending = await self._dbos.list_workflows_async(status="PENDING", app_version=VERSION)
        left = [each.workflow_id for each in pending if each.executor_id != self._executor]
        if left:
            logger.warning("taking over %d effects of a server that is gone", len(left))
            await self._dbos.resume_workflows_async(left)
        return left

    def _forget(self) -> None:
        assert self._host is not None
        before_ns = int(self._host.now() - KEEP_S * SECOND_NS)
        done = self._dbos.list_workflows(
            status=["SUCCESS", *LOST],
            completed_before=rfc3339(before_ns),
            limit=FORGET_AT_ONCE,
            load_input=False,
            load_output=False,
        )
        if done:
            self._dbos.delete_workflows([each.workflow_id for each in done])


async def _awaited(call: Awaitable[Any]) -> Any:
    return await call


def _use_wal(path: Path) -> None:
    """Set the write-ahead log once: it stays with the file, and DBOS does not ask for it."""
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
    connection.close()
