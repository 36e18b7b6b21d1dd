"""Blocks: the events of a request or of a transaction, compressed, as they are kept while they are in no segment yet.

A block is made once, by whoever reads the request, and read by whoever looks for the newest events. What it can be searched by
(agents with kinds, traces) stands beside it as text, so that a reader opens only the blocks that can hold what it looks for.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any

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
    """Events packed."""

    first_id: int = 0
    """Of its first event, those after it follow; 0 before it is stored."""
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
    """The events as JSON, one on each line, without the fields that are at their default."""

    @property
    def last_id(self) -> int:
        return self.first_id + self.rows - 1


def pack(events: Sequence[Mapping[str, Any]], *, keys: bytes, first_id: int = 0) -> Block:
    """A block of events, each given by its fields; those at their default may be left out (see `fields_of`).

    >>> from andoncord.telemetry.event import EventKind
    >>> block = pack([{"kind": EventKind.HEARTBEAT, "agent": "a", "start_ns": 5}], keys=b"", first_id=7)
    >>> [event.agent for event in events_of(lines_of(block.body))], columns_of(block.columns).at_ns
    (['a'], [5])
    """
    received_ns = [event.get("received_ns", 0) for event in events]
    at_ns = [event.get("end_ns") or event.get("start_ns", 0) for event in events]
    trace_id = [event.get("trace_id", "") for event in events]
    agent = [event.get("agent", "") for event in events]
    kind = [event["kind"].value for event in events]
    columns = Columns(
        received_ns=received_ns,
        at_ns=at_ns,
        duration_ns=[event["end_ns"] - event.get("start_ns", 0) if event.get("end_ns") else 0 for event in events],
        trace_id=trace_id,
        run_id=[event.get("run_id", "") for event in events],
        agent=agent,
        kind=kind,
        name=[event.get("name", "") for event in events],
        ok=[event.get("ok", True) for event in events],
        input_tokens=[event.get("input_tokens", 0) for event in events],
        output_tokens=[event.get("output_tokens", 0) for event in events],
        cost_micro_usd=[event.get("cost_micro_usd", 0) for event in events],
        passed=[-1 if (passed := event.get("passed")) is None else int(passed) for event in events],
    )
    compressor = zstandard.ZstdCompressor(level=ZSTD_LEVEL)
    # The last line has no end: whoever splits the lines would take what comes after it for one.
    raw = memoryview(msgspec.json.Encoder().encode_lines(events))[:-1]
    return Block(
        first_id=first_id,
        rows=len(events),
        min_at_ns=min(at_ns),
        max_at_ns=max(at_ns),
        max_received_ns=max(received_ns),
        raw_bytes=len(raw),
        marks=marks_of(zip(agent, kind, strict=True)),
        traces="\n".join(("", *{trace for trace in trace_id if trace}, "")),
        keys=keys,
        columns=compressor.compress(msgspec.msgpack.encode(columns)),
        body=compressor.compress(raw),
    )


_DEFAULTS = tuple((field.name, field.default) for field in msgspec.structs.fields(Event) if field.name != "kind")


def fields_of(event: Event) -> dict[str, Any]:
    """The fields of an event that are not at their default.

    >>> from andoncord.telemetry.event import EventKind
    >>> fields_of(Event(kind=EventKind.OTHER, agent="a"))
    {'kind': <EventKind.OTHER: 'other'>, 'agent': 'a'}
    """
    fields: dict[str, Any] = {"kind": event.kind}
    for name, default in _DEFAULTS:
        value = getattr(event, name)
        if value != default:
            fields[name] = value
    if not event.attributes:
        del fields["attributes"]
    return fields


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


def lines_at(body: bytes, places: Sequence[int]) -> list[bytes]:
    r"""Some events of a block as JSON. Cost: two thirds of `lines_of` where few are wanted.

    Args:
        places: of the events in the block, rising.

    >>> lines_at(zstandard.compress(b"a\nb\nc"), [0, 2])
    [b'a', b'c']
    """
    whole = zstandard.ZstdDecompressor().decompress(body)
    found: list[bytes] = []
    place = start = 0
    for wanted in places:
        while place < wanted:
            start = whole.index(b"\n", start) + 1
            place += 1
        end = whole.find(b"\n", start)
        found.append(whole[start:] if end < 0 else whole[start:end])
    return found


def events_in(body: bytes) -> tuple[Event, ...]:
    """The events of a block, in order. Cost: 3 µs for one with a text of 1.3 kB."""
    return tuple(msgspec.json.Decoder(Event).decode_lines(zstandard.ZstdDecompressor().decompress(body)))


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
