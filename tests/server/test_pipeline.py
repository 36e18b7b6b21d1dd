"""From the ingest log to events and findings."""

import gzip
import hashlib
import json
import threading
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import pytest

from andoncord.adapters.parquet.reader import ParquetTelemetryReader
from andoncord.adapters.parquet.writer import ParquetTelemetryWriter
from andoncord.detect.bank import Bank
from andoncord.detect.pack import default_rules
from andoncord.kernel.time import DAY_NS, HOUR_NS, SECOND_NS
from andoncord.server.pipeline import GRACE_NS, Pipeline
from andoncord.server.prepare import NO_PRICES, Job, answer, decode, packed_job, read_answer
from andoncord.server.reconcile import reconcile
from andoncord.telemetry.ancestry import LOOK_AFTER_NS
from andoncord.telemetry.batch import Batch, Encoding, Signal, event_key
from andoncord.telemetry.event import Event
from andoncord.telemetry.fleet import load
from andoncord.telemetry.prices import Price, Pricing
from andoncord.testing.system import HandClock

AT_NS = 1_767_603_600_000_000_000


def spans(*span_ids: str, agent: str = "refund-bot") -> bytes:
    """An OTLP/JSON request with one tool call for each span id."""
    resource = {"attributes": [{"key": "gen_ai.agent.name", "value": {"stringValue": agent}}]}
    call = [
        {"key": "gen_ai.operation.name", "value": {"stringValue": "execute_tool"}},
        {"key": "gen_ai.tool.name", "value": {"stringValue": "orders.lookup"}},
    ]
    items = [
        {
            "traceId": "ab" * 16,
            "spanId": span_id,
            "name": "execute_tool orders.lookup",
            "startTimeUnixNano": str(AT_NS),
            "endTimeUnixNano": str(AT_NS + 1),
            "attributes": call,
        }
        for span_id in span_ids
    ]
    return json.dumps({"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": items}]}]}).encode()


def denied(run: str) -> bytes:
    """An OTLP/JSON request in which a guard refused a call outside the agent's scope."""
    attributes = {
        "event.name": "andoncord.guard.denied",
        "gen_ai.agent.name": "refund-bot",
        "andoncord.run.id": run,
        "gen_ai.tool.name": "shell.exec",
        "andoncord.decision.code": "scope",
        "andoncord.decision.action": "stop_run",
        "andoncord.decision.message": "shell.exec is not among the agent's tools",
    }
    record = {
        "timeUnixNano": str(AT_NS),
        "eventName": "andoncord.guard.denied",
        "attributes": [{"key": key, "value": {"stringValue": value}} for key, value in attributes.items()],
    }
    resource = {
        "attributes": [
            {"key": "gen_ai.agent.name", "value": {"stringValue": "refund-bot"}},
            {"key": "service.instance.id", "value": {"stringValue": "i1"}},
        ]
    }
    return json.dumps({"resourceLogs": [{"resource": resource, "scopeLogs": [{"logRecords": [record]}]}]}).encode()


def batch(body: bytes, signal: Signal = Signal.TRACES, *, received_ns: int = AT_NS) -> Batch:
    return Batch(
        received_ns=received_ns,
        signal=signal,
        encoding=Encoding.JSON,
        trusted_agents=("refund-*",),
        body_gz=gzip.compress(body),
        sha256=hashlib.sha256(body).hexdigest(),
    )


