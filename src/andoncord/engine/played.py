"""What entries about playbooks and undoing change in an incident."""

from collections.abc import Callable
from typing import Any

from andoncord.incident.incident import Incident
from andoncord.kernel.journal import Entry


def _judged(incident: Incident, entry: Entry) -> dict[str, Any]:
    return {"judged": {**incident.judged, entry.body["step"]: entry.body["skipped"]}}


def _forked(incident: Incident, entry: Entry) -> dict[str, Any]:
    return {"forks": {**incident.forks, **{key: incident.forks.get(key, 0) + 1 for key in entry.body["steps"]}}}


def _retry_refused(_: Incident, __: Entry) -> dict[str, Any]:
    return {"retried": "refused"}


def _undo_begun(incident: Incident, entry: Entry) -> dict[str, Any]:
    begun = {"by": entry.by, "reason": entry.body["reason"], "all": entry.body["all"], "intents": entry.body["intents"]}
    number = incident.undo["number"] + 1 if incident.undo else 1
    return {"undo": {**begun, "number": number, "impossible": {}, "undone": [], "finished": False}}


def _undo_impossible(incident: Incident, entry: Entry) -> dict[str, Any]:
    assert incident.undo is not None
    impossible = {**incident.undo["impossible"], entry.body["intent"]: entry.body["why"]}
    return {"undo": {**incident.undo, "impossible": impossible}}


def _undo_finished(incident: Incident, entry: Entry) -> dict[str, Any]:
    assert incident.undo is not None
    came = {"undone": entry.body["undone"], "impossible": entry.body["impossible"], "finished": True}
    return {"undo": {**incident.undo, **came}}


CHANGES: dict[str, Callable[[Incident, Entry], dict[str, Any]]] = {
    "step.judged": _judged,
    "playbook.forked": _forked,
    "retry.refused": _retry_refused,
    "undo.begun": _undo_begun,
    "undo.impossible": _undo_impossible,
    "undo.finished": _undo_finished,
}
"""Kind of entry → the fields of its incident that it changes."""
