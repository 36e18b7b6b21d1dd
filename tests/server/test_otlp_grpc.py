"""OTLP over gRPC: stock exporters in, the same refusals as over HTTP, in gRPC's words."""

import asyncio
import gzip
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import grpc
import httpx2
import pytest
from google.rpc.error_details_pb2 import RetryInfo  # type: ignore[import-untyped]
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from andoncord.adapters.parquet.writer import ParquetTelemetryWriter
from andoncord.adapters.system.server_process import ServerFailedError, ServerProcess, launch
from andoncord.detect.bank import Bank
from andoncord.server.appender import Appender
from andoncord.server.ingest import Ingest
from andoncord.server.listening import reserve, target_of
from andoncord.server.otlp_grpc import SERVICES, OtlpGrpc
from andoncord.server.pipeline import Pipeline
from andoncord.server.settings import ServerSettings
from andoncord.telemetry.batch import Signal
from andoncord.testing.system import HandClock

if TYPE_CHECKING:
    from tests.server.conftest import Person
else:
    Person = Any

AT_NS = 1_767_603_600_000_000_000
TRACES, LOGS, METRICS = (SERVICES[signal] for signal in (Signal.TRACES, Signal.LOGS, Signal.METRICS))


def spans(trace_id: bytes) -> ExportTraceServiceRequest:
    """An export of one span."""
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    scope.spans.add(trace_id=trace_id, span_id=b"\1" * 8, name="s", start_time_unix_nano=AT_NS, end_time_unix_nano=AT_NS)
    return request


def records(trace_id: bytes) -> ExportLogsServiceRequest:
    """An export of one log record."""
    request = ExportLogsServiceRequest()
    scope = request.resource_logs.add().scope_logs.add()
    log = scope.log_records.add(time_unix_nano=AT_NS, trace_id=trace_id, span_id=b"\2" * 8)
    log.body.string_value = "a line"
    return request


@pytest.fixture
def channel(server: ServerProcess) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(urlsplit(server.grpc_url).netloc) as opened:
        yield opened


def export(channel: grpc.Channel, service: str, body: bytes, **options: Any) -> bytes:
    """One request, as bytes."""
    call: Any = channel.unary_unary(f"/{service}/Export")
    answer = call(body, timeout=20, **options)
    assert isinstance(answer, bytes)
    return answer


def refusal(channel: grpc.Channel, service: str, body: bytes, **options: Any) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as refused:
        export(channel, service, body, **options)
    return refused.value


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_a_stock_exporter_in_and_its_span_out(server: ServerProcess, person: Person, compression: grpc.Compression) -> None:
    """What the OpenTelemetry SDK exports over gRPC comes back by its trace id, trusted by its token, however compressed."""
    provider = TracerProvider(resource=Resource({"service.name": "shop", "gen_ai.agent.name": "refund-bot"}))
    headers = {"authorization": f"Bearer {person.agent_token()}"}
    exporter = OTLPSpanExporter(endpoint=server.grpc_url, insecure=True, headers=headers, compression=compression)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    attributes = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "orders.lookup"}
    with provider.get_tracer("test").start_as_current_span("execute_tool orders.lookup", attributes=attributes) as span:
        pass
    provider.shutdown()
    trace = f"/api/v1/traces/{span.get_span_context().trace_id:032x}"

    person.eventually("/api/v1/agents", lambda _: person.http.get(trace).status_code == 200)
    (found,) = person.get(trace)["spans"]
    assert (found["agent"], found["name"], found["system"], found["trusted"]) == ("refund-bot", "orders.lookup", "shop", True)


