"""`andon verify`, without a server."""

import gzip
import hashlib
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from andoncord.adapters.parquet.writer import ParquetTelemetryWriter
from andoncord.adapters.sql.database import Database
from andoncord.adapters.sql.journal import SqlJournal
from andoncord.adapters.sql.migrate import migrate
from andoncord.cli.verify import Checked, check_record
from andoncord.kernel.journal import Draft, extend
from andoncord.server.feeds import digest_of
from andoncord.telemetry.batch import Batch, Encoding, Signal

NOTES = 40


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A record with notes and one digest over two batches of telemetry."""
    bodies = [b'{"resourceSpans": []}', b'{"resourceSpans": [{}]}']
    writer = ParquetTelemetryWriter(tmp_path / "telemetry.db")
    batches = [
        Batch(
            received_ns=1,
            signal=Signal.TRACES,
            encoding=Encoding.JSON,
            body_gz=gzip.compress(body),
            sha256=hashlib.sha256(body).hexdigest(),
        )
        for body in bodies
    ]
    writer.append(batches)
    writer.close()
    digest = {"first_seq": 1, "last_seq": 2, "sha256": digest_of(batch.sha256 for batch in batches)}
    notes = [Draft(kind="note.added", by="person:ana", body={"text": f"note number {number}"}) for number in range(NOTES)]
    database = Database.in_file(tmp_path / "control.db")
    migrate(database)
    SqlJournal(database).append(extend(None, [*notes, Draft(kind="telemetry.digested", body=digest)], now=7))
    database.close()
    return tmp_path


def test_an_untouched_record_holds(home: Path) -> None:
    """Everything is counted and the head is named."""
    checked = check_record(home)

    assert (checked.ok, checked.entries, checked.batches) == (True, NOTES + 1, 2)
    assert len(checked.head) == 64


def test_a_flipped_byte_in_a_file_is_found(home: Path) -> None:
    """One byte changed on the disk is found, with the entry it is in."""
    path = home / "control.db"
    content = bytearray(path.read_bytes())
    place = content.index(b"note number 17")
    content[place + 5] ^= 0x01
    path.write_bytes(content)

    checked = check_record(home)
    assert not checked.ok
    assert checked.broken is not None
    assert (checked.broken.seq, checked.broken.reason) == (18, "its content does not match its digest")


def test_every_flipped_byte_of_an_entry_is_found(home: Path, tmp_path: Path) -> None:
    """Wherever in an entry's row the byte is: text, digest, or what holds them together."""
    content = (home / "control.db").read_bytes()
    start = (
        content.index(b"note.addedperson:ana") if b"note.addedperson:ana" in content else content.index(b"note number 17") - 40
    )
    other = tmp_path / "copy"
    other.mkdir()
    for place in range(start, start + 200, 9):
        changed = bytearray(content)
        changed[place] ^= 0x10
        (other / "control.db").write_bytes(changed)
        shutil.rmtree(other / "control.db-wal", ignore_errors=True)
        assert not check_record(other).ok, place


def test_a_changed_entry_is_found_though_its_digest_was_made_anew(home: Path) -> None:
    """Who changes an entry and its digest breaks the link to the next one."""
    with sqlite3.connect(home / "control.db") as connection:
        connection.execute("DROP TRIGGER journal_is_never_changed")
        connection.execute("UPDATE journal SET digest = ? WHERE seq = 5", ("0" * 64,))
    connection.close()

    assert not check_record(home).ok


def test_a_missing_entry_is_found(home: Path) -> None:
    """A gap is named."""
    with sqlite3.connect(home / "control.db") as connection:
        connection.execute("DROP TRIGGER journal_is_never_cut")
        connection.execute("DELETE FROM journal WHERE seq = 9")
    connection.close()
    broken = check_record(home).broken

    assert broken is not None
    assert broken.seq == 9


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE ingest_log SET body_gz = (SELECT body_gz FROM ingest_log WHERE seq = 1)",
        "UPDATE ingest_log SET body_gz = x'00' WHERE seq = 2",
    ],
)
def test_changed_telemetry_is_found(home: Path, change: str) -> None:
    """What was seen is held by its digest in the journal."""
    with sqlite3.connect(home / "telemetry.db") as connection:
        connection.execute(change)
    connection.close()
    broken = check_record(home).broken

    assert broken is not None
    assert broken.seq == NOTES + 1


def test_telemetry_past_its_retention_is_no_break(home: Path) -> None:
    """What is not kept any more cannot be compared, and is not counted."""
    with sqlite3.connect(home / "telemetry.db") as connection:
        connection.execute("DELETE FROM ingest_log WHERE seq = 1")
    connection.close()
    checked = check_record(home)

    assert (checked.ok, checked.batches) == (True, 0)


def test_the_command_says_and_exits(home: Path, tmp_path: Path) -> None:
    """0 and one JSON document when the record holds, 1 when it does not, 3 when there is none."""

    def run(folder: Path) -> tuple[int, str]:
        command = [sys.executable, "-m", "andoncord.cli.main", "verify", "--home", str(folder), "-o", "json"]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        return ended.returncode, ended.stdout

    code, said = run(home)
    assert (code, msgspec.json.decode(said, type=Checked).ok) == (0, True)
    with sqlite3.connect(home / "control.db") as connection:
        connection.execute("DROP TRIGGER journal_is_never_changed")
        connection.execute("UPDATE journal SET at_ns = 8 WHERE seq = 5")
    connection.close()
    code, said = run(home)
    assert (code, msgspec.json.decode(said)["broken"]["seq"]) == (1, 5)
    assert run(tmp_path / "nowhere")[0] == 3
