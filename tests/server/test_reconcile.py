"""The loss ledger against the store."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from andoncord.adapters.parquet.reader import ParquetTelemetryReader
from andoncord.adapters.parquet.writer import ParquetTelemetryWriter
from andoncord.server.prepare import decode
from andoncord.server.reconcile import reconcile
from andoncord.telemetry.batch import Batch, Encoding, LedgerLine, Signal, event_key

AT_NS = 1_767_603_600_000_000_000


class Store:
    """Both sides of a store, and a way to receive spans or log records."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.writer = ParquetTelemetryWriter(folder / "telemetry.db")
        self.reader = ParquetTelemetryReader(folder / "telemetry.db")

    def receive(self, signal: Signal, numbers: list[int], *, lose: int = 0) -> None:
        """Receive one batch, and lose the first `lose` of its events."""
        if signal is Signal.TRACES:
            spans = [
                {
                    "traceId": f"{number:032x}",
                    "spanId": f"{number:016x}",
                    "startTimeUnixNano": str(AT_NS),
                    "endTimeUnixNano": str(AT_NS + number),
                }
                for number in numbers
            ]
            body: dict[str, Any] = {"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}
        else:
            records = [{"timeUnixNano": str(AT_NS), "body": {"stringValue": str(number)}} for number in numbers]
            body = {"resourceLogs": [{"scopeLogs": [{"logRecords": records}]}]}
        text = json.dumps(body).encode()
        batch = Batch(received_ns=AT_NS, signal=signal, encoding=Encoding.JSON, body_gz=gzip.compress(text), sha256="")
        (seq,) = self.writer.append([batch])
        decoded = decode(batch, text)
        fresh = self.writer.unknown([(event_key(event), event) for event in decoded.events])
        ledger = [
            LedgerLine(signal=signal, outcome="accepted", count=decoded.seen),
            LedgerLine(signal=signal, outcome="stored", count=len(fresh)),
            LedgerLine(signal=signal, outcome="duplicate", count=len(decoded.events) - len(fresh)),
        ]
        self.writer.record(seq=seq, events=fresh[lose:], findings=(), beats=(), ledger=ledger, now_ns=0)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path)
    yield made
    made.reader.close()
    made.writer.close()


def test_a_store_that_lost_nothing_balances(store: Store) -> None:
    """Spans and log records, new and sent again, before and after they moved and some of them expired."""
    store.receive(Signal.TRACES, [1, 2, 2])
    store.receive(Signal.LOGS, [1, 2])
    store.writer.settle(now_ns=0, everything=True)
    store.receive(Signal.TRACES, [2, 3])
    store.receive(Signal.LOGS, [2])

    found = reconcile(store.reader, deep=True)
    assert (found.problems, found.balanced, found.batches_walked, found.storage.events) == ((), True, 4, 5)
    store.writer.retain(now_ns=0, before_ns=2**62, keep_bytes=2**40, holds=())
    found = reconcile(store.reader, deep=True)
    assert (found.balanced, found.storage.expired) == (True, 4)


def test_a_lost_event_is_told(store: Store) -> None:
    """An event that was counted and is not kept unbalances the ledger; the log says that it is missing."""
    store.receive(Signal.TRACES, [1, 2], lose=1)
    found = reconcile(store.reader, deep=True)

    assert found.problems == (
        "2 events were stored, but 1 are kept and 0 expired",
        "1 events of the log are not in the store, and retention deleted 0",
    )


def test_a_damaged_segment_is_told(store: Store) -> None:
    """A file that was cut is named, and what is in the others can still be read."""
    store.receive(Signal.TRACES, [1])
    store.writer.settle(now_ns=0, everything=True)
    store.receive(Signal.TRACES, [2])
    store.writer.settle(now_ns=0, everything=True)
    segment = store.folder / "segments" / "00000001.parquet"
    segment.write_bytes(segment.read_bytes()[:-20])

    assert reconcile(store.reader).problems == ("00000001.parquet is missing or damaged",)
    assert store.reader.trace(f"{1:032x}") == ()
    assert len(store.reader.trace(f"{2:032x}")) == 1
