"""The evidence bundle: what is written down about an agent while it is fenced, before anything of it can be lost (RSP-4)."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any

import msgspec

from andoncord.kernel.canon import canonical_json, digest
from andoncord.kernel.time import HOUR_NS
from andoncord.telemetry.event import Event, EventKind
from andoncord.telemetry.redact import Redactor, default_redactor

FORMAT = "andoncord-evidence/2"
MAX_EVENTS = 5_000
"""Events in one bundle; the newest are kept and the manifest says how many were left out."""
MAX_FILE_BYTES = 8 * 1024 * 1024
"""One file of a bundle. Of lists the newest lines are kept; what is too large otherwise is left out and named."""
SPEECH = frozenset({EventKind.MODEL_COMPLETED, EventKind.MODEL_FAILED, EventKind.AGENT_INVOKED})
DEEDS = frozenset(
    {
        EventKind.TOOL_COMPLETED,
        EventKind.TOOL_FAILED,
        EventKind.STEP_STARTED,
        EventKind.GUARD_DENIED,
        EventKind.GUARD_DEGRADED,
        EventKind.CHANGE_MADE,
    }
)


class FactState(StrEnum):
    """How far a fact in a bundle can be relied on."""

    ASKED = "asked"
    """It was ordered; nothing says that it happened."""
    CLAIMED = "claimed"
    """The agent's own side said so."""
    RECORDED = "recorded"
    """It is in our own record, or somebody outside the agent's process wrote it down."""
    VERIFIED = "verified"
    """The kernel of the machine said so to whoever stands outside the agent."""
    UNKNOWN = "unknown"
    """Nobody knows; `why` says what is missing."""


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
    events: Sequence[Event] | None,
    configuration: Mapping[str, Any] | None,
    surroundings: Mapping[str, Any] | None = None,
    decided: Sequence[Mapping[str, Any]] = (),
    versions: Mapping[str, Any] | None = None,
    supervised: Sequence[Mapping[str, Any]] = (),
    missing: Mapping[str, str] | None = None,
) -> Bundle:
    """Build the bundle; the same inputs give the same bytes.

    Args:
        acknowledgements: what each guard reported about itself when it was fenced (open runs, steps in flight, money spent).
        liveness: the last heartbeat of every instance.
        events: what the agent did and said in the last 24 h, any order; None when they could not be read.
        configuration: the registry version in force, None when the agent has none.
        surroundings: what the server saw around the agent: who is connected, what is in force, its own machine.
        decided: what the engine had done for the incident until then.
        versions: what else was in force, by what it is.
        supervised: what supervisors, who stand outside the agent, saw of its processes and its code.
        missing: why a fact is unknown, by its name.
    """
    redactor = default_redactor()
    cut: list[str] = []
    ordered = sorted(events or (), key=lambda event: (event.at_ns, event.trace_id, event.span_id))
    if len(ordered) > MAX_EVENTS:
        cut.append(f"{len(ordered) - MAX_EVENTS} older events left out of events.jsonl, limit {MAX_EVENTS}")
        ordered = ordered[-MAX_EVENTS:]
    records = {
        "agent_state.json": {"agent": agent, "acknowledgements": list(acknowledgements)},
        "system_state.json": {"at_ns": now, "liveness": list(liveness), **(surroundings or {})},
        "configuration.json": configuration,
        "versions.json": {**(versions or {}), **_seen_versions(ordered)},
        "resources.json": _resources(ordered),
        "processes.json": [{k: v for k, v in each.items() if k != "code"} for each in supervised],
        "code.json": [{"instance": each.get("instance"), **(each.get("code") or {})} for each in supervised],
    }
    lists = {
        "events.jsonl": [canonical_json(event) for event in ordered],
        "communications.jsonl": [canonical_json(_speech(event)) for event in ordered if event.kind in SPEECH],
        "decisions.jsonl": [
            *(canonical_json(each) for each in decided),
            *(canonical_json(_deed(event)) for event in ordered if event.kind in DEEDS),
        ],
    }
    contents = {name: _record(name, value, redactor, cut) for name, value in records.items()}
    contents |= {name: _lines(name, lines, cut) for name, lines in lists.items()}
    files = tuple(SealedFile(name=name, content=content, sha256=digest(content)) for name, content in contents.items())
    manifest = canonical_json(
        {
            "format": FORMAT,
            "incident": incident,
            "agent": agent,
            "sealed_at_ns": now,
            "files": [{"name": file.name, "sha256": file.sha256, "bytes": len(file.content)} for file in files],
            "cut": cut,
            "facts": _facts(
                acknowledgements=acknowledgements,
                events=events,
                configuration=configuration,
                supervised=supervised,
                missing=missing or {},
            ),
        }
    )
    return Bundle(files=files, manifest=manifest, sha256=digest(manifest), cut=tuple(cut))


def _record(name: str, value: Any, redactor: Redactor, cut: list[str]) -> bytes:
    """One JSON file. Guards and supervisors mask what they send; it is masked once more here, by the server's patterns."""
    content, _ = redactor.json(canonical_json(value))
    if len(content) <= MAX_FILE_BYTES:
        return content
    cut.append(f"{name} had {len(content)} bytes and was left out, limit {MAX_FILE_BYTES}")
    return canonical_json(None)


