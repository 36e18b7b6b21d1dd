"""The engine's shell: durable before performed, performed again after a crash, broken performers recorded."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from andoncord.engine import run
from andoncord.engine.facts import FindingArrived, PersonAsked
from andoncord.engine.run import Engine
from andoncord.kernel.effect import Effect, EffectKind, Outcome, Receipt
from andoncord.kernel.time import SECOND_NS, Instant
from andoncord.kernel.vocabulary import IncidentState
from andoncord.testing.journal import MemoryJournal
from andoncord.testing.story import PLAYBOOKS, answer_plainly, finding


class StillClock:
    """A clock that stands still."""

    def now(self) -> Instant:
        return Instant(20 * SECOND_NS)


class World:
    """Performs everything as in a story and counts what it did, by idempotency key."""

    def __init__(self) -> None:
        self.done: dict[str, int] = {}
        self.stuck: set[EffectKind] = set()
        self.broken: set[EffectKind] = set()

    async def perform(self, intent: str, effect: Effect) -> Receipt:
        self.done[effect.key] = self.done.get(effect.key, 0) + 1
        if effect.kind in self.broken:
            raise RuntimeError("wires cut")
        if effect.kind in self.stuck:
            await asyncio.Event().wait()
        outcome, detail = answer_plainly(effect)
        return Receipt(intent=intent, outcome=outcome, at_ns=21 * SECOND_NS, detail=detail)


def engine_on(journal: MemoryJournal, world: World) -> Engine:
    performers: Mapping[EffectKind, Any] = dict.fromkeys(EffectKind, world)
    return Engine(journal=journal, clock=StillClock(), performers=performers, playbooks=PLAYBOOKS)


def test_an_incident_runs_to_its_end() -> None:
    """A finding in, a resolved incident out, every effect once."""

    async def scenario() -> None:
        world = World()
        engine = engine_on(MemoryJournal(), world)
        await engine.submit(FindingArrived(finding=finding()))
        await engine.settle()
        assert engine.state.incident("inc_000001").state is IncidentState.RESOLVED
        assert set(world.done.values()) == {1}

    asyncio.run(scenario())


def test_after_a_crash_outstanding_effects_are_performed_again_and_the_incident_goes_on() -> None:
    """The process died between the order and its receipt: the next one asks again with the same key."""

    async def scenario() -> None:
        journal = MemoryJournal()
        before = World()
        before.stuck = {EffectKind.ORDER}
        engine = engine_on(journal, before)
        await engine.submit(FindingArrived(finding=finding()))
        await asyncio.sleep(0)
        await engine.stop()

        after = World()
        restarted = engine_on(journal, after)
        assert await restarted.resume() == 1
        await restarted.settle()
        assert restarted.state.incident("inc_000001").state is IncidentState.RESOLVED
        (first_key,) = before.done
        assert after.done[first_key] == 1

    asyncio.run(scenario())


def test_a_broken_performer_gives_a_failed_receipt_and_the_rest_goes_on() -> None:
    """Evidence that cannot be captured does not keep the agent from being stopped."""

    async def scenario() -> None:
        world = World()
        world.broken = {EffectKind.CAPTURE}
        engine = engine_on(MemoryJournal(), world)
        await engine.submit(FindingArrived(finding=finding()))
        await engine.settle()
        receipts = [
            intent.receipt for intent in engine.state.intents_of("inc_000001") if intent.effect.kind is EffectKind.CAPTURE
        ]
        assert receipts[0] is not None
        assert receipts[0].outcome is Outcome.FAILED
        assert "wires cut" in receipts[0].detail["missing"]
        assert engine.state.incident("inc_000001").contained_ns

    asyncio.run(scenario())


def test_a_journal_that_cannot_be_written_performs_nothing() -> None:
    """Nothing is done that is not written down first; the state goes back to what the journal says."""

    class FullDisk(MemoryJournal):
        def append(self, entries: Any) -> None:
            raise OSError("no space left on device")

    async def scenario() -> None:
        world = World()
        engine = engine_on(FullDisk(), world)
        try:
            await engine.submit(FindingArrived(finding=finding()))
        except OSError:
            pass
        else:
            raise AssertionError("the failure was swallowed")
        await engine.settle()
        assert not world.done
        assert not engine.state.incidents

    asyncio.run(scenario())


def test_subscribers_hear_every_entry() -> None:
    """The console and the command line follow along."""

    async def scenario() -> None:
        engine = engine_on(MemoryJournal(), World())
        heard: list[str] = []

        async def listen() -> None:
            async for entry in engine.subscribe():
                heard.append(entry.kind)

        listener = asyncio.create_task(listen())
        await asyncio.sleep(0)
        wish = PersonAsked(command="declare", by="person:ada", agent="pricing", parameters={"title": "odd"})
        await engine.submit(wish)
        await engine.settle()
        await engine.stop()
        await listener
        assert heard == ["incident.opened", "incident.judged", "incident.moved", "step.judged"]

    asyncio.run(scenario())


def test_a_subscriber_that_is_too_slow_is_told_that_it_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not wait for ever for entries that nobody gives it any more, and what it got has no gap."""
    monkeypatch.setattr(run, "SUBSCRIBER_BUFFER", 2)

    async def scenario() -> None:
        engine = engine_on(MemoryJournal(), World())
        heard: list[int] = []

        async def listen() -> None:
            async for entry in engine.subscribe():
                heard.append(entry.seq)

        listening = asyncio.create_task(listen())
        await asyncio.sleep(0)
        await engine.submit(FindingArrived(finding=finding()))
        await engine.settle()
        async with asyncio.timeout(5):
            await listening
        assert heard == list(range(1, len(heard) + 1))

    asyncio.run(scenario())


def test_a_fault_while_deciding_leaves_the_state_where_the_journal_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever breaks after the first entry was applied: nothing is in the state that is not written down."""

    def broken(*_: object) -> None:
        raise KeyError("a fault of ours")

    async def scenario() -> None:
        engine = engine_on(MemoryJournal(), World())
        with monkeypatch.context() as patched:
            patched.setattr(run, "advance", broken)
            with pytest.raises(KeyError):
                await engine.submit(FindingArrived(finding=finding()))
        assert await engine.is_turning()
        await engine.submit(FindingArrived(finding=finding()))
        await engine.settle()
        assert engine.state.incident("inc_000001").state is IncidentState.RESOLVED

    asyncio.run(scenario())
