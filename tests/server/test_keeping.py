"""The housekeeping of the telemetry store, and the evidence that it leaves alone."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from andoncord.adapters.parquet import writer as store
from andoncord.adapters.parquet.reader import ParquetTelemetryReader
from andoncord.adapters.parquet.writer import ParquetTelemetryWriter
from andoncord.engine.holds import holds_of
from andoncord.engine.state import State
from andoncord.incident.incident import Incident
from andoncord.kernel.time import DAY_NS, HOUR_NS, MINUTE_NS, SECOND_NS, Instant
from andoncord.kernel.vocabulary import Category, Disposition, IncidentState, Pattern, Severity, SevLevel
from andoncord.server.holds import MAX_AGE_NS, HoldFeed, read_holds
from andoncord.server.keeping import Keeper
from andoncord.server.settings import TelemetrySettings
from andoncord.telemetry.holding import Hold
from andoncord.testing.system import HandClock
from andoncord.testing.telemetry_contract import a_finding, a_span, record


class Store:
    """A store with a housekeeper whose clock stands still; what is evidence is read from a file."""

    def __init__(self, folder: Path) -> None:
        self.clock = HandClock()
        self.holds = folder / "holds.json"
        self.writer = ParquetTelemetryWriter(folder / "telemetry.db")
        self.reader = ParquetTelemetryReader(folder / "telemetry.db")
        self.keeper = Keeper(
            writer=self.writer,
            clock=self.clock,
            settings=TelemetrySettings(keep_days=1),
            holds=lambda now: read_holds(self.holds, now),
        )

    def receive(self, number: int) -> None:
        """One span of a trace of its own, now."""
        now = self.clock.now()
        record(self.writer, [a_span(number, trace=f"{number:032x}", at_ns=now, received_ns=now)], seq=None)

    def kept(self) -> list[int]:
        return [number for number in range(1, 10) if self.reader.trace(f"{number:032x}")]


@pytest.fixture
def store_of(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path)
    yield made
    made.reader.close()
    made.writer.close()


def an_incident(**over: object) -> Incident:
    fields: dict[str, Any] = {
        "id": "inc_1",
        "title": "t",
        "state": IncidentState.RESOLVED,
        "severity": Severity.HIGH,
        "sev": SevLevel.SEV2,
        "category": Category.DECISION_FAILURE,
        "pattern": Pattern.INFINITE_LOOP,
        "agents": ("a-1",),
        "environment": "",
        "opened_ns": 9 * DAY_NS,
        "onset_ns": 8 * DAY_NS,
        "detected_ns": 9 * DAY_NS,
        "resolved_ns": 10 * DAY_NS,
        "findings": (msgspec.structs.replace(a_finding("f"), trace_id="ab" * 16),),
    }
    return Incident(**{**fields, **over})


def test_an_incident_holds_its_agents_and_traces_until_its_review() -> None:
    """From a day before its onset until it was resolved; one that was none holds until it is closed."""
    state = State()
    state.incidents["inc_1"] = an_incident()
    hold = Hold(incident="inc_1", agents=("a-1",), from_ns=7 * DAY_NS, until_ns=10 * DAY_NS, traces=("ab" * 16,))
    assert holds_of(state) == (hold,)

    state.incidents["inc_1"] = an_incident(state=IncidentState.REVIEWED)
    assert holds_of(state) == ()
    state.incidents["inc_1"] = an_incident(disposition=Disposition.FALSE_POSITIVE)
    assert holds_of(state) == ()
    state.incidents["inc_1"] = an_incident(disposition=Disposition.TEST, state=IncidentState.CONTAINED, resolved_ns=0)
    assert holds_of(state)[0].until_ns == 2**63 - 1


def test_what_is_old_goes_and_evidence_stays(store_of: Store) -> None:
    """The keeper moves what is old into a segment, and deletes what is past its time and held by nobody."""
    store_of.receive(1)
    store_of.receive(2)
    store_of.clock.move_by(16 * MINUTE_NS)
    store_of.keeper.look()
    assert (store_of.reader.storage().segments, store_of.kept()) == (1, [1, 2])

    store_of.clock.move_by(2 * DAY_NS)
    held = (Hold(incident="inc_1", traces=(f"{2:032x}",)),)
    HoldFeed(store_of.holds, clock=store_of.clock, holds=lambda: held).write()
    store_of.keeper.look()
    assert store_of.kept() == [2]
    storage = store_of.reader.storage()
    assert (storage.events, storage.expired) == (1, 1)


def test_nothing_is_deleted_on_old_word(store_of: Store) -> None:
    """Where nobody has said for a while what is evidence, everything stays."""
    store_of.receive(1)
    store_of.clock.move_by(2 * DAY_NS)
    store_of.keeper.look()
    assert store_of.kept() == [1]

    feed = HoldFeed(store_of.holds, clock=store_of.clock, holds=lambda: ())
    feed.write()
    store_of.clock.move_by(MAX_AGE_NS + SECOND_NS)
    assert store_of.keeper.retain() == 0
    store_of.holds.write_bytes(b"{")
    assert store_of.keeper.retain() == 0
    feed.write()
    assert store_of.keeper.retain() == 1
    assert store_of.kept() == []


def test_the_word_is_renewed_before_it_is_old(tmp_path: Path) -> None:
    """What is held is written when it changes, and again from time to time when it does not."""
    clock, path = HandClock(), tmp_path / "holds.json"
    held: tuple[Hold, ...] = ()
    feed = HoldFeed(path, clock=clock, holds=lambda: held)
    feed.write()
    for _ in range(60):
        clock.move_by(MINUTE_NS)
        feed.write()
        assert read_holds(path, Instant(clock.now() + MINUTE_NS)) == ()
    held = (Hold(incident="inc_1"),)
    feed.write()
    assert read_holds(path, clock.now()) == held
    assert read_holds(path, Instant(clock.now() + HOUR_NS)) is None


def test_a_tail_that_is_too_long_makes_the_pipeline_wait(store_of: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recording waits until something was moved, so that the backlog grows and senders are told to come later."""
    monkeypatch.setattr(store, "MAX_TAIL_RAW_BYTES", 1)
    monkeypatch.setattr(store, "TAIL_WAIT_S", 30.0)
    store_of.receive(1)
    recorded = threading.Event()

    def receive() -> None:
        store_of.receive(2)
        recorded.set()

    threading.Thread(target=receive, daemon=True).start()
    assert not recorded.wait(0.2)
    store_of.writer.settle(now_ns=store_of.clock.now(), everything=True)
    assert recorded.wait(10)
    assert store_of.kept() == [1, 2]


def test_a_fault_in_what_is_held_does_not_end_the_server(tmp_path: Path) -> None:
    """Whatever breaks while it is worked out is told, what was written last stands, and the next look writes again."""
    clock, held = HandClock(), (Hold(incident="inc_1"),)
    looks: list[int] = []
    written = asyncio.Event()

    def holds() -> tuple[Hold, ...]:
        looks.append(1)
        if len(looks) == 2:
            raise KeyError("inc_2")
        if len(looks) == 4:
            written.set()
        return held

    async def story() -> None:
        feed = HoldFeed(tmp_path / "holds.json", clock=clock, holds=holds, every_s=0.0)
        running = asyncio.create_task(feed.run())
        await asyncio.wait({running, asyncio.create_task(written.wait())}, timeout=5, return_when=asyncio.FIRST_COMPLETED)
        assert not running.done()
        assert read_holds(tmp_path / "holds.json", clock.now()) == held
        running.cancel()

    asyncio.run(story())
    assert len(looks) >= 4
