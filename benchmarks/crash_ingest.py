"""Whether anything that was acknowledged is lost or doubled when the server is killed under load, again and again."""

import logging
import os
import random
import signal
import socket
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult

from andoncord.adapters.parquet.reader import ParquetTelemetryReader
from andoncord.adapters.system.server_process import ServerProcess, launch
from andoncord.server.reconcile import reconcile
from benchmarks.result import Result, quantile

KILLS = 10
SENDERS = 2
SPANS = 512
"""Spans in one export: the default of the OpenTelemetry SDK's batch exporter."""
CALLS_PER_RUN = 3
TIMEOUT_S = 10.0
"""The exporter's own limit for one export with its retries. Then the spans are handed to it again, as a full queue would do."""
LIFE_MIN_S, LIFE_MAX_S = 0.3, 1.5
"""How long a server lives after it has acknowledged something."""
DEADLINE_S = 60.0
TEXT = "The customer asks for a refund because the parcel came late, and would like to hear from a person. " * 6


def run(kills: int = KILLS) -> Result:
    """Kill the server with all of its processes while stock exporters send and retry; then look for every span.

    Args:
        kills: how often; 200 is the long form.
    """
    # The exporter tells of every failed attempt; there are many.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    chance = random.Random(7)
    otlp_port, api_port, grpc_port = free_ports(3)
    endpoint = f"http://127.0.0.1:{otlp_port}/v1/traces"
    opened: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"

        def start() -> ServerProcess:
            began = time.perf_counter()
            server = launch(home, otlp_port=otlp_port, api_port=api_port, grpc_port=grpc_port, deadline_s=DEADLINE_S)
            opened.append(time.perf_counter() - began)
            return server

        server = start()
        senders = [Sender(endpoint, number) for number in range(SENDERS)]
        began = time.perf_counter()
        for sender in senders:
            sender.start()
        for _ in range(kills):
            wait_for_ack(senders)
            threading.Event().wait(chance.uniform(LIFE_MIN_S, LIFE_MAX_S))
            # The process and all it started, at once: nobody says goodbye to anybody.
            os.killpg(server.pid, signal.SIGKILL)
            server.kill()
            server = start()
        wait_for_ack(senders)
        for sender in senders:
            sender.stop()
        wall = time.perf_counter() - began
        reader = ParquetTelemetryReader(home / "telemetry.db")
        wait_read_out(reader)
        server.stop()
        found = stored_spans(reader)
        ledger = reconcile(reader)
        storage = reader.storage()
        reader.close()
    acknowledged = {span for sender in senders for span in sender.acknowledged}
    retried = sum(sender.handed_over_again for sender in senders)
    return Result(
        figures={
            "kills": kills,
            "lost": len(acknowledged - found.keys()),
            "doubled": sum(count > 1 for count in found.values()),
            "reopen_s_max": max(opened[1:]),
            "reopen_s_p50": quantile(opened[1:], 0.5),
            "acknowledged_spans": len(acknowledged),
            "ledger_problems": len(ledger.problems),
        },
        baselines={"first_open_s": opened[0]},
        notes=(
            f"{SENDERS} exporters of the OpenTelemetry SDK sent {len(acknowledged):,} spans in {wall:.0f} s.",
            f"{retried} exports ran out of their {TIMEOUT_S:g} s and were handed over again.",
            f"At the end {storage.events:,} events, in {storage.segments} segments and a tail of {storage.tail_events:,}.",
            "Reopening is from the start of the process until every port answers; the baseline is an empty data directory.",
            *ledger.problems,
        ),
    )


class Sender:
    """One process's worth of spans: made with the SDK, exported with its exporter, batch after batch."""

    def __init__(self, endpoint: str, number: int) -> None:
        self._exporter = OTLPSpanExporter(endpoint=endpoint, timeout=TIMEOUT_S)
        resource = Resource.create({"service.name": "crash", "service.instance.id": f"crash-{number}"})
        self._collected = Collected()
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        provider.add_span_processor(self._collected)
        self._tracer = provider.get_tracer("benchmark")
        self._number = number
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"sender-{number}", daemon=True)
        self.acknowledged: list[tuple[str, str]] = []
        self.handed_over_again = 0

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def stop(self) -> None:
        """Send what is at hand, and end."""
        self._stopping.set()
        self._thread.join(DEADLINE_S)

    def _run(self) -> None:
        batch = 0
        while not self._stopping.is_set():
            spans = self._spans(batch)
            while self._exporter.export(spans) is not SpanExportResult.SUCCESS:
                self.handed_over_again += 1
            self.acknowledged.extend(ids_of(spans))
            batch += 1

    def _spans(self, batch: int) -> list[ReadableSpan]:
        agent = {"gen_ai.agent.name": f"agent-{self._number}-{batch % 10}"}
        place = 0
        while len(self._collected.spans) < SPANS:
            with self._tracer.start_as_current_span(
                "invoke_agent", attributes={**agent, "gen_ai.operation.name": "invoke_agent"}
            ):
                for _ in range(CALLS_PER_RUN):
                    place += 1
                    arguments = f'{{"order":"{batch}-{place}"}}'
                    attributes = {
                        **agent,
                        "gen_ai.operation.name": "execute_tool",
                        "gen_ai.tool.name": "orders.lookup",
                        "gen_ai.tool.call.arguments": arguments,
                        "gen_ai.tool.call.result": f"{place}: {TEXT}",
                    }
                    with self._tracer.start_as_current_span("execute_tool orders.lookup", attributes=attributes):
                        pass
        spans, self._collected.spans = self._collected.spans, []
        return spans


class Collected(SpanProcessor):
    """Keeps ended spans until they are exported."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.spans.append(span)


def ids_of(spans: Sequence[ReadableSpan]) -> list[tuple[str, str]]:
    """Trace and span id of each, as they are stored."""
    return [(f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}") for span in spans if span.context]


def wait_for_ack(senders: Sequence[Sender]) -> None:
    """Return when something more was acknowledged."""
    known = sum(len(sender.acknowledged) for sender in senders)
    pause, end = threading.Event(), time.perf_counter() + DEADLINE_S
    while sum(len(sender.acknowledged) for sender in senders) == known:
        assert time.perf_counter() < end, "nothing was acknowledged"
        pause.wait(0.01)


def wait_read_out(reader: ParquetTelemetryReader) -> None:
    """Return when everything in the log is stored."""
    pause, end = threading.Event(), time.perf_counter() + DEADLINE_S
    while reader.lag():
        assert time.perf_counter() < end, "the log was not read out"
        pause.wait(0.05)


def stored_spans(reader: ParquetTelemetryReader) -> Counter[tuple[str, str]]:
    """How often each span is in the store."""
    found: Counter[tuple[str, str]] = Counter()
    place = 0
    while page := reader.tail(after=place, limit=10_000):
        found.update((event.trace_id, event.span_id) for _, event in page)
        place = page[-1][0]
    return found


def free_ports(count: int) -> list[int]:
    """Ports that nobody uses now; the server comes back to them after each kill."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [int(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports
