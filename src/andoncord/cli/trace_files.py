"""Reading files of recorded runs: lines within bounds, and the events of each trace brought together."""

import gzip
import sys
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, cast

import msgspec

from andoncord.telemetry.event import Event

MAX_LINE_BYTES = 64 << 20
"""A longer line is reported as broken and skipped: one line is held in memory at a time."""
MAX_TRACE_EVENTS = 100_000
"""Events kept of one trace; what is beyond is left out and counted."""
MAX_OPEN_TRACES = 1_000
MAX_REMEMBERED_TRACES = 1_000_000
"""Traces already given out that are remembered, so that a late part of one is not taken for a new trace."""
STDIN = "-"


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a file; `problem` says why it could not be read."""

    place: str
    number: int
    body: bytes
    consumed: int
    """Bytes of the file behind this line, for the progress bar."""
    problem: str = ""


@contextmanager
def _opened(path: str) -> Iterator[tuple[IO[bytes], Callable[[], int]]]:
    if path == STDIN:
        yield sys.stdin.buffer, lambda: 0
        return
    with Path(path).open("rb") as raw:
        if path.endswith(".gz"):
            with gzip.GzipFile(fileobj=raw, mode="rb") as unpacked:
                yield cast("IO[bytes]", unpacked), raw.tell
        else:
            yield raw, raw.tell


def lines(path: str, *, max_bytes: int = MAX_LINE_BYTES) -> Iterator[Line]:
    """The lines of a file, of standard input (`-`) or of a gzip file (`*.gz`); blank ones are skipped.

    What breaks the reading itself (a cut gzip file, a disk error) comes as a last line with a problem.
    """
    name = "<stdin>" if path == STDIN else path
    number = 0
    try:
        with _opened(path) as (stream, position):
            while body := stream.readline(max_bytes + 1):
                number += 1
                place = f"{name}:{number}"
                if len(body) > max_bytes and not body.endswith(b"\n"):
                    while (more := stream.readline(max_bytes)) and not more.endswith(b"\n"):
                        pass
                    problem = f"longer than {max_bytes} bytes, skipped"
                    yield Line(place=place, number=number, body=b"", consumed=position(), problem=problem)
                elif body.strip():
                    yield Line(place=place, number=number, body=body, consumed=position())
    except (OSError, EOFError, zlib.error) as error:
        problem = f"reading stopped: {error.strerror if isinstance(error, OSError) and error.strerror else error}"
        yield Line(place=f"{name}:{number + 1}", number=number + 1, body=b"", consumed=0, problem=problem)


@dataclass(slots=True)
class _OpenTrace:
    last_line: int
    events: list[Event] = field(default_factory=list)


class Gatherer:
    """Collect the events of each trace until no line has added to it for `window` lines, then give it out.

    Memory is bounded: at most `MAX_OPEN_TRACES` at a time (beyond that the one longest untouched is given out early) of at most
    `MAX_TRACE_EVENTS`. Events that come for a trace already given out, or beyond its bound, are counted in `left_out`.
    """

    def __init__(self, window: int) -> None:
        self._window = window
        self._open: OrderedDict[str, _OpenTrace] = OrderedDict()
        self._given: dict[str, None] = {}
        self.left_out = 0

    def add(self, line: int, events: tuple[Event, ...]) -> None:
        """Take in what one line held."""
        for event in events:
            trace = self._open.get(event.trace_id)
            if trace is None:
                if event.trace_id in self._given:
                    self.left_out += 1
                    continue
                trace = self._open[event.trace_id] = _OpenTrace(last_line=line)
            elif trace.last_line != line:
                trace.last_line = line
                self._open.move_to_end(event.trace_id)
            if len(trace.events) < MAX_TRACE_EVENTS:
                trace.events.append(event)
            else:
                self.left_out += 1

    def complete(self, line: int) -> Iterator[tuple[str, list[Event]]]:
        """The traces that nothing has been added to for the window before `line`, oldest first."""
        while self._open:
            trace_id, trace = next(iter(self._open.items()))
            if line - trace.last_line < self._window and len(self._open) <= MAX_OPEN_TRACES:
                return
            yield self._give(trace_id)

    def rest(self) -> Iterator[tuple[str, list[Event]]]:
        """All others, at the end of the input."""
        while self._open:
            yield self._give(next(iter(self._open)))

    def _give(self, trace_id: str) -> tuple[str, list[Event]]:
        self._given[trace_id] = None
        if len(self._given) > MAX_REMEMBERED_TRACES:
            del self._given[next(iter(self._given))]
        return trace_id, self._open.pop(trace_id).events
