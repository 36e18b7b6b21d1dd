"""Attributes read from their bytes say what the generated classes say."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from andoncord.telemetry.otlp import decode_traces_protobuf
from andoncord.telemetry.otlp_attributes import attribute, plain_value

VALUES = st.one_of(
    st.builds(AnyValue, string_value=st.text(max_size=40)),
    st.builds(lambda size: AnyValue(string_value="ü" * size), st.sampled_from((63, 64, 127, 8_191, 8_192))),
    st.builds(AnyValue, int_value=st.integers(-(2**63), 2**63 - 1)),
    st.builds(AnyValue, int_value=st.integers(0, 300)),
    st.builds(AnyValue, bool_value=st.booleans()),
    st.builds(AnyValue, double_value=st.floats(allow_nan=False)),
    st.builds(AnyValue, bytes_value=st.binary(max_size=9)),
    st.just(AnyValue()),
)
KEYS = st.one_of(st.text(max_size=12), st.builds(lambda size: "k" * size, st.sampled_from((1, 127, 128, 300))))


@settings(max_examples=300, deadline=None)
@given(key=KEYS, value=VALUES)
def test_the_short_way_reads_what_the_long_way_reads(key: str, value: AnyValue) -> None:
    """Any attribute, of any length and type, reads the same."""
    written = KeyValue(key=key, value=value).SerializeToString()
    expected = (key, plain_value(value))

    assert attribute(written) == expected


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (b"\x12\x04\x0a\x02hi\x0a\x01k", ("k", "hi")),  # the value first
        (b"\x0a\x01k\x12\x04\x0a\x02hi\x12\x03\x0a\x01x", ("k", "x")),  # two values: the last holds
        (b"\x0a\x01k\x12\x04\x0a\x02hi\x1a\x01z", ("k", "hi")),  # a field of the future
        (b"\x0a\x01k\x12\x06\x0a\x00\x18\x90\x80\x01", ("k", 16_400)),  # a text, and then a number instead
        (KeyValue(key="k", value=AnyValue(string_value="x" * 2_100_000)).SerializeToString(), ("k", "x" * 2_100_000)),
        (b"\x0a\x01k", ("k", None)),
        (b"", ("", None)),
    ],
)
def test_unusual_forms_are_read_too(written: bytes, expected: tuple[str, Any]) -> None:
    """The wire format allows any order, repetitions and unknown fields."""
    assert attribute(written) == expected


@pytest.mark.parametrize(
    "broken", [b"\x0a\x05k", b"\x0a\x01k\x12\x04\x0a\x02\xff\xfe", b"\x0a\x01k\x12\x7f\x0a\x02hi", b"\xff"]
)
def test_a_broken_attribute_costs_its_span_only(broken: bytes) -> None:
    """The span next to it is taken."""
    export = ExportTraceServiceRequest()
    spans = export.resource_spans.add().scope_spans.add().spans
    for number in (1, 2):
        spans.add(trace_id=b"t" * 16, span_id=bytes([number] * 8), start_time_unix_nano=5, end_time_unix_nano=6)
    whole = export.SerializeToString()
    span = spans[0].SerializeToString()
    spoilt = span + b"\x4a" + bytes([len(broken)]) + broken
    inner = whole[4:].replace(b"\x12" + bytes([len(span)]) + span, b"\x12" + bytes([len(spoilt)]) + spoilt, 1)
    body = b"\x0a" + bytes([len(inner) + 2]) + b"\x12" + bytes([len(inner)]) + inner

    decoded = decode_traces_protobuf(body, received_ns=0)

    assert [event.span_id for event in decoded.events] == ["02" * 8]
    assert [rejection.reason for rejection in decoded.rejected] == ["malformed"]
