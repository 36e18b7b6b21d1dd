"""Telemetry in SQLite."""

from pathlib import Path

import pytest

from andoncord.adapters.sqlite.telemetry import SqliteTelemetryReader, SqliteTelemetryWriter
from andoncord.detect.finding import Finding
from andoncord.kernel.vocabulary import Category, Pattern, Severity
from andoncord.telemetry.batch import Batch, Beat, Encoding, LedgerLine, Signal, event_key
from andoncord.telemetry.event import Event, EventKind


def a_batch(text: str = "one") -> Batch:
    return Batch(
        received_ns=7,
        signal=Signal.TRACES,
        encoding=Encoding.JSON,
        trusted_agents=("a-*",),
        body_gz=text.encode(),
        sha256=text,
    )


def a_span(span_id: str, *, agent: str = "a-1", at_ns: int = 10, received_ns: int = 20) -> Event:
    return Event(
        kind=EventKind.TOOL_COMPLETED,
        trace_id="t" * 32,
        span_id=span_id,
        agent=agent,
        start_ns=at_ns,
        end_ns=at_ns + 1,
        received_ns=received_ns,
    )


def a_finding(name: str) -> Finding:
    return Finding(
        id=name,
        rule="r",
        agent="a-1",
        severity=Severity.HIGH,
        category=Category.DECISION_FAILURE,
        pattern=Pattern.INFINITE_LOOP,
        score=1.0,
        summary="s",
        at_ns=1,
        onset_ns=1,
    )


@pytest.fixture
def writer(tmp_path: Path) -> SqliteTelemetryWriter:
    return SqliteTelemetryWriter(tmp_path / "telemetry.db")


@pytest.fixture
def reader(tmp_path: Path, writer: SqliteTelemetryWriter) -> SqliteTelemetryReader:
    return SqliteTelemetryReader(tmp_path / "telemetry.db")


def record(writer: SqliteTelemetryWriter, *events: Event, seq: int = 1, findings: tuple[Finding, ...] = ()) -> int:
    keyed = writer.unknown([(event_key(event), event) for event in events])
    writer.record(seq=seq, events=keyed, findings=findings, beats=(), ledger=(), now_ns=0)
    return len(keyed)


def test_appended_batches_are_unread_until_recorded(writer: SqliteTelemetryWriter) -> None:
    """A batch is read out again after a crash until what it held was recorded."""
    assert writer.append([a_batch("one"), a_batch("two")]) == (1, 2)
    assert [batch.sha256 for batch in writer.unread(limit=10)] == ["one", "two"]

    record(writer, a_span("1"), seq=1)
    assert [batch.seq for batch in writer.unread(limit=10)] == [2]
    assert writer.appended() == 2


def test_a_batch_comes_back_as_it_was(writer: SqliteTelemetryWriter) -> None:
    """Everything that decoding depends on is kept."""
    writer.append([a_batch()])
    (batch,) = writer.unread(limit=1)

    assert (batch.signal, batch.encoding, batch.trusted_agents, batch.body_gz) == (
        Signal.TRACES,
        Encoding.JSON,
        ("a-*",),
        b"one",
    )


def test_a_span_sent_twice_is_stored_once(writer: SqliteTelemetryWriter, reader: SqliteTelemetryReader) -> None:
    """Retries of an exporter, in one batch or in two, do not count twice."""
    span = a_span("1")
    assert record(writer, span, span, a_span("2")) == 2
    assert record(writer, a_span("1", received_ns=99), seq=2) == 0
    assert [event.span_id for event in reader.trace("t" * 32)] == ["1", "2"]


def test_two_log_records_of_one_span_are_two_events(writer: SqliteTelemetryWriter) -> None:
    """Log records are told apart by what they say, not by the span they happened in."""
    first = Event(kind=EventKind.STEP_STARTED, trace_id="t" * 32, span_id="1", start_ns=1)
    second = Event(kind=EventKind.GUARD_DENIED, trace_id="t" * 32, span_id="1", start_ns=1)

    assert record(writer, first, second, a_span("1")) == 3


def test_agents_are_read_by_time(writer: SqliteTelemetryWriter, reader: SqliteTelemetryReader) -> None:
    """The newest events within the limit come back, oldest first."""
    record(writer, *(a_span(str(at), at_ns=at) for at in (30, 10, 20)), a_span("x", agent="b", at_ns=15))

    found = reader.of_agents(["a-1"], since_ns=0, until_ns=100, limit=2)
    assert [event.start_ns for event in found] == [20, 30]


def test_a_finding_is_stored_once(writer: SqliteTelemetryWriter, reader: SqliteTelemetryReader) -> None:
    """The same finding again is the same finding."""
    record(writer, findings=(a_finding("f1"),))
    record(writer, seq=2, findings=(a_finding("f1"), a_finding("f2")))

    assert next((seq, finding.id) for seq, finding in reader.findings(after=0, limit=10)) == (1, "f1")
    assert [finding.id for _, finding in reader.findings(after=1, limit=10)] == ["f2"]


def test_the_ledger_adds_up(writer: SqliteTelemetryWriter, reader: SqliteTelemetryReader) -> None:
    """Counts of later batches are added to those of earlier ones."""
    line = LedgerLine(signal=Signal.LOGS, outcome="rejected", reason="no_ids", count=2)
    for seq in (1, 2):
        writer.record(seq=seq, events=(), findings=(), beats=(), ledger=[line], now_ns=0)

    assert reader.ledger() == (LedgerLine(signal=Signal.LOGS, outcome="rejected", reason="no_ids", count=4),)


def test_a_forged_sign_of_life_is_kept_apart(writer: SqliteTelemetryWriter, reader: SqliteTelemetryReader) -> None:
    """An untrusted heartbeat does not overwrite a trusted one."""
    beats = [Beat(agent="a", instance="1", trusted=trusted, last_seen_ns=int(trusted)) for trusted in (True, False)]
    writer.record(seq=None, events=(), findings=(), beats=beats, ledger=(), now_ns=0)

    assert {beat.trusted: beat.last_seen_ns for beat in reader.beats()} == {True: 1, False: 0}


def test_trimming_spares_what_was_not_read_out(writer: SqliteTelemetryWriter, reader: SqliteTelemetryReader) -> None:
    """Retention never drops a batch that nobody has read yet."""
    writer.append([a_batch("one"), a_batch("two")])
    record(writer, a_span("1"), seq=1)
    writer.trim(log_before_ns=1_000, events_before_ns=10)

    assert [seq for seq, _ in reader.batch_digests(after=0, limit=10)] == [2]
    assert len(reader.trace("t" * 32)) == 1


def test_places_in_the_log_are_never_given_again(writer: SqliteTelemetryWriter) -> None:
    """A trimmed log goes on counting."""
    writer.append([a_batch()])
    record(writer, seq=1)
    writer.trim(log_before_ns=1_000, events_before_ns=0)

    assert writer.append([a_batch()]) == (2,)
