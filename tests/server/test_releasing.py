"""Letting side effects go: each once, whatever is interrupted in between."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from andoncord.adapters.sql.database import Database
from andoncord.adapters.sql.ledger import SqlEffectLedger
from andoncord.adapters.sql.migrate import migrate
from andoncord.engine.state import State
from andoncord.kernel.effect import Effect, EffectKind, Outcome, Receipt
from andoncord.server import releasing
from andoncord.server.hub import GuardHub
from andoncord.server.points import Force, Guard, Registration
from andoncord.server.releasing import ReleasePerformer
from andoncord.testing.system import CountedEntropy, HandClock

TOLD = {"id": "eff_1", "run_id": "r", "tool": "t", "arguments": "{}", "digest": "d"}
EFFECT = Effect(
    kind=EffectKind.RELEASE,
    target="a",
    incident="",
    key="k",
    deadline_ms=30_000,
    reversal="none",
    parameters={"effects": [TOLD]},
)


class Killed(BaseException):
    """The server ends between two writes."""


class EndsOnce(SqlEffectLedger):
    """A ledger whose process ends before it completes one entry, the first time."""

    def __init__(self, database: Database, at: str) -> None:
        super().__init__(database)
        self._at = at

    def complete(self, key: str, receipt: Receipt) -> None:
        if key == self._at:
            self._at = ""
            raise Killed
        super().complete(key, receipt)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(f"sqlite:///{tmp_path}/control.db")
    migrate(opened)
    yield opened
    opened.close()


async def _connected(hub: GuardHub, instance: str) -> tuple[Guard, Any]:
    registration = Registration(agent="a", instance=instance, kind="guard", capabilities=("outbox",), host="h", pid=1)
    guard = hub.register(registration, token_id="tok")
    stream = hub.stream(guard)
    await anext(stream)
    return guard, stream


async def _asked(stream: Any) -> dict[str, Any]:
    async for event in stream:
        lines = dict(line.split(": ", 1) for line in event.decode().strip().splitlines())
        if lines["event"] == "release":
            return dict(json.loads(lines["data"]))
    raise AssertionError("the stream ended")


@pytest.mark.parametrize("at", ["k/eff_1?", "k/eff_1@i-1"])
def test_two_ends_in_a_row_do_not_have_it_done_twice(at: str, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """That it is about to be asked is written in two steps: after an end between them it still counts as asked."""
    monkeypatch.setattr(releasing, "FIND_S", 0.05)

    async def story() -> Receipt:
        hub = GuardHub(clock=HandClock(), entropy=CountedEntropy(), force=lambda agent: Force(rung="none", epoch=(1, 0)))
        performer = ReleasePerformer(
            hub=hub,
            ledger=EndsOnce(database, at),
            clock=HandClock(),
            state=State,
            is_repeatable=lambda agent, tool: False,
            exact=lambda agent, told: told,
        )
        first, stream = await _connected(hub, "i-1")
        with pytest.raises(Killed):
            await performer.perform("i", EFFECT)
        again = asyncio.ensure_future(performer.perform("i", EFFECT))
        await _asked(stream)  # It does it, and the server ends before it hears so.
        again.cancel()
        await asyncio.gather(again, return_exceptions=True)

        hub.depart(first)
        _, other = await _connected(hub, "i-2")
        receipt = await asyncio.wait_for(performer.perform("i", EFFECT), 2.0)
        hub.close()
        with pytest.raises((AssertionError, StopAsyncIteration)):
            await _asked(other)
        return receipt

    receipt = asyncio.run(story())
    assert (receipt.outcome, receipt.detail["effects"]["eff_1"]["state"]) == (Outcome.FAILED, "unknown")
