"""Telemetry in segments: the port's contract."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from andoncord.adapters.parquet.reader import ParquetTelemetryReader
from andoncord.adapters.parquet.writer import ParquetTelemetryWriter
from andoncord.testing.telemetry_contract import TelemetryStoreContract


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
