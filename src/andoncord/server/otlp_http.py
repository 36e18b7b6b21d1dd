"""OTLP/HTTP in: what it says about bodies and answers.

Source: OpenTelemetry Protocol specification 1.7, section OTLP/HTTP.
"""

import asyncio

import msgspec
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from andoncord.kernel.errors import CallerError
from andoncord.server.bodies import BodyTooLargeError, UnsupportedError
from andoncord.server.doors import Doors
from andoncord.server.ingest import Ingest, Refusal, RefusedError, Sent
from andoncord.telemetry.batch import Encoding, Signal

BODY_DEADLINE_S = 30.0
RETRY_AFTER_S = 1

_GRPC_CODES = {400: 3, 401: 16, 403: 7, 404: 12, 408: 4, 413: 8, 415: 3, 429: 8, 503: 14}
_LATER = frozenset((429, 503))
"""Statuses after which a sender comes again."""
_INTERNAL = 13
_REJECTED_FIELD = {Signal.TRACES: "rejectedSpans", Signal.LOGS: "rejectedLogRecords", Signal.METRICS: "rejectedDataPoints"}


_STATUS = {
    Refusal.NO_TOKEN: 401,
    Refusal.WRONG_SCOPE: 403,
    Refusal.TOO_MANY: 429,
    Refusal.FULL: 503,
    Refusal.NOT_STORED: 503,
}


class OtlpHttp:
    """OTLP/HTTP before an ingest.

    Args:
        hosts: names by which the port may be asked.
    """

    def __init__(self, ingest: Ingest, *, hosts: frozenset[str]) -> None:
        self._ingest = ingest
        self._hosts = hosts

    def app(self) -> ASGIApp:
        """The ASGI application, behind its doors."""
        routes = [
            Route("/v1/traces", self._traces, methods=["POST"]),
            Route("/v1/logs", self._logs, methods=["POST"]),
            Route("/v1/metrics", self._metrics, methods=["POST"]),
            Route("/livez", _alive, methods=["GET"]),
        ]
        # The limit is checked again where the answer can be written the OTLP way.
        return Doors(Starlette(routes=routes), hosts=self._hosts, origins="none", max_body=2 * self._ingest.limit)

    async def _traces(self, request: Request) -> Response:
        return await self._receive(request, Signal.TRACES)

    async def _logs(self, request: Request) -> Response:
        return await self._receive(request, Signal.LOGS)

    async def _metrics(self, request: Request) -> Response:
        return await self._receive(request, Signal.METRICS)

    async def _receive(self, request: Request, signal: Signal) -> Response:
        encoding = Encoding.PROTOBUF
        try:
            encoding = encoding_of(request.headers.get("content-type", ""))
            with self._ingest.admit(request.headers.get("authorization", "")) as token:
                compression = request.headers.get("content-encoding", "")
                taken = await self._ingest.take(Sent(await self._body(request), signal, encoding, compression, token))
            return success(signal, encoding, rejected=taken.rejected, message=taken.message)
        except RefusedError as refused:
            return failure(_STATUS[refused.why], encoding, str(refused))
        except BodyTooLargeError as error:
            return failure(413, encoding, str(error))
        except UnsupportedError as error:
            return failure(415, encoding, str(error))
        except CallerError as error:
            return failure(400, encoding, str(error))
        except TimeoutError:
            return failure(408, encoding, f"the body did not arrive within {BODY_DEADLINE_S:.0f} s")
        except ClientDisconnect:
            return failure(400, encoding, "the connection was closed before the body was complete")

    async def _body(self, request: Request) -> bytes:
        """The body as it was sent, no larger than the limit."""
        parts: list[bytes] = []
        size, limit = 0, self._ingest.limit
        async with asyncio.timeout(BODY_DEADLINE_S):
            async for part in request.stream():
                size += len(part)
                if size > limit:
                    raise BodyTooLargeError(f"the body is larger than {limit} bytes", remedy="send smaller batches")
                parts.append(part)
        return b"".join(parts)


async def _alive(_request: Request) -> Response:
    return PlainTextResponse("ok\n")


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
    return Response(export_response(signal, rejected=rejected, message=message), media_type=Encoding.PROTOBUF)


def export_response(signal: Signal, *, rejected: int, message: str) -> bytes:
    """The protobuf response of an export that was taken, but for `rejected` records."""
    if signal is Signal.TRACES:
        traces = ExportTraceServiceResponse()
        if rejected:
            traces.partial_success.rejected_spans = rejected
            traces.partial_success.error_message = message
        return traces.SerializeToString()
    if signal is Signal.METRICS:
        metrics = ExportMetricsServiceResponse()
        if rejected:
            metrics.partial_success.rejected_data_points = rejected
            metrics.partial_success.error_message = message
        return metrics.SerializeToString()
    logs = ExportLogsServiceResponse()
    if rejected:
        logs.partial_success.rejected_log_records = rejected
        logs.partial_success.error_message = message
    return logs.SerializeToString()


def failure(status: int, encoding: Encoding, message: str) -> Response:
    """An error as a `google.rpc.Status`, in the encoding of the request."""
    code = _GRPC_CODES.get(status, _INTERNAL)
    headers = {"Retry-After": str(RETRY_AFTER_S)} if status in _LATER else {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if encoding is Encoding.JSON:
        return Response(msgspec.json.encode({"code": code, "message": message}), status, headers, Encoding.JSON)
    return Response(status_message(code, message), status, headers, Encoding.PROTOBUF)


def status_message(code: int, message: str) -> bytes:
    """`google.rpc.Status` on the wire: field 1 a small number, field 2 a text.

    >>> status_message(3, "bad").hex()
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
