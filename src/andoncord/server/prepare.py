"""What is done to a telemetry request before it is stored: unpacked, masked, read. Also a process of its own that does it.

Masking and reading are half of the work of taking telemetry in, and need nothing but the request. In a process of their own
they use another core, and a request that brings the process down takes no one else with it.
"""

import gc
import hashlib
import signal
import sys
import traceback
from collections.abc import Sequence
from typing import BinaryIO

import msgspec

from andoncord.kernel.errors import CallerError
from andoncord.server.bodies import BodyTooLargeError, UnsupportedError, decompress
from andoncord.telemetry.batch import Batch, Encoding, Signal, pack_body
from andoncord.telemetry.event import Event
from andoncord.telemetry.misdirected import export_of
from andoncord.telemetry.otlp import (
    Decoded,
    Rejection,
    decode_logs_json,
    decode_logs_protobuf,
    decode_metrics_json,
    decode_metrics_protobuf,
    decode_traces_json,
    decode_traces_protobuf,
)
from andoncord.telemetry.redact import redact_body

GC_THRESHOLD = 50_000
"""Objects made between two searches for circles, of which a request makes none."""
FRAME_BYTES = 4
"""Every message to and from the process begins with its length."""

_DECODERS = {
    (Signal.TRACES, Encoding.JSON): decode_traces_json,
    (Signal.TRACES, Encoding.PROTOBUF): decode_traces_protobuf,
    (Signal.LOGS, Encoding.JSON): decode_logs_json,
    (Signal.LOGS, Encoding.PROTOBUF): decode_logs_protobuf,
    (Signal.METRICS, Encoding.JSON): decode_metrics_json,
    (Signal.METRICS, Encoding.PROTOBUF): decode_metrics_protobuf,
}


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


class Answer(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """What became of a job; the events stay packed, for whoever needs them to unpack."""

    batch: Batch | None = None
    rejected: tuple[Rejection, ...] = ()
    seen: int = 0
    count: int = 0
    events: msgspec.Raw = msgspec.Raw(b"\x90")
    complaint: Complaint | None = None

    def unpacked(self) -> Decoded:
        """What the request said. Cost: 2 µs an event."""
        return Decoded(events=_events.decode(self.events), rejected=self.rejected, seen=self.seen)


class BrokenJobError(Exception):
    """A request could not be prepared through a fault of ours; the text says where, not what was in the request."""


_events = msgspec.msgpack.Decoder(tuple[Event, ...])
_jobs = msgspec.msgpack.Decoder(Job)
_answers = msgspec.msgpack.Decoder(Answer)
_encoder = msgspec.msgpack.Encoder()


def decode(batch: Batch, body: bytes) -> Decoded:
    """What a batch says. The same batch always says the same, whenever it is decoded."""
    decoder = _DECODERS[batch.signal, batch.encoding]
    return decoder(body, received_ns=batch.received_ns, trusted_agents=batch.trusted_agents)


def prepare(job: Job, *, limit: int) -> Prepared:
    """Unpack, mask and read a request.

    Args:
        limit: bytes of a body, before and after decompression.

    Raises:
        CallerError: it cannot be unpacked, or is another export than it was sent as.
    """
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
    decoded = decode(batch, masked)
    if job.encoding is Encoding.JSON and not decoded.seen:
        # Another export in JSON is an object without anything that would be looked at.
        _check_path(body, job)
    return Prepared(batch=batch, decoded=decoded)


def answer(job: bytes, *, limit: int) -> bytes:
    """`prepare` on the wire."""
    try:
        prepared = prepare(_jobs.decode(job), limit=limit)
    except CallerError as wrong:
        kind = next(name for name, error in _COMPLAINTS.items() if isinstance(wrong, error))
        return _encoder.encode(Answer(complaint=Complaint(kind=kind, message=str(wrong))))
    except Exception as fault:
        # The text of an exception may quote the request, which is not masked.
        last = traceback.extract_tb(fault.__traceback__)[-1]
        place = f"{type(fault).__name__} in {last.name}, line {last.lineno} of {last.filename.rpartition('/')[2]}"
        return _encoder.encode(Answer(complaint=Complaint(kind=_BROKEN, message=place)))
    decoded = prepared.decoded
    return _encoder.encode(
        Answer(
            batch=prepared.batch,
            rejected=decoded.rejected,
            seen=decoded.seen,
            count=len(decoded.events),
            events=msgspec.Raw(_encoder.encode(decoded.events)),
        )
    )


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


def serve(jobs: BinaryIO, answers: BinaryIO, *, limit: int) -> None:
    """Answer one job after the other, until whoever sends them is gone. Says that it is up with an empty message."""
    answers.write(frame(b""))
    answers.flush()
    while len(head := jobs.read(FRAME_BYTES)) == FRAME_BYTES:
        body = jobs.read(int.from_bytes(head))
        if len(body) < int.from_bytes(head):
            return
        answers.write(frame(answer(body, limit=limit)))
        answers.flush()


def frame(message: bytes) -> bytes:
    """A message with its length before it."""
    return len(message).to_bytes(FRAME_BYTES) + message


def main(arguments: Sequence[str]) -> int:
    """The process: `python -m andoncord.server.prepare LIMIT`."""
    # Ctrl-C reaches the whole process group; whoever sends the jobs decides when this ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD)
    try:
        serve(sys.stdin.buffer, sys.stdout.buffer, limit=int(arguments[0]))
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
    raise SystemExit(main(sys.argv[1:]))
