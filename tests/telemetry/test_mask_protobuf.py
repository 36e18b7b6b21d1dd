"""Masking in protobuf: every text is masked as it would be alone, wherever it stands, and nothing else changes."""

from typing import Any

import pytest
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from tests.telemetry.test_redact import KEY, SECRETS

from andoncord.telemetry.redact import redact_body, redact_text

TEXTS = st.one_of(
    st.text(max_size=12),
    st.builds(lambda before, secret, after: before + secret + after, st.sampled_from(("", "use ", "1\\n", "é ")),
              st.sampled_from([*SECRETS.values(), "ann@example.org"]), st.sampled_from(("", " ", "\\n2", "x" * 130))),
)  # fmt: skip
VALUES = st.recursive(
    st.one_of(
        st.builds(AnyValue, string_value=TEXTS),
        st.builds(AnyValue, int_value=st.integers(0, 2**62)),
        st.builds(AnyValue, bytes_value=st.one_of(st.binary(max_size=6), st.builds(str.encode, TEXTS))),
    ),
    lambda inner: st.one_of(
        st.builds(AnyValue, array_value=st.builds(ArrayValue, values=st.lists(inner, max_size=3))),
        st.builds(
            AnyValue,
            kvlist_value=st.builds(
                KeyValueList, values=st.lists(st.builds(KeyValue, key=st.just("k"), value=inner), max_size=3)
            ),
        ),
    ),
    max_leaves=4,
)
PAIRS = st.lists(st.builds(KeyValue, key=st.sampled_from(("a", "gen_ai.input.messages", "k" * 130)), value=VALUES), max_size=4)


@st.composite
def exports(draw: Any) -> ExportTraceServiceRequest:
    export = ExportTraceServiceRequest()
    for _ in range(draw(st.integers(1, 2))):
        resource = export.resource_spans.add()
        resource.resource.attributes.extend(draw(PAIRS))
        scope = resource.scope_spans.add()
        scope.scope.name = draw(TEXTS)
        for number in range(draw(st.integers(1, 3))):
            span = scope.spans.add(trace_id=bytes(range(40, 56)), span_id=bytes([number + 1] * 8), name=draw(TEXTS))
            span.start_time_unix_nano = 4_111_111_111_111_111
            span.attributes.extend(draw(PAIRS))
            span.events.add(name=draw(TEXTS)).attributes.extend(draw(PAIRS))
            span.status.message = draw(TEXTS)
    return export


def masked_alone(message: Message) -> Message:
    """Every text of a message masked by itself: slow, and plainly right."""
    for field, value in message.ListFields():
        if field.type == field.TYPE_STRING and field.name != "key":
            setattr(message, field.name, redact_text(value)[0])
        elif field.name == "bytes_value":
            try:
                setattr(message, field.name, redact_text(value.decode())[0].encode())
            except UnicodeDecodeError:
                pass
        elif field.type == field.TYPE_MESSAGE:
            for item in value if field.is_repeated else (value,):
                masked_alone(item)
    return message


@settings(max_examples=200, deadline=None)
@given(exports())
def test_every_text_is_masked_as_it_would_be_alone(export: ExportTraceServiceRequest) -> None:
    """Names, texts, nested values and exceptions; ids and times stay."""
    masked, count = redact_body(export.SerializeToString(), content_type="application/x-protobuf", signal="traces")
    expected = masked_alone(ExportTraceServiceRequest.FromString(export.SerializeToString()))

    assert ExportTraceServiceRequest.FromString(masked) == expected
    assert (count > 0) == (expected != export)


@pytest.mark.parametrize("secret", [*SECRETS.values(), "ann@example.org"])
@pytest.mark.parametrize("size", [48, 57, 65, 90, 97, 108, 122])
def test_a_length_that_looks_like_a_letter_hides_nothing(secret: str, size: int) -> None:
    """The length of a text stands right before it: that of 108 characters is the letter l."""
    export = ExportTraceServiceRequest()
    span = export.resource_spans.add().scope_spans.add().spans.add(trace_id=b"t" * 16, span_id=b"s" * 8)
    for text in (secret + " " + "y" * (size - len(secret) - 1), secret):
        span.attributes.add(key="k").value.string_value = text
    masked, count = redact_body(export.SerializeToString(), content_type="application/x-protobuf", signal="traces")

    assert count == 2
    assert secret.encode() not in masked


@pytest.mark.parametrize("content_type", ["application/json", "text"])
def test_a_secret_at_the_start_of_a_line_of_json_text_is_found(content_type: str) -> None:
    r"""In JSON a new line is `\n`, whose letter stands right before the secret; the escape stays whole."""
    text = rf"[{{\"content\":\"one\n{KEY}\nann@example.org\n4111111111111111\"}}]"
    masked = (
        redact_text(text)[0]
        if content_type == "text"
        else redact_body(f'{{"stringValue":"{text}"}}'.encode(), content_type=content_type)[0].decode()
    )

    assert r"one\n[redacted:aws-access-key]\n[redacted:email-" in masked
    assert r"]\n[redacted:card]" in masked


def test_an_attribute_named_as_a_secret_is_masked_whole() -> None:
    """Also deep inside, and whatever type its value has."""
    log = ExportLogsServiceRequest()
    record = log.resource_logs.add().scope_logs.add().log_records.add(time_unix_nano=1)
    inner = KeyValueList(values=[KeyValue(key="x-api-key", value=AnyValue(int_value=12345678))])
    record.attributes.add(key="headers").value.kvlist_value.CopyFrom(inner)
    masked, count = redact_body(log.SerializeToString(), content_type="application/x-protobuf", signal="logs")
    pair = ExportLogsServiceRequest.FromString(masked).resource_logs[0].scope_logs[0].log_records[0].attributes[0]

    assert (count, pair.value.kvlist_value.values[0].value.string_value) == (1, "[redacted:attribute]")


def test_metrics_are_masked() -> None:
    """Attributes of points carry texts too."""
    export = ExportMetricsServiceRequest()
    metric = export.resource_metrics.add().scope_metrics.add().metrics.add(name="gen_ai.client.token.usage")
    metric.histogram.data_points.add(count=1).attributes.add(key="user").value.string_value = "ann@example.org"
    metric.sum.data_points.add(as_int=1).attributes.add(key="user").value.string_value = "bob@example.org"
    body = export.SerializeToString()

    assert b"example.org" not in redact_body(body, content_type="application/x-protobuf", signal="metrics")[0]


def test_what_cannot_be_walked_is_cut_out() -> None:
    """A suspicion in bytes that are no message, in the place of one, does not pass through."""
    broken = b"\x0a\x01k\x12\x7f\x0a\x14" + KEY.encode()
    span = b"\x4a" + bytes([len(broken)]) + broken
    scope = b"\x12" + bytes([len(span)]) + span
    resource = b"\x12" + bytes([len(scope)]) + scope
    masked, count = redact_body(
        b"\x0a" + bytes([len(resource)]) + resource, content_type="application/x-protobuf", signal="traces"
    )

    assert (count, KEY.encode() in masked) == (1, False)
    assert len(ExportTraceServiceRequest.FromString(masked).resource_spans[0].scope_spans[0].spans) == 1
