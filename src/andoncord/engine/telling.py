"""What was wanted and what came of it, in words, and both in order of time."""

from typing import Any

from andoncord.engine.state import Intent, State
from andoncord.incident.incident import Incident
from andoncord.kernel.canon import short_digest
from andoncord.kernel.effect import EffectKind
from andoncord.kernel.time import rfc3339


def timeline(state: State, incident: Incident) -> list[dict[str, Any]]:
    """What the agent did (from the investigation) and what was done about it (from the record), in order of time."""
    moments = [
        {
            "at_ns": moment["at_ns"],
            "kind": moment["kind"],
            "text": moment["text"],
            "agent": moment["agent"],
            "span_id": moment["span_id"],
            "key": moment["key"],
        }
        for moment in (incident.investigation or {}).get("timeline", ())
    ]
    for intent in state.intents_of(incident.id):
        moments.append(_moment(intent.issued_ns, "intent", f"{intent_text(intent)} ({intent.by})", intent.effect.target))
        if intent.receipt is not None:
            text = receipt_text(intent)
            moments.append(_moment(intent.receipt.at_ns, "receipt", text, intent.effect.target))
    for given in incident.verdicts:
        missing = f", missing: {'; '.join(given.missing)}" if given.missing else ""
        moments.append(_moment(given.at_ns, "verdict", f"containment {given.verdict.value}{missing}", given.agent, key=True))
    for at_ns, text in (
        (incident.onset_ns, "began (estimate)"),
        (incident.detected_ns, "detected"),
        (incident.contained_ns, "contained"),
        (incident.resolved_ns, "resolved"),
        (incident.reviewed_ns, "reviewed"),
    ):
        if at_ns:
            moments.append(_moment(at_ns, "lifecycle", text, "", key=True))
    for note in incident.notes:
        moments.append(_moment(note.at_ns, "note", f"{note.text} ({note.by})", ""))
    moments.sort(key=lambda moment: moment["at_ns"])
    return [_told(incident, moment) for moment in moments]


def _told(incident: Incident, moment: dict[str, Any]) -> dict[str, Any]:
    """A moment with its id, and who marked it."""
    moment_id = short_digest(str(moment["at_ns"]), str(moment["kind"]), str(moment["text"]), moment["agent"])
    by = incident.starred.get(moment_id)
    return {"at": rfc3339(moment["at_ns"]), **moment, "id": moment_id, "starred_by": by, "key": moment["key"] or bool(by)}


def intent_text(intent: Intent) -> str:
    """What an intent wants, in words."""
    parameters = intent.effect.parameters
    match intent.effect.kind:
        case EffectKind.ORDER:
            return _order_text(intent)
        case EffectKind.CONFIGURE:
            return f"make version {parameters['version']} active for {intent.effect.target}"
        case EffectKind.PROBE:
            return f"probe {intent.effect.target} on tasks with known answers"
        case EffectKind.POLICIES:
            return "have the guards load the policies in force"
        case EffectKind.HOOK:
            return f"run the hook {parameters['hook']}"
        case EffectKind.NOTIFY | EffectKind.DRAFT | EffectKind.ASK | EffectKind.RELEASE:
            return _people_text(intent)
        case EffectKind.TICKET:
            over = f"say in {parameters['tracker']} {parameters.get('ticket', {}).get('id')} that it is over"
            return over if parameters["kind"] == "resolve" else f"open a ticket in {parameters['tracker']}"
        case kind:
            return f"{kind.value} {intent.effect.target}"


def _order_text(intent: Intent) -> str:
    parameters, agent = intent.effect.parameters, intent.effect.target
    if intent.standing and intent.step.endswith(f"/none/{agent}"):
        return f"lift {intent.standing} ({parameters['what']} for {parameters['scope_text']}) from {agent}"
    if intent.standing:
        return f"order {parameters['what']} for {parameters['scope_text']} to {agent}"
    return f"release {agent}" if parameters["rung"] == "none" else f"order {parameters['rung']} to {agent}"


