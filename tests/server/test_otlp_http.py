"""Bodies and answers of OTLP/HTTP."""

import gzip
import json
import zlib

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from andoncord.kernel.errors import CallerError
from andoncord.server.otlp_http import (
    MAX_MEMBERS,
    BodyTooLargeError,
    UnsupportedError,
    decompress,
    encoding_of,
    failure,
    success,
)
from andoncord.telemetry.batch import Encoding, Signal


@pytest.mark.parametrize("compress", [gzip.compress, zlib.compress])
def test_compressed_bodies_are_read(compress: object) -> None:
    """Gzip and deflate both come back as they were."""
    name = "gzip" if compress is gzip.compress else "deflate"
    assert decompress(compress(b"x" * 5_000), name, limit=5_000) == b"x" * 5_000  # type: ignore[operator]


def test_a_bomb_is_refused_without_being_unpacked() -> None:
    """A small body that would become a huge one is refused at the limit."""
    bomb = gzip.compress(b"\0" * 50_000_000)

    with pytest.raises(BodyTooLargeError):
        decompress(bomb, "gzip", limit=1_000_000)


def test_a_bomb_in_parts_is_refused() -> None:
    """The limit is on the whole, not on each part."""
    with pytest.raises(BodyTooLargeError):
        decompress(gzip.compress(b"\0" * 600) * 2, "gzip", limit=1_000)
    with pytest.raises(CallerError, match="members"):
        decompress(gzip.compress(b"") * (MAX_MEMBERS + 1), "gzip", limit=1_000)


@pytest.mark.parametrize("body", [b"not gzip", gzip.compress(b"spans")[:-4]])
def test_broken_compression_is_the_callers_error(body: bytes) -> None:
    """Garbage and cut bodies are refused with a reason."""
    with pytest.raises(CallerError):
        decompress(body, "gzip", limit=100)


def test_other_types_are_unsupported() -> None:
    """What cannot be read is said to be so, with what can."""
    with pytest.raises(UnsupportedError, match="x-protobuf"):
        encoding_of("text/plain")
    with pytest.raises(UnsupportedError):
        decompress(b"", "br", limit=10)


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
