"""The guard hub."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from andoncord.kernel.errors import CallerError, NotFoundError
from andoncord.server.hub import GONE_AFTER_NS, MAX_QUEUED, GuardHub
from andoncord.server.points import Ack, Force, Guard, Registration
from andoncord.testing.system import CountedEntropy, HandClock


class Yard:
    """A hub with everything around it."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.in_force = Force(rung="none", epoch=(1, 0))
        self.hub = GuardHub(clock=self.clock, entropy=CountedEntropy(), force=lambda agent: self.in_force)

    def join(self, instance: str, *, agent: str = "a-1", token: str = "tok", kind: Any = "guard") -> Guard:
        return self.hub.register(Registration(agent=agent, instance=instance, kind=kind), token_id=token)


async def _next(stream: AsyncIterator[bytes]) -> tuple[str, dict[str, Any]]:
    """Name and body of the next event that is not a ping."""
    while True:
        text = (await asyncio.wait_for(anext(stream), 2)).decode()
        lines = dict(line.split(": ", 1) for line in text.strip().splitlines())
        if lines["event"] != "ping":
            return lines["event"], json.loads(lines["data"])


def test_a_stream_begins_with_what_is_in_force() -> None:
    """A guard that connects late learns at once that its agent is held."""

    async def story() -> None:
        yard = Yard()
        yard.in_force = Force(rung="pause", epoch=(1, 7), reason="loop", by="andoncord", incident="inc_1")
        name, body = await _next(yard.hub.stream(yard.join("i1")))

        assert name == "order"
        assert (body["rung"], body["epoch"], body["order_id"], body["reason"]) == ("pause", [1, 7], "a-1@1.7", "loop")

    asyncio.run(story())


def test_a_supervisor_hears_of_an_order_that_ended_without_naming_its_agent() -> None:
    """An order to the fleet that ends by itself is told to the agents that it was given to; the others must not stay held."""

    async def story() -> None:
        yard = Yard()
        yard.in_force = Force(rung="pause", epoch=(1, 7))
        stream = yard.hub.stream(yard.join("s1", kind="supervisor"))
        held = await _next(stream)
        yard.in_force = Force(rung="none", epoch=(1, 8))
        released = await asyncio.wait_for(_next(stream), 5)

        assert [(name, body["rung"]) for name, body in (held, released)] == [("order", "pause"), ("order", "none")]

    asyncio.run(story())


def test_orders_reach_only_their_agents_guards() -> None:
    """An order for one agent is not seen by another's guard."""

    async def story() -> None:
        yard = Yard()
        mine, other = yard.join("i1"), yard.join("i2", agent="b-1")
        streams = [yard.hub.stream(mine), yard.hub.stream(other)]
        for stream in streams:
            await _next(stream)
        yard.hub.send(yard.hub.points("a-1"), "policies", {"order_id": "p"})
        yard.hub.send(yard.hub.points("b-*"), "config", {"order_id": "c"})

        assert [(await _next(stream))[0] for stream in streams] == ["policies", "config"]

    asyncio.run(story())


def test_collecting_ends_when_everybody_answered() -> None:
    """The wait is over with the last answer, and names each."""

    async def story() -> None:
        yard = Yard()
        guards = [yard.join("i1"), yard.join("i2")]
        yard.hub.send(guards, "config", {"order_id": "o"})
        waiting = asyncio.create_task(yard.hub.answers.collect("o", ["i1", "i2"], timeout_s=5))
        await asyncio.sleep(0)
        for guard in guards:
            yard.hub.acknowledge(guard, Ack(order_id="o", outcome="enforced", state={"rung": "pause"}))

        assert set(await asyncio.wait_for(waiting, 1)) == {"i1", "i2"}
        assert guards[0].state == {"rung": "pause"}

    asyncio.run(story())


def test_nobody_answers_for_another_agent() -> None:
    """A token bound to one agent may call its instance as it likes: it does not confirm what another agent was told."""
    yard = Yard()
    mine, other = yard.join("i1"), yard.join("i1", agent="b-1", token="theirs")
    yard.hub.send([mine], "terminate", {"order_id": "o"})

    yard.hub.acknowledge(other, Ack(order_id="o", outcome="enforced", detail={"process_tree_empty": True}))
    assert yard.hub.answers.acks("o") == {}
    yard.hub.acknowledge(mine, Ack(order_id="o", outcome="enforced"))
    assert set(yard.hub.answers.acks("o")) == {"i1"}


def test_collecting_gives_up_in_time() -> None:
    """Who did not answer is missing from the result, and an answer that comes later is still kept."""

    async def story() -> None:
        yard = Yard()
        guard = yard.join("i1")
        yard.hub.send([guard], "config", {"order_id": "o"})
        assert await yard.hub.answers.collect("o", ["i1"], timeout_s=0.01) == {}

        yard.hub.acknowledge(guard, Ack(order_id="o", outcome="enforced"))
        assert set(yard.hub.answers.acks("o")) == {"i1"}

    asyncio.run(story())


