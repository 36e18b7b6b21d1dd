"""A rule in words, and what is doubtful about one (DET-19)."""

import re
from difflib import get_close_matches
from typing import Any

from andoncord.detect.build import build
from andoncord.detect.known import needs
from andoncord.detect.pack import RECORDED_ONLY
from andoncord.detect.rule import (
    AbsenceSpec,
    CountSpec,
    DetectorSpec,
    DistinctSpec,
    MatchSpec,
    RatioSpec,
    RepeatSpec,
    Rule,
    SequenceSpec,
    StreamSpec,
    SumSpec,
    SynchronySpec,
    condition_tree,
    conditions_of,
    kinds_of,
)
from andoncord.detect.stream import Side
from andoncord.kernel.errors import CallerError
from andoncord.kernel.vocabulary import Mode
from andoncord.telemetry.event import Event

_EVENT_FIELDS = frozenset((*Event.__struct_fields__, "duration_ms"))
_AGENT_FIELDS = frozenset({"name", "environment", "tools", "budget_micro_usd", "silent_after_s", "step_timeout_s"})
_FIELDS = {"event": _EVENT_FIELDS, "agent": _AGENT_FIELDS}
_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")
_WORDS = {
    MatchSpec: frozenset[str](),
    CountSpec: frozenset({"count", "limit"}),
    DistinctSpec: frozenset({"count", "limit"}),
    SumSpec: frozenset({"count", "limit", "total"}),
    RatioSpec: frozenset({"times", "total"}),
    SequenceSpec: frozenset({"first"}),
    AbsenceSpec: frozenset({"within"}),
    RepeatSpec: frozenset({"repeats", "tools"}),
    StreamSpec: frozenset({"now", "before", "runs", "partners"}),
    SynchronySpec: frozenset({"agents", "correlation"}),
}
"""What a summary may name besides the event's own words, by the type of correlation."""
_ALWAYS = frozenset({"agent", "name", "task", "error", "message"})
MODES = {
    Mode.SHADOW: "its findings are recorded and nothing else",
    Mode.ALERT: "its findings open incidents; nothing is stopped because of them",
    Mode.ACT: "its findings open incidents, and the playbook of their severity acts",
}


def doubts(rule: Rule) -> tuple[str, ...]:
    """What is wrong or doubtful about a rule that loads, each with its place; empty when nothing is."""
    found: list[str] = []
    try:
        build(rule)
    except CallerError as wrong:
        found.append(str(wrong))
    for _, text in conditions_of(rule):
        found += [f"{rule.place}: {doubt}" for doubt in _unknown_fields(condition_tree(text, rule.place))]
    words = _WORDS.get(type(rule.correlate))
    if words is not None:
        named = set(_PLACEHOLDER.findall(rule.summary)) - words - _ALWAYS
        found += [f"{rule.place}: the summary names {{{word}}}, which is never filled in" for word in sorted(named)]
    if rule.mode is Mode.ACT and not any(case.expect != "none" for case in rule.tests):
        found.append(f"{rule.place}: it may act, and no case shows when")
    return tuple(found)


def explain(rule: Rule) -> tuple[tuple[str, str], ...]:
    """A rule as lines of a heading and a sentence."""
    kinds = ", ".join(sorted(kinds_of(rule.on))) or "those its steps name"
    lines = [
        ("rule", f"{rule.id}: {rule.title}"),
        ("events", kinds),
        ("condition", " ".join(rule.where.split()) or "none"),
        ("fires when", _fires(rule.correlate)),
        (
            "then",
            f"{rule.severity.value}, {rule.category.value}, {rule.pattern.value}; mode {rule.mode.value}: {MODES[rule.mode]}",
        ),
        ("says", rule.summary),
        ("because", rule.source),
        ("runbook", rule.runbook),
        ("cases", f"{len(rule.tests)}: " + "; ".join(f"{case.name} ({case.expect})" for case in rule.tests)),
        ("looked up by", _looked_up(rule)),
        ("where", "recorded runs only" if rule.id in RECORDED_ONLY else "live events and recorded runs"),
    ]
    return tuple(lines)


def _fires(spec: Any) -> str:
    match spec:
        case MatchSpec():
            return f"an event matches; once for each {_by(spec.group_by)}"
        case CountSpec():
            return f"{spec.gte} of one {_by(spec.group_by)} come within {spec.window}{_reset(spec)}"
        case DistinctSpec():
            return f"{spec.gte} different {spec.field} of one {_by(spec.group_by)} come within {spec.window}{_reset(spec)}"
        case SumSpec():
            span = f"within {spec.window}" if spec.window else "over everything it did"
            return f"the sum of {spec.field} of one {_by(spec.group_by)} {span} is above {spec.gt}"
        case RatioSpec():
            least = f", and at least {spec.at_least:g}" if spec.at_least else ""
            return (
                f"the sum of {spec.field} of one {_by(spec.group_by)} within {spec.window} is above {spec.gt:g} times its own "
                f"rolling average{least}; silent for the first {spec.warm_up} windows"
            )
        case SequenceSpec():
            steps = ", then ".join(", ".join(sorted(kinds_of(step.on))) for step in spec.steps)
            return f"{steps}, in this order, of one {_by(spec.by)} within {spec.maxspan}"
        case AbsenceSpec():
            until = ", ".join(sorted(kinds_of(spec.until.on))) if spec.until else "the next of its own events"
            return f"{until} of one {_by(spec.group_by)} does not come within {spec.within}"
    return _fires_coded(spec)


def _fires_coded(spec: Any) -> str:
    match spec:
        case StreamSpec():
            goes = "up or down" if spec.side is Side.BOTH else spec.side.value
            return f"the {spec.of} of an agent's runs lastingly goes {goes}, within the fleet's budget of false alarms"
        case SynchronySpec():
            causes = f" beyond what {', '.join(spec.causes)} explain" if spec.causes else ""
            return f"{spec.field} of at least three agents moves in step{causes}, within the fleet's budget of false alarms"
        case RepeatSpec():
            return f"the same calls with the same outcomes repeat in one {_by(spec.group_by)}"
        case DetectorSpec():
            return f"the detector {spec.name} says so, for each {_by(spec.group_by)}"
    raise AssertionError(f"no words for {type(spec).__name__}")


def _by(fields: tuple[str, ...]) -> str:
    return " and ".join(fields) or "stream"


def _reset(spec: CountSpec | DistinctSpec) -> str:
    return f", none of them followed by {', '.join(sorted(kinds_of(spec.reset.on)))}" if spec.reset else ""


def _looked_up(rule: Rule) -> str:
    wanted = needs(condition_tree(rule.where, rule.place)) if rule.where else ()
    fields = ", ".join(f"{holder}.{field} = {text!r}" for holder, field, text in wanted)
    return f"kind and {fields}: other events cost nothing" if fields else "kind: each such event is looked at"


def _unknown_fields(tree: Any) -> list[str]:
    if isinstance(tree, list | tuple):
        return [doubt for part in tree for doubt in _unknown_fields(part)]
    if not isinstance(tree, dict):
        return []
    if tree.get("op") == "field" and tree["of"].get("op") == "name":
        known = _FIELDS.get(tree["of"]["name"])
        if known is not None and tree["name"] not in known:
            near = get_close_matches(tree["name"], known, 1)
            remedy = f", did you mean {near[0]!r}?" if near else ""
            return [f"{tree['of']['name']} has no field {tree['name']!r}{remedy}"]
    return [doubt for part in tree.values() for doubt in _unknown_fields(part)]
