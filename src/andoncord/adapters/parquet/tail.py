"""Blocks of the tail: the events that are not in a segment yet, one compressed block for each transaction of the worker.

A block is written once and read by whoever looks for the newest events. What it can be searched by (agents with kinds, traces)
stands beside it as text, so that a reader opens only the blocks that can hold what it looks for.
"""

from collections.abc import Collection, Iterable, Sequence
from hashlib import blake2b

import msgspec
import zstandard

from andoncord.telemetry.event import Event

ZSTD_LEVEL = 1
KEY_BYTES = 16
MARK = "\x1f"
MAX_MARKS = 2_000
"""Distinct pairs of agent and kind listed beside a block or a segment; beyond that it counts as holding every agent."""
ANY = "*"
"""Stands for marks that are too many to be listed."""


class Columns(msgspec.Struct, array_like=True, frozen=True, kw_only=True):
    """What of the events stands in columns of its own; every list is as long as the block."""

    received_ns: list[int]
    at_ns: list[int]
    duration_ns: list[int]
    trace_id: list[str]
    run_id: list[str]
    agent: list[str]
    kind: list[str]
    name: list[str]
    ok: list[bool]
    input_tokens: list[int]
    output_tokens: list[int]
    cost_micro_usd: list[int]
    passed: list[int]
    """1 passed, 0 failed, -1 not said."""


class Index(msgspec.Struct, array_like=True, frozen=True, kw_only=True):
    """Of `Columns` what events are looked for by; the rest is skipped, not read."""

    received_ns: list[int]
    at_ns: list[int]
    duration_ns: msgspec.Raw
    trace_id: list[str]
    run_id: msgspec.Raw
    agent: list[str]
    kind: list[str]


class Block(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the tail."""

    first_id: int
    rows: int
    min_at_ns: int
    max_at_ns: int
    max_received_ns: int
    raw_bytes: int
    """Of the events as JSON."""
    marks: str
    traces: str
    keys: bytes
    """The digests that make the events unique, one after the other."""
    columns: bytes
    body: bytes

    @property
    def last_id(self) -> int:
        return self.first_id + self.rows - 1


def pack(events: Sequence[Event], *, keys: bytes, first_id: int) -> Block:
    """A block of events, which get consecutive ids from `first_id`.

    >>> from andoncord.telemetry.event import EventKind
    >>> block = pack([Event(kind=EventKind.HEARTBEAT, agent="a", start_ns=5)], keys=b"", first_id=7)
    >>> [event.agent for event in events_of(lines_of(block.body))], columns_of(block.columns).at_ns
    (['a'], [5])
    """
    columns = Columns(
        received_ns=[event.received_ns for event in events],
        at_ns=[event.at_ns for event in events],
        duration_ns=[event.end_ns - event.start_ns if event.end_ns else 0 for event in events],
        trace_id=[event.trace_id for event in events],
        run_id=[event.run_id for event in events],
        agent=[event.agent for event in events],
        kind=[event.kind.value for event in events],
        name=[event.name for event in events],
        ok=[event.ok for event in events],
        input_tokens=[event.input_tokens for event in events],
        output_tokens=[event.output_tokens for event in events],
        cost_micro_usd=[event.cost_micro_usd for event in events],
        passed=[-1 if event.passed is None else int(event.passed) for event in events],
    )
    compressor = zstandard.ZstdCompressor(level=ZSTD_LEVEL)
    raw = b"\n".join(map(msgspec.json.Encoder().encode, events))
    return Block(
        first_id=first_id,
        rows=len(events),
        min_at_ns=min(columns.at_ns),
        max_at_ns=max(columns.at_ns),
        max_received_ns=max(columns.received_ns),
        raw_bytes=len(raw),
        marks=marks_of(zip(columns.agent, columns.kind, strict=True)),
        traces="\n".join(("", *{trace for trace in columns.trace_id if trace}, "")),
        keys=keys,
        columns=compressor.compress(msgspec.msgpack.encode(columns)),
        body=compressor.compress(raw),
    )


def digest_of(key: bytes) -> bytes:
    """A key of any length as the 16 bytes that are compared. Among a billion events two share one with a chance below 1e-20."""
    return blake2b(key, digest_size=KEY_BYTES).digest()


def digests_in(joined: bytes) -> list[bytes]:
    """Digests that follow one another."""
    return [joined[start : start + KEY_BYTES] for start in range(0, len(joined), KEY_BYTES)]


def columns_of(packed: bytes) -> Columns:
    """The columns of a block."""
    return msgspec.msgpack.decode(zstandard.ZstdDecompressor().decompress(packed), type=Columns)


def index_of(packed: bytes) -> Index:
    """What the events of a block are looked for by. Cost: a third of `columns_of`."""
    return msgspec.msgpack.decode(zstandard.ZstdDecompressor().decompress(packed), type=Index)


def without(columns: Columns, first_id: int, gone: Collection[int]) -> Columns:
    """The columns of a block, which begins with id `first_id`, without the events that are gone."""
    kept = [place for place in range(len(columns.at_ns)) if first_id + place not in gone]
    if len(kept) == len(columns.at_ns):
        return columns
    rows = {name: getattr(columns, name) for name in Columns.__struct_fields__}
    return Columns(**{name: [values[place] for place in kept] for name, values in rows.items()})


def lines_of(body: bytes) -> list[bytes]:
    """The events of a block as JSON, in order of their ids."""
    return zstandard.ZstdDecompressor().decompress(body).split(b"\n")


def events_of(lines: Sequence[bytes | str]) -> list[Event]:
    """Events of their JSON."""
    decode = msgspec.json.Decoder(Event).decode
    return [decode(line) for line in lines]


def marks_of(pairs: Iterable[tuple[str, str]]) -> str:
    """Which agents did what kinds of things, as text that is searched with `mark`.

    >>> mark("a", "heartbeat") in marks_of({("a", "heartbeat")}), mark("a", "other") in marks_of({("a", "heartbeat")})
    (True, False)
    """
    found = set(pairs)
    if len(found) > MAX_MARKS:
        return ANY
    return "\n" + "".join(f"{agent}{MARK}{kind}\n" for agent, kind in sorted(found))


def mark(agent: str, kind: str = "") -> str:
    """What to look for among marks: an agent, or an agent with a kind. Finds at least every block that has it."""
    return f"\n{agent}{MARK}{kind}" + ("\n" if kind else "")
