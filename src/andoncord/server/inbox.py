"""Batches on their way from the ingest log to the pipeline: in order, decoded once where memory allows.

What was decoded for the acknowledgement is handed over in memory, so that neither the log is read nor the body decoded again.
Memory has a bound: senders are made to wait while it is full, and what does not fit is read from the log later.
"""

from collections import deque
from collections.abc import Callable, Sequence
from threading import Condition

from andoncord.detect.ports import TelemetryWriter
from andoncord.server.prepare import Answer
from andoncord.telemetry.batch import Batch
from andoncord.telemetry.otlp import Decoded

BATCHES_PER_READ = 8
"""Batches read from the log at a time."""
EVENTS_PER_GROUP = 2_048
"""A group takes in batches until it holds so many events: many small ones share a transaction, and none waits for long."""
MAX_HELD = 16_384
"""Events held decoded between acknowledgement and reading-out: with the longest usual texts about 100 MB."""

Item = tuple[Batch, Decoded]
Said = Decoded | Answer
"""What a batch says, ready or still packed."""


class Inbox:
    """What is appended and not yet read out. `offer` is called by whoever appends, the rest by the one thread that reads out.

    Args:
        decode: what a batch from the log says.
    """

    def __init__(self, writer: TelemetryWriter, decode: Callable[[Batch], Decoded]) -> None:
        self._writer = writer
        self._decode = decode
        self._changed = Condition()
        self._held: dict[int, tuple[Batch, Said]] = {}
        self._held_events = 0
        self._from_log: deque[Batch] = deque()
        self._appended = writer.appended()
        self._taken = writer.read_out()
        self._read_out = self._taken
        self._stopping = False

    @property
    def backlog(self) -> int:
        """Batches appended but not yet read out."""
        return self._appended - self._read_out

    @property
    def is_full(self) -> bool:
        """Whether what comes now would have to be decoded twice."""
        return self._held_events >= MAX_HELD

    def offer(self, batch: Batch, said: Said) -> None:
        """Say that a batch is in the log, and hand over what was already read of it. Its body is not kept."""
        with self._changed:
            self._appended = max(self._appended, batch.seq)
            if batch.seq > self._taken and not self.is_full:
                self._held[batch.seq] = batch, said
                self._held_events += _count(said)
            self._changed.notify()

    def stop(self) -> None:
        """Wake whoever waits."""
        with self._changed:
            self._stopping = True
            self._changed.notify()

    def wait(self, timeout_s: float) -> None:
        """Return when there is something to take, or after `timeout_s`."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopping or self.backlog > 0, timeout_s)

    def take(self) -> Sequence[Item]:
        """The next batches in order; none where everything is read out."""
        with self._changed:
            appended = self._appended
        if appended == self._read_out:
            return ()
        group: list[Item] = []
        events = 0
        while events < EVENTS_PER_GROUP and (item := self._next()) is not None:
            group.append(item)
            events += len(item[1].events)
        if not group:
            # Places that were given to batches which did not become durable. What is offered meanwhile comes after them.
            with self._changed:
                self._read_out = self._taken = appended
        return group

    def done(self, seq: int) -> None:
        """Everything up to this place is recorded."""
        self._read_out = seq

    def _next(self) -> Item | None:
        with self._changed:
            place = self._from_log[0].seq if self._from_log else self._taken + 1
            held = self._held.pop(place, None)
            if held is not None:
                self._held_events -= _count(held[1])
                self._taken = max(self._taken, place)
        if held is not None:
            if self._from_log:
                self._from_log.popleft()
            return _ready(held)
        if not self._from_log and self._read_out == self._taken < self._appended:
            # What is in the log comes with its place as recorded there, so only once all before it is recorded.
            self._from_log.extend(self._writer.unread(limit=BATCHES_PER_READ))
            with self._changed:
                self._taken = max([self._taken, *(batch.seq for batch in self._from_log)])
        if not self._from_log:
            return None
        batch = self._from_log.popleft()
        with self._changed:
            held = self._held.pop(batch.seq, None)
            self._held_events -= _count(held[1]) if held is not None else 0
        return _ready(held) if held is not None else (batch, self._decode(batch))


def _count(said: Said) -> int:
    return said.count if isinstance(said, Answer) else len(said.events)


def _ready(held: tuple[Batch, Said]) -> Item:
    batch, said = held
    return batch, said.unpacked() if isinstance(said, Answer) else said
