"""The exporter: bounded, patient, honest about what it lost."""

from collections.abc import Iterator

import pytest
from sdk.tests.wire_server import DEADLINE_S, WireServer

from andoncord_sdk.exporter import QUEUE_MAX, Exporter
from andoncord_sdk.otlp import LogRecord
from andoncord_sdk.wire import Endpoint


@pytest.fixture
def exporter(wire: WireServer) -> Iterator[Exporter]:
    """An exporter that sends to the wire server."""
    exporter = Exporter(Endpoint(wire.url), {"service.name": "s"})
    yield exporter
    exporter.close(DEADLINE_S)


def record(number: int, text: str = "x") -> LogRecord:
    return LogRecord(event_name="e", at_ns=number, attributes={"text": text})


def test_records_arrive_in_order(wire: WireServer, exporter: Exporter) -> None:
    """More than one batch, in the order they were put."""
    for number in range(1200):
        exporter.put(record(number))

    assert exporter.flush(DEADLINE_S)
    assert [int(log["timeUnixNano"]) for log in wire.logs] == list(range(1200))


def test_a_busy_server_is_asked_again(wire: WireServer, exporter: Exporter) -> None:
    """503 and 429 cost time, not records."""
    wire.telemetry_statuses += [503, 429]

    exporter.put(record(1))

    assert exporter.flush(DEADLINE_S)
    assert (len(wire.logs), exporter.dropped) == (1, 0)


def test_a_refusal_drops_the_batch_and_counts_it(wire: WireServer, exporter: Exporter) -> None:
    """What the server will never take is not sent for ever."""
    wire.telemetry_statuses += [400]

    exporter.put(record(1))

    assert exporter.flush(DEADLINE_S)
    assert (wire.logs, exporter.dropped) == ([], 1)


def test_a_full_queue_drops_the_oldest_and_counts() -> None:
    """With nobody listening memory stays bounded, flushing ends in time, and the loss is known."""
    with WireServer() as gone:
        url = gone.url
    exporter = Exporter(Endpoint(url), {})

    for number in range(QUEUE_MAX + 2_000):
        exporter.put(record(number))

    assert exporter.flush(0.05) is False
    assert exporter.dropped >= 1_000
    assert len(exporter._queue) <= QUEUE_MAX
    exporter.close(0.05)


def test_half_a_surrogate_pair_does_not_cost_the_batch(wire: WireServer, exporter: Exporter) -> None:
    """Broken text from a model is sent as far as it can be."""
    exporter.put(record(1, "a\ud800b"))

    assert exporter.flush(DEADLINE_S)
    assert wire.logs[0]["attributes"][1]["value"]["stringValue"] == "a?b"


def test_a_record_that_cannot_be_encoded_does_not_end_the_reporting(wire: WireServer, exporter: Exporter) -> None:
    """Our own bug costs one batch, and the next one is sent."""
    exporter.put(LogRecord(event_name="e", at_ns=1, attributes={1: object()}))  # type: ignore[dict-item]
    assert exporter.flush(DEADLINE_S)

    exporter.put(record(2))

    assert exporter.flush(DEADLINE_S)
    assert (len(wire.logs), exporter.dropped) == (1, 1)
