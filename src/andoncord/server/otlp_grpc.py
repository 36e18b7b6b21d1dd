"""OTLP/gRPC in: the same exports as OTLP/HTTP, by the same path, answered with gRPC's words.

Source: OpenTelemetry Protocol specification 1.7, section OTLP/gRPC.
"""

import logging
from collections.abc import Awaitable, Callable

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage

from andoncord.kernel.errors import CallerError
from andoncord.server.ingest import Ingest, Refusal, RefusedError, Sent
from andoncord.server.otlp_http import RETRY_AFTER_S, export_response, status_message
from andoncord.telemetry.batch import Encoding, Signal

logger = logging.getLogger(__name__)

SERVICES = {
    Signal.TRACES: "opentelemetry.proto.collector.trace.v1.TraceService",
    Signal.LOGS: "opentelemetry.proto.collector.logs.v1.LogsService",
    Signal.METRICS: "opentelemetry.proto.collector.metrics.v1.MetricsService",
}
MAX_STREAMS = 128
"""Requests open at once on one connection."""
STOP_S = 0.3
"""How long open requests are waited for when the server stops."""

_STATUS = {
    Refusal.NO_TOKEN: grpc.StatusCode.UNAUTHENTICATED,
    Refusal.WRONG_SCOPE: grpc.StatusCode.PERMISSION_DENIED,
    Refusal.TOO_MANY: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Refusal.FULL: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Refusal.NOT_STORED: grpc.StatusCode.UNAVAILABLE,
}
_RETRY_INFO = bytes((0x0A, 2, 0x08, RETRY_AFTER_S))
"""`google.rpc.RetryInfo`: field 1 a duration, its field 1 the seconds."""
_RETRY_INFO_TYPE = "type.googleapis.com/google.rpc.RetryInfo"

Export = Callable[[bytes, "grpc.aio.ServicerContext[bytes, bytes]"], Awaitable[bytes]]
Metadata = tuple[tuple[str, str | bytes], ...]


class OtlpGrpc:
    """OTLP/gRPC before an ingest.

    Bodies stay bytes until the ingest reads them. Decompression is ours too: gRPC's own knows no limit on what comes out.

    Args:
        target: host and port to listen on. The port is shared with whoever reserved it.
    """

    def __init__(self, ingest: Ingest, *, target: str) -> None:
        self._ingest = ingest
        self._target = target
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        """Answer requests.

        Raises:
            RuntimeError: the target cannot be listened on.
        """
        options = (
            ("grpc.per_message_decompression", 0),
            ("grpc.max_receive_message_length", self._ingest.limit),
            ("grpc.max_concurrent_streams", MAX_STREAMS),
            ("grpc.so_reuseport", 1),
        )
        self._server = grpc.aio.server(options=options)
        exports = {service: self._export_of(signal) for signal, service in SERVICES.items()}
        handlers = [
            grpc.method_handlers_generic_handler(service, {"Export": grpc.unary_unary_rpc_method_handler(export)})
            for service, export in exports.items()
        ]
        self._server.add_generic_rpc_handlers(handlers)
        self._server.add_insecure_port(self._target)
        await self._server.start()

    async def stop(self) -> None:
        """Take no more requests, and let the open ones end."""
        if self._server is not None:
            await self._server.stop(STOP_S)

    def _export_of(self, signal: Signal) -> Export:
        async def export(body: bytes, context: "grpc.aio.ServicerContext[bytes, bytes]") -> bytes:
            code, message, trailing = await self._answer(signal, body, context)
            if code is grpc.StatusCode.OK:
                return message
            return await context.abort(code, message.decode("utf-8", "replace"), trailing)

        return export

    async def _answer(
        self, signal: Signal, body: bytes, context: "grpc.aio.ServicerContext[bytes, bytes]"
    ) -> tuple[grpc.StatusCode, bytes, Metadata]:
        """The status, the response or the reason, and what goes with it."""
        headers = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
        try:
            with self._ingest.admit(headers.get("authorization", "")) as token:
                taken = await self._ingest.take(Sent(body, signal, Encoding.PROTOBUF, compression_of(body), token))
        except RefusedError as refused:
            trailing = retry_later(str(refused)) if refused.why in (Refusal.FULL, Refusal.TOO_MANY) else ()
            return _STATUS[refused.why], str(refused).encode(), trailing
        except CallerError as error:
            return grpc.StatusCode.INVALID_ARGUMENT, str(error).encode(), ()
        except Exception:
            # What went wrong may quote the body; gRPC would send it along.
            logger.exception("a request over gRPC could not be answered")
            return grpc.StatusCode.INTERNAL, b"the request could not be answered; see the server's log", ()
        return grpc.StatusCode.OK, export_response(signal, rejected=taken.rejected, message=taken.message), ()


def compression_of(body: bytes) -> str:
    """How a message is compressed, which gRPC does not tell whoever decompresses it himself: an export begins with field 1.

    >>> import gzip, zlib
    >>> [compression_of(body) for body in (b"", bytes((0x0A, 0)), gzip.compress(b""), zlib.compress(b""))]
    ['', '', 'gzip', 'deflate']
    """
    if body.startswith(b"\x1f\x8b"):
        return "gzip"
    # 0x78 is how every common deflate stream begins; the header is a multiple of 31.
    return "deflate" if body.startswith(b"\x78") and int.from_bytes(body[:2]) % 31 == 0 else ""


def retry_later(message: str) -> Metadata:
    """When to come again: in the form of the standard, and in the one that OpenTelemetry's Python exporter reads."""
    detail = AnyMessage(type_url=_RETRY_INFO_TYPE, value=_RETRY_INFO).SerializeToString()
    status = status_message(grpc.StatusCode.RESOURCE_EXHAUSTED.value[0], message) + bytes((0x1A, len(detail))) + detail
    return (("grpc-status-details-bin", status), ("google.rpc.retryinfo-bin", _RETRY_INFO))
