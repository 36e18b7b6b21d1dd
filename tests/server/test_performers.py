"""Performers that speak with guards."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from andoncord.adapters.parquet.reader import ParquetTelemetryReader
from andoncord.adapters.parquet.writer import ParquetTelemetryWriter
from andoncord.engine.state import State
from andoncord.kernel.effect import Effect, EffectKind, Outcome, Receipt
from andoncord.server.hub import GONE_AFTER_NS, GuardHub
from andoncord.server.performers import GuardPerformers
from andoncord.server.points import Ack, Force, Guard, Registration, order_id
from andoncord.telemetry.batch import Beat
from andoncord.testing.system import CountedEntropy, HandClock

Reply = Callable[[str, dict[str, Any]], Ack | None]


class World:
    """A hub with scripted guards on it."""

    def __init__(self, folder: Path) -> None:
        self.clock = HandClock()
        self.writer = ParquetTelemetryWriter(folder / "telemetry.db")
        self.hub = GuardHub(clock=HandClock(), entropy=CountedEntropy(), force=lambda agent: Force(rung="none", epoch=(1, 0)))
        self.state = State()
        self.performers = GuardPerformers(
            hub=self.hub,
            telemetry=ParquetTelemetryReader(folder / "telemetry.db"),
            clock=self.clock,
            state=lambda: self.state,
            policies=lambda: [{"id": "p1"}],
        ).table()
        self.sent: list[tuple[str, str, dict[str, Any]]] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def guard(
        self,
        instance: str,
        reply: Reply,
        *,
        kind: Any = "guard",
        host: str = "h1",
        pid: int = 0,
        can: tuple[str, ...] = ("probe",),
    ) -> Guard:
        """Connect a guard of agent `a` that answers with `reply`."""
        registration = Registration(agent="a", instance=instance, kind=kind, capabilities=can, host=host, pid=pid)
        guard = self.hub.register(registration, token_id="tok")
        stream = self.hub.stream(guard)
        await anext(stream)
        self._tasks.append(asyncio.create_task(self._follow(guard, stream, reply)))
        return guard

    async def _follow(self, guard: Guard, stream: AsyncIterator[bytes], reply: Reply) -> None:
        async for event in stream:
            lines = dict(line.split(": ", 1) for line in event.decode().strip().splitlines())
            if lines["event"] == "ping":
                continue
            body = json.loads(lines["data"])
            self.sent.append((guard.instance, lines["event"], body))
            answer = reply(lines["event"], body)
            if answer is not None:
                self.hub.acknowledge(guard, answer)

    async def perform(self, kind: EffectKind, *, deadline_ms: int = 150, **parameters: Any) -> Receipt:
        effect = Effect(
            kind=kind, target="a", incident="inc_1", key="k", deadline_ms=deadline_ms, reversal="release", parameters=parameters
        )
        return await self.performers[kind].perform("inc_1.001", effect)

    async def order(self, rung: str = "pause", counter: int = 1) -> Receipt:
        return await self.perform(EffectKind.ORDER, rung=rung, epoch=[1, counter], reason="why", by="andoncord")

    def run(self, story: Callable[["World"], Any]) -> Any:
        async def whole() -> Any:
            try:
                return await story(self)
            finally:
                for task in self._tasks:
                    task.cancel()
                await asyncio.gather(*self._tasks, return_exceptions=True)

        return asyncio.run(whole())


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def obeys(name: str, body: dict[str, Any]) -> Ack:
    return Ack(order_id=body["order_id"], outcome="enforced", at_ns=7, state={"rung": body.get("rung", "")})


def refuses(name: str, body: dict[str, Any]) -> Ack:
    return Ack(order_id=body["order_id"], outcome="refused", detail={"error": "not newer"})


def says(**detail: Any) -> Reply:
    return lambda name, body: Ack(order_id=body["order_id"], outcome="enforced", detail=detail)


def silent(name: str, body: dict[str, Any]) -> None:
    return None


def test_an_order_is_done_when_all_confirmed(world: World) -> None:
    """DONE needs every guard; the receipt names what each answered."""

    async def story(world: World) -> Receipt:
        await world.guard("i1", obeys)
        await world.guard("i2", obeys)
        return await world.order()

    receipt = world.run(story)
    assert receipt.outcome is Outcome.DONE
    assert (receipt.detail["asked"], receipt.detail["confirmed"], receipt.detail["unconfirmed"]) == (2, 2, [])
    assert [ack["instance"] for ack in receipt.detail["acks"]] == ["i1", "i2"]
    assert receipt.detail["supervised"] is False
    assert {body["order_id"] for _, _, body in world.sent} == {order_id("a", (1, 1))}


@pytest.mark.parametrize(("reply", "missing"), [(silent, None), (refuses, ["i2 answered refused: not newer"])])
def test_one_that_does_not_confirm_makes_it_partial(world: World, reply: Reply, missing: list[str] | None) -> None:
    """A guard that is silent or refuses is named, never rounded up."""

    async def story(world: World) -> Receipt:
        await world.guard("i1", obeys)
        await world.guard("i2", reply)
        return await world.order()

    receipt = world.run(story)
    assert receipt.outcome is Outcome.PARTIAL
    assert receipt.detail["unconfirmed"] == ["i2"]
    assert receipt.detail["fence_ms"] is None
    assert receipt.detail.get("missing") == missing


def test_nobody_answering_is_failed(world: World) -> None:
    """An order that no guard confirmed has failed."""

    async def story(world: World) -> Receipt:
        await world.guard("i1", silent)
        return await world.order()

    assert world.run(story).outcome is Outcome.FAILED


def test_no_guard_at_all_is_said(world: World) -> None:
    """Without an enforcement point nothing is claimed."""
    receipt = world.run(lambda world: world.order())

    assert receipt.outcome is Outcome.PARTIAL
    assert receipt.detail["asked"] == 0
    assert receipt.detail["missing"] == "no enforcement point is connected for a"


@pytest.mark.parametrize(("age_ns", "asked"), [(1, 2), (GONE_AFTER_NS + 1, 1)])
def test_a_process_that_no_order_reaches_is_counted(world: World, age_ns: int, asked: int) -> None:
    """An agent whose heartbeats go on without a connection was not stopped, and the receipt says which one."""
    heard_ns = world.clock.now() - age_ns
    beat = Beat(agent="a", instance="i2", trusted=True, last_seen_ns=heard_ns, heartbeat_ns=heard_ns)
    world.writer.record(seq=None, events=(), findings=(), beats=[beat], ledger=(), now_ns=0)

    async def story(world: World) -> Receipt:
        await world.guard("i1", obeys)
        return await world.order()

    receipt = world.run(story)
    assert receipt.detail["asked"] == asked
    assert receipt.detail["unconfirmed"] == ["i2"][: asked - 1]


def test_a_process_that_said_goodbye_is_not(world: World) -> None:
    """The last heartbeats of a process that ended in good order are not taken for life."""
    now = world.clock.now()
    beat = Beat(agent="a", instance="i2", trusted=True, last_seen_ns=now, heartbeat_ns=now)
    world.writer.record(seq=None, events=(), findings=(), beats=[beat], ledger=(), now_ns=0)

    async def story(world: World) -> Receipt:
        await world.guard("i1", obeys)
        world.hub.depart(await world.guard("i2", obeys))
        return await world.order()

    assert world.run(story).detail["unconfirmed"] == []


def test_an_order_sent_again_is_the_same_order(world: World) -> None:
    """After a crash the same epoch goes out under the same id, so a guard recognises it."""

    async def story(world: World) -> None:
        await world.guard("i1", obeys)
        await world.order(counter=3)
        await world.order(counter=3)

    world.run(story)
    assert {body["order_id"] for _, _, body in world.sent} == {"a@1.3"}


def test_termination_needs_a_supervisor(world: World) -> None:
    """Without one the receipt says what is missing."""
    receipt = world.run(lambda world: world.perform(EffectKind.TERMINATE))

    assert receipt.outcome is Outcome.FAILED
    assert "supervisor" in receipt.detail["missing"]


def test_an_empty_tree_ends_the_wait_for_its_guards(world: World) -> None:
    """Once the supervisor saw the process tree empty, its guards are not asked any more."""

    async def story(world: World) -> tuple[Receipt, int]:
        await world.guard("i1", silent)
        await world.guard("s1", says(process_tree_empty=True, signalled=[4], took_ms=3), kind="supervisor")
        return await world.perform(EffectKind.TERMINATE), len(world.hub.points("a"))

    receipt, left = world.run(story)
    assert receipt.outcome is Outcome.DONE
    assert (receipt.detail["process_tree_empty"], receipt.detail["signalled"], left) == (True, [4], 0)
    assert receipt.detail["gone"] == ["i1", "s1"], "the verdict asks those no more, also after a restart of the server"


def test_a_tree_that_is_not_empty_is_partial(world: World) -> None:
    """Processes that remain are named."""

    async def story(world: World) -> Receipt:
        await world.guard("s1", says(process_tree_empty=False, remaining=[9]), kind="supervisor")
        return await world.perform(EffectKind.TERMINATE)

    receipt = world.run(story)
    assert receipt.outcome is Outcome.PARTIAL
    assert (receipt.detail["process_tree_empty"], receipt.detail["remaining"]) == (False, [9])


def test_a_restart_is_done_when_the_guard_is_back(world: World) -> None:
    """The supervisor's word is not enough: the agent's guard must connect."""

    async def story(world: World) -> Receipt:
        asked = asyncio.Event()

        def starts(name: str, body: dict[str, Any]) -> Ack:
            asked.set()
            return Ack(order_id=body["order_id"], outcome="enforced", detail={"pid": 12})

        await world.guard("s1", starts, kind="supervisor")
        coming = asyncio.create_task(world.perform(EffectKind.RESTART))
        await asked.wait()
        await world.guard("i2", obeys)
        return await coming

    receipt = world.run(story)
    assert receipt.outcome is Outcome.DONE
    assert (receipt.detail["pids"], receipt.detail["instance"]) == ([12], "i2")


def test_a_restart_replaces_the_process_that_was_there(world: World) -> None:
    """The process that the supervisor ended is not asked any more; one on another host still is."""

    async def story(world: World) -> tuple[Receipt, list[str]]:
        await world.guard("i1", silent)
        await world.guard("i2", silent, host="h2")
        await world.guard("s1", says(pid=12), kind="supervisor")
        receipt = await world.perform(EffectKind.RESTART)
        return receipt, [guard.instance for guard in world.hub.points("a")]

    receipt, left = world.run(story)
    assert receipt.outcome is Outcome.DONE
    assert left == ["i2"]


def test_an_agent_that_has_just_started_is_probed_when_it_can_be(world: World) -> None:
    """A guard connects a moment before the agent's code says how to probe it."""

    async def story(world: World) -> Receipt:
        asked: list[str] = []

        def later(name: str, body: dict[str, Any]) -> Ack:
            asked.append(name)
            if len(asked) < 3:
                return Ack(order_id=body["order_id"], outcome="failed", detail={"error": "no probe is registered"})
            return Ack(order_id=body["order_id"], outcome="enforced", detail={"passed": [True]})

        await world.guard("i1", later)
        return await world.perform(EffectKind.PROBE, samples=1)

    assert world.run(story).detail["passed"] == [True]


