"""What OTLP/HTTP says about bodies and answers.

Source: OpenTelemetry Protocol specification 1.7, section OTLP/HTTP.
"""

import msgspec
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from starlette.responses import Response

from andoncord.server.bodies import UnsupportedError
from andoncord.telemetry.batch import Encoding, Signal

RETRY_AFTER_S = 1

_GRPC_CODES = {400: 3, 401: 16, 403: 7, 408: 4, 413: 8, 415: 3, 503: 14}
_INTERNAL = 13
_REJECTED_FIELD = {Signal.TRACES: "rejectedSpans", Signal.LOGS: "rejectedLogRecords"}


def encoding_of(content_type: str) -> Encoding:
    """How a body of this content type is written.

    Raises:
        UnsupportedError: neither protobuf nor JSON.

    >>> encoding_of("application/json; charset=utf-8")
    <Encoding.JSON: 'application/json'>
    """
    bare = content_type.partition(";")[0].strip().lower()
    try:
        return Encoding(bare)
    except ValueError:
        raise UnsupportedError(
            f"content type {bare!r} is not supported", remedy=f"send {Encoding.PROTOBUF} or {Encoding.JSON}"
        ) from None


def success(signal: Signal, encoding: Encoding, *, rejected: int, message: str) -> Response:
    """200, with what was rejected where something was."""
    if encoding is Encoding.JSON:
        partial = {"partialSuccess": {_REJECTED_FIELD[signal]: str(rejected), "errorMessage": message}} if rejected else {}
        return Response(msgspec.json.encode(partial), media_type=Encoding.JSON)
    if signal is Signal.TRACES:
        traces = ExportTraceServiceResponse()
        if rejected:
            traces.partial_success.rejected_spans = rejected
            traces.partial_success.error_message = message
        return Response(traces.SerializeToString(), media_type=Encoding.PROTOBUF)
    logs = ExportLogsServiceResponse()
    if rejected:
        logs.partial_success.rejected_log_records = rejected
        logs.partial_success.error_message = message
    return Response(logs.SerializeToString(), media_type=Encoding.PROTOBUF)


def failure(status: int, encoding: Encoding, message: str) -> Response:
    """An error as a `google.rpc.Status`, in the encoding of the request."""
    code = _GRPC_CODES.get(status, _INTERNAL)
    headers = {"Retry-After": str(RETRY_AFTER_S)} if status == 503 else {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if encoding is Encoding.JSON:
        return Response(msgspec.json.encode({"code": code, "message": message}), status, headers, Encoding.JSON)
    return Response(_status_message(code, message), status, headers, Encoding.PROTOBUF)


def _status_message(code: int, message: str) -> bytes:
    """`google.rpc.Status` on the wire: field 1 a small number, field 2 a text.

    >>> _status_message(3, "bad").hex()
    '08031203626164'
    """
    text = message.encode("utf-8", "replace")
    return bytes((0x08, code, 0x12)) + _varint(len(text)) + text


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
