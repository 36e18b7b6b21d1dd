"""A backup of a data directory."""

import sqlite3
from pathlib import Path

import pytest

from andoncord.adapters.parquet.reader import ParquetTelemetryReader
from andoncord.adapters.parquet.writer import ParquetTelemetryWriter
from andoncord.adapters.system.backup import back_up, restore
from andoncord.adapters.system.lock import DirectoryLock
from andoncord.kernel.errors import CallerError
from andoncord.kernel.time import Instant
from andoncord.testing.telemetry_contract import TRACE, a_span, record

NOW = Instant(1_767_225_600_000_000_000)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A data directory with events in a segment and in the tail, a journal, evidence, and keys of this machine."""
    home = tmp_path / "home"
    (home / "evidence" / "inc_000001").mkdir(parents=True)
    (home / "evidence" / "inc_000001" / "events.jsonl").write_text("{}")
    (home / "lease.key").write_text("secret")
    with sqlite3.connect(home / "control.db") as control:
        control.execute("CREATE TABLE journal (seq INTEGER)")
        control.execute("INSERT INTO journal VALUES (7)")
    control.close()
    writer = ParquetTelemetryWriter(home / "telemetry.db")
    record(writer, [a_span(1)], seq=1)
    writer.settle(now_ns=0, everything=True)
    record(writer, [a_span(2)], seq=2)
    writer.close()
    return home


def spans_in(home: Path) -> list[int]:
    reader = ParquetTelemetryReader(home / "telemetry.db")
    try:
        return [int(event.span_id, 16) for event in reader.trace(TRACE)]
    finally:
        reader.close()


def test_a_restored_backup_is_as_it_was(home: Path, tmp_path: Path) -> None:
    """What came after the backup is not in it, what was there is, and merged or deleted files do not matter to it."""
    writer = ParquetTelemetryWriter(home / "telemetry.db")
    made = back_up(home, tmp_path / "backup", now=NOW)
    record(writer, [a_span(3)], seq=3)
    writer.settle(now_ns=0, everything=True)
    writer.retain(now_ns=0, before_ns=2**62, keep_bytes=0, holds=())
    writer.sweep(now_ns=2**62)
    writer.close()
    restore(tmp_path / "backup", tmp_path / "new")

    assert made.has_control
    assert spans_in(home) == []
    assert spans_in(tmp_path / "new") == [1, 2]
    again = ParquetTelemetryWriter(tmp_path / "new" / "telemetry.db")
    assert record(again, [a_span(1), a_span(2), a_span(3)], seq=3) == 1
    again.close()
    assert sqlite3.connect(tmp_path / "new" / "control.db").execute("SELECT seq FROM journal").fetchall() == [(7,)]
    assert (tmp_path / "new" / "evidence" / "inc_000001" / "events.jsonl").read_text() == "{}"
    assert not (tmp_path / "new" / "lease.key").exists()
    assert (tmp_path / "backup").stat().st_mode & 0o777 == 0o700


def test_what_a_restore_refuses(home: Path, tmp_path: Path) -> None:
    """A backup that is not whole, a folder that is none, a home that has a record, and one whose server runs."""
    back_up(home, tmp_path / "backup", now=NOW)
    with pytest.raises(CallerError, match="already has a record"):
        restore(tmp_path / "backup", home)
    with pytest.raises(CallerError, match="is no backup"):
        restore(tmp_path, tmp_path / "new")
    (tmp_path / "held").mkdir()
    lock = DirectoryLock(tmp_path / "held" / "serve.lock")
    with pytest.raises(CallerError, match="another server"):
        restore(tmp_path / "backup", tmp_path / "held")
    lock.close()
    copied = tmp_path / "backup" / "control.db"
    copied.write_bytes(copied.read_bytes()[:-1] + b"x")
    with pytest.raises(CallerError, match="not as it was written"):
        restore(tmp_path / "backup", tmp_path / "new")
    assert not (tmp_path / "new" / "telemetry.db").exists()


def test_what_a_backup_refuses(home: Path, tmp_path: Path) -> None:
    """It never writes over anything, and a folder without a record is none."""
    with pytest.raises(CallerError, match="not empty"):
        back_up(home, home, now=NOW)
    with pytest.raises(CallerError, match="no record"):
        back_up(tmp_path, tmp_path / "backup", now=NOW)
    next((home / "segments").glob("*.parquet")).unlink()
    with pytest.raises(CallerError, match="missing"):
        back_up(home, tmp_path / "backup", now=NOW)
    assert list((tmp_path / "backup").iterdir()) == []