def test_probes_come_back_one_by_one(world: World) -> None:
    """The receipt holds every answer, right or wrong."""

    async def story(world: World) -> Receipt:
        await world.guard("i1", says(passed=[True, False, True]))
        return await world.perform(EffectKind.PROBE, samples=3)

    receipt = world.run(story)
    assert receipt.outcome is Outcome.DONE
    assert (receipt.detail["passed"], receipt.detail["asked"]) == ([True, False, True], 3)


def test_configuration_comes_from_the_registry(world: World) -> None:
    """Guards get the values of the version that was named."""

    async def story(world: World) -> Receipt:
        world.state.registry = world.state.registry.publish("a", {"prompt": "kind"}, at_ns=1, by="person:ana")
        await world.guard("i1", obeys)
        return await world.perform(EffectKind.CONFIGURE, version="v1")

    assert world.run(story).outcome is Outcome.DONE
    assert world.sent[0][2] == {"order_id": "inc_1.001", "version": "v1", "values": {"prompt": "kind"}}


def test_policies_go_to_every_guard(world: World) -> None:
    """Each guard loads the whole set in force."""

    async def story(world: World) -> Receipt:
        await world.guard("i1", obeys)
        return await world.perform(EffectKind.POLICIES)

    assert world.run(story).outcome is Outcome.DONE
    assert world.sent[0][1:] == ("policies", {"order_id": "inc_1.001", "policies": [{"id": "p1"}]})