class Line:
    """A pipeline over a real store in a folder; `restart` is what a crash leads to."""

    def __init__(self, folder: Path, bank: Callable[[], Bank], *, pricing: Pricing = NO_PRICES) -> None:
        folder.mkdir(exist_ok=True)
        self._pricing = pricing
        self.clock = HandClock()
        self.writer = ParquetTelemetryWriter(folder / "telemetry.db")
        self.reader = ParquetTelemetryReader(folder / "telemetry.db")
        self._bank = bank
        self.rings = threading.Semaphore(0)
        self.failed = threading.Event()
        self.pipeline = self._make()

    def _make(self) -> Pipeline:
        return Pipeline(
            writer=self.writer,
            bank=self._bank(),
            clock=self.clock,
            on_findings=self.rings.release,
            on_failure=self.failed.set,
            pricing=self._pricing,
        )

    def restart(self) -> None:
        self.pipeline.stop(deadline_s=5)
        self.pipeline = self._make()

    def send(
        self,
        body: bytes,
        signal: Signal = Signal.TRACES,
        *,
        hand_over: bool = True,
        received_ns: int = AT_NS,
        packed_by: Pricing | None = None,
    ) -> int:
        sent = batch(body, signal, received_ns=received_ns)
        (seq,) = self.writer.append([sent])
        if packed_by is not None:
            job = Job(
                body=body,
                signal=signal,
                encoding=Encoding.JSON,
                compression="",
                trusted_agents=sent.trusted_agents,
                received_ns=received_ns,
            )
            said = read_answer(answer(packed_job(job), limit=1_000_000, pricing=packed_by))
            self.pipeline.offer(msgspec.structs.replace(sent, seq=seq), said)
        elif hand_over:
            self.pipeline.offer(msgspec.structs.replace(sent, seq=seq), decode(sent, body))
        return seq

    def drain(self) -> None:
        """Wait until everything is read out."""
        pause = threading.Event()
        for _ in range(500):
            if self.reader.lag() == 0 or self.failed.is_set():
                return
            pause.wait(0.01)
        raise AssertionError("the log was not read out")

    def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds."""
        pause = threading.Event()
        for _ in range(500):
            if holds():
                return
            pause.wait(0.01)
        raise AssertionError("it never held")

    def ledger(self) -> dict[tuple[str, str], int]:
        return {(line.outcome, line.reason): line.count for line in self.reader.ledger()}


@pytest.fixture
def line(tmp_path: Path) -> Any:
    made = Line(tmp_path, lambda: Bank(default_rules()))
    yield made
    made.pipeline.stop(deadline_s=5)


def test_events_come_out_by_trace(line: Line) -> None:
    """What was said is stored, trusted where the token covers the agent."""
    line.pipeline.start()
    line.send(spans("01" * 8, "02" * 8))
    line.drain()
    found = line.reader.trace("ab" * 16)

    assert [event.span_id for event in found] == ["01" * 8, "02" * 8]
    assert all(event.trusted for event in found)


def test_what_was_appended_before_a_crash_is_read_out_after_it(line: Line) -> None:
    """An acknowledged batch that was never read is read at the next start, from the log alone."""
    line.send(spans("01" * 8), hand_over=False)
    line.restart()
    line.pipeline.start()
    line.drain()

    assert len(line.reader.trace("ab" * 16)) == 1


def test_a_retry_counts_once(line: Line) -> None:
    """The ledger balances: accepted is stored and duplicate together."""
    line.pipeline.start()
    line.send(spans("01" * 8, "02" * 8))
    line.send(spans("02" * 8, "03" * 8))
    line.drain()

    assert line.ledger() == {("accepted", ""): 4, ("stored", ""): 3, ("duplicate", ""): 1}


def model_calls(*span_ids: str) -> bytes:
    """The same request as `spans`, of model calls without a cost."""
    attributes = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m-1"}
    counts = {"gen_ai.usage.input_tokens": "1000", "gen_ai.usage.output_tokens": "10"}
    body = json.loads(spans(*span_ids))
    for span in body["resourceSpans"][0]["scopeSpans"][0]["spans"]:
        texts = [{"key": key, "value": {"stringValue": value}} for key, value in attributes.items()]
        span["attributes"] = texts + [{"key": key, "value": {"intValue": value}} for key, value in counts.items()]
    return json.dumps(body).encode()


@pytest.mark.parametrize("large", [1, 256])
def test_packed_requests_lead_to_the_same_as_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, large: int) -> None:
    """What another process priced and packed is stored, counted and judged as if it had been read here."""
    monkeypatch.setattr("andoncord.server.pipeline.LARGE_BLOCK", large)
    price = Price(model="m-1", input=1.0, output=5.0, source="test", date=date(2026, 1, 1))
    requests = [
        (model_calls("01" * 8, "02" * 8), Signal.TRACES),
        (model_calls("02" * 8, "03" * 8), Signal.TRACES),
        (denied("run-1"), Signal.LOGS),
        (denied("run-1"), Signal.LOGS),
        (b"{}", Signal.TRACES),
    ]
    led_to = []
    for is_packed in (False, True):
        made = Line(tmp_path / str(is_packed), lambda: Bank(default_rules()), pricing=Pricing((price,)))
        for body, signal in requests:
            made.send(body, signal, packed_by=Pricing((price,)) if is_packed else None)
        made.pipeline.start()
        made.drain()
        made.pipeline.stop(deadline_s=5)
        events = [event for _, event in made.reader.tail(after=0, limit=100)]
        findings = made.reader.findings(after=0, limit=100)
        assert sum(event.cost_micro_usd for event in events) == 3 * 1_050
        assert [event.span_id for event in made.reader.trace("ab" * 16)] == ["01" * 8, "02" * 8, "03" * 8]
        led_to.append((sorted(events, key=event_key), findings, made.ledger()))

    assert led_to[0] == led_to[1]
    assert led_to[0][1]


@pytest.mark.parametrize("signal", [Signal.TRACES, Signal.LOGS])
def test_a_clock_ahead_is_flagged_and_still_counts_once(line: Line, signal: Signal) -> None:
    """An hour ahead is kept under the emitter's time and says so; sent again later it is the same event."""
    body = spans("01" * 8) if signal is Signal.TRACES else denied("run-1")
    line.pipeline.start()
    line.send(body, signal, received_ns=AT_NS - HOUR_NS)
    line.send(body, signal, received_ns=AT_NS - HOUR_NS + SECOND_NS)
    line.drain()
    (event,) = line.reader.of_agents(["refund-bot"], since_ns=0, until_ns=2 * AT_NS, limit=10)

    assert (event.start_ns, event.attributes["clock_skew_s"]) == (AT_NS, 3600.0)
    assert line.ledger() == {("accepted", ""): 2, ("stored", ""): 1, ("duplicate", ""): 1}


