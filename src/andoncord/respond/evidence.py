"""The evidence bundle: what is written down about an agent while it is fenced, before anything of it can be lost (RSP-4)."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from andoncord.kernel.canon import canonical_json, digest
from andoncord.telemetry.event import Event

MAX_EVENTS = 5_000
"""Events in one bundle; the newest are kept and the manifest says how many were left out."""


class SealedFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a bundle, with its digest."""

    name: str
    content: bytes
    sha256: str


class Bundle(msgspec.Struct, frozen=True, kw_only=True):
    """Files and the manifest over them; `sha256` is the digest of the manifest and goes into the journal."""

    files: tuple[SealedFile, ...]
    manifest: bytes
    sha256: str
    cut: tuple[str, ...]


def seal(
    *,
    incident: str,
    agent: str,
    now: int,
    acknowledgements: Sequence[Mapping[str, Any]],
    liveness: Sequence[Mapping[str, Any]],
    events: Sequence[Event],
    configuration: Mapping[str, Any] | None,
) -> Bundle:
    """Build the bundle; the same inputs give the same bytes.

    Args:
        acknowledgements: what each guard reported about itself when it was fenced (open runs, steps in flight, money spent).
        liveness: the last heartbeat of every instance.
        events: what the agent did and said in the last 24 h, any order.
        configuration: the registry version in force, None when the agent has none.
    """
    ordered = sorted(events, key=lambda event: (event.at_ns, event.trace_id, event.span_id))
    cut: list[str] = []
    if len(ordered) > MAX_EVENTS:
        cut.append(f"{len(ordered) - MAX_EVENTS} older events left out of events.jsonl, limit {MAX_EVENTS}")
        ordered = ordered[-MAX_EVENTS:]
    contents = {
        "agent_state.json": canonical_json({"agent": agent, "acknowledgements": list(acknowledgements)}),
        "system_state.json": canonical_json({"at_ns": now, "liveness": list(liveness)}),
        "configuration.json": canonical_json(configuration),
        "events.jsonl": b"\n".join(canonical_json(event) for event in ordered) + b"\n",
    }
    files = tuple(SealedFile(name=name, content=content, sha256=digest(content)) for name, content in contents.items())
    manifest = canonical_json(
        {
            "format": "andoncord-evidence/1",
            "incident": incident,
            "agent": agent,
            "sealed_at_ns": now,
            "files": [{"name": file.name, "sha256": file.sha256, "bytes": len(file.content)} for file in files],
            "cut": cut,
        }
    )
    return Bundle(files=files, manifest=manifest, sha256=digest(manifest), cut=tuple(cut))
