"""The rule format: what a rule file may say, and how it becomes a detector (DET-19)."""

import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Annotated, Any, Literal

import msgspec

from andoncord.detect.facts import NAMES
from andoncord.detect.scope import Scope
from andoncord.detect.stream import Side
from andoncord.kernel.errors import CallerError
from andoncord.kernel.time import HOUR_NS, MILLISECOND_NS, MINUTE_NS, SECOND_NS
from andoncord.kernel.vocabulary import Category, Mode, Pattern, Severity
from andoncord.policy.document import Document, Path, read_documents
from andoncord.policy.expression import parse
from andoncord.telemetry.event import EventKind

Kinds = EventKind | tuple[EventKind, ...]
Fields = tuple[str, ...]
Count = Annotated[int, msgspec.Meta(ge=1, le=500)]
Duration = Annotated[str, msgspec.Meta(pattern=r"^[0-9]+(ms|s|m|h)$", description="A number with a unit: 500ms, 30s, 5m, 1h.")]

_DURATION = re.compile(r"([0-9]{1,9})(ms|s|m|h)")
_UNITS_NS = {"ms": MILLISECOND_NS, "s": SECOND_NS, "m": MINUTE_NS, "h": HOUR_NS}
_UNKNOWN = re.compile(r"unknown field `([^`]+)`")
_STEP = re.compile(r"[a-z_]+|[0-9]+")
_SLUG = re.compile(r"[a-z][a-z0-9-]{0,63}")


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of a rule."""


class When(_Part, frozen=True, kw_only=True):
    """Some events: kinds, and a condition."""

    on: Kinds
    where: str = ""


class CancelWhen(_Part, frozen=True, kw_only=True):
    """Events that end the waiting of all groups that agree with them in `by`."""

    on: Kinds
    by: Fields
    where: str = ""


class MatchSpec(_Part, frozen=True, kw_only=True, tag_field="type", tag="match"):
    """Every event that matches; one finding per group."""

    group_by: Fields = ("agent", "run_id")


class CountSpec(_Part, frozen=True, kw_only=True, tag_field="type", tag="count"):
    """At least `gte` events of a group within `window`, none of them undone by a `reset`."""

    group_by: Fields
    window: Duration
    gte: Count
    reset: When | None = None


class DistinctSpec(_Part, frozen=True, kw_only=True, tag_field="type", tag="distinct"):
    """At least `gte` different values of `field` within `window`."""

    group_by: Fields
    field: str
    window: Duration
    gte: Count
    reset: When | None = None


class SumSpec(_Part, frozen=True, kw_only=True, tag_field="type", tag="sum"):
    """The sum of `field` above `gt`, a number or an expression; within `window`, or over everything the group did."""

    group_by: Fields
    field: str
    gt: float | str
    window: Duration | None = None


class RatioSpec(_Part, frozen=True, kw_only=True, tag_field="type", tag="ratio"):
    """The sum of `field` within `window` above `gt` times the group's own rolling average; silent for `warm_up` windows."""

    group_by: Fields
    field: str
    window: Duration
    gt: Annotated[float, msgspec.Meta(gt=1)]
    warm_up: Count = 6
    at_least: float = 0.0
    """Sums below this are never too much."""


class SequenceSpec(_Part, frozen=True, kw_only=True, tag_field="type", tag="sequence"):
    """Events that match `steps` in this order within `maxspan`."""

    by: Fields
    steps: Annotated[tuple[When, ...], msgspec.Meta(min_length=2, max_length=8)]
    maxspan: Duration


class AliveWhen(_Part, frozen=True, kw_only=True):
    """Signs of life: who gave some, and none within `within` before the end of the waiting, is gone, not late."""

    on: Kinds
    by: Fields
    within: Duration
    where: str = ""


class AbsenceSpec(_Part, frozen=True, kw_only=True, tag_field="type", tag="absence"):
    """Nothing of `until` (without it: none of the rule's own events again) within a duration, or an expression in seconds."""

    group_by: Fields
    within: str
    until: When | None = None
    cancel: tuple[CancelWhen, ...] = ()
    alive: AliveWhen | None = None


class RepeatSpec(_Part, frozen=True, kw_only=True, tag_field="type", tag="repeat"):
    """The same calls with the same outcomes again and again, by the detector the guard uses."""

    group_by: Fields = ("agent", "run_id")


class StreamSpec(_Part, frozen=True, kw_only=True, tag_field="type", tag="stream"):
    """One number per run of an agent that lastingly leaves its past, within the fleet's budget of false alarms."""

    of: Literal[
        "failure",
        "cost",
        "steps",
        "latency",
        "tool_errors",
        "score",
        "correction",
        "value",
        "hourly_value",
        "hourly_customers",
        "hourly_records",
        "surprise",
        "partners",
        "message_failures",
        "timeouts",
    ]
    side: Side = Side.UP


