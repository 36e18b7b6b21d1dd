"""Masking: what is found, what is left alone, and that no encoding is ever corrupted."""

import json
from typing import Any

import pytest
import re2
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from andoncord.kernel.errors import CallerError
from andoncord.telemetry.redact import PatternSpec, default_patterns, parse_patterns, redact_body, redact_text

KEY = "AKIA" + "IOSFODNN7EXAMPLE"

SECRETS = {
    "andon-token": "andon_sdk_" + "a1B2" * 11,
    "anthropic-key": "sk-ant-" + "api03-" + "x1" * 20,
    "openai-key": "sk-" + "proj-" + "Ab1" * 12,
    "aws-access-key": KEY,
    "github-token": "ghp_" + "a1" * 18,
    "gitlab-token": "glpat-" + "a1" * 10,
    "google-key": "AIza" + "Sy0" * 11 + "ab",
    "slack-token": "xoxb-" + "123456789012-abc",
    "stripe-key": "sk_" + "live_" + "4eC39HqLyjWDarjt",
    "huggingface-token": "hf_" + "aB" * 16,
    "jwt": "eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxMjM0NTY3ODkwIn0." + "dozjgNryP4J3jVmNHl0w5N",
    "card": "4111 1111 1111 1111",
    "ssn": "078-05-1120",
    "iban": "DE89 3704 0044 0532 0130 00",
}


@pytest.mark.parametrize(("tag", "secret"), SECRETS.items())
def test_each_kind_is_masked_with_its_own_tag(tag: str, secret: str) -> None:
    """Every kind of secret is replaced by a stable tag, and the text around it stays."""
    assert redact_text(f"use {secret} now") == (f"use [redacted:{tag}] now", 1)


def test_only_the_secret_of_an_assignment_is_masked() -> None:
    """What the secret is for stays readable."""
    assert redact_text("Authorization: Bearer abcdef0123456789abcdef")[0] == "Authorization: Bearer [redacted:bearer]"
    assert redact_text('{"password": "hunter2hunter2"}')[0] == '{"password": "[redacted:secret]"}'
    assert redact_text("postgres://app:s3cret@db/prod")[0] == "postgres://app:[redacted:url-password]@db/prod"


HINTED = [spec for spec in default_patterns().patterns if spec.hint]


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(HINTED).flatmap(lambda spec: st.tuples(st.just(spec), st.from_regex(f"(?a){spec.pattern}"))))
def test_a_hint_stands_in_whatever_its_pattern_finds(found: tuple[PatternSpec, str]) -> None:
    """Looking for the hint first overlooks nothing."""
    spec, text = found
    for match in re2.finditer(spec.pattern, text):
        assert re2.search(spec.hint, match.group(0))


@pytest.mark.parametrize(
    "text",
    [
        "4111 1111 1111 1112 fails its check digit",
        "0.4111111111111111 is a number",
        "order 000-12-3456 is no such number",
        "password: required",
        "password = get_password(user)",
        "a basic understanding of physics",
        "1767225600000000000",
    ],
)
def test_what_only_looks_alike_is_left_alone(text: str) -> None:
    """Numbers that fail their check and words about secrets are not masked."""
    assert redact_text(text) == (text, 0)


def test_two_people_stay_two() -> None:
    """Mail addresses are masked to tags that differ between people, so that two calls do not look like one repeated."""
    one, two = redact_text("ann@example.org")[0], redact_text("bob@example.org")[0]

    assert one.startswith("[redacted:email-")
    assert one != two
    assert redact_text("ANN@example.org")[0] == one


def test_a_clean_body_is_returned_as_it_is() -> None:
    """Without a suspicion nothing is decoded or encoded again."""
    body = b'{ "resourceSpans" : [ ] }'

    assert redact_body(body, content_type="application/json") == (body, 0)


def test_json_within_json_stays_json() -> None:
    """Secrets inside a JSON text inside a JSON body are masked and both levels still parse."""
    inner = json.dumps({"key": "-----BEGIN PRIVATE KEY-----\nMIIEvQ\nAAAA", "password": "hunter2hunter2", "quote": '"'})
    masked, count = redact_body(json.dumps({"stringValue": inner}).encode(), content_type="application/json")

    assert count == 2
    assert json.loads(json.loads(masked)["stringValue"]) == {
        "key": "[redacted:private-key]",
        "password": "[redacted:secret]",
        "quote": '"',
    }


