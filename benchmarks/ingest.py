"""How much telemetry one server takes in: over HTTP, masked, durable, decoded, through every rule, and stored."""

import gzip
import http.client
import os
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue

from andoncord.adapters.sqlite.telemetry import SqliteTelemetryReader
from andoncord.adapters.system.server_process import ServerProcess, launch
from benchmarks.result import Result, quantile

REQUESTS = 120
WARM_UP = 10
SPANS = 512
"""Spans in one request: the default of the OpenTelemetry SDK's batch exporter."""
CONNECTIONS = 4
DEADLINE_S = 120.0
PARSES = 40
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def run() -> Result:
    """Send requests of 512 GenAI spans and wait until each span is stored and was seen by every rule."""
    bodies = [request(number) for number in range(WARM_UP + REQUESTS)]
    packed = [gzip.compress(body, 1) for body in bodies]
    with tempfile.TemporaryDirectory() as folder, launch(Path(folder) / "home") as server:
        reader = SqliteTelemetryReader(Path(folder) / "home" / "telemetry.db")
        send_all(server, packed[:WARM_UP])
        wait_stored(reader, WARM_UP * SPANS)
        worker = worker_of(server.pid)
        cpu_before, began = cpu_s(worker), time.perf_counter()
        waits = send_all(server, packed[WARM_UP:])
        wait_stored(reader, (WARM_UP + REQUESTS) * SPANS)
        wall, cpu = time.perf_counter() - began, cpu_s(worker) - cpu_before
        reader.close()
    spans = REQUESTS * SPANS
    return Result(
        figures={
            "spans_per_s": spans / wall,
            "spans_per_cpu_s": spans / cpu,
            "ack_ms_p50": quantile(waits, 0.5),
            "ack_ms_p99": quantile(waits, 0.99),
        },
        baselines={"parse_spans_per_cpu_s": parse_rate(bodies[:PARSES])},
        notes=(
            f"{REQUESTS} requests of {SPANS} spans, {len(bodies[0]) // 1024} KiB each, {len(packed[0]) // 1024} KiB gzip.",
            f"{CONNECTIONS} connections; the sender is on the same {os.cpu_count()} cores.",
            "A span counts when it is stored, indexed and judged by the built-in rules; CPU is that of the ingest worker.",
            "The baseline is protobuf parsing alone, nothing read out, nothing kept.",
        ),
    )


def request(number: int) -> bytes:
    """One export of 512 spans: runs of ten agents, a model call and three tool calls each."""
    export = ExportTraceServiceRequest()
    resource = export.resource_spans.add()
    resource.resource.attributes.append(text("service.name", "bench"))
    resource.resource.attributes.append(text("service.instance.id", "bench-1"))
    scope = resource.scope_spans.add()
    start = time.time_ns()
    for place in range(SPANS):
        run, step = divmod(place, 4)
        span = scope.spans.add()
        span.trace_id = (number * SPANS + run + 1).to_bytes(16, "big")
        span.span_id = (number * SPANS + place + 1).to_bytes(8, "big")
        span.start_time_unix_nano, span.end_time_unix_nano = start + place * 1_000, start + place * 1_000 + 500
        agent = f"agent-{run % 10}"
        if step == 0:
            span.name = "chat small-1"
            values = [("gen_ai.operation.name", "chat"), ("gen_ai.request.model", "small-1"), ("gen_ai.agent.name", agent)]
            span.attributes.extend(text(key, value) for key, value in values)
            span.attributes.append(whole("gen_ai.usage.input_tokens", 900 + place))
            span.attributes.append(whole("gen_ai.usage.output_tokens", 40))
            span.attributes.append(text("gen_ai.input.messages", f'[{{"role":"user","content":"order {place} please"}}]'))
        else:
            span.name = "execute_tool orders.lookup"
            values = [
                ("gen_ai.operation.name", "execute_tool"),
                ("gen_ai.tool.name", "orders.lookup"),
                ("gen_ai.agent.name", agent),
            ]
            span.attributes.extend(text(key, value) for key, value in values)
            span.attributes.append(text("gen_ai.tool.call.arguments", f'{{"order_id":"{number}-{place}"}}'))
            span.attributes.append(text("gen_ai.tool.call.result", f'{{"state":"paid","amount":{place}}}'))
    return export.SerializeToString()


def text(key: str, value: str) -> KeyValue:
    """An attribute."""
    attribute = KeyValue(key=key)
    attribute.value.string_value = value
    return attribute


def whole(key: str, value: int) -> KeyValue:
    """An attribute that is a number."""
    attribute = KeyValue(key=key)
    attribute.value.int_value = value
    return attribute


def send_all(server: ServerProcess, bodies: list[bytes]) -> list[float]:
    """Send every body over a few connections; milliseconds until each was acknowledged."""
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        parts = pool.map(lambda place: send(server, bodies[place::CONNECTIONS]), range(CONNECTIONS))
        return [wait for part in parts for wait in part]


def send(server: ServerProcess, bodies: list[bytes]) -> list[float]:
    """Send bodies one after the other, again where the server asks for it."""
    address = urlsplit(server.otlp_url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=DEADLINE_S)
    headers = {"Content-Type": "application/x-protobuf", "Content-Encoding": "gzip"}
    waits: list[float] = []
    pause = threading.Event()
    for body in bodies:
        status = 503
        while status == 503:
            began = time.perf_counter()
            connection.request("POST", "/v1/traces", body, headers)
            response = connection.getresponse()
            response.read()
            status = response.status
            if status == 503:
                pause.wait(0.1)
        assert status == 200, status
        waits.append((time.perf_counter() - began) * 1_000)
    connection.close()
    return waits


def wait_stored(reader: SqliteTelemetryReader, spans: int) -> None:
    """Wait until the ledger says that so many spans are stored."""
    pause = threading.Event()
    end = time.perf_counter() + DEADLINE_S
    while time.perf_counter() < end:
        stored = sum(line.count for line in reader.ledger() if line.outcome == "stored")
        if stored >= spans:
            assert stored == spans, (stored, spans)
            return
        pause.wait(0.01)
    raise AssertionError(f"{spans} spans were not stored within {DEADLINE_S:g} s")


def worker_of(pid: int) -> int:
    """The ingest worker of a server."""
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def cpu_s(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def parse_rate(bodies: list[bytes]) -> float:
    """Spans per CPU second of parsing alone."""
    began = time.process_time()
    for body in bodies:
        ExportTraceServiceRequest.FromString(body)
    return len(bodies) * SPANS / (time.process_time() - began)
