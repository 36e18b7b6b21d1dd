"""The contract of a telemetry store, as a test class (needs pytest).

A store's own test makes a class that inherits `TelemetryStoreContract` and says how to open its two sides; pytest runs the
cases. Each case about reading runs three times: while the events are new, after they were moved to where they are kept,
and with one half in each place.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Any

import msgspec
import pytest

from andoncord.detect.finding import Finding
from andoncord.detect.ports import TelemetryReader, TelemetryWriter
from andoncord.kernel.vocabulary import Category, Pattern, Severity
from andoncord.telemetry.batch import Batch, Beat, Encoding, LedgerLine, Signal, event_key
from andoncord.telemetry.block import fields_of, pack
from andoncord.telemetry.event import Event, EventKind
from andoncord.telemetry.holding import Hold

PLACES = ("new", "moved", "half moved")
TRACE = "ab" * 16


def a_batch(text: str = "one", *, received_ns: int = 7) -> Batch:
    """A batch that says `text`."""
    return Batch(
        received_ns=received_ns,
        signal=Signal.TRACES,
        encoding=Encoding.JSON,
        trusted_agents=("a-*",),
        body_gz=text.encode(),
        sha256=text,
    )


def a_span(number: int, *, agent: str = "a-1", trace: str = TRACE, at_ns: int = 0, received_ns: int = 20, **more: Any) -> Event:
    """A tool call whose span id is `number` in hexadecimal; it took a millisecond."""
    at_ns = at_ns or 1_000 + number
    fields = {"kind": EventKind.TOOL_COMPLETED, "name": "orders.lookup", **more}
    return Event(
        trace_id=trace,
        span_id=f"{number:016x}",
        agent=agent,
        start_ns=at_ns - 1_000,
        end_ns=at_ns,
        received_ns=received_ns,
        **fields,
    )


def a_finding(name: str) -> Finding:
    """A finding with this id."""
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


def record(writer: TelemetryWriter, events: Sequence[Event], *, seq: int | None = 1, **more: Any) -> int:
    """Record what is new of some events; how many that was."""
    fresh = writer.unknown([(event_key(event), event) for event in events])
    kept: dict[str, Any] = {"findings": (), "beats": (), "ledger": (), **more}
    writer.record(seq=seq, events=fresh, now_ns=0, **kept)
    return len(fresh)


def move(writer: TelemetryWriter) -> None:
    """Move all that is new to where it is kept for long."""
    while writer.settle(now_ns=0, everything=True):
        pass


def correct(writer: TelemetryWriter, *, agent: str, spans: Collection[int]) -> None:
    """Say that the spans of these numbers are another agent's."""
    corrected = [
        (place, event_key(event), msgspec.structs.replace(event, agent=agent))
        for place, event in writer.of_traces([TRACE], limit=99)
        if int(event.span_id, 16) in spans
    ]
    writer.record(seq=None, events=(), findings=(), beats=(), ledger=(), now_ns=0, corrected=corrected)


class TelemetryStoreContract:
    """What every telemetry store must do."""

    @pytest.fixture
    def open_writer(self) -> Callable[[], TelemetryWriter]:
        """Opens the writing side on the same storage each time it is called; the one before is closed or dead by then."""
        raise NotImplementedError("say how to open the store under test")

    @pytest.fixture
    def open_reader(self) -> Callable[[], TelemetryReader]:
        """Opens the reading side on that storage. Called when a writer was opened."""
        raise NotImplementedError("say how to open the store under test")

    @pytest.fixture(params=PLACES)
    def stored(
        self, request: pytest.FixtureRequest, open_writer: Callable[[], TelemetryWriter]
    ) -> Callable[[Sequence[Event]], TelemetryWriter]:
        """Stores events so that they are in one of the places; returns the writer."""

        def store(events: Sequence[Event]) -> TelemetryWriter:
            writer = open_writer()
            half = len(events) // 2 if request.param == "half moved" else len(events)
            record(writer, events[:half])
            if request.param != "new":
                move(writer)
            record(writer, events[half:], seq=2)
            return writer

        return store

    # The log.

    def test_appended_batches_are_unread_until_recorded(self, open_writer: Callable[[], TelemetryWriter]) -> None:
        """A batch is read out again after a crash until what it held was recorded."""
        writer = open_writer()

        assert writer.append([a_batch("one"), a_batch("two")]) == (1, 2)
        assert [batch.sha256 for batch in writer.unread(limit=10)] == ["one", "two"]
        record(writer, [a_span(1)], seq=1)
        assert [batch.seq for batch in writer.unread(limit=10)] == [2]
        assert (writer.appended(), writer.read_out()) == (2, 1)

    def test_a_batch_comes_back_as_it_was(
        self, open_writer: Callable[[], TelemetryWriter], open_reader: Callable[[], TelemetryReader]
    ) -> None:
        """Everything that decoding depends on is kept."""
        writer = open_writer()
        writer.append([a_batch()])
        (batch,) = writer.unread(limit=1)

        expected = (Signal.TRACES, Encoding.JSON, ("a-*",), b"one", 7)
        assert (batch.signal, batch.encoding, batch.trusted_agents, batch.body_gz, batch.received_ns) == expected
        reader = open_reader()
        assert tuple(reader.batches(first=1, last=9)) == (batch,)
        assert (reader.lag(), reader.batch_digests(after=0, limit=9)) == (1, ((1, "one"),))

    def test_trimming_spares_what_was_not_read_out(
        self, open_writer: Callable[[], TelemetryWriter], open_reader: Callable[[], TelemetryReader]
    ) -> None:
        """Retention never drops a batch that nobody has read yet, and places are not given again."""
        writer = open_writer()
        writer.append([a_batch("one"), a_batch("two")])
        record(writer, [], seq=1)
        writer.trim(log_before_ns=1_000)

        assert [seq for seq, _ in open_reader().batch_digests(after=0, limit=10)] == [2]
        record(writer, [], seq=2)
        writer.trim(log_before_ns=1_000)
        assert writer.append([a_batch()]) == (3,)

    # Events.

    def test_events_come_back_as_they_were(
        self, stored: Callable[[Sequence[Event]], TelemetryWriter], open_reader: Callable[[], TelemetryReader]
    ) -> None:
        """Every field of an event is kept, hostile text included."""
        event = a_span(
            1,
            arguments='{"text": "ü 🚦 \\u0000 \\n"}',
            result="zero \x00 line\nquote ' \" \\ ",
            score=0.1,
            passed=False,
            cost_micro_usd=7,
            attributes={"n": 1, "share": 0.5, "yes": True, "text": "\u2028"},
            task="'; DROP TABLE events; --",
        )
        stored([event, a_span(2, agent="ü\n\x1f'a\x00b", name="x\x00y")])

        assert open_reader().trace(TRACE) == (event, a_span(2, agent="ü\n\x1f'a\x00b", name="x\x00y"))
        assert [
            found.span_id for found in open_reader().of_agents(["ü\n\x1f'a\x00b"], since_ns=0, until_ns=9_999, limit=9)
        ] == [f"{2:016x}"]

    def test_a_trace_is_whole_and_by_start(
        self, stored: Callable[[Sequence[Event]], TelemetryWriter], open_reader: Callable[[], TelemetryReader]
    ) -> None:
        """All events of a trace come back, also when they arrived out of order, and none of another."""
        stored([a_span(3), a_span(1), a_span(9, trace="cd" * 16), a_span(2)])

        assert [int(event.span_id, 16) for event in open_reader().trace(TRACE)] == [1, 2, 3]
        assert [int(event.span_id, 16) for event in open_reader().trace(TRACE, limit=2)] == [2, 3]
        assert open_reader().trace("ef" * 16) == ()

    def test_events_can_be_read_without_what_was_said(
        self, stored: Callable[[Sequence[Event]], TelemetryWriter], open_reader: Callable[[], TelemetryReader]
    ) -> None:
        """Whoever counts gets everything but the texts."""
        stored([a_span(1, arguments="{}", result="done", input_tokens=7), a_span(2, output_text="Hello")])

        found = open_reader().of_agents(["a-1"], since_ns=0, until_ns=9_000, limit=9, with_texts=False)
        assert [(event.arguments, event.result, event.output_text) for event in found] == [("", "", "")] * 2
        assert [(event.name, event.input_tokens) for event in found] == [("orders.lookup", 7), ("orders.lookup", 0)]

    def test_agents_are_read_by_time(
        self, stored: Callable[[Sequence[Event]], TelemetryWriter], open_reader: Callable[[], TelemetryReader]
    ) -> None:
        """The newest events within limit and window come back, oldest first."""
        stored([*(a_span(at, at_ns=at) for at in (3_000, 1_000, 4_000, 2_000)), a_span(5, agent="b", at_ns=1_500)])
        reader = open_reader()

        found = reader.of_agents(["a-1"], since_ns=0, until_ns=3_500, limit=2)
        assert [event.at_ns for event in found] == [2_000, 3_000]
        both = reader.of_agents(["a-1", "b"], since_ns=1_000, until_ns=2_000, limit=9)
        assert [event.at_ns for event in both] == [1_000, 1_500, 2_000]
        assert reader.of_agents([], since_ns=0, until_ns=9_000, limit=9) == ()
        fleet = [f"x-{number}" for number in range(3_000)]
        assert [event.agent for event in reader.of_agents([*fleet, "b"], since_ns=0, until_ns=9_000, limit=9)] == ["b"]
        calls = reader.of_agents(["b"], kinds=[EventKind.TOOL_COMPLETED], since_ns=0, until_ns=9_000, limit=9)
        assert [event.at_ns for event in calls] == [1_500]
        assert reader.of_agents(["b"], kinds=[EventKind.QUALITY_SCORED], since_ns=0, until_ns=9_000, limit=9) == ()

    def test_kinds_are_read_after_an_instant(
        self, stored: Callable[[Sequence[Event]], TelemetryWriter], open_reader: Callable[[], TelemetryReader]
    ) -> None:
        """Only the agent's events of the kinds asked for, and only later ones."""
        beats = [Event(kind=EventKind.HEARTBEAT, agent="a-1", instance="i", start_ns=at) for at in (5_000, 6_000, 7_000)]
        stored(
            [beats[0], a_span(1, at_ns=6_500), beats[1], beats[2], Event(kind=EventKind.HEARTBEAT, agent="b", start_ns=8_000)]
        )

        found = open_reader().of_kind_since("a-1", kinds=(EventKind.HEARTBEAT,), after_ns=5_000, limit=9)
        assert [event.at_ns for event in found] == [6_000, 7_000]
        last = open_reader().of_kind_since("a-1", kinds=(EventKind.HEARTBEAT,), after_ns=0, limit=1)
        assert [event.at_ns for event in last] == [7_000]

    def test_a_follower_misses_nothing(
        self, stored: Callable[[Sequence[Event]], TelemetryWriter], open_reader: Callable[[], TelemetryReader]
    ) -> None:
        """Page by page, everything stored after a place comes once, in the order of storing."""
        stored([a_span(number, agent="a-1" if number % 3 else "b") for number in range(1, 10)])
        reader = open_reader()
        seen: list[int] = []
        place = 0
        while page := reader.tail(after=place, limit=2):
            seen += [int(event.span_id, 16) for _, event in page]
            place = page[-1][0]

        assert seen == list(range(1, 10))
        assert place == reader.stored()
        assert [int(event.span_id, 16) for _, event in reader.tail(after=0, agent="b", limit=9)] == [3, 6, 9]

    def test_a_series_adds_up(
        self, stored: Callable[[Sequence[Event]], TelemetryWriter], open_reader: Callable[[], TelemetryReader]
    ) -> None:
        """Counts, sums and durations per agent and stretch of time, over everything that is kept."""
        stored(
            [
                *(a_span(number, at_ns=10_000 + number, input_tokens=2) for number in range(4)),
                a_span(7, at_ns=20_001, kind=EventKind.TOOL_FAILED, ok=False),
                Event(kind=EventKind.QUALITY_SCORED, agent="a-1", start_ns=20_002, passed=True, trace_id=TRACE),
            ]
        )
        points = open_reader().series(["a-1"], since_ns=10_000, until_ns=29_999, step_ns=10_000)

        counts = [(point.at_ns, point.events, point.steps, point.failed, point.input_tokens) for point in points]
        assert counts == [(10_000, 4, 4, 0, 8), (20_000, 2, 1, 1, 0)]
        assert points[0].p95_ms == pytest.approx(0.001)
        assert (points[1].scored, points[1].passed) == (1, 1)

    def test_what_was_stored_is_known_wherever_it_is(
        self,
        stored: Callable[[Sequence[Event]], TelemetryWriter],
        open_writer: Callable[[], TelemetryWriter],
        open_reader: Callable[[], TelemetryReader],
    ) -> None:
        """Retries of an exporter do not count twice: in one batch, in two, or after a restart."""
        spans = [a_span(number) for number in range(1, 7)]
        writer = stored(spans)

        assert record(writer, [*spans, a_span(1, received_ns=99)]) == 0
        writer.close()
        again = open_writer()
        assert record(again, [*spans, a_span(8), a_span(8)], seq=3) == 1
        assert len(open_reader().trace(TRACE)) == 7

    def test_what_comes_packed_is_stored_like_the_rest(
        self, open_writer: Callable[[], TelemetryWriter], open_reader: Callable[[], TelemetryReader]
    ) -> None:
        """Two blocks and loose events of one group: all are there, in order, and known from then on."""
        spans = [a_span(number) for number in range(1, 7)]
        blocks = [
            pack([fields_of(span) for span in half], keys=b"".join(map(event_key, half))) for half in (spans[:2], spans[2:4])
        ]
        writer = open_writer()
        loose = [(event_key(span), span) for span in spans[4:]]
        writer.record(seq=1, events=loose, blocks=blocks, findings=(), beats=(), ledger=(), now_ns=0)

        assert open_reader().trace(TRACE) == tuple(spans)
        assert [event.span_id for _, event in open_reader().tail(after=0, limit=10)] == [span.span_id for span in spans]
        assert record(writer, spans, seq=2) == 0
        move(writer)
        assert record(writer, [*spans, a_span(7)], seq=3) == 1
        assert open_reader().trace(TRACE) == (*spans, a_span(7))

    def test_two_log_records_of_one_span_are_two_events(self, open_writer: Callable[[], TelemetryWriter]) -> None:
        """Log records are told apart by what they say, not by the span they happened in."""
        first = Event(kind=EventKind.STEP_STARTED, trace_id=TRACE, span_id=f"{1:016x}", start_ns=1)
        second = Event(kind=EventKind.GUARD_DENIED, trace_id=TRACE, span_id=f"{1:016x}", start_ns=1)

        assert record(open_writer(), [first, second, a_span(1)]) == 3

    def test_the_last_events_come_back_in_the_order_of_storing(
        self, stored: Callable[[Sequence[Event]], TelemetryWriter]
    ) -> None:
        """Detectors are brought back with the newest events, as many as are asked for and no older than asked."""
        writer = stored([a_span(number, at_ns=9_000 - number, received_ns=number) for number in range(1, 9)])

        assert [event.received_ns for event in writer.recent_events(after_ns=0, limit=3)] == [6, 7, 8]
        assert [event.received_ns for event in writer.recent_events(after_ns=7, limit=99)] == [7, 8]

    def test_merging_changes_nothing(
        self, open_writer: Callable[[], TelemetryWriter], open_reader: Callable[[], TelemetryReader]
    ) -> None:
        """Fewer, larger files hold the same events, and a reader that was open goes on."""
        writer = open_writer()
        reader = open_reader()
        for number in range(1, 20):
            record(writer, [a_span(number)], seq=number)
            move(writer)
        before = reader.trace(TRACE)
        while writer.compact(now_ns=0):
            pass
        writer.sweep(now_ns=2**62)

        assert len(before) == 19
        assert reader.trace(TRACE) == before
        assert open_reader().storage().events == 19
        assert record(writer, [a_span(number) for number in range(1, 20)]) == 0

    def test_corrected_events_take_the_place_of_others(
        self,
        stored: Callable[[Sequence[Event]], TelemetryWriter],
        open_writer: Callable[[], TelemetryWriter],
        open_reader: Callable[[], TelemetryReader],
    ) -> None:
        """A step that turned out to be another agent's is found there and nowhere else, wherever it was and is moved to."""
        writer, other = stored([a_span(number, agent="shop") for number in range(1, 7)]), "ef" * 16
        record(writer, [a_span(9, agent="shop", trace=other)], seq=3)
        assert [int(event.span_id, 16) for _, event in writer.of_traces([TRACE, other], limit=3)] == [5, 6, 9]

        correct(writer, agent="refunds", spans={1, 3, 5, 6})
        for settled in range(3):
            reader = open_reader()
            found = {
                name: [int(event.span_id, 16) for event in reader.of_agents([name], since_ns=0, until_ns=9_999, limit=9)]
                for name in ("shop", "refunds")
            }
            assert found == {"shop": [2, 4, 9], "refunds": [1, 3, 5, 6]}
            assert [event.agent for event in reader.trace(TRACE)] == ["refunds", "shop"] * 2 + ["refunds"] * 2
            points = reader.series((), since_ns=0, until_ns=9_999, step_ns=10_000)
            assert [(point.agent, point.events) for point in points] == [("refunds", 4), ("shop", 3)]
            assert len(reader.tail(after=0, limit=9)) == 7
            assert [event.agent for event in writer.recent_events(after_ns=0, limit=99)].count("refunds") == 4
            assert (reader.storage().events, reader.storage().expired) == (7, 0)
            if settled == 0:
                move(writer)
            else:
                while writer.compact(now_ns=0):
                    pass
        writer.close()

        writer = open_writer()
        assert record(writer, [a_span(number, agent="shop") for number in range(1, 7)], seq=4) == 0
        assert writer.retain(now_ns=0, before_ns=100, keep_bytes=2**40, holds=()) == 7
        assert (open_reader().storage().events, open_reader().storage().expired) == (0, 7)

    # Retention.

    def test_old_events_go_and_held_ones_stay(
        self, open_writer: Callable[[], TelemetryWriter], open_reader: Callable[[], TelemetryReader]
    ) -> None:
        """What is past its time is deleted, but for the evidence: an agent's events in a window, and whole traces."""
        writer = open_writer()
        old = [
            a_span(1, trace="01" * 16),
            a_span(2, agent="held", trace="02" * 16, at_ns=5_000),
            a_span(3, agent="held", trace="03" * 16, at_ns=9_000),
            a_span(4, agent="b", trace="04" * 16),
        ]
        record(writer, old)
        move(writer)
        record(writer, [a_span(5, trace="05" * 16, received_ns=500)], seq=2)
        move(writer)
        holds = [Hold(incident="inc_1", agents=("held",), from_ns=4_000, until_ns=6_000, traces=("04" * 16,))]

        assert writer.retain(now_ns=0, before_ns=100, keep_bytes=2**40, holds=holds) == 2
        kept = [trace for trace in range(1, 6) if open_reader().trace(f"{trace:02x}" * 16)]
        assert kept == [2, 4, 5]
        assert writer.retain(now_ns=0, before_ns=100, keep_bytes=2**40, holds=holds) == 0
        assert writer.retain(now_ns=0, before_ns=100, keep_bytes=2**40, holds=()) == 2
        storage = open_reader().storage()
        assert (storage.events, storage.expired) == (1, 4)

    def test_the_oldest_go_when_there_is_too_much(
        self, open_writer: Callable[[], TelemetryWriter], open_reader: Callable[[], TelemetryReader]
    ) -> None:
        """Retention by size deletes the oldest first and stops when the rest fits."""
        writer = open_writer()
        for number in range(1, 4):
            record(writer, [a_span(number, received_ns=number)], seq=number)
            move(writer)
        size = open_reader().storage().segment_bytes

        assert writer.retain(now_ns=0, before_ns=0, keep_bytes=size - 1, holds=()) == 1
        assert [event.received_ns for event in open_reader().trace(TRACE)] == [2, 3]

    # Everything else.

    def test_a_finding_is_stored_once(
        self, open_writer: Callable[[], TelemetryWriter], open_reader: Callable[[], TelemetryReader]
    ) -> None:
        """The same finding again is the same finding."""
        writer = open_writer()
        record(writer, [], findings=(a_finding("f1"),))
        record(writer, [], seq=2, findings=(a_finding("f1"), a_finding("f2")))
        reader = open_reader()

        assert [(seq, finding.id) for seq, finding in reader.findings(after=0, limit=1)] == [(1, "f1")]
        assert [finding.id for _, finding in reader.findings(after=1, limit=10)] == ["f2"]

    def test_the_ledger_adds_up(
        self, open_writer: Callable[[], TelemetryWriter], open_reader: Callable[[], TelemetryReader]
    ) -> None:
        """Counts of later batches are added to those of earlier ones."""
        writer = open_writer()
        line = LedgerLine(signal=Signal.LOGS, outcome="rejected", reason="no_ids", count=2)
        for seq in (1, 2):
            record(writer, [], seq=seq, ledger=[line])

        assert open_reader().ledger() == (LedgerLine(signal=Signal.LOGS, outcome="rejected", reason="no_ids", count=4),)

    def test_a_forged_sign_of_life_is_kept_apart(
        self, open_writer: Callable[[], TelemetryWriter], open_reader: Callable[[], TelemetryReader]
    ) -> None:
        """An untrusted heartbeat does not overwrite a trusted one."""
        writer = open_writer()
        beats = [Beat(agent="a", instance="1", trusted=trusted, last_seen_ns=int(trusted)) for trusted in (True, False)]
        record(writer, [], seq=None, beats=beats)

        assert {beat.trusted: beat.last_seen_ns for beat in open_reader().beats()} == {True: 1, False: 0}
        assert writer.beats() == open_reader().beats()

    def test_what_is_kept_of_an_agent_is_replaced_and_forgotten(
        self, open_writer: Callable[[], TelemetryWriter], open_reader: Callable[[], TelemetryReader]
    ) -> None:
        """The fleet has one row for each agent; nothing behind a name forgets it."""
        writer = open_writer()
        record(writer, [], fleet=[("a", b"1"), ("b", b"2")])
        record(writer, [], fleet=[("a", b"3"), ("b", b"")])

        assert open_reader().fleet() == writer.fleet() == (("a", b"3"),)
