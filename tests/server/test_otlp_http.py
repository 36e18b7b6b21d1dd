"""Bodies and answers of OTLP/HTTP."""

import json

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from andoncord.server.bodies import UnsupportedError
from andoncord.server.otlp_http import encoding_of, failure, success
from andoncord.telemetry.batch import Encoding, Signal


def test_other_types_are_unsupported() -> None:
    """What cannot be read is said to be so, with what can."""
    with pytest.raises(UnsupportedError, match="x-protobuf"):
        encoding_of("text/plain")


def test_partial_success_says_what_was_rejected() -> None:
    """Both encodings name the number and the reason."""
    parsed = ExportTraceServiceResponse.FromString(
        bytes(success(Signal.TRACES, Encoding.PROTOBUF, rejected=2, message="why").body)
    )
    assert (parsed.partial_success.rejected_spans, parsed.partial_success.error_message) == (2, "why")

    body = json.loads(bytes(success(Signal.LOGS, Encoding.JSON, rejected=3, message="why").body))
    assert body == {"partialSuccess": {"rejectedLogRecords": "3", "errorMessage": "why"}}


def test_full_success_is_empty() -> None:
    """Nothing rejected, nothing said."""
    assert success(Signal.TRACES, Encoding.PROTOBUF, rejected=0, message="").body == b""
    assert success(Signal.TRACES, Encoding.JSON, rejected=0, message="").body == b"{}"


def test_failures_speak_the_encoding_of_the_request() -> None:
    """An error is a google.rpc.Status; senders are told when to come back."""
    later = failure(503, Encoding.JSON, "later")
    assert json.loads(bytes(later.body)) == {"code": 14, "message": "later"}
    assert later.headers["retry-after"] == "1"
    assert bytes(failure(400, Encoding.PROTOBUF, "x" * 200).body)[:5] == bytes((0x08, 3, 0x12, 0xC8, 0x01))
