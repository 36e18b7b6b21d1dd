"""Metrics of models and agents become records of usage, and never count as steps or tokens."""

import json
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality

from andoncord.telemetry.event import EventKind
from andoncord.telemetry.otlp import Decoded, decode_logs_json, decode_metrics_json, decode_metrics_protobuf

AT_NS = 1_767_603_600_000_000_000
AGENT = {"key": "gen_ai.agent.name", "value": {"stringValue": "refunds"}}
TYPE = {"key": "gen_ai.token.type", "value": {"stringValue": "input"}}


def in_protobuf() -> bytes:
    export = ExportMetricsServiceRequest()
    resource = export.resource_metrics.add()
    resource.resource.attributes.add(key="gen_ai.agent.name").value.string_value = "refunds"
    resource.resource.attributes.add(key="service.instance.id").value.string_value = "i1"
    metrics = resource.scope_metrics.add().metrics
    usage = metrics.add(name="gen_ai.client.token.usage", unit="{token}")
    usage.histogram.aggregation_temporality = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
    point = usage.histogram.data_points.add(time_unix_nano=AT_NS, start_time_unix_nano=AT_NS - 60, count=3, sum=900)
    point.attributes.add(key="gen_ai.token.type").value.string_value = "input"
    metrics.add(name="gen_ai.client.operation.duration", unit="s").sum.data_points.add(time_unix_nano=AT_NS, as_double=1.5)
    metrics.add(name="http.requests").sum.data_points.add(time_unix_nano=AT_NS, as_int=1)
    return export.SerializeToString()


def in_json() -> bytes:
    point = {"timeUnixNano": str(AT_NS), "startTimeUnixNano": str(AT_NS - 60), "count": "3", "sum": 900, "attributes": [TYPE]}
    usage = {
        "name": "gen_ai.client.token.usage",
        "unit": "{token}",
        "histogram": {"dataPoints": [point], "aggregationTemporality": 2},
    }
    duration = {
        "name": "gen_ai.client.operation.duration",
        "unit": "s",
        "sum": {"dataPoints": [{"timeUnixNano": str(AT_NS), "asDouble": 1.5}]},
    }
    other = {"name": "http.requests", "sum": {"dataPoints": [{"timeUnixNano": str(AT_NS), "asInt": "1"}]}}
    instance = {"key": "service.instance.id", "value": {"stringValue": "i1"}}
    scope = {"metrics": [usage, duration, other]}
    return json.dumps({"resourceMetrics": [{"resource": {"attributes": [AGENT, instance]}, "scopeMetrics": [scope]}]}).encode()


@pytest.mark.parametrize("way", ["protobuf", "json"])
def test_usage_is_kept_as_what_it_is(way: str) -> None:
    """The sums with their unit and what they are over; the agent and its process; other metrics are refused by name."""
    decoded: Decoded = (
        decode_metrics_protobuf(in_protobuf(), received_ns=AT_NS, trusted_agents=("refunds",))
        if way == "protobuf"
        else decode_metrics_json(in_json(), received_ns=AT_NS, trusted_agents=("refunds",))
    )
    usage, duration = sorted(decoded.events, key=lambda event: event.name, reverse=True)

    assert (usage.name, usage.kind, usage.agent, usage.instance) == (
        "gen_ai.client.token.usage",
        EventKind.OTHER,
        "refunds",
        "i1",
    )
    assert (usage.input_tokens, usage.trusted, usage.at_ns) == (0, True, AT_NS)
    said: dict[str, Any] = {key.removeprefix("andoncord.metric."): value for key, value in usage.attributes.items()}
    assert (said["sum"], said["count"], said["unit"], said["cumulative"], said["start_ns"]) == (
        900,
        3,
        "{token}",
        True,
        AT_NS - 60,
    )
    assert usage.attributes["gen_ai.token.type"] == "input"
    assert duration.attributes["andoncord.metric.sum"] == 1.5
    assert (decoded.seen, [(each.reason, each.count) for each in decoded.rejected]) == (3, [("not_genai", 1)])


@pytest.mark.parametrize("body", [b"\xff", b"[]", b'{"resourceMetrics": {}}', b'{"resourceMetrics": [{"scopeMetrics": [7]}]}'])
def test_what_is_no_export_is_refused(body: bytes) -> None:
    """One rejection, no error of ours."""
    decoded = decode_metrics_json(body, received_ns=AT_NS)

    assert (decoded.events, [each.reason for each in decoded.rejected]) == ((), ["malformed"])


def test_an_exception_that_was_logged_says_what_it_was() -> None:
    """Type, message and trace of the exception; the record counts as a failure, not as a step."""
    attributes = {"exception.type": "TimeoutError", "exception.message": "no answer", "exception.stacktrace": "Traceback …"}
    pairs = [AGENT, *({"key": key, "value": {"stringValue": value}} for key, value in attributes.items())]
    record = {"timeUnixNano": str(AT_NS), "body": {"stringValue": "it broke"}, "attributes": pairs}
    body = json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}).encode()
    (event,) = decode_logs_json(body, received_ns=AT_NS).events

    assert (event.kind, event.ok, event.error_type, event.name) == (EventKind.OTHER, False, "TimeoutError", "TimeoutError")
    assert event.output_text == "no answer\nTraceback …"
