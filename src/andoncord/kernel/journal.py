"""The journal: an append-only chain of entries, each carrying the digest of the one before (INC-8)."""

from collections.abc import Iterable
from typing import Any

import msgspec

from andoncord.kernel.canon import GENESIS, canonical_json, digest


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """Something decided or done, not yet in the journal."""

    kind: str
    """`noun.verb`, past tense: `incident.opened`, `intent.issued`, `receipt.recorded`."""
    incident: str = ""
    by: str = "andoncord"
    """Who: `andoncord`, `guard:<instance>`, or `person:<name>`."""
    body: dict[str, Any] = {}


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One link of the chain."""

    seq: int
    at_ns: int
    kind: str
    incident: str
    by: str
    body: dict[str, Any]
    previous: str
    digest: str


class Break(msgspec.Struct, frozen=True, kw_only=True):
    """The first place where a chain does not hold."""

    seq: int
    reason: str


def entry_digest(*, seq: int, at_ns: int, kind: str, incident: str, by: str, body: dict[str, Any], previous: str) -> str:
    """The digest that an entry with these fields must carry."""
    return digest(canonical_json([seq, at_ns, kind, incident, by, body, previous]))


def extend(head: Entry | None, drafts: Iterable[Draft], *, now: int) -> tuple[Entry, ...]:
    """Turn drafts into the entries that follow `head`.

    >>> first, second = extend(None, [Draft(kind="note.added"), Draft(kind="note.added")], now=7)
    >>> second.previous == first.digest, check([first, second]) is None
    (True, True)
    """
    entries: list[Entry] = []
    seq = head.seq if head else 0
    previous = head.digest if head else GENESIS
    for draft in drafts:
        seq += 1
        # Bodies pass through JSON once, so that what is hashed is what every reader will get back.
        body = msgspec.json.decode(canonical_json(draft.body))
        link = entry_digest(
            seq=seq, at_ns=now, kind=draft.kind, incident=draft.incident, by=draft.by, body=body, previous=previous
        )
        entries.append(
            Entry(
                seq=seq,
                at_ns=now,
                kind=draft.kind,
                incident=draft.incident,
                by=draft.by,
                body=body,
                previous=previous,
                digest=link,
            )
        )
        previous = link
    return tuple(entries)


def check(entries: Iterable[Entry]) -> Break | None:
    """The first break in a whole journal, or None when every link holds.

    A tail that was cut off cannot be seen from the chain alone: compare the head with one kept elsewhere.
    """
    previous = GENESIS
    for seq, entry in enumerate(entries, start=1):
        if entry.seq != seq:
            return Break(seq=seq, reason=f"entry {seq} is missing: found {entry.seq} in its place")
        if entry.previous != previous:
            return Break(seq=seq, reason="does not continue from the entry before it")
        expected = entry_digest(
            seq=entry.seq,
            at_ns=entry.at_ns,
            kind=entry.kind,
            incident=entry.incident,
            by=entry.by,
            body=entry.body,
            previous=entry.previous,
        )
        if entry.digest != expected:
            return Break(seq=seq, reason="its content does not match its digest")
        previous = entry.digest
    return None
