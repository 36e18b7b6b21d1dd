"""Telemetry in segments: the port's contract."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from andoncord.adapters.parquet.reader import ParquetTelemetryReader
from andoncord.adapters.parquet.schema import READ_OUT, put_progress
from andoncord.adapters.parquet.writer import ParquetTelemetryWriter
from andoncord.adapters.sqlite.connection import transaction
from andoncord.kernel.time import DAY_NS
from andoncord.telemetry.batch import Beat
from andoncord.testing.telemetry_contract import TRACE, TelemetryStoreContract, a_batch, a_span, correct, move, record


class TestParquetStore(TelemetryStoreContract):
    """The store on one machine."""

    @pytest.fixture
    def open_writer(self, tmp_path: Path) -> Iterator[Callable[[], ParquetTelemetryWriter]]:
        opened: list[ParquetTelemetryWriter] = []

        def open_it() -> ParquetTelemetryWriter:
            opened.append(ParquetTelemetryWriter(tmp_path / "telemetry.db"))
            return opened[-1]

        yield open_it
        for writer in opened:
            writer.close()

    @pytest.fixture
    def open_reader(self, tmp_path: Path) -> Iterator[Callable[[], ParquetTelemetryReader]]:
        opened: list[ParquetTelemetryReader] = []

        def open_it() -> ParquetTelemetryReader:
            opened.append(ParquetTelemetryReader(tmp_path / "telemetry.db"))
            return opened[-1]

        yield open_it
        for reader in opened:
            reader.close()


def test_what_is_being_recorded_is_not_trimmed_before_it_is(tmp_path: Path) -> None:
    """A group that is taken back, for want of room on the disk, is still in the log, though trimming looked meanwhile."""
    writer = ParquetTelemetryWriter(tmp_path / "telemetry.db")
    writer.append([a_batch()])
    looked = Event()
    writer._upkeep.connection.set_trace_callback(lambda statement: looked.set() if "received_ns" in statement else None)
    trimming = Thread(target=writer.trim, kwargs={"log_before_ns": 1_000})
    with suppress(OSError), writer._turn, transaction(writer._store):
        put_progress(writer._store, READ_OUT, 1)
        trimming.start()
        assert looked.wait(10)
        raise OSError("no room")
    trimming.join(10)

    assert [batch.seq for batch in writer.unread(limit=9)] == [1]
    writer.close()


def test_short_looks_do_not_wait_for_long_ones(tmp_path: Path) -> None:
    """While somebody walks through the events, signs of life and findings are answered."""
    writer = ParquetTelemetryWriter(tmp_path / "telemetry.db")
    beat = Beat(agent="a", instance="i1", trusted=True, last_seen_ns=1, heartbeat_ns=1)
    writer.record(seq=None, events=(), findings=(), beats=[beat], ledger=(), now_ns=0)
    reader = ParquetTelemetryReader(tmp_path / "telemetry.db")
    seen: list[Any] = []
    looks = (reader.beats, reader.fleet, reader.stored, reader.lag, reader.ledger, lambda: reader.findings(after=0, limit=9))
    with reader._look:
        thread = Thread(target=lambda: seen.extend(look() for look in looks), daemon=True)
        thread.start()
        thread.join(5)
        assert seen == [(beat,), (), 0, 0, (), ()]
    reader.close()
    writer.close()


def test_processes_that_others_came_after_are_forgotten(tmp_path: Path) -> None:
    """Each start of an agent is another process: the store does not grow by one for ever, and no agent is forgotten."""
    writer = ParquetTelemetryWriter(tmp_path / "telemetry.db")
    beats = [
        Beat(agent=agent, instance=instance, trusted=trusted, last_seen_ns=at_ns, heartbeat_ns=at_ns)
        for agent, instance, trusted, at_ns in (
            ("often", "old", True, DAY_NS),
            ("often", "late", True, 9 * DAY_NS),
            ("often", "now", True, 10 * DAY_NS),
            ("seldom", "old", True, DAY_NS),
            ("forged", "old", False, DAY_NS),
            ("unbound", "lately", False, 8 * DAY_NS),
        )
    ]
    writer.record(seq=None, events=(), findings=(), beats=beats, ledger=(), now_ns=0)
    writer.retain(now_ns=10 * DAY_NS, before_ns=3 * DAY_NS, keep_bytes=1, holds=())

    assert [(beat.agent, beat.instance) for beat in writer.beats()] == [
        ("often", "late"),
        ("often", "now"),
        ("seldom", "old"),
        ("unbound", "lately"),
    ]
    writer.close()


def test_many_corrections_are_written_into_the_segments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was replaced does not pile up: the segment with most of it is written anew, and one that is empty goes."""
    monkeypatch.setattr("andoncord.adapters.parquet.upkeep.MAX_REPLACED", 2)
    writer = ParquetTelemetryWriter(tmp_path / "telemetry.db")
    for first in (1, 11):
        record(writer, [a_span(number, agent="shop") for number in range(first, first + 4)], seq=first)
        move(writer)
    correct(writer, agent="refunds", spans={1, 11, 12, 13, 14})
    count = "SELECT (SELECT count(*) FROM replaced), (SELECT count(*) FROM segments)"

    assert writer.settle(now_ns=0)
    assert writer._store.execute(count).fetchone() == (1, 1)
    assert not writer.settle(now_ns=0)
    reader = ParquetTelemetryReader(tmp_path / "telemetry.db")
    assert [event.agent for event in reader.trace(TRACE)] == ["refunds", "shop", "shop", "shop", *["refunds"] * 4]
    assert (reader.storage().events, reader.storage().expired) == (8, 0)
    reader.close()
    writer.close()
