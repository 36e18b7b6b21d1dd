"""Batches on their way from the log to the pipeline."""

import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
from tests.server.test_pipeline import batch, spans

from andoncord.adapters.parquet.writer import ParquetTelemetryWriter
from andoncord.server.inbox import Inbox
from andoncord.server.prepare import decode
from andoncord.telemetry.batch import unpack_body


def test_places_that_no_batch_stands_at_do_not_hide_those_after_them(tmp_path: Path) -> None:
    """Where places were given to batches that are not there, what comes next is still handed out."""
    place = tmp_path / "telemetry.db"
    ParquetTelemetryWriter(place).close()
    with closing(sqlite3.connect(place)) as connection, connection:
        connection.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('ingest_log', 5)")
    writer = ParquetTelemetryWriter(place)
    inbox = Inbox(writer, lambda batch: decode(batch, unpack_body(batch.body_gz)))

    assert inbox.backlog == 5
    assert not inbox.take()
    body = spans("01" * 8)
    (seq,) = writer.append([batch(body)])
    inbox.offer(msgspec.structs.replace(batch(body), seq=seq), decode(batch(body), body))
    assert [item[0].seq for item in inbox.take()] == [seq]
    writer.close()
