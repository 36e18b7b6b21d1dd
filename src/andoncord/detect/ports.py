"""The port of the telemetry store: what detection and everything after it read and write (see `testing.telemetry_contract`)."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import msgspec

from andoncord.detect.finding import Finding
from andoncord.telemetry.batch import Batch, Beat, LedgerLine
from andoncord.telemetry.block import Block
from andoncord.telemetry.event import Event
from andoncord.telemetry.holding import Hold


class SeriesPoint(msgspec.Struct, frozen=True, kw_only=True):
    """One agent during one stretch of time."""

    agent: str
    at_ns: int
    """Begin of the stretch."""
    events: int
    steps: int
    """Model and tool calls."""
    failed: int
    """Of the steps."""
    input_tokens: int
    output_tokens: int
    cost_micro_usd: int
    p50_ms: float
    """Median duration of the steps; 0 without any."""
    p95_ms: float
    scored: int
    passed: int


class Storage(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept, and how much room it takes."""

    stored: int
    """Events that were ever stored, by the ledger at the same moment."""
    events: int
    """Of these: those that are kept."""
    expired: int
    """Those that retention has deleted."""
    tail_events: int
    """Not yet moved to a segment."""
    tail_raw_bytes: int
    segments: int
    segment_bytes: int
    log_batches: int
    database_bytes: int
    """Of what is not in segments: the log, the tail, and everything small."""
    oldest_ns: int
    """Time of the oldest event; 0 where none is kept."""
    damaged: tuple[str, ...] = ()
    """Files that are missing or not as they were written."""


class TelemetryWriter(Protocol):
    """The ingest worker's side of the telemetry store."""

    def append(self, batches: Sequence[Batch]) -> tuple[int, ...]: ...

    def unread(self, *, limit: int) -> tuple[Batch, ...]: ...

    def appended(self) -> int: ...

    def read_out(self) -> int: ...

    def unknown(self, keyed: Sequence[tuple[bytes, Event]]) -> list[tuple[bytes, Event]]: ...

    def record(
        self,
        *,
        seq: int | None,
        events: Sequence[tuple[bytes, Event]],
        blocks: Sequence[Block] = (),
        findings: Sequence[Finding],
        beats: Sequence[Beat],
        ledger: Sequence[LedgerLine],
        now_ns: int,
        fleet: Sequence[tuple[str, bytes]] = (),
        corrected: Sequence[tuple[int, bytes, Event]] = (),
        unheard: Sequence[str] = (),
    ) -> int:
        """Store a group whole or not at all; how many findings were new.

        Args:
            events: each with its key, none of them stored yet.
            blocks: more of them, packed.
            fleet: replaces what is kept of these agents; nothing behind a name forgets it.
            corrected: events that take the place of stored ones, each with the place and the key of the one before.
            unheard: agents that were only guessed; their processes are forgotten.
        """
        ...

    def of_traces(self, traces: Sequence[str], *, limit: int) -> tuple[tuple[int, Event], ...]:
        """The last `limit` events of some traces by time, each with its place."""
        ...

    def beats(self) -> tuple[Beat, ...]: ...

    def fleet(self) -> tuple[tuple[str, bytes], ...]: ...

    def recent_events(self, *, after_ns: int, limit: int) -> Iterator[Event]: ...

    def trim(self, *, log_before_ns: int) -> None:
        """Forget what of the log is older than this and was read out."""
        ...

    def settle(self, *, now_ns: int, everything: bool = False) -> bool:
        """Move the oldest of what is stored to where it is kept for long, if it is time; whether anything was moved."""
        ...

    def compact(self, *, now_ns: int) -> bool:
        """One step towards fewer, larger files; whether there was one."""
        ...

    def retain(self, *, now_ns: int, before_ns: int, keep_bytes: int, holds: Sequence[Hold]) -> int:
        """Delete the oldest events, except what a hold names; how many.

        Args:
            before_ns: what was received before goes; what came with it in one file goes with the last of them.
            keep_bytes: the oldest goes until no more than this is left.
        """
        ...

    def sweep(self, *, now_ns: int) -> None:
        """Remove what nobody reads any more."""
        ...

    def close(self) -> None: ...


class TelemetryReader(Protocol):
    """The control process's side of the telemetry store."""

    def trace(self, trace_id: str, *, limit: int | None = None) -> tuple[Event, ...]:
        """Every event of one trace, or the last `limit`, by start time."""
        ...

    def series(self, agents: Sequence[str], *, since_ns: int, until_ns: int, step_ns: int) -> tuple[SeriesPoint, ...]:
        """What happened per agent and stretch of time, by agent and time; of every agent where none is named."""
        ...

    def of_agents(
        self,
        agents: Iterable[str],
        *,
        since_ns: int,
        until_ns: int,
        limit: int,
        kinds: Sequence[str] = (),
        with_texts: bool = True,
    ) -> tuple[Event, ...]:
        """The last `limit` events by time; without what was said, for whoever counts, in a tenth of the memory."""
        ...

    def of_kind_since(self, agent: str, *, kinds: Sequence[str], after_ns: int, limit: int) -> tuple[Event, ...]: ...

    def tail(self, *, after: int, agent: str = "", kinds: Sequence[str] = (), limit: int) -> tuple[tuple[int, Event], ...]:
        """Events in the order in which they were stored, each with its place: places rise, and there may be gaps."""
        ...

    def stored(self) -> int:
        """The last place; 0 when nothing is stored."""
        ...

    def fleet(self) -> tuple[tuple[str, bytes], ...]: ...

    def findings(self, *, after: int, limit: int) -> tuple[tuple[int, Finding], ...]: ...

    def beats(self) -> tuple[Beat, ...]: ...

    def ledger(self) -> tuple[LedgerLine, ...]: ...

    def batch_digests(self, *, after: int, limit: int) -> tuple[tuple[int, str], ...]: ...

    def batches(self, *, first: int, last: int) -> Iterator[Batch]:
        """The batches from place `first` to `last` that are still kept."""
        ...

    def read_out(self) -> int:
        """The place in the log up to which everything is recorded."""
        ...

    def lag(self) -> int: ...

    def storage(self) -> Storage: ...

    def close(self) -> None: ...