def test_a_stock_exporters_logs_come_in_too(server: ServerProcess, person: Person) -> None:
    """The service for logs takes records; without a token they are not trusted."""
    from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor

    provider = LoggerProvider(Resource({"gen_ai.agent.name": "refund-bot"}))
    provider.add_log_record_processor(SimpleLogRecordProcessor(OTLPLogExporter(endpoint=server.grpc_url, insecure=True)))
    with TracerProvider().get_tracer("test").start_as_current_span("s") as span:
        provider.get_logger("test").emit(event_name="gen_ai.evaluation.result", attributes={"gen_ai.evaluation.name": "tone"})
    provider.shutdown()
    trace = f"/api/v1/traces/{span.get_span_context().trace_id:032x}"

    person.eventually("/api/v1/agents", lambda _: person.http.get(trace).status_code == 200)
    (found,) = person.get(trace)["spans"]
    assert (found["kind"], found["name"], found["agent"], found["trusted"]) == ("quality.scored", "tone", "refund-bot", False)


@pytest.mark.parametrize(
    ("service", "body", "code", "said"),
    [
        (TRACES, b"\xff\xff", grpc.StatusCode.INVALID_ARGUMENT, "malformed"),
        (TRACES, spans(b"short").SerializeToString(), grpc.StatusCode.INVALID_ARGUMENT, "no_ids"),
        (TRACES, records(b"\xa2" * 16).SerializeToString(), grpc.StatusCode.INVALID_ARGUMENT, "send logs to /v1/logs"),
        (LOGS, spans(b"\xa2" * 16).SerializeToString(), grpc.StatusCode.INVALID_ARGUMENT, "send traces to /v1/traces"),
        (TRACES, gzip.compress(b"\0" * 40_000_000), grpc.StatusCode.INVALID_ARGUMENT, "larger than"),
        (TRACES, b"\0" * 34_000_000, grpc.StatusCode.RESOURCE_EXHAUSTED, "larger than"),
        (METRICS, b"\xff\xff", grpc.StatusCode.INVALID_ARGUMENT, "malformed"),
    ],
    ids=["garbage", "no ids", "logs as traces", "traces as logs", "bomb", "too large", "metrics"],
)
def test_what_cannot_be_taken(channel: grpc.Channel, service: str, body: bytes, code: grpc.StatusCode, said: str) -> None:
    """Each is refused with a status that senders do not retry, and a reason; the server lives."""
    refused: Any = refusal(channel, service, body)

    assert (refused.code(), said in refused.details()) == (code, True)
    assert "google.rpc.retryinfo-bin" not in dict(refused.trailing_metadata())
    assert export(channel, TRACES, b"") == b""


def test_tokens_are_asked_for_by_scope(channel: grpc.Channel, server: ServerProcess, person: Person) -> None:
    """An unknown token and a person's token are told apart, and the misuse of the latter is in the record."""
    unknown, other = grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED
    for token, code in (("andon_sdk_unknown", unknown), (server.admin_token, other)):
        refused: Any = refusal(channel, TRACES, b"", metadata=(("authorization", f"Bearer {token}"),))
        assert refused.code() == code

    journal = person.eventually(
        "/api/v1/journal?limit=500", lambda page: any(each["kind"] == "system.noted" for each in page["items"])
    )
    (noted,) = [each["body"] for each in journal["items"] if each["kind"] == "system.noted"]
    assert (noted["what"], noted["scope"], noted["times"]) == ("token refused for its scope", "admin", 1)
    assert server.admin_token not in str(journal)


def test_a_part_that_cannot_be_read_is_rejected_by_count(channel: grpc.Channel) -> None:
    """The good half is taken, and the sender is told about the other."""
    request = spans(b"\xa3" * 16)
    request.resource_spans[0].scope_spans[0].spans.add(name="no ids", start_time_unix_nano=AT_NS)
    answer = ExportTraceServiceResponse.FromString(export(channel, TRACES, request.SerializeToString()))

    assert answer.partial_success.rejected_spans == 1
    assert "no_ids" in answer.partial_success.error_message


