"""Performers that work on the record."""

import asyncio
from pathlib import Path

import pytest

from andoncord.adapters.parquet.reader import ParquetTelemetryReader
from andoncord.adapters.parquet.writer import ParquetTelemetryWriter
from andoncord.kernel.effect import Effect, EffectKind, Outcome
from andoncord.server.cases import ReviewPerformer, case_of
from andoncord.server.casework import InvestigatePerformer
from andoncord.telemetry.batch import Beat, event_key
from andoncord.telemetry.event import Event, EventKind
from andoncord.testing.clock import OPENING
from andoncord.testing.story import Story, finding
from andoncord.testing.system import HandClock


@pytest.fixture
def telemetry(tmp_path: Path) -> ParquetTelemetryReader:
    """A store with one event and one sign of life of two agents each."""
    writer = ParquetTelemetryWriter(tmp_path / "telemetry.db")
    for agent in ("a", "b"):
        event = Event(kind=EventKind.TOOL_COMPLETED, agent=agent, trace_id=agent * 32, span_id="1", start_ns=OPENING - 5)
        beat = Beat(agent=agent, instance="i1", trusted=True, last_seen_ns=OPENING)
        writer.record(seq=None, events=[(event_key(event), event)], findings=(), beats=[beat], ledger=(), now_ns=0)
    return ParquetTelemetryReader(tmp_path / "telemetry.db")


@pytest.fixture
def story() -> Story:
    """A loop that was found, contained and recovered from."""
    told = Story()
    told.find(finding())
    told.run()
    return told


def effect(kind: EffectKind, **parameters: object) -> Effect:
    return Effect(
        kind=kind, target="a", incident="inc_1", key="k", deadline_ms=2_000, reversal="nothing to undo", parameters=parameters
    )


def test_an_investigation_reads_the_store(telemetry: ParquetTelemetryReader) -> None:
    """What the agents did comes back as a ranking and a timeline."""
    performer = InvestigatePerformer(telemetry=telemetry, clock=HandClock())
    receipt = asyncio.run(performer.perform("i", effect(EffectKind.INVESTIGATE, agents=["a"], traces=["a" * 32], findings=[])))

    assert receipt.outcome is Outcome.DONE
    assert {"timeline", "responsible", "root_causes"} <= set(receipt.detail)


def test_a_review_is_a_file_of_its_own(story: Story, tmp_path: Path) -> None:
    """The draft is on disk and in the receipt."""
    incident = next(iter(story.state.incidents.values()))
    performer = ReviewPerformer(folder=tmp_path / "reviews", clock=HandClock(), state=lambda: story.state)
    wanted = Effect(kind=EffectKind.REVIEW, target="refunds", incident=incident.id, key="k", deadline_ms=1, reversal="-")
    receipt = asyncio.run(performer.perform("i", wanted))

    assert Path(receipt.detail["path"]).read_text() == receipt.detail["review"]["markdown"]
    assert "payments.refund repeated" in receipt.detail["review"]["markdown"]


def test_a_case_holds_what_was_ordered(story: Story) -> None:
    """Learning sees every order with who confirmed it."""
    incident = next(iter(story.state.incidents.values()))
    case = case_of(story.state, incident)

    assert case.incident == incident.id
    assert [order["rung"] for order in case.orders][:1] == ["pause"]
    assert case.orders[0]["confirmed"] <= case.orders[0]["asked"]
