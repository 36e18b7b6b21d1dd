"""Durable execution: what was done before a crash is not done again, and its loss is not ours."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from andoncord.adapters.durable.carrier import DurableCarrier
from andoncord.kernel.effect import Outcome, Receipt
from andoncord.kernel.time import Instant

PATIENCE_S = 20.0


class Engine:
    """What a carrier asks for, remembering everything."""

    def __init__(self) -> None:
        self.performed: list[str] = []
        self.recorded: dict[str, Receipt] = {}
        self.notes: list[str] = []
        self.begun = asyncio.Event()
        self.may_end = asyncio.Event()
        self.may_end.set()
        self.may_record = True
        self.came = asyncio.Event()

    def now(self) -> Instant:
        return Instant(1_700_000_000_000_000_000)

    async def perform(self, intent: str) -> Receipt:
        self.performed.append(intent)
        self.begun.set()
        await self.may_end.wait()
        return Receipt(intent=intent, outcome=Outcome.DONE, at_ns=1, detail={"by": len(self.performed)})

    async def record(self, receipt: Receipt) -> None:
        if not self.may_record:
            self.came.set()
            await asyncio.Event().wait()
        self.recorded[receipt.intent] = receipt
        self.came.set()

    async def note(self, what: str, detail: dict[str, Any]) -> None:
        self.notes.append(what)


Life = Callable[[Engine, DurableCarrier], Coroutine[Any, Any, None]]


def live(url: str, engine: Callable[[], Engine], life: Life, *, executor: str = "one") -> Engine:
    """One life of a carrier, from its launch to its end."""

    async def scenario() -> Engine:
        host = engine()
        carrier = DurableCarrier(url, executor=executor, is_shared=url.startswith("postgresql"))
        running = asyncio.create_task(carrier.run(host))
        try:
            async with asyncio.timeout(PATIENCE_S):
                await life(host, carrier)
        finally:
            running.cancel()
            await carrier.close()
        return host

    return asyncio.run(scenario())


async def carried(host: Engine, carrier: DurableCarrier) -> None:
    """Carry one effect to its receipt."""
    carrier.carry("inc_000001.004", run="inc_000001.004@1", wait_s=0, again=True)
    await host.came.wait()


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/durable.db"


def durable_url(database_url: str) -> str:
    """A database of the engine's own, of each kind."""
    return database_url.replace("control.db", "durable.db").replace("postgresql://", "postgresql+psycopg://")


def test_an_effect_that_was_done_before_the_end_is_not_done_again(url: str) -> None:
    """The process ended between the effect and the journal: the next one writes down what came of it then."""

    def before() -> Engine:
        engine = Engine()
        engine.may_record = False
        return engine

    first = live(url, before, carried)
    assert first.performed == ["inc_000001.004"]
    assert not first.recorded

    second = live(url, Engine, carried)
    assert second.performed == []
    assert second.recorded["inc_000001.004"].detail == {"by": 1}


def test_an_effect_under_way_at_the_end_is_done_at_the_next_start(database_url: str) -> None:
    """What did not come to its end is performed again, by itself, under the same key."""

    async def interrupted(host: Engine, carrier: DurableCarrier) -> None:
        host.may_end.clear()
        carrier.carry("inc_000001.004", run="inc_000001.004@1", wait_s=0, again=False)
        await host.begun.wait()

    async def waits(host: Engine, carrier: DurableCarrier) -> None:
        await host.came.wait()

    url = durable_url(database_url)
    assert live(url, Engine, interrupted).recorded == {}
    assert list(live(url, Engine, waits).recorded) == ["inc_000001.004"]


def test_deleting_its_data_loses_nothing_that_the_engine_asks_for_again(url: str, tmp_path: Path) -> None:
    """The journal asks again, and it is carried anew."""
    live(url, Engine, carried)
    for file in tmp_path.glob("durable.db*"):
        file.unlink()
    assert list(live(url, Engine, carried).recorded) == ["inc_000001.004"]


def test_what_a_server_that_is_gone_was_carrying_is_taken_over(database_url: str) -> None:
    """Another executor finds it by its sweep."""
    if database_url.startswith("sqlite"):
        return  # One file has one server.

    async def interrupted(host: Engine, carrier: DurableCarrier) -> None:
        host.may_end.clear()
        carrier.carry("inc_000001.004", run="inc_000001.004@1", wait_s=0, again=False)
        await host.begun.wait()

    async def waits(host: Engine, carrier: DurableCarrier) -> None:
        await host.came.wait()

    url = durable_url(database_url)
    live(url, Engine, interrupted, executor="one")
    assert list(live(url, Engine, waits, executor="two").recorded) == ["inc_000001.004"]


def test_without_its_database_the_journal_carries_alone_and_it_is_said(tmp_path: Path) -> None:
    """A broken engine does not keep anything from being done, and nobody has to guess that it is broken."""
    (tmp_path / "durable.db").write_bytes(b"this is no database" * 100)
    engine = live(f"sqlite:///{tmp_path}/durable.db", Engine, carried)
    assert list(engine.recorded) == ["inc_000001.004"]
    assert engine.notes == ["durable execution did not start"]


def test_what_was_cancelled_is_not_carried_on(url: str) -> None:
    """The next start gives a receipt that says so."""

    async def cancelled(host: Engine, carrier: DurableCarrier) -> None:
        carrier.carry("inc_000001.004", run="inc_000001.004@1", wait_s=3_600, again=False)
        await asyncio.gather(*carrier._carrying)
        carrier.drop("inc_000001.004@1")
        await asyncio.gather(*carrier._carrying)

    live(url, Engine, cancelled)
    again = live(url, Engine, carried)
    assert again.performed == []
    assert "given up before: cancelled" in again.recorded["inc_000001.004"].detail["missing"]