class SynchronySpec(_Part, frozen=True, kw_only=True, tag_field="type", tag="synchrony"):
    """A number that several agents set moves in step, beyond what declared causes explain."""

    group_by: Fields
    field: str
    """The number: `args.<name>`, `attributes.<name>` or one that rules may add up."""
    causes: Fields = ()
    """Numbers of the same events that may move all of them."""
    bucket: Duration = "5m"


class DetectorSpec(_Part, frozen=True, kw_only=True, tag_field="type", tag="detector"):
    """A detector written in code."""

    name: Literal[
        "quality_drop",
        "injected_action",
        "cost_spiral",
        "foreign_order",
        "injection_exposure",
        "forbidden_edit",
        "scope_creep",
        "shared_depletion",
        "decision_mix",
        "input_mix",
        "context_growth",
        "sensitive_output",
        "cascade",
        "invalid_state",
        "feedback_loop",
        "ping_pong",
        "quiet",
        "burn_rate",
    ]
    group_by: Fields


Correlate = (
    MatchSpec
    | CountSpec
    | DistinctSpec
    | SumSpec
    | RatioSpec
    | SequenceSpec
    | AbsenceSpec
    | RepeatSpec
    | StreamSpec
    | SynchronySpec
    | DetectorSpec
)


class ObjectiveSpec(_Part, frozen=True, kw_only=True):
    """An objective in a case."""

    quality: float
    false_alarms_per_week: float | None = None
    runs_per_week: float = 1_000.0


class DeclaredSpec(_Part, frozen=True, kw_only=True):
    """What a case declares about its agents."""

    tools: dict[str, str] = {}
    objective: ObjectiveSpec | None = None
    budget_usd: float | None = None
    environment: str = ""
    silent_after_s: float = 3.0
    step_timeout_s: float = 60.0
    polls: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()
    invariants: dict[str, str] = {}
    scope: Scope | None = None


class GivenEvent(_Part, frozen=True, kw_only=True):
    """One event of a case, or `times` of them, `every` so often. `{n}` in a text stands for the number, 1 first."""

    on: EventKind
    at: Duration = "0s"
    times: Annotated[int, msgspec.Meta(ge=1, le=5_000)] = 1
    every: Duration = "1s"
    set: dict[str, Any] = {}
    """Fields of the event; agent, run, trace and span ids have defaults."""


class CaseSpec(_Part, frozen=True, kw_only=True):
    """What must happen when these events come: a finding of a severity, or none."""

    name: str
    given: tuple[GivenEvent, ...]
    expect: Literal["none", "low", "medium", "high", "critical"]
    declared: DeclaredSpec = DeclaredSpec()
    until: Duration | None = None
    """How far the clock runs on after the first event, for what must not stay away."""


class Rule(_Part, frozen=True, kw_only=True):
    """One rule as it is written."""

    id: str
    title: str
    correlate: Correlate
    severity: Severity
    category: Category
    pattern: Pattern
    summary: str
    """One sentence for people; `{agent}`, `{name}` and what the correlation counted stand for their values."""
    source: str
    """Where the threshold comes from."""
    runbook: str
    tests: tuple[CaseSpec, ...]
    on: Kinds = ()
    where: str = ""
    mode: Mode = Mode.ACT
    place: str = ""
    """Filled in by the loader."""


_FIELDS = sorted(
    {name for definition in msgspec.json.schema(Rule)["$defs"].values() for name in definition.get("properties", {})}
    - {"place"}
)


def load_rules(texts: Mapping[str, str]) -> tuple[Rule, ...]:
    r"""Every rule of some YAML texts, by the place each text came from.

    Raises:
        CallerError: with file, line and remedy.

    >>> load_rules({"rules/x.yaml": "id: x\nsevrity: high\n"})
    Traceback (most recent call last):
    andoncord.kernel.errors.CallerError: rules/x.yaml:2: unknown field 'sevrity', did you mean 'severity'?
    """
    rules: dict[str, Rule] = {}
    for place, text in texts.items():
        for document in read_documents(text, place=place):
            rule = _checked(document)
            if rule.id in rules:
                raise CallerError(
                    f"rule {rule.id!r} exists twice",
                    place=document.at("id"),
                    remedy=f"the other is {rules[rule.id].place}",
                )
            rules[rule.id] = rule
    return tuple(rules.values())


def rule_schema() -> dict[str, Any]:
    """The JSON schema of a rule file, for editors."""
    schema = msgspec.json.schema(Rule)
    schema["$defs"]["Rule"]["properties"].pop("place")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Andoncord rule", **schema}