def receipt_text(intent: Intent) -> str:
    """What came of an intent, in words; what is missing is named."""
    receipt = intent.receipt
    assert receipt is not None
    detail = receipt.detail
    missing = detail.get("missing")
    because = f": {'; '.join(missing) if isinstance(missing, list) else missing}" if missing else ""
    match intent.effect.kind:
        case EffectKind.ORDER | EffectKind.CONFIGURE | EffectKind.POLICIES if "asked" in detail:
            took = f" in {_duration(detail['fence_ms'])}" if detail.get("fence_ms") is not None else ""
            unconfirmed = detail.get("unconfirmed") or []
            silent = f"; no answer from {', '.join(unconfirmed)}" if unconfirmed else ""
            return f"{detail['confirmed']}/{detail['asked']} confirmed{took}{silent}{because}"
        case EffectKind.PROBE:
            passed = detail.get("passed", [])
            return f"{sum(map(bool, passed))} of {len(passed)} probes passed{because}"
        case EffectKind.VERIFY:
            return f"{detail.get('verdict', 'UNVERIFIED')}{because}"
        case EffectKind.CAPTURE if detail.get("sha256"):
            return f"evidence sealed, sha256 {detail['sha256'][:12]}…"
        case EffectKind.HOOK if detail.get("exit_code") is not None:
            return f"{detail['hook']} ended with {detail['exit_code']}"
        case EffectKind.TERMINATE if detail.get("process_tree_empty"):
            return "process tree seen empty"
        case EffectKind.NOTIFY if detail.get("reached"):
            return f"reached {', '.join(detail['reached'])}{because}"
        case _:
            return _people_receipt(intent) or f"{receipt.outcome.value}{because}"


def _people_text(intent: Intent) -> str:
    """What people are told or asked, in words."""
    parameters = intent.effect.parameters
    match intent.effect.kind:
        case EffectKind.DRAFT:
            return f"draft the {parameters['notice']} notice"
        case EffectKind.ASK:
            return f"ask “{parameters['question']}”"
        case EffectKind.RELEASE:
            return f"have {len(parameters['effects'])} held side effects of {intent.effect.target} carried out"
    to = ", ".join(parameters.get("to", ())) or "nobody"
    if parameters.get("kind") == "statement":
        return f"send the {parameters['audience']} notice to {to}"
    return f"page {parameters['number']} to {to}" if parameters.get("kind") == "page" else f"tell {to}"


def _people_receipt(intent: Intent) -> str:
    """What people said, got, or are to read; empty where the outcome says it all."""
    assert intent.receipt is not None
    detail = intent.receipt.detail
    if ticket := detail.get("ticket"):
        return f"{detail['tracker']} {ticket['id']} {ticket['url']}".strip()
    match intent.effect.kind:
        case EffectKind.ASK if detail.get("answer"):
            who = str(detail.get("by") or "nobody in time").removeprefix("person:")
            return f"{detail['answer']}, answered by {who}"
        case EffectKind.DRAFT if detail.get("subject"):
            return f"drafted: {detail['subject']}; a person sends it"
        case EffectKind.RELEASE if detail.get("effects"):
            states = [str(each["state"]) for each in detail["effects"].values()]
            return f"{states.count('done')} of {len(states)} carried out"
    return ""


def _moment(at_ns: int, kind: str, text: str, agent: str, *, key: bool = False) -> dict[str, Any]:
    return {"at_ns": at_ns, "kind": kind, "text": text, "agent": agent, "span_id": "", "key": key}


def _duration(took_ms: float) -> str:
    """Short times in milliseconds, long ones in seconds.

    >>> _duration(12.34), _duration(1_340.0)
    ('12 ms', '1.3 s')
    """
    return f"{took_ms:.0f} ms" if took_ms < 1_000 else f"{took_ms / 1_000:.1f} s"
