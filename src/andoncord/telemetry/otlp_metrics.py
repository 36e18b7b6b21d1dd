"""Metric exports, both encodings: the GenAI metrics as records of usage, one for each data point.

They say in sums what spans say call by call, so their numbers stay attributes of an event and never count as tokens or steps:
an agent that sends both is not counted twice, and one that sends metrics alone is seen to be alive, and with what.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from andoncord.telemetry.otlp_json import Pair, Resource, nanoseconds, parse_any, plain_pairs, resource_attributes
from andoncord.telemetry.otlp_protobuf import parse, plain_of_pairs
from andoncord.telemetry.raw import BAD_TIMESTAMP, LATEST_NS, NOT_GENAI, Attributes, Bad, Batches, RawLog, Unreadable

PREFIX = "gen_ai."
KINDS = ("gauge", "sum", "histogram", "exponential_histogram", "summary")
SUM, COUNT, UNIT, SINCE, CUMULATIVE = (
    "andoncord.metric.sum",
    "andoncord.metric.count",
    "andoncord.metric.unit",
    "andoncord.metric.start_ns",
    "andoncord.metric.cumulative",
)
_CUMULATIVE = 2
"""AGGREGATION_TEMPORALITY_CUMULATIVE: since the start of the process, not since the last export."""

_Number = int | float | str


class _Point(msgspec.Struct, rename="camel", gc=False):
    attributes: list[Pair] = []
    time_unix_nano: int | str = 0
    start_time_unix_nano: int | str = 0
    count: int | str = 0
    sum: float | str | None = None
    as_int: int | str | None = None
    as_double: float | str | None = None


class _Data(msgspec.Struct, rename="camel", gc=False):
    data_points: list[_Point] = []
    aggregation_temporality: int | str = 0


class _Metric(msgspec.Struct, rename="camel", gc=False):
    name: str = ""
    unit: str = ""
    gauge: _Data | None = None
    sum: _Data | None = None
    histogram: _Data | None = None
    exponential_histogram: _Data | None = None
    summary: _Data | None = None


class _ScopeMetrics(msgspec.Struct, gc=False):
    metrics: list[_Metric] = []


class _ResourceMetrics(msgspec.Struct, rename="camel", gc=False):
    resource: Resource | None = None
    scope_metrics: list[_ScopeMetrics] = []


class _Metrics(msgspec.Struct, rename="camel", gc=False):
    resource_metrics: list[_ResourceMetrics] = []


def from_json(body: bytes, received_ns: int) -> Batches:
    """The resources and data points of a metric export.

    Raises:
        Unreadable: the body is not this message.
    """
    try:
        whole = msgspec.convert(parse_any(body), _Metrics)
    except msgspec.ValidationError as wrong:
        raise Unreadable(f"not an ExportMetricsServiceRequest: {wrong}") from None
    for r, resource in enumerate(whole.resource_metrics):
        metrics = [metric for scope in resource.scope_metrics for metric in scope.metrics]
        yield resource_attributes(resource.resource), _records(metrics, _json_points, received_ns, f"$.resourceMetrics[{r}]")


def from_protobuf(body: bytes, received_ns: int) -> Batches:
    """Like `from_json`, for the protobuf encoding."""
    request = parse(ExportMetricsServiceRequest, body)
    for r, resource in enumerate(request.resource_metrics):
        metrics = [metric for scope in resource.scope_metrics for metric in scope.metrics]
        place = f"$.resourceMetrics[{r}]"
        yield plain_of_pairs(resource.resource.attributes), _records(metrics, _protobuf_points, received_ns, place)


Points = list[tuple[Attributes, int | None, int, Any, Any, bool]]
"""Of each data point: attributes, time, start, sum, count, and whether it is cumulative."""


def _records(metrics: Sequence[Any], points_of: Any, received_ns: int, place: str) -> Iterator[RawLog | Bad]:
    for m, metric in enumerate(metrics):
        points: Points = points_of(metric)
        if not metric.name.startswith(PREFIX):
            if points:
                yield Bad(NOT_GENAI, f"{place}: {metric.name[:80]}: only metrics under {PREFIX} are kept", len(points))
            continue
        for attributes, said_ns, start_ns, total, count, is_cumulative in points:
            at_ns = received_ns if said_ns == 0 else said_ns
            if at_ns is None or not 0 <= at_ns <= LATEST_NS:
                yield Bad(BAD_TIMESTAMP, f"{place}.metrics[{m}].timeUnixNano: expected nanoseconds since 1970")
                continue
            kept = attributes | {UNIT: metric.unit or None, COUNT: count, SUM: total, CUMULATIVE: is_cumulative}
            if start_ns:
                kept[SINCE] = start_ns
            yield RawLog("", "", metric.name, at_ns, kept, None)


def _json_points(metric: _Metric) -> Points:
    found: Points = []
    for kind in KINDS:
        data: _Data | None = getattr(metric, kind)
        for point in data.data_points if data is not None else ():
            total = next((value for value in (point.sum, point.as_int, point.as_double) if value is not None), None)
            is_cumulative = data is not None and str(data.aggregation_temporality) in (
                "2",
                "AGGREGATION_TEMPORALITY_CUMULATIVE",
            )
            at_ns, start_ns = nanoseconds(point.time_unix_nano), nanoseconds(point.start_time_unix_nano)
            found.append(
                (plain_pairs(point.attributes), at_ns, start_ns or 0, _number(total), _number(point.count), is_cumulative)
            )
    return found


def _protobuf_points(metric: Any) -> Points:
    kind = metric.WhichOneof("data")
    if kind is None:
        return []
    data = getattr(metric, kind)
    is_cumulative = getattr(data, "aggregation_temporality", 0) == _CUMULATIVE
    found: Points = []
    for point in data.data_points:
        if kind in ("gauge", "sum"):
            which = point.WhichOneof("value")
            total, count = getattr(point, which) if which else None, 0
        else:
            total, count = point.sum, point.count
        times = point.time_unix_nano, point.start_time_unix_nano
        found.append((plain_of_pairs(point.attributes), *times, total, count, is_cumulative))
    return found


def _number(value: _Number | None) -> _Number | None:
    """A number that JSON may carry as text."""
    if not isinstance(value, str):
        return value
    return int(value) if len(value) <= 20 and value.isascii() and value.removeprefix("-").isdigit() else value
