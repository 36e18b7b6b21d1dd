"""What is done to a telemetry request before it is stored: unpacked, masked, read. Also a process of its own that does it.

Masking, reading, pricing and packing are more than half of the work of taking telemetry in, and need nothing but the request.
In a process of their own they use another core, and a request that brings the process down takes no one else with it.
"""

import gc
import hashlib
import signal
import sys
import traceback
from typing import BinaryIO

import msgspec

from andoncord.kernel.errors import CallerError
from andoncord.server.bodies import BodyTooLargeError, UnsupportedError, decompress
from andoncord.telemetry.batch import Batch, Encoding, Signal, keys_of, pack_body
from andoncord.telemetry.block import Block, events_in, pack
from andoncord.telemetry.misdirected import export_of
from andoncord.telemetry.otlp import Decoded, Drafted, Rejection, draft
from andoncord.telemetry.prices import Price, Pricing
from andoncord.telemetry.redact import redact_body

GC_THRESHOLD = 50_000
"""Objects made between two searches for circles, of which a request makes none."""
FRAME_BYTES = 4
"""Every message to and from the process begins with its length."""


class Job(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """One request, as it arrived."""

    body: bytes
    signal: Signal
    encoding: Encoding
    compression: str
    """As HTTP names it; empty for none."""
    trusted_agents: tuple[str, ...] = ()
    received_ns: int


class Prepared(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """A request that is ready to be stored."""

    batch: Batch
    decoded: Decoded


class Complaint(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """Why a request was not prepared."""

    kind: str
    message: str


_COMPLAINTS: dict[str, type[CallerError]] = {
    "too_large": BodyTooLargeError,
    "unsupported": UnsupportedError,
    "wrong": CallerError,
}
_BROKEN = "broken"
NO_PRICES = Pricing(())


class Answer(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """What became of a job; the events stay packed, as they are stored."""

    batch: Batch | None = None
    rejected: tuple[Rejection, ...] = ()
    seen: int = 0
    block: Block | None = None
    complaint: Complaint | None = None

    @property
    def count(self) -> int:
        """How many events there are."""
        return self.block.rows if self.block is not None else 0

    def unpacked(self) -> Decoded:
        """What the request said. Cost: 3 µs an event."""
        events = events_in(self.block.body) if self.block is not None else ()
        return Decoded(events=events, rejected=self.rejected, seen=self.seen, block=self.block)


class Setup(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """What the process is told before its first job."""

    limit: int
    """Bytes of a body, before and after decompression."""
    prices: tuple[Price, ...] = ()


class BrokenJobError(Exception):
    """A request could not be prepared through a fault of ours; the text says where, not what was in the request."""


_setups = msgspec.msgpack.Decoder(Setup)
_jobs = msgspec.msgpack.Decoder(Job)
_answers = msgspec.msgpack.Decoder(Answer)
_encoder = msgspec.msgpack.Encoder()


def decode(batch: Batch, body: bytes) -> Decoded:
    """What a batch says. The same batch always says the same, whenever it is decoded."""
    return _draft(batch, body).decoded()


def _draft(batch: Batch, body: bytes) -> Drafted:
    return draft(
        body,
        signal=batch.signal,
        encoding=batch.encoding,
        received_ns=batch.received_ns,
        trusted_agents=batch.trusted_agents,
    )


def prepare(job: Job, *, limit: int) -> Prepared:
    """Unpack, mask and read a request.

    Args:
        limit: bytes of a body, before and after decompression.

    Raises:
        CallerError: it cannot be unpacked, or is another export than it was sent as.
    """
    batch, drafted = _prepare(job, limit=limit)
    return Prepared(batch=batch, decoded=drafted.decoded())


def _prepare(job: Job, *, limit: int) -> tuple[Batch, Drafted]:
    body = decompress(job.body, job.compression, limit=limit)
    if job.encoding is Encoding.PROTOBUF:
        _check_path(body, job)
    masked, hits = redact_body(body, content_type=job.encoding.value, signal=job.signal.value)
    as_sent = hits == 0 and job.compression.strip().lower() == "gzip"
    batch = Batch(
        received_ns=job.received_ns,
        signal=job.signal,
        encoding=job.encoding,
        trusted_agents=job.trusted_agents,
        body_gz=job.body if as_sent else pack_body(masked),
        sha256=hashlib.sha256(masked).hexdigest(),
    )
    drafted = _draft(batch, masked)
    if job.encoding is Encoding.JSON and not drafted.seen:
        # Another export in JSON is an object without anything that would be looked at.
        _check_path(body, job)
    return batch, drafted


def answer(job: bytes, *, limit: int, pricing: Pricing = NO_PRICES) -> bytes:
    """A job done, on the wire: `prepare`, with the events priced and packed."""
    try:
        batch, drafted = _prepare(_jobs.decode(job), limit=limit)
        block = None
        if drafted.drafts:
            pricing.price(drafted.drafts)
            block = pack(drafted.drafts, keys=b"".join(keys_of(drafted.drafts)))
    except CallerError as wrong:
        kind = next(name for name, error in _COMPLAINTS.items() if isinstance(wrong, error))
        return _encoder.encode(Answer(complaint=Complaint(kind=kind, message=str(wrong))))
    except Exception as fault:
        # The text of an exception may quote the request, which is not masked.
        last = traceback.extract_tb(fault.__traceback__)[-1]
        place = f"{type(fault).__name__} in {last.name}, line {last.lineno} of {last.filename.rpartition('/')[2]}"
        return _encoder.encode(Answer(complaint=Complaint(kind=_BROKEN, message=place)))
    return _encoder.encode(Answer(batch=batch, rejected=drafted.rejected, seen=drafted.seen, block=block))


def packed_setup(setup: Setup) -> bytes:
    """A setup on the wire."""
    return _encoder.encode(setup)


def packed_job(job: Job) -> bytes:
    """A job on the wire."""
    return _encoder.encode(job)


def read_answer(written: bytes) -> Answer:
    """The answer to a job, with the batch in it.

    Raises:
        CallerError: as `prepare`.
        BrokenJobError: a fault of ours.
    """
    said = _answers.decode(written)
    if said.complaint is not None:
        error = _COMPLAINTS.get(said.complaint.kind)
        raise error(said.complaint.message) if error is not None else BrokenJobError(said.complaint.message)
    return said


def serve(jobs: BinaryIO, answers: BinaryIO) -> None:
    """Answer one job after the other, until whoever sends them is gone. Says that it is up with an empty message."""
    told = _next(jobs)
    if told is None:
        return
    setup = _setups.decode(told)
    pricing = Pricing(setup.prices)
    answers.write(frame(b""))
    answers.flush()
    while (job := _next(jobs)) is not None:
        answers.write(frame(answer(job, limit=setup.limit, pricing=pricing)))
        answers.flush()


def _next(messages: BinaryIO) -> bytes | None:
    """The next message; None when whoever sends them is gone."""
    head = messages.read(FRAME_BYTES)
    if len(head) < FRAME_BYTES:
        return None
    message = messages.read(int.from_bytes(head))
    return message if len(message) == int.from_bytes(head) else None


def frame(message: bytes) -> bytes:
    """A message with its length before it."""
    return len(message).to_bytes(FRAME_BYTES) + message


def main() -> int:
    """The process: `python -m andoncord.server.prepare`."""
    # Ctrl-C reaches the whole process group; whoever sends the jobs decides when this ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD)
    try:
        serve(sys.stdin.buffer, sys.stdout.buffer)
    except BrokenPipeError:
        pass
    return 0


def _check_path(body: bytes, job: Job) -> None:
    """Refuse a body that is another export than the one it was sent as.

    Raises:
        CallerError: it is another; says where it belongs.
    """
    export = export_of(body, job.encoding)
    if export is not None and export != job.signal:
        raise CallerError(
            f"the body holds {export}, sent as {job.signal}",
            remedy=f"send {export} to /v1/{export}, or over gRPC to the service of that name",
        )


if __name__ == "__main__":
    raise SystemExit(main())