def test_a_stock_metric_exporter_is_understood(server: ServerProcess, caplog: pytest.LogCaptureFixture) -> None:
    """What it says about models is kept; of the rest its sender is told."""
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

    reader = PeriodicExportingMetricReader(OTLPMetricExporter(endpoint=server.grpc_url, insecure=True), 3_600_000)
    provider = MeterProvider((reader,))
    provider.get_meter("test").create_histogram("gen_ai.client.token.usage").record(7)
    provider.get_meter("test").create_counter("http.requests").add(1)
    provider.shutdown()
    headers = {"Authorization": f"Bearer {server.admin_token}"}

    def ledger() -> list[tuple[str, str, int]]:
        items = httpx2.get(f"{server.api_url}/api/v1/ledger", headers=headers, trust_env=False).json()["items"]
        return sorted((item["outcome"], item["reason"], item["count"]) for item in items if item["signal"] == "metrics")

    pause = threading.Event()
    for _ in range(500):
        if ledger():
            break
        pause.wait(0.02)
    assert ledger() == [("accepted", "", 2), ("rejected", "not_genai", 1), ("stored", "", 1)]
    assert "UNIMPLEMENTED" not in caplog.text


def test_two_servers_do_not_share_a_port(server: ServerProcess, tmp_path: Path) -> None:
    """The port is open to sharing for the worker's sake; a second server is refused all the same."""
    port = urlsplit(server.grpc_url).port
    assert port
    with pytest.raises(ServerFailedError, match=f"cannot listen on 127.0.0.1:{port}"):
        launch(tmp_path / "home", grpc_port=port)


def test_after_the_worker_died_the_port_is_the_same(tmp_path: Path) -> None:
    """A sender that waits gets through once the worker is back."""
    with launch(tmp_path / "home") as server:
        (worker,) = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
        os.kill(int(worker), signal.SIGKILL)
        with grpc.insecure_channel(urlsplit(server.grpc_url).netloc) as opened:
            assert export(opened, TRACES, spans(b"\xa4" * 16).SerializeToString(), wait_for_ready=True) == b""


def _nothing() -> None:
    """What a pipeline that does not run has to tell."""


def test_a_full_backlog_says_when_to_come_again(tmp_path: Path) -> None:
    """No more is taken than can be read out, and the delay is said in both forms that senders look for."""
    writer, clock, settings = ParquetTelemetryWriter(tmp_path / "telemetry.db"), HandClock(), ServerSettings(max_backlog=1)
    # Not started: nothing is read out.
    pipeline = Pipeline(writer=writer, bank=Bank(()), clock=clock, on_findings=_nothing, on_failure=_nothing)
    appender = Appender(writer)
    ingest = Ingest(settings=settings, clock=clock, find_token=lambda _: None, appender=appender, pipeline=pipeline)

    async def send_two(target: str) -> tuple[bytes, grpc.aio.AioRpcError]:
        receiver = OtlpGrpc(ingest, target=target)
        await receiver.start()
        async with grpc.aio.insecure_channel(target) as opened:
            call: Any = opened.unary_unary(f"/{TRACES}/Export")
            first = await call(spans(b"\xa5" * 16).SerializeToString())
            with pytest.raises(grpc.aio.AioRpcError) as full:
                await call(spans(b"\xa6" * 16).SerializeToString())
        await receiver.stop()
        return first, full.value

    with reserve("127.0.0.1", 0) as holder:
        first, full = asyncio.run(send_two(target_of(holder)))
    appender.close()
    writer.close()

    trailing = dict(full.trailing_metadata())
    assert (first, full.code()) == (b"", grpc.StatusCode.RESOURCE_EXHAUSTED)
    assert trailing["google.rpc.retryinfo-bin"] == b"\x0a\x02\x08\x01"
    status = Status.FromString(trailing["grpc-status-details-bin"])
    delay = RetryInfo()
    assert status.details[0].Unpack(delay)
    assert (status.code, status.message, delay.retry_delay.seconds) == (8, full.details(), 1)