def duration_ns(text: str) -> int:
    """Nanoseconds of `500ms`, `30s`, `5m` or `1h`.

    Raises:
        ValueError: it is none of these.

    >>> duration_ns("5m")
    300000000000
    """
    match = _DURATION.fullmatch(text)
    if match is None or not int(match[1]):
        raise ValueError(f"expected a duration such as 30s or 5m, got {text!r}")
    return int(match[1]) * _UNITS_NS[match[2]]


def kinds_of(kinds: Kinds) -> frozenset[EventKind]:
    """One kind or several, as a set."""
    return frozenset(kinds) if isinstance(kinds, tuple) else frozenset({kinds})


def condition_tree(text: str, place: str) -> dict[str, Any]:
    """The tree of a condition over the names that rules know.

    Raises:
        CallerError: with place and remedy.
    """
    return parse(text, place=place, names=NAMES)


def _checked(document: Document) -> Rule:
    if document.get("place") is not None:
        raise CallerError("unknown field 'place'", place=document.at("place"), remedy="remove it")
    rule = msgspec.structs.replace(_record(document), place=document.at())
    if not _SLUG.fullmatch(rule.id):
        raise CallerError(
            f"{rule.id!r} is no rule id", place=document.at("id"), remedy="use lower-case letters, digits and dashes"
        )
    if isinstance(rule.correlate, SequenceSpec):
        if kinds_of(rule.on) or rule.where:
            raise CallerError(
                "a sequence names its events in 'steps'", place=document.at("on"), remedy="remove 'on' and 'where'"
            )
    elif not kinds_of(rule.on):
        raise CallerError("the rule names no events", place=document.at(), remedy=f"add 'on', one of {_words(EventKind)}")
    for path, text in conditions_of(rule):
        condition_tree(text, document.at(*path))
    for path, text in _durations(rule):
        try:
            duration_ns(text)
        except ValueError as wrong:
            raise CallerError(str(wrong), place=document.at(*path)) from None
    expected = {case.expect for case in rule.tests}
    if "none" not in expected or expected == {"none"}:
        raise CallerError(
            "the rule has no case that must fire, or none that must stay silent",
            place=document.at("tests"),
            remedy="add one of each",
        )
    return rule


def _record(document: Document) -> Rule:
    try:
        return msgspec.convert(document.value, Rule)
    except msgspec.ValidationError as wrong:
        what, _, where = str(wrong).partition(" - at `$")
        path: Path = tuple(int(step) if step.isdigit() else step for step in _STEP.findall(where))
        unknown = _UNKNOWN.search(what)
        if unknown is None:
            field = ".".join(map(str, path)) or "the rule"
            raise CallerError(f"{field}: {what[:1].lower()}{what[1:]}", place=document.at(*path)) from None
        near = get_close_matches(unknown[1], _FIELDS, 1)
        remedy = f"did you mean {near[0]!r}?" if near else "remove it"
        raise CallerError(f"unknown field {unknown[1]!r}", place=document.at(*path, unknown[1]), remedy=remedy) from None


def conditions_of(rule: Rule) -> list[tuple[Path, str]]:
    """Every condition and expression of a rule, with where it stands."""
    correlate = rule.correlate
    found: list[tuple[Path, str]] = [(("where",), rule.where)]
    if isinstance(correlate, CountSpec | DistinctSpec) and correlate.reset:
        found.append((("correlate", "reset", "where"), correlate.reset.where))
    if isinstance(correlate, SumSpec) and isinstance(correlate.gt, str):
        found.append((("correlate", "gt"), correlate.gt))
    if isinstance(correlate, SequenceSpec):
        found += [(("correlate", "steps", index, "where"), step.where) for index, step in enumerate(correlate.steps)]
    if isinstance(correlate, AbsenceSpec):
        found += [(("correlate", "until", "where"), correlate.until.where)] if correlate.until else []
        found += [(("correlate", "cancel", index, "where"), cancel.where) for index, cancel in enumerate(correlate.cancel)]
        found += [(("correlate", "alive", "where"), correlate.alive.where)] if correlate.alive else []
        if not _DURATION.fullmatch(correlate.within):
            found.append((("correlate", "within"), correlate.within))
    return [(path, text) for path, text in found if text]


def _durations(rule: Rule) -> list[tuple[Path, str]]:
    correlate = rule.correlate
    found: list[tuple[Path, str | None]] = []
    if isinstance(correlate, CountSpec | DistinctSpec | SumSpec | RatioSpec):
        found.append((("correlate", "window"), correlate.window))
    if isinstance(correlate, AbsenceSpec) and correlate.alive:
        found.append((("correlate", "alive", "within"), correlate.alive.within))
    if isinstance(correlate, SequenceSpec):
        found.append((("correlate", "maxspan"), correlate.maxspan))
    if isinstance(correlate, SynchronySpec):
        found.append((("correlate", "bucket"), correlate.bucket))
    return [(path, text) for path, text in found if text is not None]


def _words(vocabulary: type[EventKind]) -> str:
    return ", ".join(vocabulary)