def _lines(name: str, lines: list[bytes], cut: list[str]) -> bytes:
    """One file of lines: the newest that fit."""
    size, kept = 0, 0
    for line in reversed(lines):
        size += len(line) + 1
        if size > MAX_FILE_BYTES:
            break
        kept += 1
    if kept < len(lines):
        cut.append(f"{len(lines) - kept} older lines left out of {name}, limit {MAX_FILE_BYTES} bytes")
    return b"\n".join(lines[len(lines) - kept :]) + b"\n"


def _speech(event: Event) -> dict[str, Any]:
    return {
        "at_ns": event.at_ns,
        "trace_id": event.trace_id,
        "span_id": event.span_id,
        "kind": event.kind,
        "name": event.name,
        "instructions_sha256": digest(event.instructions.encode()) if event.instructions else "",
        "input": event.input_text,
        "output": event.output_text,
    }


def _deed(event: Event) -> dict[str, Any]:
    return {
        "at_ns": event.at_ns,
        "trace_id": event.trace_id,
        "span_id": event.span_id,
        "kind": event.kind,
        "name": event.name,
        "arguments": event.arguments,
        "ok": event.ok,
        "error_type": event.error_type,
        "code": event.attributes.get("code", ""),
    }


def _resources(events: Sequence[Event]) -> dict[str, Any]:
    """What the events of this bundle say was used, in all and by hour of UTC: a lower bound where events were left out."""
    hours: defaultdict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for event in events:
        for when in ("all", str(event.at_ns // HOUR_NS * HOUR_NS)):
            used = hours[when]
            used["events"] += 1
            used["calls"] += event.kind in (EventKind.TOOL_COMPLETED, EventKind.TOOL_FAILED)
            used["model_calls"] += event.kind in (EventKind.MODEL_COMPLETED, EventKind.MODEL_FAILED)
            used["failed"] += not event.ok
            used["input_tokens"] += event.input_tokens
            used["output_tokens"] += event.output_tokens
            used["cost_micro_usd"] += event.cost_micro_usd
            used["busy_ns"] += max(0, event.end_ns - event.start_ns) if event.start_ns else 0
    return {"all": hours.pop("all", {}), "by_hour_ns": dict(hours)}


def _seen_versions(events: Sequence[Event]) -> dict[str, Any]:
    """Models and instructions that were seen in use, each as often as it was."""
    models: defaultdict[str, int] = defaultdict(int)
    instructions: defaultdict[str, int] = defaultdict(int)
    for event in events:
        if event.kind is EventKind.MODEL_COMPLETED:
            models[event.name] += 1
            if event.instructions:
                instructions[digest(event.instructions.encode())] += 1
    return {"models_seen": dict(models), "instructions_seen": dict(instructions)}


def _facts(
    *,
    acknowledgements: Sequence[Mapping[str, Any]],
    events: Sequence[Event] | None,
    configuration: Mapping[str, Any] | None,
    supervised: Sequence[Mapping[str, Any]],
    missing: Mapping[str, str],
) -> list[dict[str, str]]:
    """Each fact of the bundle with its state; why, where it is unknown or less than it looks."""
    fence = _fence(acknowledgements)
    code = [each["code"] for each in supervised if each.get("code")]
    known = [each for each in code if each.get("head")]
    nobody = missing.get("supervisor", "no supervisor stands outside this agent")
    facts = [
        ("fence", *fence),
        ("agent_state", FactState.CLAIMED, "") if acknowledgements else ("agent_state", FactState.UNKNOWN, "nobody answered"),
        ("system_state", FactState.RECORDED, ""),
        ("events", FactState.RECORDED, "")
        if events is not None
        else ("events", FactState.UNKNOWN, missing.get("events", "they could not be read")),
        ("configuration", FactState.RECORDED, "")
        if configuration
        else ("configuration", FactState.UNKNOWN, "no version of this agent is in the registry"),
        ("processes", FactState.RECORDED, "") if supervised else ("processes", FactState.UNKNOWN, nobody),
        ("code", FactState.RECORDED, "")
        if known
        else ("code", FactState.UNKNOWN, next((str(each.get("missing", "")) for each in code), "") or nobody),
    ]
    return [{"fact": fact, "state": state, "why": why} for fact, state, why in facts]


def _fence(acknowledgements: Iterable[Mapping[str, Any]]) -> tuple[FactState, str]:
    given = list(acknowledgements)
    if not given:
        return FactState.ASKED, "no enforcement point has confirmed it"
    if any(each.get("outcome", "enforced") != "enforced" for each in given):
        return FactState.ASKED, "not every enforcement point has confirmed it"
    if any((each.get("detail") or {}).get("frozen") or (each.get("detail") or {}).get("process_tree_empty") for each in given):
        return FactState.VERIFIED, ""
    return FactState.CLAIMED, "guards inside the agent's process say so"