def holds(*, pids: list[int], rung: str = "pause") -> Reply:
    """A supervisor that has stopped processes: frozen under a pause, ended under a kill."""
    ended = rung == "kill"
    tree = {"frozen": not ended, "empty": ended, "looks": 1, "pids": [] if ended else pids}
    detail = {"signalled": pids} if ended else {}
    return lambda name, body: Ack(order_id=body["order_id"], outcome="enforced", at_ns=7, state={"tree": tree}, detail=detail)


def test_a_supervisor_that_freezes_is_an_enforcement_point(world: World) -> None:
    """An agent that never heard of us is stopped by its supervisor, for the rungs that this can enforce."""

    async def story(world: World) -> tuple[Receipt, ...]:
        await world.guard("s1", holds(pids=[4]), kind="supervisor", can=("pause", "kill", "terminate"))
        await world.guard("s2", obeys, kind="supervisor", can=("terminate",))
        receipts = await world.order(), await world.order("none", 2), await world.order("restrict", 3)
        await world.hub.answers.collect(order_id("a", (1, 3)), ["s1"], timeout_s=5)
        return receipts

    paused, released, restricted = world.run(story)
    assert (paused.outcome, paused.detail["asked"], paused.detail["acks"][0]["instance"]) == (Outcome.DONE, 1, "s1")
    assert (released.outcome, released.detail["confirmed"]) == (Outcome.DONE, 1)
    assert (restricted.outcome, restricted.detail["asked"]) == (Outcome.PARTIAL, 0)
    assert restricted.detail["missing"] == "no enforcement point is connected for a that can enforce restrict"
    assert [body["rung"] for instance, _, body in world.sent if instance == "s1"] == ["pause", "none", "restrict"]
    assert "s2" not in {instance for instance, _, _ in world.sent}


@pytest.mark.parametrize(("rung", "left"), [("pause", ["i1", "i2"]), ("kill", ["i2"])])
def test_a_guard_that_was_stopped_from_outside_is_not_waited_for(world: World, rung: str, left: list[str]) -> None:
    """Its process stands or is gone, so it cannot answer; one that the supervisor did not reach still has to."""

    async def story(world: World) -> tuple[Receipt, list[str]]:
        await world.guard("i1", silent, pid=4)
        await world.guard("i2", silent, pid=4, host="h2")
        await world.guard("s1", holds(pids=[4], rung=rung), kind="supervisor", can=("pause", "kill"))
        receipt = await world.order(rung)
        return receipt, [guard.instance for guard in world.hub.points("a")]

    receipt, connected = world.run(story)
    assert (receipt.detail["covered"], receipt.detail["unconfirmed"]) == (["i1"], ["i2"])
    assert (receipt.detail["asked"], receipt.detail["confirmed"], connected) == (3, 2, left)
