"""Telemetry in, whichever way it came (SIG-2, SIG-7, SIG-8).

Mask, append durably, acknowledge; what was said is read out afterwards.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum, auto

import msgspec

from andoncord.kernel.access import SENDERS, Token, secret_digest
from andoncord.kernel.errors import CallerError
from andoncord.server.appender import Appender
from andoncord.server.figures import Misuse
from andoncord.server.pipeline import Pipeline
from andoncord.server.ports import ServerClock
from andoncord.server.prepare import Answer, Job, prepare
from andoncord.server.preparer import NotPreparedError, Preparer
from andoncord.server.settings import ServerSettings
from andoncord.telemetry.batch import Batch, Encoding, Signal
from andoncord.telemetry.otlp import Decoded, Rejection
from andoncord.telemetry.raw import NOT_GENAI

logger = logging.getLogger(__name__)

MAX_OPEN_REQUESTS = 1_024
MAX_OPEN_OF_TOKEN = 256
"""Requests that one token may have open at once, so that one fleet gone wild leaves room for the others."""
MAX_OPEN_MIB = 256
"""Requests held in memory at once, by number and by size."""
INLINE_BYTES = 16 * 1024
INLINE_PACKED_BYTES = 1024
"""Up to this size, plain or compressed, masking and decoding take less time than handing them to another process is worth."""
PATIENCE_S = 0.5
PAUSE_S = 0.005
"""While memory is full of decoded batches, a request waits so long at most, looking so often: cheaper than to decode twice."""


class Refusal(Enum):
    """Why a request was not taken though there is nothing wrong with its body."""

    NO_TOKEN = auto()
    WRONG_SCOPE = auto()
    TOO_MANY = auto()
    FULL = auto()
    NOT_STORED = auto()


class RefusedError(Exception):
    """The request was not taken. Nothing of it was stored."""

    def __init__(self, why: Refusal, message: str) -> None:
        super().__init__(message)
        self.why = why


@dataclass(frozen=True, slots=True)
class Sent:
    """One request, as it arrived."""

    body: bytes
    signal: Signal
    encoding: Encoding
    compression: str
    """As HTTP names it; empty for none."""
    token: Token | None


@dataclass(frozen=True, slots=True)
class Taken:
    """A request that was taken, but for `rejected` of its records."""

    rejected: int
    message: str


class Ingest:
    """The one path behind every OTLP port of a worker.

    Args:
        find_token: the token with this digest, unless unknown or revoked.
        preparer: prepares large requests; without it they are prepared in place.
        on_misuse: told of a token that was refused for its scope: the first time, and then at every power of two.
    """

    def __init__(
        self,
        *,
        settings: ServerSettings,
        clock: ServerClock,
        find_token: Callable[[str], Token | None],
        appender: Appender,
        pipeline: Pipeline,
        preparer: Preparer | None = None,
        on_misuse: Callable[[Misuse], None] = lambda _: None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._find_token = find_token
        self._appender = appender
        self._pipeline = pipeline
        self._preparer = preparer
        self._on_misuse = on_misuse
        self._open_requests = 0
        self._open_bytes = 0
        self._open_of: dict[str, int] = {}
        """Token id → requests open now, more than none."""
        self._misused: dict[str, int] = {}
        """Token id → times it was refused for its scope; there are only so many tokens."""
        self.limit = settings.max_body_mib * 1024 * 1024
        """Bytes of a body, before and after decompression."""

    @contextmanager
    def admit(self, authorization: str) -> Iterator[Token | None]:
        """Let a request in by its authorization header, and count it while it is open; its token, if it has one.

        Raises:
            RefusedError: for its token, or because there is no room.
        """
        token = self._token(authorization)
        if (
            self._open_requests >= MAX_OPEN_REQUESTS
            or self._open_bytes >= MAX_OPEN_MIB * 1024 * 1024
            or self._pipeline.backlog >= self._settings.max_backlog
        ):
            raise RefusedError(Refusal.FULL, "more telemetry is waiting than can be read; send this again later")
        sender = token.id if token else ""
        open_now = self._open_of.get(sender, 0)
        if token and open_now >= MAX_OPEN_OF_TOKEN:
            raise RefusedError(Refusal.TOO_MANY, f"this token has {open_now} requests open; send this again later")
        self._open_requests += 1
        self._open_of[sender] = open_now + 1
        try:
            yield token
        finally:
            self._open_requests -= 1
            self._open_of[sender] -= 1
            if not self._open_of[sender]:
                del self._open_of[sender]

    async def take(self, sent: Sent) -> Taken:
        """Store what can be read of a request; returns once it is durable.

        Raises:
            CallerError: nothing in it can be read, or not in this way.
            RefusedError: it could not be stored.
        """
        self._open_bytes += len(sent.body)
        try:
            return await self._take(sent)
        finally:
            self._open_bytes -= len(sent.body)

    def _token(self, authorization: str) -> Token | None:
        if not authorization:
            if self._settings.require_token:
                raise RefusedError(Refusal.NO_TOKEN, "a bearer token is required")
            return None
        scheme, _, secret = authorization.partition(" ")
        token = self._find_token(secret_digest(secret.strip())) if scheme.lower() == "bearer" else None
        if token is None:
            raise RefusedError(Refusal.NO_TOKEN, "the token is unknown or was revoked")
        if token.scope not in SENDERS:
            self._note_misuse(token)
            raise RefusedError(Refusal.WRONG_SCOPE, f"telemetry needs a token of scope agent or ingest; this is {token.scope}")
        return token

    def _note_misuse(self, token: Token) -> None:
        """See that it is recorded; not every time, or one broken sender would fill the journal."""
        times = self._misused[token.id] = self._misused.get(token.id, 0) + 1
        if times & (times - 1) == 0:
            logger.warning(
                "token %s (%s, scope %s) was used to send telemetry and refused, %d times",
                token.id,
                token.name,
                token.scope,
                times,
            )
            self._on_misuse(Misuse(token=token.id, name=token.name, scope=token.scope, times=times))

    async def _take(self, sent: Sent) -> Taken:
        job = Job(
            body=sent.body,
            signal=sent.signal,
            encoding=sent.encoding,
            compression=sent.compression,
            trusted_agents=(sent.token.agent,) if sent.token else (),
            received_ns=self._clock.now(),
        )
        inline = INLINE_PACKED_BYTES if sent.compression.strip() else INLINE_BYTES
        if len(sent.body) <= inline or self._preparer is None:
            prepared = prepare(job, limit=self.limit)
            return await self._keep(prepared.batch, prepared.decoded, prepared.decoded.rejected, len(prepared.decoded.events))
        await self._be_patient()
        try:
            answer = await self._preparer.prepare(job)
        except NotPreparedError as gone:
            logger.error("%s", gone)
            raise RefusedError(Refusal.NOT_STORED, "the batch could not be read; send it again later") from None
        assert answer.batch is not None
        return await self._keep(answer.batch, answer, answer.rejected, answer.count)

    async def _keep(self, batch: Batch, said: Decoded | Answer, rejections: Sequence[Rejection], count: int) -> Taken:
        """Store a batch in which there is something."""
        rejected = sum(rejection.count for rejection in rejections)
        message = "; ".join(f"{rejection.reason}: {rejection.detail}" for rejection in rejections[:5])
        is_foreign = all(rejection.reason == NOT_GENAI for rejection in rejections)
        if rejected and not count and not is_foreign:
            raise CallerError(f"nothing in the body could be read: {message}")
        if count:
            # A sender that hangs up meanwhile must not leave a batch in the log that nobody reads out.
            await asyncio.shield(self._store(batch, said))
        return Taken(rejected, message)

    async def _be_patient(self) -> None:
        """Let the pipeline catch up, within limits: this is how a sender that is too fast is slowed down."""
        for _ in range(int(PATIENCE_S / PAUSE_S)):
            if not self._pipeline.is_full:
                return
            await asyncio.sleep(PAUSE_S)

    async def _store(self, batch: Batch, said: Decoded | Answer) -> None:
        try:
            seq = await self._appender.append(batch)
        except Exception:
            # A full disk, most likely. Nothing was accepted, so the sender keeps it and comes again.
            logger.exception("a batch could not be appended to the ingest log")
            raise RefusedError(Refusal.NOT_STORED, "the batch could not be stored; send it again later") from None
        self._pipeline.offer(msgspec.structs.replace(batch, seq=seq, body_gz=b""), said)