def test_a_clock_ahead_makes_nobody_look_alive_for_longer(line: Line) -> None:
    """What was last heard of a process was heard when it was received, at the latest."""
    line.pipeline.start()
    line.send(denied("run-1"), Signal.LOGS, received_ns=AT_NS - HOUR_NS)
    line.drain()

    assert [beat.last_seen_ns for beat in line.reader.beats()] == [AT_NS - HOUR_NS]


def test_processes_that_the_store_forgot_are_forgotten_here_too(line: Line) -> None:
    """Each start of an agent is another process: memory does not grow by one for ever."""
    line.pipeline.start()
    for number, instance in enumerate(("i1", "i2")):
        body = denied(f"run-{number}").replace(b'"i1"', f'"{instance}"'.encode())
        later = str(AT_NS + number * 2 * DAY_NS).encode()
        line.send(body.replace(str(AT_NS).encode(), later), Signal.LOGS, received_ns=AT_NS + number * 2 * DAY_NS)
    line.drain()
    assert len(line.pipeline._beats) == 2

    line.writer.retain(now_ns=AT_NS + 2 * DAY_NS, before_ns=0, keep_bytes=1 << 40, holds=())
    line.clock.move_by(2 * HOUR_NS)
    pause = threading.Event()
    for _ in range(500):
        if len(line.pipeline._beats) == 1:
            break
        pause.wait(0.01)
    assert [beat.instance for beat in line.pipeline._beats.values()] == ["i2"]


def test_a_late_span_stands_at_its_own_time(line: Line) -> None:
    """A span that comes an hour late is stored where it belongs; a clock that is behind cannot be told from lateness."""
    line.pipeline.start()
    line.send(spans("01" * 8), received_ns=AT_NS + HOUR_NS)
    line.drain()
    (event,) = line.reader.trace("ab" * 16)

    assert (event.start_ns, event.received_ns, "clock_skew_s" in event.attributes) == (AT_NS, AT_NS + HOUR_NS, False)


def test_rejected_records_are_in_the_ledger(line: Line) -> None:
    """What could not be read is counted with its reason."""
    line.pipeline.start()
    line.send(spans("01" * 8, ""))
    line.drain()
    ledger = line.ledger()

    assert ledger["accepted", ""] == 2
    assert ledger["stored", ""] == 1
    assert sum(count for (outcome, _), count in ledger.items() if outcome == "rejected") == 1


def test_a_finding_is_stored_and_announced(line: Line) -> None:
    """A rule that fires leaves one finding and rings once, also when the batch comes again."""
    line.pipeline.start()
    line.send(denied("run-1"), Signal.LOGS)
    assert line.rings.acquire(timeout=5)
    line.send(denied("run-1"), Signal.LOGS)
    line.drain()
    found = line.reader.findings(after=0, limit=10)

    assert len({finding.id for _, finding in found}) == len(found) >= 1
    assert all(finding.trusted and finding.enforced for _, finding in found)


def test_detectors_go_on_where_they_were(tmp_path: Path) -> None:
    """After a restart the detectors have seen what they had seen before."""
    seen: list[list[Event]] = []

    class Watching(Bank):
        def __init__(self) -> None:
            super().__init__(())
            self.events: list[Event] = []
            seen.append(self.events)

        def observe(self, event: Event) -> tuple[Any, ...]:
            self.events.append(event)
            return ()

    line = Line(tmp_path, Watching)
    line.pipeline.start()
    line.send(spans("01" * 8))
    line.drain()
    line.restart()
    line.pipeline.start()
    line.send(spans("02" * 8))
    line.drain()
    line.pipeline.stop(deadline_s=5)

    assert [[event.span_id[:2] for event in events] for events in seen] == [["01"], ["01", "02"]]


def test_silence_is_not_judged_right_after_a_start(tmp_path: Path) -> None:
    """Who was heard of before gets time to be heard again."""
    ticks: list[int] = []
    ticked = threading.Event()

    class Ticking(Bank):
        def tick(self, now_ns: int) -> tuple[Any, ...]:
            ticks.append(now_ns)
            ticked.set()
            return ()

    line = Line(tmp_path, lambda: Ticking(()))
    began_ns = line.clock.now()
    line.pipeline.start()
    line.send(spans("01" * 8))
    line.drain()
    line.clock.move_by(GRACE_NS)
    assert ticked.wait(5)
    line.pipeline.stop(deadline_s=5)

    assert min(ticks) >= began_ns + GRACE_NS


