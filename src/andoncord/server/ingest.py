"""OTLP/HTTP in: mask, append durably, acknowledge; what was said is read out afterwards (SIG-2, SIG-7, SIG-8)."""

import asyncio
import gzip
import hashlib
import logging
from collections.abc import Callable

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from andoncord.kernel.access import Scope, Token, secret_digest
from andoncord.kernel.errors import CallerError
from andoncord.server.appender import Appender
from andoncord.server.bodies import BodyTooLargeError, UnsupportedError, decompress
from andoncord.server.doors import Doors
from andoncord.server.otlp_http import encoding_of, failure, success
from andoncord.server.pipeline import Pipeline, decode
from andoncord.server.ports import ServerClock
from andoncord.server.settings import ServerSettings
from andoncord.telemetry.batch import Batch, Encoding, Signal
from andoncord.telemetry.otlp import Decoded
from andoncord.telemetry.redact import redact_body

logger = logging.getLogger(__name__)

MAX_OPEN_BODIES = 1_024
MAX_OPEN_MIB = 256
"""Bodies held in memory at once, by number and by size."""
BODY_DEADLINE_S = 30.0
INLINE_BYTES = 64 * 1024
"""Up to this size masking and decoding take less time than handing them to a thread is worth."""
GZIP_LEVEL = 1


class Ingest:
    """The OTLP port of one worker.

    Args:
        find_token: the token with this digest, unless unknown or revoked.
    """

    def __init__(
        self,
        *,
        settings: ServerSettings,
        clock: ServerClock,
        find_token: Callable[[str], Token | None],
        appender: Appender,
        pipeline: Pipeline,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._find_token = find_token
        self._appender = appender
        self._pipeline = pipeline
        self._limit = settings.max_body_mib * 1024 * 1024
        self._open_bodies = 0
        self._open_bytes = 0

    def app(self) -> ASGIApp:
        """The ASGI application, behind its doors."""
        routes = [
            Route("/v1/traces", self._traces, methods=["POST"]),
            Route("/v1/logs", self._logs, methods=["POST"]),
            Route("/livez", _alive, methods=["GET"]),
        ]
        # The limit is checked again where the answer can be written the OTLP way.
        return Doors(Starlette(routes=routes), hosts=self._settings.hosts, origins="none", max_body=2 * self._limit)

    async def _traces(self, request: Request) -> Response:
        return await self._receive(request, Signal.TRACES)

    async def _logs(self, request: Request) -> Response:
        return await self._receive(request, Signal.LOGS)

    async def _receive(self, request: Request, signal: Signal) -> Response:
        encoding = Encoding.PROTOBUF
        try:
            encoding = encoding_of(request.headers.get("content-type", ""))
            token, refusal = self._token(request)
            if refusal:
                return failure(refusal[0], encoding, refusal[1])
            if self._is_full():
                return failure(503, encoding, "more telemetry is waiting than can be read; send this again later")
            self._open_bodies += 1
            try:
                return await self._accept(request, signal, encoding, token)
            finally:
                self._open_bodies -= 1
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

    def _is_full(self) -> bool:
        return (
            self._open_bodies >= MAX_OPEN_BODIES
            or self._open_bytes >= MAX_OPEN_MIB * 1024 * 1024
            or self._pipeline.backlog >= self._settings.max_backlog
        )

    def _token(self, request: Request) -> tuple[Token | None, tuple[int, str] | None]:
        """The token of the request, or why it is refused."""
        header = request.headers.get("authorization", "")
        if not header:
            if self._settings.require_token:
                return None, (401, "a bearer token is required")
            return None, None
        scheme, _, secret = header.partition(" ")
        token = self._find_token(secret_digest(secret.strip())) if scheme.lower() == "bearer" else None
        if token is None:
            return None, (401, "the token is unknown or was revoked")
        if token.scope is not Scope.AGENT:
            return None, (403, "telemetry is sent with a token of scope agent")
        return token, None

    async def _accept(self, request: Request, signal: Signal, encoding: Encoding, token: Token | None) -> Response:
        sent = await self._body(request)
        self._open_bytes += len(sent)
        try:
            return await self._take(request, sent, signal, encoding, token)
        finally:
            self._open_bytes -= len(sent)

    async def _take(self, request: Request, sent: bytes, signal: Signal, encoding: Encoding, token: Token | None) -> Response:
        received_ns = self._clock.now()
        trusted_agents = (token.agent,) if token else ()
        content_encoding = request.headers.get("content-encoding", "")

        def prepare() -> tuple[Batch, Decoded]:
            body = decompress(sent, content_encoding, limit=self._limit)
            masked, hits = redact_body(body, content_type=encoding.value, signal=signal.value)
            as_sent = hits == 0 and content_encoding.strip().lower() == "gzip"
            batch = Batch(
                received_ns=received_ns,
                signal=signal,
                encoding=encoding,
                trusted_agents=trusted_agents,
                body_gz=sent if as_sent else gzip.compress(masked, GZIP_LEVEL, mtime=0),
                sha256=hashlib.sha256(masked).hexdigest(),
            )
            return batch, decode(batch, masked)

        batch, decoded = prepare() if len(sent) <= INLINE_BYTES else await asyncio.to_thread(prepare)
        rejected = sum(rejection.count for rejection in decoded.rejected)
        message = "; ".join(f"{rejection.reason}: {rejection.detail}" for rejection in decoded.rejected[:5])
        if rejected and not decoded.events:
            raise CallerError(f"nothing in the body could be read: {message}")
        if decoded.events:
            try:
                seq = await self._appender.append(batch)
            except Exception:
                # A full disk, most likely. Nothing was accepted, so the sender keeps it and comes again.
                logger.exception("a batch could not be appended to the ingest log")
                return failure(503, encoding, "the batch could not be stored; send it again later")
            self._pipeline.offer(seq, decoded)
        return success(signal, encoding, rejected=rejected, message=message)

    async def _body(self, request: Request) -> bytes:
        """The body as it was sent, no larger than the limit."""
        parts: list[bytes] = []
        size = 0
        async with asyncio.timeout(BODY_DEADLINE_S):
            async for part in request.stream():
                size += len(part)
                if size > self._limit:
                    raise BodyTooLargeError(f"the body is larger than {self._limit} bytes", remedy="send smaller batches")
                parts.append(part)
        return b"".join(parts)


async def _alive(_request: Request) -> Response:
    return PlainTextResponse("ok\n")
