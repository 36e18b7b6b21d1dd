"""What people are told: text that is safe to show wherever it goes, and what became of telling them.

Words of agents are hostile: they are cut, shown and never obeyed; every adapter escapes what its channel would read as markup.
"""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from andoncord.kernel.canon import short_digest
from andoncord.kernel.text import visible

TITLE = 160
LINE = 300
MAX_LISTED = 50
"""Incidents listed in one notice; how many more there are is said."""


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """One message to whoever has to know."""

    kind: Literal["page", "resolved", "gathered", "test", "handover", "held", "statement"]
    key: str
    """The same for every attempt, so that a receiver knows a repetition."""
    thread: str
    """The same for everything about one incident."""
    incident: str
    severity: str
    subject: str
    lines: tuple[str, ...]
    link: str = ""
    facts: dict[str, Any] = {}
    """The same for machines."""


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """What a channel answered."""

    state: Literal["sent", "delivered", "failed"]
    """`delivered` only where the receiver itself said that it has it."""
    provider_id: str = ""
    why: str = ""
    is_final: bool = False
    """Another attempt would be answered the same."""


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one notice on its way to one target."""

    key: str
    intent: str
    incident: str
    channel: str
    person: str
    state: Literal["queued", "sent", "delivered", "failed"]
    attempts: int
    provider_id: str
    why: str
    at_ns: int

    @property
    def is_settled(self) -> bool:
        """It has arrived as far as can be known."""
        return self.state in ("sent", "delivered")


def compose(parameters: Mapping[str, Any], *, key: str, incident: str, link: str) -> Notice:
    """The notice that the parameters of a `notify` effect ask for."""
    if parameters["kind"] == "gathered":
        return _gathered(parameters, key=key, link=link)
    if parameters["kind"] in ("handover", "held", "statement"):
        return _of_desk(parameters, key=key, incident=incident, link=link)
    facts = parameters["incident"]
    severity, sev = str(facts["severity"]), str(facts["sev"])
    title = visible(str(parameters["title"]), TITLE)
    is_over = parameters["kind"] == "resolved"
    lines = [
        title,
        f"{severity} {sev}, {facts['pattern']}; agents: {visible(', '.join(parameters['agents']), LINE)}",
        f"state: {parameters['state']}; containment: {parameters['containment'] or 'under way or not judged yet'}",
    ]
    if parameters.get("impact"):
        lines.append(f"impact: {visible(str(parameters['impact']), LINE)}")
    if not is_over:
        lines.append(_turn(parameters))
        lines.append(f"acknowledge: andon ack {incident}" + (f", or on {link}" if link else ""))
    return Notice(
        kind="resolved" if is_over else "page",
        key=key,
        thread=thread_of(incident, int(parameters["opened_ns"])),
        incident=incident,
        severity=severity,
        subject=f"[{sev}] {incident}{' resolved' if is_over else ''}: {title}",
        lines=tuple(lines),
        link=link,
        facts={name: parameters.get(name) for name in ("title", "agents", "state", "containment", "level", "number", "to")},
    )


def thread_of(incident: str, opened_ns: int) -> str:
    """What everything about one incident is grouped by. The same number in another installation is another thread."""
    return f"{incident}.{short_digest(incident, str(opened_ns), length=10)}"


def trial(*, key: str, by: str, to: str) -> Notice:
    """A message that only shows that a channel works."""
    text = f"This is a test of Andoncord's notices to {visible(to, 80)}, asked for by {visible(by, 80)}. Nothing happened."
    return Notice(
        kind="test", key=key, thread=key, incident="", severity="low", subject="[test] Andoncord notices", lines=(text,)
    )


def _turn(parameters: Mapping[str, Any]) -> str:
    asked = visible(", ".join(parameters["to"]), LINE) or "nobody"
    levels = len(parameters["levels"])
    return f"page {parameters['number']}: {asked}" + (f" (level {parameters['level'] + 1} of {levels})" if levels else "")


def _gathered(parameters: Mapping[str, Any], *, key: str, link: str) -> Notice:
    listed = parameters["incidents"]
    lines = [
        f"{each['id']} {each['severity']} {each['state']}: {visible(str(each['title']), TITLE)}" for each in listed[:MAX_LISTED]
    ]
    if len(listed) > MAX_LISTED:
        lines.append(f"and {len(listed) - MAX_LISTED} more: andon incidents ls")
    what = "weekly digest" if parameters["when"] == "digest" else "incidents that could wait"
    return Notice(
        kind="gathered",
        key=key,
        thread=f"gathered.{short_digest(key, str(listed[0]['opened_ns']))}",
        incident="",
        severity="low",
        subject=f"[Andoncord] {what}: {len(listed)}",
        lines=tuple(lines),
        link=link,
        facts={"incidents": [each["id"] for each in listed]},
    )


def _of_desk(parameters: Mapping[str, Any], *, key: str, incident: str, link: str) -> Notice:
    """Work for a person's queue, a side effect that is held, or a notice to the outside as a person has written it."""
    kind = parameters["kind"]
    facts = dict(parameters.get("facts") or {})
    about = f"{facts.get('agent', '')}: {facts.get('tool') or facts.get('task') or 'a task'}"
    if kind == "statement":
        subject, lines = parameters["subject"], tuple(parameters["text"].splitlines())
        facts, link = {"audience": parameters["audience"]}, ""
    elif kind == "handover":
        subject = f"[Andoncord] handed over: {visible(about, TITLE)}"
        why = visible(str(facts.get("reason") or ""), LINE)
        lines = (visible(about, TITLE), f"because: {why}", f"take it: andon handover take {facts['item']}")
    else:
        subject = f"[Andoncord] held for approval: {visible(about, TITLE)}"
        lines = (visible(about, TITLE), "not done until somebody lets it go: andon held list")
    severity = "high" if kind == "held" else "medium"
    return Notice(
        kind=kind,
        key=key,
        thread=f"{kind}.{short_digest(key, incident)}",
        incident=incident,
        severity=severity,
        subject=subject,
        lines=lines,
        link=link,
        facts=facts,
    )
