"""Judging an incident by its findings, and freezing what is done about it."""

from collections.abc import Sequence
from typing import Any

import msgspec

from andoncord.detect.finding import Finding
from andoncord.engine.books import book_for, written
from andoncord.engine.state import State
from andoncord.incident.impact import estimate
from andoncord.incident.severity import judge
from andoncord.kernel.journal import Draft
from andoncord.kernel.vocabulary import Mode
from andoncord.respond.facts import facts
from andoncord.respond.playbook import Playbook


def judged(state: State, home: str, findings: Sequence[Finding], *, was_allowed: bool, playbooks: Sequence[Playbook]) -> Draft:
    """Judge the incident by all findings so far, and freeze what the playbooks of its opening say about it."""
    judgement = judge(findings)
    impact = msgspec.to_builtins(estimate(findings))
    incident = state.incidents.get(home)
    seen = facts(
        severity=judgement.severity,
        sev=judgement.sev,
        category=judgement.category,
        pattern=judgement.pattern,
        agents=tuple(dict.fromkeys(finding.agent for finding in findings)),
        environment=incident.environment if incident else findings[0].environment,
        impact=impact,
        attempt=incident.round if incident else 1,
        verdict=(incident.containment or "") if incident else "",
    )
    book = book_for(state, incident, playbooks, seen)
    telling = next(finding for finding in findings if finding.pattern is judgement.pattern)
    body: dict[str, Any] = {
        "severity": judgement.severity,
        "sev": judgement.sev,
        "category": judgement.category,
        "pattern": judgement.pattern,
        "title": telling.summary,
        "reasons": list(judgement.reasons),
        "points": judgement.points,
        "impact": impact,
        "may_act": was_allowed or any(finding.trusted and finding.mode is Mode.ACT for finding in findings),
        **written(book),
    }
    return Draft(kind="incident.judged", incident=home, body=body)
