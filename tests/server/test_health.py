"""The server watches itself: the heartbeat out stops when something is stuck, and the figures have their help."""

import asyncio
import socket
import sqlite3
import sys
from pathlib import Path
from typing import Any

import pytest

from andoncord.adapters.system.beat import FileBeat, UrlBeat
from andoncord.engine.facts import FindingArrived
from andoncord.engine.run import Engine
from andoncord.kernel.effect import Effect, EffectKind, Receipt
from andoncord.kernel.time import HOUR_NS, Instant
from andoncord.server import deadman as deadmen
from andoncord.server import worker_process
from andoncord.server.deadman import BeatTarget, Deadman
from andoncord.server.figures import nearest_rank
from andoncord.server.health import fence_times_ms
from andoncord.server.worker_process import WorkerProcess
from andoncord.testing.clock import SimClock
from andoncord.testing.journal import MemoryJournal
from andoncord.testing.story import PLAYBOOKS, finding


class Silent:
    """A performer that never answers."""

    async def perform(self, intent: str, effect: Effect) -> Receipt:
        await asyncio.Event().wait()
        raise AssertionError("it waits for ever")


class Rig:
    """A heartbeat over a real engine."""

    def __init__(self, folder: Path) -> None:
        self.clock, self.lag, self.up = SimClock(), 0, True
        performers: dict[EffectKind, Any] = dict.fromkeys(EffectKind, Silent())
        self.engine = Engine(journal=MemoryJournal(), clock=self.clock, performers=performers, playbooks=PLAYBOOKS)
        self.file = folder / "beat.json"
        self.deadman = Deadman(
            engine=self.engine,
            lag=lambda: self.lag,
            clock=self.clock,
            is_worker_up=lambda: self.up,
            targets=[FileBeat(self.file)],
            every_s=1.0,
        )


def test_the_heartbeat_stops_when_the_engine_is_stuck(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process lives and its event loop turns, and the engine gives no turn: no beat. It goes on when the engine does."""
    asyncio.run(_the_heartbeat_stops_when_the_engine_is_stuck(tmp_path, monkeypatch))


async def _the_heartbeat_stops_when_the_engine_is_stuck(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadmen, "TURN_S", 0.05)
    rig = Rig(tmp_path)

    assert await rig.deadman.beat()
    before = rig.file.read_bytes()
    async with rig.engine._turn:
        assert not await rig.deadman.beat()
        assert "no turn" in rig.deadman.silent_because
        assert rig.file.read_bytes() == before
    rig.clock.move_to(Instant(rig.clock.now() + HOUR_NS))
    assert await rig.deadman.beat()
    assert rig.file.read_bytes() != before


def test_a_look_that_breaks_stops_the_heartbeat_and_not_the_server(tmp_path: Path) -> None:
    """A store that cannot be read is no sign of health, and once it can be read the beats go on."""

    async def work() -> None:
        rig = Rig(tmp_path)
        locked: list[Exception] = [sqlite3.OperationalError("database is locked")]

        def lag() -> int:
            if locked:
                raise locked[0]
            return 0

        rig.deadman._lag = lag
        assert not await rig.deadman.beat()
        assert "database is locked" in rig.deadman.silent_because
        locked.clear()
        assert await rig.deadman.beat()

    asyncio.run(work())


def test_the_heartbeat_stops_for_the_worker_for_lag_and_for_promises(tmp_path: Path) -> None:
    """No worker, detection behind, an effect of ours without a receipt after its deadline: each alone stops it."""
    asyncio.run(_the_heartbeat_stops_for_the_worker_for_lag_and_for_promises(tmp_path))


async def _the_heartbeat_stops_for_the_worker_for_lag_and_for_promises(tmp_path: Path) -> None:
    rig = Rig(tmp_path)

    rig.up = False
    assert not await rig.deadman.beat()
    rig.up, rig.lag = True, deadmen.MAX_LAG + 1
    assert not await rig.deadman.beat()
    rig.lag = 0
    assert await rig.deadman.beat()
    await rig.engine.submit(FindingArrived(finding=finding()))
    assert await rig.deadman.beat()
    rig.clock.move_to(Instant(rig.clock.now() + HOUR_NS))
    assert not await rig.deadman.beat()
    assert "no receipt" in rig.deadman.silent_because
    await rig.engine.stop()


def test_a_target_that_cannot_be_told_is_named(tmp_path: Path) -> None:
    """A folder that is not there and an address where nobody listens: said, without an exception, and not counted as sent."""
    asyncio.run(_a_target_that_cannot_be_told_is_named(tmp_path))


async def _a_target_that_cannot_be_told_is_named(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    targets: list[BeatTarget] = [FileBeat(tmp_path / "no" / "beat.json"), UrlBeat("http://127.0.0.1:9/beat?key=secret")]
    deadman = Deadman(
        engine=rig.engine,
        lag=lambda: 0,
        clock=rig.clock,
        is_worker_up=lambda: True,
        targets=targets,
        every_s=1.0,
    )

    assert not await deadman.beat()
    assert len(deadman.failing) == 2
    assert deadman.sent_ns == 0
    assert not any("secret" in name for name in deadman.failing)


def test_a_worker_that_hangs_is_not_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that came up and tells nothing any more is there, and does not count as working."""
    program = "import sys; sys.stdin.readline(); print('ready', flush=True); sys.stdin.read()"

    async def watch() -> list[bool]:
        with socket.socket() as listener:
            worker = WorkerProcess(
                command=[sys.executable, "-c", program],
                setup=b"{}",
                listener=listener,
                on_findings=lambda: None,
                on_death=_nothing,
                on_misuse=_nothing,
            )
            running = asyncio.create_task(worker.run())
            async with asyncio.timeout(20):
                await worker.ready.wait()
                seen = [worker.state[0]]
            monkeypatch.setattr(worker_process, "HUNG_S", 0.0)
            seen += [worker.state[0], worker.state[1] is not None]
            await worker.stop()
            await running
            return seen

    assert asyncio.run(watch()) == [True, False, True]


async def _nothing(_: object) -> None:
    """Nobody is told."""


def test_quantiles_are_measured_values() -> None:
    """The nearest rank of a hundred values; of one, that one."""
    values = [float(each) for each in range(1, 101)]

    assert (nearest_rank(values, 0.5), nearest_rank(values, 0.99), nearest_rank([7.0], 0.5)) == (50.0, 99.0, 7.0)
    assert fence_times_ms({}, of_canaries=False) == []