def test_an_escaped_secret_is_found() -> None:
    """A secret written with JSON escapes does not slip past the matcher."""
    masked, count = redact_body(rb'{"stringValue": "ann\u0040example.org"}', content_type="application/json")

    assert count == 1
    assert b"example.org" not in masked


def test_ids_and_times_are_never_masked() -> None:
    """Digits in ids and timestamps that happen to pass as a card number stay."""
    body = b'{"spanId": "4111111111111111", "timeUnixNano": "4111111111111111", "stringValue": "4111111111111111"}'
    masked, count = redact_body(body, content_type="application/json")

    assert count == 1
    assert json.loads(masked)["spanId"] == json.loads(masked)["timeUnixNano"] == "4111111111111111"


def test_attributes_named_as_secrets_are_masked_whole() -> None:
    """An attribute that is called authorization is masked whatever stands in it."""
    body = b'{"attributes": [{"key": "http.request.header.authorization", "value": {"stringValue": "open sesame"}}]}'
    masked, count = redact_body(body, content_type="application/json; charset=utf-8")

    assert (count, b"sesame" in masked) == (1, False)


def traces(text: str) -> ExportTraceServiceRequest:
    attribute = KeyValue(key="gen_ai.tool.call.result", value=AnyValue(string_value=text))
    span = Span(trace_id=b"t" * 16, span_id=b"s" * 8, name="x", attributes=[attribute])
    return ExportTraceServiceRequest(resource_spans=[ResourceSpans(scope_spans=[ScopeSpans(spans=[span])])])


def logs(text: str) -> ExportLogsServiceRequest:
    record = LogRecord(time_unix_nano=1, body=AnyValue(string_value=text))
    return ExportLogsServiceRequest(resource_logs=[ResourceLogs(scope_logs=[ScopeLogs(log_records=[record])])])


@pytest.mark.parametrize("message", [traces(f"use {KEY}"), logs(f"use {KEY}")])
@pytest.mark.parametrize("told", [True, False])
def test_protobuf_is_masked_and_still_the_same_message(message: Any, *, told: bool) -> None:
    """Both exports are masked in protobuf, also when nobody says which of them a body is."""
    signal: Any = ("traces" if isinstance(message, ExportTraceServiceRequest) else "logs") if told else None
    masked, count = redact_body(message.SerializeToString(), content_type="application/x-protobuf", signal=signal)
    again = type(message).FromString(masked)

    assert count == 1
    assert again.SerializeToString() == message.SerializeToString().replace(
        KEY.encode(), b"[redacted:aws-access-key]"
    ) or "[redacted:aws-access-key]" in str(again)
    assert KEY.encode() not in masked


def test_a_body_that_cannot_be_decoded_does_not_carry_a_secret_through() -> None:
    """A truncated JSON body is masked as text; bytes that are neither message nor text are cut out."""
    assert redact_body(f'{{"a": "{KEY}'.encode(), content_type="application/json") == (b'{"a": "[redacted:aws-access-key]', 1)
    assert redact_body(b"\xff\xfe" + KEY.encode(), content_type="application/x-protobuf")[0] == b"[redacted:undecodable]"


def test_a_wrong_pattern_names_its_place() -> None:
    """A pattern file with an unknown check says where and what else."""
    with pytest.raises(CallerError, match=r"mine\.yaml: x: unknown check 'lunh', use one of"):
        parse_patterns("version: 1\npatterns: [{tag: x, pattern: abc, check: lunh}]", place="mine.yaml")


@given(st.text(max_size=80), st.sampled_from(list(SECRETS.values())), st.text(max_size=80))
def test_masking_never_breaks_json(before: str, secret: str, after: str) -> None:
    """Whatever stands around a secret, the body and the JSON text in it parse again."""
    inner = json.dumps({"text": f"{before} {secret} {after}"})
    masked, _ = redact_body(json.dumps({"stringValue": inner}).encode(), content_type="application/json")

    json.loads(json.loads(masked)["stringValue"])
