"""Telemetry in segments: the port's contract."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread

import pytest

from andoncord.adapters.parquet.reader import ParquetTelemetryReader
from andoncord.adapters.parquet.schema import READ_OUT, put_progress
from andoncord.adapters.parquet.writer import ParquetTelemetryWriter
from andoncord.adapters.sqlite.connection import transaction
from andoncord.testing.telemetry_contract import TelemetryStoreContract, a_batch


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
