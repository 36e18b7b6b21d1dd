"""Findings on their way into the engine."""

import asyncio
from typing import Any

from andoncord.detect.finding import Finding
from andoncord.engine.run import Engine
from andoncord.kernel.effect import Effect, EffectKind, Outcome, Receipt
from andoncord.server.feeds import FindingFeed
from andoncord.testing.clock import SimClock
from andoncord.testing.journal import MemoryJournal
from andoncord.testing.story import PLAYBOOKS, answer_plainly, finding


class Table:
    """Where findings are stored, and how far they were read: in memory, with what happened in order."""

    def __init__(self, *findings: Finding) -> None:
        self.findings_kept = list(enumerate(findings, start=1))
        self.place = 0
        self.happened: list[str] = []
        self.rested = asyncio.Event()

    def findings(self, *, after: int, limit: int) -> list[tuple[int, Finding]]:
        return [each for each in self.findings_kept if each[0] > after][:limit]

    def position(self, name: str) -> int:
        return self.place

    def set_position(self, name: str, position: int) -> None:
        self.place = position
        self.happened.append(f"position {position}")
        self.rested.set()

    async def perform(self, intent: str, effect: Effect) -> Receipt:
        self.happened.append(effect.kind.value)
        outcome, detail = answer_plainly(effect)
        return Receipt(intent=intent, outcome=outcome, at_ns=1, detail=detail)


async def feed(table: Table, journal: MemoryJournal) -> Engine:
    store: Any = table
    engine = Engine(journal=journal, clock=SimClock(), performers=dict.fromkeys(EffectKind, store), playbooks=PLAYBOOKS)
    running = asyncio.create_task(FindingFeed(telemetry=store, positions=store, engine=engine).run())
    async with asyncio.timeout(10):
        await table.rested.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await engine.stop()
    return engine


def test_no_flush_stands_between_a_decision_and_its_effects() -> None:
    """The fence is under way before the place is written down; that is done at rest, and what is read again is known."""
    table, journal = Table(finding("f1"), finding("f2", agent="other", trace_id="t2", run_id="r2")), MemoryJournal()
    asyncio.run(feed(table, journal))
    assert table.happened[0] == "order"
    assert [each for each in table.happened if each.startswith("position")] == ["position 2"]

    table.place, table.rested = 0, asyncio.Event()  # The server was killed before it wrote its place down.
    again = asyncio.run(feed(table, journal))
    assert len(again.state.incidents) == 2
    assert all(Outcome.DONE is intent.receipt.outcome for intent in again.state.intents.values() if intent.receipt)
