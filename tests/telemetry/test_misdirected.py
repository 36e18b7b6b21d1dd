"""Which export a body is, whatever it was sent as."""

import json

import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from andoncord.telemetry.batch import Encoding
from andoncord.telemetry.misdirected import export_of


def traces() -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    resource.resource.attributes.add(key="service.name").value.string_value = "shop"
    span = resource.scope_spans.add().spans.add(trace_id=b"\1" * 16, span_id=b"\2" * 8, name="x" * 300, start_time_unix_nano=5)
    span.attributes.add(key="n").value.int_value = -1
    return request


def logs(**fields: int) -> ExportLogsServiceRequest:
    request = ExportLogsServiceRequest()
    scope = request.resource_logs.add().scope_logs.add()
    scope.scope.name = "scope"
    scope.log_records.add(severity_number=9, trace_id=b"\1" * 16, span_id=b"\2" * 8, event_name="e", **fields)
    return request


def metrics() -> ExportMetricsServiceRequest:
    request = ExportMetricsServiceRequest()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name="sixteen_letters_")
    metric.histogram.data_points.add(count=1, sum=7.0)
    return request


@pytest.mark.parametrize(
    ("request_", "export"),
    [
        (traces(), "traces"),
        (logs(time_unix_nano=5), "logs"),
        (logs(observed_time_unix_nano=5), "logs"),
        (metrics(), "metrics"),
        (ExportTraceServiceRequest(), None),
    ],
    ids=["traces", "logs", "logs as observed", "metrics", "empty"],
)
def test_protobuf_is_told_by_the_fields_of_its_first_record(request_: Message, export: str | None) -> None:
    """Traces, logs and metrics have the same outer fields; their records do not."""
    assert export_of(request_.SerializeToString(), Encoding.PROTOBUF) == export


@pytest.mark.parametrize(
    ("key", "export"),
    [("resourceSpans", "traces"), ("resource_logs", "logs"), ("resourceMetrics", "metrics"), ("spans", None)],
)
def test_json_is_told_by_its_outermost_list(key: str, export: str | None) -> None:
    """In either spelling of the names."""
    assert export_of(json.dumps({key: [{"anything": 1}]}).encode(), Encoding.JSON) == export


@given(st.binary(max_size=60), st.sampled_from(Encoding))
def test_garbage_is_none_of_them_or_one(body: bytes, encoding: Encoding) -> None:
    """Whatever arrives, the answer is a word or nothing."""
    assert export_of(body, encoding) in (None, "traces", "logs", "metrics")


def test_a_body_cut_anywhere_is_read_without_harm() -> None:
    """A body that ends too early is never taken for another export."""
    whole = traces().SerializeToString()
    assert {export_of(whole[:end], Encoding.PROTOBUF) for end in range(len(whole))} <= {None, "traces"}
