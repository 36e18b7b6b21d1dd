"""What several playbooks say together about one incident.

Several may speak: the one of its severity, those of its impact, of its pattern, of the escalation. What they say is one list
of steps: containment first, then the rest in the order of the playbooks; what two of them want in the same words is done once.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from andoncord.kernel.canon import canonical_json
from andoncord.kernel.errors import CallerError
from andoncord.kernel.vocabulary import Severity
from andoncord.respond.ladder import height
from andoncord.respond.playbook import PHASES, Playbook, Step, Trigger, condition, phase
from andoncord_sdk.values import ExpressionError


class Book(msgspec.Struct, frozen=True, kw_only=True):
    """What the playbooks that speak for an incident say together."""

    playbooks: tuple[str, ...]
    """Each with its version."""
    steps: tuple[Step, ...]
    recovery: str
    role: str


def choose(playbooks: Iterable[Playbook], severity: Severity) -> Playbook:
    """The playbook of the severity tree for `severity`.

    Raises:
        CallerError: none is loaded for it.
    """
    for playbook in sorted(playbooks, key=_order_of):
        if _rank(playbook.when) == 0 and severity in playbook.when.severities:
            return playbook
    raise CallerError(f"no playbook for severity {severity.value}", remedy="add one to the playbooks folder")


def fitting(playbooks: Iterable[Playbook], facts: Mapping[str, Any]) -> tuple[Playbook, ...]:
    """The playbooks that speak for an incident with these facts, the one of its severity first.

    Raises:
        CallerError: none speaks for its severity.
    """
    found = [playbook for playbook in playbooks if _fits(playbook.when, facts)]
    if not any(_rank(playbook.when) == 0 for playbook in found):
        raise CallerError(f"no playbook for severity {facts['severity']}", remedy="add one to the playbooks folder")
    return tuple(sorted(found, key=_order_of))


def compose(playbooks: Sequence[Playbook]) -> Book:
    """One list of steps out of several, and one word about the recovery: the strictest that any of them says."""
    steps = [msgspec.structs.replace(step, playbook=playbook.id) for playbook in playbooks for step in playbook.steps]
    said = {playbook.recovery for playbook in playbooks if playbook.recovery}
    return Book(
        playbooks=tuple(f"{playbook.id} v{playbook.version}" for playbook in playbooks),
        steps=tuple(_once(sorted(steps, key=phase))),
        recovery="automatic" if said == {"automatic"} else "person",
        role="admin" if any(playbook.role == "admin" for playbook in playbooks) else "respond",
    )


def _once(steps: Iterable[Step]) -> Iterable[Step]:
    """Steps without those that another playbook has asked for already, and without orders that would not raise anything."""
    seen: set[tuple[str, str]] = set()
    raised = 0
    for step in steps:
        if step.rung:
            if not step.condition and height(step.rung) <= raised:
                continue
            raised = max(raised, height(step.rung)) if not step.condition else raised
        elif step.do in ("mitigate", "traffic", "draft", "notify"):
            key = (f"{step.do} {canonical_json(step.settings)!r}", step.condition)
            if key in seen:
                continue
            seen.add(key)
        elif step.do in PHASES or step.do == "investigate":
            key = (step.do, step.condition)
            if key in seen:
                continue
            seen.add(key)
        elif step.do in ("notify", "ticket"):
            key = (f"{step.do} {canonical_json(step.settings)!r}", step.condition)
            if key in seen:
                continue
            seen.add(key)
        yield step


def _fits(when: Trigger, facts: Mapping[str, Any]) -> bool:
    if when.severities and facts["severity"] not in when.severities:
        return False
    if when.categories and facts["category"] not in when.categories:
        return False
    if when.patterns and facts["pattern"] not in when.patterns:
        return False
    if when.impacts and not set(when.impacts) & set(facts["impact"]):
        return False
    if not when.condition:
        return True
    try:
        return condition(when.condition, {"incident": facts, "steps": {}})
    except ExpressionError:
        return False


def _order_of(playbook: Playbook) -> tuple[int, bool, str]:
    """Severity before impact before pattern before the rest; the one that is called like its severity first, then by name."""
    return _rank(playbook.when), playbook.id not in tuple(Severity), playbook.id


def _rank(when: Trigger) -> int:
    if when.impacts:
        return 1
    if when.patterns or when.categories:
        return 2
    return 0 if when.severities and not when.condition else 3
