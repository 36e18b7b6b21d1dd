"""What is read out of a person's wish, and the incident that is opened for it."""

from collections.abc import Sequence

import msgspec

from andoncord.engine.facts import PersonAsked
from andoncord.engine.state import State
from andoncord.kernel.errors import CallerError
from andoncord.kernel.journal import Draft
from andoncord.kernel.vocabulary import Category, IncidentState, Pattern, Severity, SevLevel
from andoncord.respond.composing import choose
from andoncord.respond.playbook import Playbook

MAX_LASTS_S = 7 * 24 * 3_600
"""Longest time-limited order."""
MAX_TEXT = 4_000
"""Characters of a note, a reason or an answer; longer ones are refused, so that nothing is cut in silence."""


def declare(state: State, wish: PersonAsked, playbooks: Sequence[Playbook]) -> tuple[Draft, ...]:
    """Open an incident by hand (INC-7). Nothing is stopped by it: containment is a wish of its own."""
    agent = needed(wish.agent, "agent")
    try:
        severity = Severity(str(wish.parameters.get("severity", Severity.HIGH)))
    except ValueError:
        words = ", ".join(each.value for each in Severity)
        raise CallerError("unknown severity", place="severity", remedy=f"use one of: {words}") from None
    incident = f"inc_{len(state.incidents) + 1:06d}"
    title = text_of(wish, "title") or f"Declared by {wish.by.removeprefix('person:')} for {agent}"
    playbook = choose(playbooks, severity)
    return (
        Draft(
            kind="incident.opened",
            incident=incident,
            by=wish.by,
            body={
                "title": title,
                "agents": [agent],
                "environment": str(wish.parameters.get("environment", "")),
                "declared_by": wish.by,
            },
        ),
        Draft(
            kind="incident.judged",
            incident=incident,
            by=wish.by,
            body={
                "severity": severity,
                "sev": SevLevel.SEV1
                if severity is Severity.CRITICAL
                else SevLevel.SEV2
                if severity is Severity.HIGH
                else SevLevel.SEV3,
                "category": Category.DECISION_FAILURE,
                "pattern": Pattern.POLICY_VIOLATION,
                "title": title,
                "reasons": [f"declared by a person: {text_of(wish, 'reason') or title}"],
                "impact": {},
                "may_act": False,
                "playbook": f"{playbook.id} v{playbook.version}",
                "steps": msgspec.to_builtins(playbook.steps),
                "recovery_by": "person",
            },
        ),
        Draft(
            kind="incident.moved",
            incident=incident,
            by=wish.by,
            body={"from": IncidentState.DETECTED, "to": IncidentState.TRIAGED, "why": "declared by a person"},
        ),
    )


def text_of(wish: PersonAsked, field: str) -> str:
    """A text of the wish; empty where it has none."""
    given = str(wish.parameters.get(field) or "").strip()
    if len(given) > MAX_TEXT:
        raise CallerError(f"longer than {MAX_TEXT} characters", place=field)
    return given


def needed(given: str, field: str) -> str:
    """`given`, if there is any."""
    if not given:
        raise CallerError(f"{field} is missing", place=field)
    return given


def lasts_ms(wish: PersonAsked) -> int:
    """How long what is ordered is to last, in milliseconds; 0 for no end."""
    lasts_s = wish.parameters.get("lasts_s") or 0
    if not lasts_s:
        return 0
    if not isinstance(lasts_s, int) or not 0 < lasts_s <= MAX_LASTS_S:
        raise CallerError("is a whole number of seconds up to a week", place="lasts_s")
    return lasts_s * 1_000
