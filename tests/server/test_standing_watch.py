"""Orders about one tool or run are watched for as long as they are in force."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from andoncord.adapters.parquet.reader import ParquetTelemetryReader
from andoncord.adapters.parquet.writer import ParquetTelemetryWriter
from andoncord.engine.facts import Fact, ReceiptArrived
from andoncord.engine.state import State
from andoncord.kernel.effect import Outcome, Receipt
from andoncord.kernel.time import SECOND_NS
from andoncord.server.standing_watch import UNANSWERED_NS, StandingWatch
from andoncord.telemetry.batch import event_key
from andoncord.telemetry.event import Event, EventKind
from andoncord.testing.story import Story
from andoncord.testing.system import HandClock


class Told:
    """Decides at once, as the engine does, and keeps what follows in the story."""

    def __init__(self, story: Story) -> None:
        self._story = story

    @property
    def state(self) -> State:
        return self._story.state

    async def submit(self, fact: Fact) -> object:
        return self._story.submit(fact)


@pytest.mark.parametrize(
    ("change", "is_broken"),
    [
        ({}, True),
        ({"name": "look"}, False),
        ({"trusted": False}, False),
        ({"start_ns": -1}, False),
        ({"instance": "i2"}, False),
        ({"instance": "i2", "start_ns": UNANSWERED_NS + SECOND_NS}, True),
        ({"kind": EventKind.TOOL_COMPLETED}, True),
    ],
)
def test_a_call_that_begins_later_takes_the_verdict_back(tmp_path: Path, change: dict[str, Any], is_broken: bool) -> None:
    """Of the tool, told by the agent itself, after its process had answered; or long after the order, where it had not."""
    story = Story()
    story.ask("order", incident="", rung="kill", agents=["refunds"], about={"tool": "pay"}, reason="fraud")
    (order,) = (each for each in story.state.intents.values() if each.standing)
    clock = HandClock()
    answered_ns = max(clock.now(), order.issued_ns)
    ack = {"instance": "i1", "outcome": "enforced", "at_ns": answered_ns, "state": {"steps_started": 1}}
    receipt = Receipt(intent=order.id, outcome=Outcome.DONE, at_ns=answered_ns, detail={"acks": [ack]})
    story.submit(ReceiptArrived(receipt=receipt))
    story.run()
    event = Event(
        **{
            "kind": EventKind.STEP_STARTED,
            "agent": "refunds",
            "instance": "i1",
            "name": "pay",
            "span_id": "s1",
            "trusted": True,
            **change,
            "start_ns": answered_ns + change.get("start_ns", 5 * SECOND_NS),
        }
    )
    ParquetTelemetryWriter(tmp_path / "telemetry.db").record(
        seq=None, events=[(event_key(event), event)], findings=(), beats=(), ledger=(), now_ns=0
    )
    reader = ParquetTelemetryReader(tmp_path / "telemetry.db")
    watch = StandingWatch(engine=Told(story), telemetry=reader, clock=clock)

    asyncio.run(watch.look())

    verdicts = [str(given.verdict) for given in story.state.incidents["inc_000001"].verdicts]
    assert verdicts == ["VERIFIED", "FAILED"] if is_broken else ["VERIFIED"]