def test_a_store_that_breaks_ends_the_worker(tmp_path: Path) -> None:
    """When nothing can be recorded any more, the pipeline says so instead of going on in silence."""

    class Breaking(Bank):
        def observe(self, event: Event) -> tuple[Any, ...]:
            raise MemoryError

    line = Line(tmp_path, lambda: Breaking(()))
    line.pipeline.start()
    line.send(spans("01" * 8))

    assert line.failed.wait(5)
    assert line.pipeline.has_failed


def a_part(*spans: tuple[str, str, str], service: str = "shop") -> bytes:
    """An OTLP/JSON request of a service: spans by id, parent and the agent they name, model calls where they name none."""
    items = []
    for span_id, parent, agent in spans:
        named = {"gen_ai.agent.name": agent} if agent else {"gen_ai.request.model": "m-1"}
        said = {"gen_ai.operation.name": "invoke_agent" if agent else "chat", **named}
        items.append(
            {
                "traceId": "cd" * 16,
                "spanId": span_id * 16,
                "parentSpanId": parent * 16,
                "name": "step",
                "startTimeUnixNano": str(AT_NS),
                "endTimeUnixNano": str(AT_NS + 10),
                "attributes": [{"key": key, "value": {"stringValue": value}} for key, value in said.items()],
            }
        )
    who = {"service.name": service, "service.instance.id": "i1"}
    resource = {"attributes": [{"key": key, "value": {"stringValue": value}} for key, value in who.items()]}
    return json.dumps({"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": items}]}]}).encode()


def a_score() -> bytes:
    """An OTLP/JSON request with the score of span c, which does not name its agent."""
    record = {
        "timeUnixNano": str(AT_NS + 5),
        "eventName": "gen_ai.evaluation.result",
        "traceId": "cd" * 16,
        "spanId": "c" * 16,
        "attributes": [{"key": "gen_ai.evaluation.score.value", "value": {"doubleValue": 0.5}}],
    }
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]}
    return json.dumps({"resourceLogs": [{"resource": resource, "scopeLogs": [{"logRecords": [record]}]}]}).encode()


def agents_by_span(line: Line) -> dict[str, str]:
    """Whose each stored span is."""
    return {event.span_id[:1]: event.agent for event in line.reader.trace("cd" * 16)}


@pytest.mark.parametrize("between", ["nothing", "a segment", "a restart", "a segment and a restart"])
def test_a_parent_that_comes_last_names_the_agent_everywhere(line: Line, between: str) -> None:
    """Trace, agent, fleet and figures: as if child, parent and grandparent had come in one request, and the guess is gone."""
    line.clock.move_by(HOUR_NS)
    line.pipeline.start()
    line.send(a_part(("c", "b", ""), ("d", "b", "")))
    line.send(a_score(), Signal.LOGS)
    line.drain()
    assert agents_by_span(line) == {"c": "shop", "d": "shop"}
    assert [beat.agent for beat in line.reader.beats()] == ["shop"]
    if "segment" in between:
        assert line.writer.settle(now_ns=0, everything=True)
    if "restart" in between:
        line.restart()
        line.pipeline.start()

    line.send(a_part(("b", "a", "")))
    line.send(a_part(("a", "", "refund-bot")))
    line.drain()
    line.clock.move_by(2 * LOOK_AFTER_NS)
    line.until(lambda: set(agents_by_span(line).values()) == {"refund-bot"})

    assert len(agents_by_span(line)) == 4
    since_ns, until_ns = 0, 2**62
    assert len(line.reader.of_agents(["refund-bot"], since_ns=since_ns, until_ns=until_ns, limit=9)) == 5
    assert line.reader.of_agents(["shop"], since_ns=since_ns, until_ns=until_ns, limit=9) == ()
    points = line.reader.series((), since_ns=since_ns, until_ns=until_ns, step_ns=2**62)
    assert [(point.agent, point.events) for point in points] == [("refund-bot", 5)]
    (agent,) = load(line.reader.fleet())
    assert (agent.agent, agent.events, agent.is_inferred, agent.models["m-1"].count) == ("refund-bot", 5, False, 3)
    assert {beat.agent for beat in line.reader.beats()} == {"refund-bot"}
    assert reconcile(line.reader, deep=True).problems == ()
    line.send(a_part(("c", "b", ""), ("b", "a", "")))
    line.send(a_score(), Signal.LOGS)
    line.drain()
    doubled = {each.signal: each.count for each in line.reader.ledger() if each.outcome == "duplicate"}
    assert doubled == {Signal.TRACES: 2, Signal.LOGS: 1}
