"""An older `telemetry.db` is brought forward."""

import sqlite3
from pathlib import Path

import pytest

from andoncord.adapters.parquet.reader import ParquetTelemetryReader
from andoncord.adapters.parquet.schema import VERSION, prepare
from andoncord.adapters.parquet.writer import ParquetTelemetryWriter
from andoncord.kernel.errors import CallerError
from andoncord.testing.telemetry_contract import TRACE, a_span, correct, move, record

VERSION_1 = Path(__file__).parent / "telemetry_v1.sql"


def old_home(folder: Path) -> Path:
    """A `telemetry.db` as version 1 left it: two batches, the first read out, three events kept of four that were stored."""
    place = folder / "telemetry.db"
    with sqlite3.connect(place) as connection:
        connection.executescript(VERSION_1.read_text(encoding="utf-8"))
    connection.close()
    return place


def test_a_file_of_the_first_version_goes_on(tmp_path: Path) -> None:
    """Events, findings, places and the ledger are there after the step, and what was sent before is still known."""
    place = old_home(tmp_path)
    old = ParquetTelemetryReader(place)
    assert [batch.sha256 for batch in old.batches(first=1, last=9)] == ["one", "two"]
    with pytest.raises(CallerError, match="older version"):
        old.trace(TRACE)
    old.close()

    prepare(place)
    reader, writer = ParquetTelemetryReader(place), ParquetTelemetryWriter(place)

    assert [int(event.span_id, 16) for event in reader.trace(TRACE)] == [1, 2]
    assert reader.trace(TRACE)[1].arguments == '{"order": "ü"}'
    assert len(reader.of_kind_since("a-1", kinds=("heartbeat",), after_ns=0, limit=9)) == 1
    assert [finding.id for _, finding in reader.findings(after=0, limit=9)] == ["f1"]
    assert [beat.instance for beat in reader.beats()] == ["i1"]
    assert [batch.sha256 for batch in writer.unread(limit=9)] == ["two"]
    assert record(writer, [a_span(1), a_span(2, agent="b"), a_span(3)], seq=2) == 1
    storage = reader.storage()
    assert (storage.events, storage.expired) == (4, 1)
    reader.close()
    writer.close()


def test_a_file_of_the_second_version_goes_on(tmp_path: Path) -> None:
    """The tail, the ledger, findings and processes are as they were, and events can be corrected from then on."""
    place = tmp_path / "telemetry.db"
    with sqlite3.connect(place) as connection:
        connection.executescript(VERSION_1.with_name("telemetry_v2.sql").read_text(encoding="utf-8"))
    connection.close()
    with pytest.raises(CallerError, match="older version"):
        ParquetTelemetryReader(place).trace(TRACE)

    prepare(place)
    reader, writer = ParquetTelemetryReader(place), ParquetTelemetryWriter(place)

    assert [event.arguments for event in reader.trace(TRACE)] == ["", '{"order": "ü"}']
    assert len(reader.of_kind_since("a-1", kinds=("heartbeat",), after_ns=0, limit=9)) == 1
    assert [finding.id for _, finding in reader.findings(after=0, limit=9)] == ["f1"]
    assert [beat.instance for beat in reader.beats()] == ["i1"]
    assert [batch.sha256 for batch in writer.unread(limit=9)] == ["two"]
    assert record(writer, [a_span(1), a_span(3)], seq=2) == 1
    correct(writer, agent="refunds", spans={2})
    move(writer)
    assert [event.agent for event in reader.trace(TRACE)] == ["a-1", "refunds", "a-1"]
    assert (reader.storage().events, reader.storage().stored) == (4, 3)
    reader.close()
    writer.close()


def test_a_step_that_was_cut_off_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events move a few at a time; those that had moved before the crash are not moved again."""
    place = old_home(tmp_path)
    monkeypatch.setattr("andoncord.adapters.parquet.schema.MOVED_AT_ONCE", 1)
    with sqlite3.connect(place) as connection:
        connection.execute(
            "CREATE TRIGGER cut BEFORE DELETE ON events WHEN OLD.id = 2 BEGIN SELECT RAISE(ABORT, 'cut off'); END"
        )
    with pytest.raises(sqlite3.IntegrityError, match="cut off"):
        prepare(place)
    assert connection.execute("SELECT (SELECT count(*) FROM events), (SELECT sum(rows) FROM tail)").fetchone() == (2, 1)
    connection.execute("DROP TRIGGER cut")
    connection.close()
    prepare(place)

    reader = ParquetTelemetryReader(place)
    assert [int(event.span_id, 16) for event in reader.trace(TRACE)] == [1, 2]
    assert reader.storage().events == 3
    reader.close()


def test_a_newer_file_is_refused(tmp_path: Path) -> None:
    """What a later version wrote is left alone, and the message says what to do."""
    place = tmp_path / "telemetry.db"
    with sqlite3.connect(place) as connection:
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    connection.close()

    with pytest.raises(CallerError, match="newer version"):
        prepare(place)
