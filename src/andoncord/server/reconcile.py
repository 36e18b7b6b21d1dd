"""The loss ledger, checked: does everything that was accepted add up with what is in the store? (SIG-7)

Spans are told apart by their trace and span id. Log records carry no id; they are told apart by a digest of what they say, so
two that say the same at the same instant are one. Both hold for as long as events are kept, and over restarts.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable

import msgspec

from andoncord.detect.ports import Storage, TelemetryReader
from andoncord.server.prepare import decode
from andoncord.telemetry.batch import SPAN_KINDS, LedgerLine, event_key, unpack_body
from andoncord.telemetry.event import Event
from andoncord.telemetry.stitch import INFERRED

PROBLEMS_SHOWN = 20
SAME_INSTANT = 100_000
"""Events of one agent at one nanosecond that are looked through."""


class Reconciliation(msgspec.Struct, frozen=True, kw_only=True):
    """Whether accepted = stored + duplicate + rejected for each signal, and stored = kept + expired."""

    balanced: bool
    problems: tuple[str, ...]
    """What does not add up, a sentence each."""
    lines: tuple[LedgerLine, ...]
    storage: Storage
    lag: int
    """Batches that are accepted and not yet read out: they stand in the log and in no line yet."""
    batches_walked: int = 0
    """Batches of the log that were decoded again, each of their events looked up; 0 unless that was asked for."""


def reconcile(reader: TelemetryReader, *, deep: bool = False) -> Reconciliation:
    """Compare the ledger with the store. May be done at any time, also while telemetry comes in.

    Args:
        deep: decode every batch that the log still has and look each event up. Takes as long as receiving them took.
    """
    lines, storage = reader.ledger(), reader.storage()
    problems = [*_signals(lines), *_kept(storage), *(f"{name} is missing or damaged" for name in storage.damaged)]
    walked = 0
    if deep:
        walked, missing = _walk(reader)
        if missing > storage.expired:
            problems.append(f"{missing} events of the log are not in the store, and retention deleted {storage.expired}")
    return Reconciliation(
        balanced=not problems,
        problems=tuple(problems[:PROBLEMS_SHOWN]),
        lines=lines,
        storage=storage,
        lag=reader.lag(),
        batches_walked=walked,
    )


def _signals(lines: Iterable[LedgerLine]) -> list[str]:
    sums: dict[str, Counter[str]] = defaultdict(Counter)
    for line in lines:
        sums[line.signal][line.outcome] += line.count
    return [
        f"{signal}: {found['accepted']} accepted, but {rest} stored, duplicate or rejected"
        for signal, found in sorted(sums.items())
        if (rest := found["stored"] + found["duplicate"] + found["rejected"]) != found["accepted"]
    ]


def _kept(storage: Storage) -> list[str]:
    if storage.stored == storage.events + storage.expired:
        return []
    return [f"{storage.stored} events were stored, but {storage.events} are kept and {storage.expired} expired"]


def _walk(reader: TelemetryReader) -> tuple[int, int]:
    """How many batches were looked at, and how many of their events, each counted once, are not in the store."""
    digests = reader.batch_digests(after=0, limit=1)
    if not digests:
        return 0, 0
    walked = 0
    missing: set[bytes] = set()
    # What is not read out yet cannot be in the store.
    for batch in reader.batches(first=digests[0][0], last=reader.read_out()):
        walked += 1
        missing |= _missing(reader, decode(batch, unpack_body(batch.body_gz)).events)
    return walked, len(missing)


def _missing(reader: TelemetryReader, events: Iterable[Event]) -> set[bytes]:
    """The keys of one batch that are not in the store."""
    by_trace: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        by_trace[event.trace_id].append(event)
    known: set[bytes] = set()
    for trace_id, group in by_trace.items():
        if trace_id:
            known.update(map(_as_sent, reader.trace(trace_id)))
            continue
        for event in group:
            same_instant = reader.of_agents([event.agent], since_ns=event.at_ns, until_ns=event.at_ns, limit=SAME_INSTANT)
            known.update(map(_as_sent, same_instant))
    return {key for group in by_trace.values() for event in group if (key := _as_sent(event)) not in known}


def _as_sent(event: Event) -> bytes:
    """The key of an event without what its ancestors may have said of it since."""
    if event.kind in SPAN_KINDS:
        return event_key(event)
    attributes = {name: value for name, value in event.attributes.items() if name != INFERRED}
    open_fields = dict.fromkeys(("agent", "run_id", "task", "session_id", "environment"), "")
    return event_key(msgspec.structs.replace(event, attributes=attributes, **open_fields))