def test_a_lost_guard_is_expected_for_a_while() -> None:
    """A guard whose connection broke counts as unanswered, not as gone, until its time is up."""

    async def story() -> None:
        yard = Yard()
        guard = yard.join("i1")
        stream = yard.hub.stream(guard)
        await _next(stream)
        await stream.aclose()  # type: ignore[attr-defined]

        assert not guard.is_connected
        assert yard.hub.points("a-1") == [guard]
        yard.clock.move_by(GONE_AFTER_NS + 1)
        assert yard.hub.points("a-1") == []

    asyncio.run(story())


def test_a_guard_that_says_goodbye_is_not_expected() -> None:
    """An orderly end leaves nothing to wait for."""
    yard = Yard()
    yard.hub.depart(yard.join("i1"))

    assert yard.hub.points("a-1") == []


def test_the_same_process_registers_once() -> None:
    """A guard that comes back takes its own place; a supervisor beside it stays."""
    yard = Yard()
    first, supervisor = yard.join("i1"), yard.join("i1", kind="supervisor")
    second = yard.join("i1")

    assert yard.hub.points("a-1") == [second]
    assert yard.hub.points("a-1", kind="supervisor") == [supervisor]
    with pytest.raises(NotFoundError):
        yard.hub.guard(first.id, token_id="tok")


def test_a_guard_belongs_to_its_token() -> None:
    """Another token of the same fleet cannot answer for it."""
    yard = Yard()
    guard = yard.join("i1", token="tok_1")

    assert yard.hub.guard(guard.id, token_id="tok_1") is guard
    with pytest.raises(NotFoundError):
        yard.hub.guard(guard.id, token_id="tok_2")


def test_revoking_a_token_ends_its_streams() -> None:
    """The connections of a revoked token close at once."""

    async def story() -> None:
        yard = Yard()
        stream = yard.hub.stream(yard.join("i1", token="tok_1"))
        await _next(stream)
        yard.hub.revoke("tok_1")

        with pytest.raises(StopAsyncIteration):
            await asyncio.wait_for(anext(stream), 1)

    asyncio.run(story())


def test_a_guard_that_does_not_read_is_cut_off() -> None:
    """What waits for one guard is bounded; one that far behind starts over."""

    async def story() -> None:
        yard = Yard()
        guard = yard.join("i1")
        await _next(yard.hub.stream(guard))
        for number in range(MAX_QUEUED + 1):
            yard.hub.send([guard], "config", {"order_id": str(number)})

        assert not guard.is_connected

    asyncio.run(story())


def test_closing_ends_every_stream() -> None:
    """Open streams do not keep the server from stopping."""

    async def story() -> None:
        yard = Yard()
        streams = [yard.hub.stream(yard.join(name)) for name in ("i1", "i2")]
        for stream in streams:
            await _next(stream)
        yard.hub.close()
        for stream in streams:
            with pytest.raises(StopAsyncIteration):
                await asyncio.wait_for(anext(stream), 1)

    asyncio.run(story())


def test_an_agent_whose_processes_are_gone_is_not_expected() -> None:
    """What the supervisor saw end need not acknowledge; another host's processes still must."""
    yard = Yard()
    yard.hub.register(Registration(agent="a-1", instance="i1", host="h1"), token_id="tok")
    elsewhere = yard.hub.register(Registration(agent="a-1", instance="i2", host="h2"), token_id="tok")
    yard.hub.forget_agent_processes("a-1", host="h1")

    assert yard.hub.points("a-1") == [elsewhere]


@pytest.mark.parametrize("state", [{"breakers": [1]}, {"in_flight": 5}, {"in_flight": ["x"]}, {"steps_started": "many"}])
def test_a_state_that_cannot_be_read_is_refused(state: dict[str, Any]) -> None:
    """One guard that reports nonsense breaks no view of all guards, and its answer to an order confirms nothing."""
    yard = Yard()
    guard = yard.join("i1")
    yard.hub.update(guard, capabilities=(), state={"breakers": {"pay": "open"}, "in_flight": [{"tool": "pay"}]})

    with pytest.raises(CallerError, match=r"\$\."):
        yard.hub.update(guard, capabilities=("pause",), state=state)
    with pytest.raises(CallerError, match=r"\$\."):
        yard.hub.acknowledge(guard, Ack(order_id="a-1@1.0", outcome="enforced", state=state))
    assert guard.state == {"breakers": {"pay": "open"}, "in_flight": [{"tool": "pay"}]}
    assert guard.registration.capabilities == ()
