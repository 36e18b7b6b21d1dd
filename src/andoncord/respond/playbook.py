"""Playbooks: what is done, in which order, for which incidents. Data, frozen into an incident when it opens."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import msgspec
import yaml

from andoncord.kernel.canon import canonical_json, digest
from andoncord.kernel.errors import CallerError
from andoncord.kernel.vocabulary import Category, Pattern, Severity
from andoncord.policy.expression import parse
from andoncord.respond.steps import COMMON, HOOK_BEFORE, IRREVERSIBLE, KINDS, RECOVERY_WORDS, duration_ms
from andoncord_sdk.expression import compile_condition

__all__ = [
    "PHASES",
    "Case",
    "Playbook",
    "Step",
    "Trigger",
    "condition",
    "digest_of",
    "duration_ms",
    "load",
    "phase",
    "refuse_unknown_hooks",
    "refuse_unknown_targets",
    "refuse_unknown_trackers",
]

CONDITION_NAMES = ("incident", "steps")
"""What a condition may look at: facts about the incident, and what came of the steps before, by their names."""
IMPACT_KINDS = ("financial", "customers", "regulatory", "operational")
LONGEST_STEP_MS = 3_600_000
MAX_STEPS = 50
MAX_CASES = 50


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a playbook."""

    do: str
    """One of `steps.KINDS`."""
    name: str
    """Unique within its playbook."""
    rung: str = ""
    at_most_ms: int
    undo: str
    condition: str = ""
    """The step is done only where this holds. In containment an error counts as true, elsewhere as false."""
    settings: dict[str, Any] = {}
    limit: int = 0
    """At most so many times for one agent in `per_ms`; 0 for no limit."""
    per_ms: int = 0
    playbook: str = ""
    late: bool = False
    """An order beside the rung that comes after the containment, in its turn among the other steps."""


class Trigger(msgspec.Struct, frozen=True, kw_only=True):
    """Which incidents a playbook is for: all that is given must hold."""

    severities: tuple[Severity, ...] = ()
    categories: tuple[Category, ...] = ()
    patterns: tuple[Pattern, ...] = ()
    impacts: tuple[str, ...] = ()
    condition: str = ""


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """An example that `andon playbook test` runs: facts and answers in, the names of the steps that are done out."""

    name: str
    incident: dict[str, Any]
    answers: dict[str, str] = {}
    """What comes of a step, by its name; what is not named comes to `done`."""
    expect: tuple[str, ...]


class Playbook(msgspec.Struct, frozen=True, kw_only=True):
    """What to do about some incidents."""

    id: str
    version: int
    when: Trigger
    source: str
    steps: tuple[Step, ...]
    recovery: str = ""
    """Who may start the recovery: a `person`, or the plan by itself (`automatic`); empty where the playbook does not say."""
    role: str = "respond"
    """The scope that a person needs to approve the recovery."""
    tests: tuple[Case, ...] = ()


def load(text: str, *, place: str) -> Playbook:
    """Read one playbook from YAML.

    Args:
        text: the YAML.
        place: where it came from, for errors.

    Raises:
        CallerError: with place and remedy.
    """
    try:
        raw = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise CallerError(f"is not YAML: {error}", place=place) from error
    if not isinstance(raw, dict):
        raise CallerError("a playbook is a mapping", place=place, remedy="start with 'id: …'")
    _refuse_unknown(raw, {"id", "version", "when", "source", "steps", "recovery", "tests"}, place=place)
    identity = str(raw.get("id", "")) or _missing("id", place)
    steps = raw.get("steps")
    if not isinstance(steps, list) or not steps or len(steps) > MAX_STEPS:
        raise CallerError("steps is missing", place=place, remedy=f"list one to {MAX_STEPS} steps")
    recovery = str(raw.get("recovery", ""))
    if recovery and recovery not in RECOVERY_WORDS:
        raise CallerError(f"unknown recovery {recovery!r}", place=place, remedy=f"use one of: {', '.join(RECOVERY_WORDS)}")
    version = raw.get("version", 1)
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise CallerError("version is a whole number from 1", place=place)
    lines = _step_lines(text)
    read = _placed(
        _step(step, index, identity, place=f"{place}:{lines[index]}: steps[{index}]") for index, step in enumerate(steps)
    )
    _check_order(read, place=place)
    asked = next((step for step in read if step.do == "recover"), None)
    if asked and recovery:
        raise CallerError("recovery and a step 'recover' say the same", place=place, remedy="keep the step")
    return Playbook(
        id=identity,
        version=version,
        when=_trigger(raw.get("when"), place=place),
        source=str(raw.get("source", "")) or _missing("source", place),
        steps=read,
        recovery=asked.settings["by"] if asked else recovery,
        role=asked.settings["role"] if asked else "respond",
        tests=_cases(raw.get("tests"), {step.name for step in read}, place=place),
    )


def condition(text: str, facts: Mapping[str, Any], *, place: str = "if") -> bool:
    """Whether a condition holds.

    Raises:
        ExpressionError: it cannot be said.

    >>> condition("incident.severity == 'high'", {"incident": {"severity": "high"}, "steps": {}})
    True
    """
    return compile_condition(parse(text, place=place, names=CONDITION_NAMES))(facts)


def refuse_unknown_hooks(playbook: Playbook, known: Collection[str]) -> None:
    """See that every hook that a playbook calls, forward or to undo, is one that the settings name.

    Raises:
        CallerError: one is not.
    """
    for step in playbook.steps:
        called = [step.settings["hook"]] if step.do == "hook" else []
        if step.undo.startswith(HOOK_BEFORE):
            called.append(step.undo.removeprefix(HOOK_BEFORE).strip())
        for name in called:
            if name not in known:
                place = f"playbook {playbook.id}: {step.name}"
                raise CallerError(
                    f"the settings name no hook {name!r}", place=place, remedy="add it under hooks: in andon.yaml"
                )


def refuse_unknown_targets(playbook: Playbook, known: Collection[str]) -> None:
    """See that whoever a playbook tells is somebody that the settings name; `oncall` always may stand there.

    Raises:
        CallerError: one is not.
    """
    for step in playbook.steps:
        if step.do == "notify" and step.settings["who"] not in ("oncall", *known):
            place = f"playbook {playbook.id}: {step.name}"
            remedy = f"use oncall, or one of: {', '.join(sorted(known)) or 'none'}"
            raise CallerError(f"the settings name no {step.settings['who']!r}", place=place, remedy=remedy)


def refuse_unknown_trackers(playbook: Playbook, known: Collection[str]) -> None:
    """See that every tracker that a playbook names is one of the settings.

    Raises:
        CallerError: one is not.
    """
    for step in playbook.steps:
        if step.do == "ticket" and step.settings["tracker"] not in ("", *known):
            place = f"playbook {playbook.id}: {step.name}"
            remedy = f"use one of: {', '.join(sorted(known)) or 'none'}"
            raise CallerError(f"the settings name no tracker {step.settings['tracker']!r}", place=place, remedy=remedy)


def digest_of(playbooks: Iterable[Playbook]) -> str:
    """What a set of playbooks is known by in the record."""
    return digest(canonical_json(msgspec.to_builtins(list(playbooks))))


PHASES = ("fence", "mitigate", "traffic", "capture", "contain", "verify")
"""The order of a containment: nothing comes before the fence, what the agent had under way is kept before anything ends, and
evidence is sealed before that too (RSP-14)."""
ENDING = ("retry", "recover")
"""Steps after which no order beside the rung is given: the way back lifts them."""
NUMBERED = ("hook", "wait", "mitigate", "traffic", "draft", "ask")
"""Steps of which a playbook may have several; without a name of their own they are called by their place."""


def phase(step: Step) -> int:
    """Where in a containment a step stands; after all of it where it is none of it."""
    return PHASES.index(step.do) if step.do in PHASES and not step.late else len(PHASES)


def _placed(steps: Iterable[Step]) -> tuple[Step, ...]:
    """The steps; orders beside the rung that stand after something that is no containment are late."""
    placed: list[Step] = []
    is_after = False
    for step in steps:
        placed.append(msgspec.structs.replace(step, late=True) if is_after and KINDS[step.do].orders else step)
        is_after = is_after or step.do not in PHASES
    return tuple(placed)


def _step_lines(text: str) -> list[int]:
    """The line of each step, from 1."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode)
    for key, value in root.value:
        if key.value == "steps":
            return [each.start_mark.line + 1 for each in value.value]
    return []


def _trigger(raw: Any, *, place: str) -> Trigger:
    if not isinstance(raw, dict) or not raw:
        raise CallerError("when is missing", place=place, remedy="for example 'when: {severity: high}'")
    _refuse_unknown(raw, {"severity", "category", "pattern", "impact", "if"}, place=f"{place}: when")
    return Trigger(
        severities=tuple(Severity(word) for word in _words(raw, "severity", tuple(Severity), place)),
        categories=tuple(Category(word) for word in _words(raw, "category", tuple(Category), place)),
        patterns=tuple(Pattern(word) for word in _words(raw, "pattern", tuple(Pattern), place)),
        impacts=_words(raw, "impact", IMPACT_KINDS, place),
        condition=_condition(raw.get("if"), place=f"{place}: when.if"),
    )


def _words(raw: Mapping[str, Any], field: str, known: Sequence[str], place: str) -> tuple[str, ...]:
    given = raw.get(field, [])
    words = tuple(str(word) for word in (given if isinstance(given, list) else [given]))
    for word in words:
        if word not in known:
            raise CallerError(
                f"when.{field} is missing or unknown: {word!r}", place=place, remedy=f"use one of: {', '.join(known)}"
            )
    return words


def _step(raw: Any, index: int, playbook: str, *, place: str) -> Step:
    if not isinstance(raw, dict) or len(raw) != 1:
        raise CallerError("a step is one word with its settings", place=place, remedy="for example '- capture: {at_most: 2s}'")
    word, settings = next(iter(raw.items()))
    kind = KINDS.get(word)
    if kind is None:
        raise CallerError(f"unknown step {word!r}", place=place, remedy=f"use one of: {', '.join(KINDS)}")
    settings = settings or {}
    if not isinstance(settings, dict):
        raise CallerError(f"the settings of {word} are a mapping", place=place)
    _refuse_unknown(settings, {*COMMON, *kind.fields}, place=place)
    for field in kind.needed:
        if not settings.get(field):
            raise CallerError(f"{word} needs a {field}", place=place)
    own = kind.check(settings, place) if kind.check else {}
    at_most_ms = duration_ms(str(settings.get("at_most", "")), place=f"{place}.at_most")
    if not 0 < at_most_ms <= LONGEST_STEP_MS:
        raise CallerError("is at most an hour", place=f"{place}.at_most")
    limit, per_ms = _limit(settings.get("limit"), place=f"{place}.limit")
    return Step(
        do=word,
        name=str(settings.get("name", "")) or (f"{word}-{index}" if word in NUMBERED else word),
        rung=str(own.pop("rung", "")),
        at_most_ms=at_most_ms,
        undo=_undo(str(settings.get("undo", "")), word, place),
        condition=_condition(settings.get("if"), place=f"{place}.if"),
        settings=own,
        limit=limit,
        per_ms=per_ms,
        playbook=playbook,
    )


def _undo(text: str, word: str, place: str) -> str:
    """The stated reversal, which must be one that can be performed for this kind of step."""
    if not text:
        _missing("undo", place)
    reversals = KINDS[word].reversals
    for known in reversals:
        if text == known or (known.endswith(" ") and text.startswith(known) and text[len(known) :].strip()):
            return text
        if known == IRREVERSIBLE and text.startswith(f"{IRREVERSIBLE}: "):
            return text
    shown = ", ".join(f"{known}NAME" if known.endswith(" ") else known for known in reversals)
    raise CallerError(f"{text!r} is no reversal of {word}", place=f"{place}.undo", remedy=f"use one of: {shown}")


def _limit(raw: Any, *, place: str) -> tuple[int, int]:
    """`3/1h` as a number and milliseconds."""
    if raw is None:
        return 0, 0
    number, _, per = str(raw).partition("/")
    if not number.strip().isdigit() or not int(number):
        remedy = "write for example 3/1h: at most three times an hour, per agent"
        raise CallerError(f"not a limit: {raw!r}", place=place, remedy=remedy)
    return int(number), duration_ms(per.strip(), place=place)


def _condition(raw: Any, *, place: str) -> str:
    if raw is None:
        return ""
    text = str(raw)
    parse(text, place=place, names=CONDITION_NAMES)
    return text


def _check_order(steps: Sequence[Step], *, place: str) -> None:
    """Names are unique, and the containment comes first and in order (RSP-14)."""
    names = [step.name for step in steps if step.do not in ("fence", "contain", "verify", "capture")]
    if twice := next((name for name in names if names.count(name) > 1), ""):
        raise CallerError(f"two steps are called {twice!r}", place=place, remedy="give one of them a name of its own")
    for before, step, index in zip(steps, steps[1:], range(1, len(steps)), strict=False):
        if phase(step) < phase(before):
            rest = ", or after a step that is no containment, such as ask or wait" if KINDS[step.do].orders else ""
            raise CallerError(
                f"{step.do} comes after {before.do}",
                place=f"{place}: steps[{index}]",
                remedy=f"first {', '.join(PHASES)}, in this order{rest}, then the rest: nothing may delay the containment",
            )
        if ends := next((each.do for each in steps[:index] if step.late and each.do in ENDING), ""):
            raise CallerError(
                f"{step.do} comes after {ends}",
                place=f"{place}: steps[{index}]",
                remedy=f"put it before {ends}: with the way back these orders end",
            )


def _cases(raw: Any, names: set[str], *, place: str) -> tuple[Case, ...]:
    if raw is None:
        return ()
    if not isinstance(raw, list) or len(raw) > MAX_CASES:
        raise CallerError(f"tests is a list of at most {MAX_CASES} cases", place=place)
    cases: list[Case] = []
    for index, case in enumerate(raw):
        where = f"{place}: tests[{index}]"
        try:
            cases.append(msgspec.convert(case, Case))
        except msgspec.ValidationError as error:
            raise CallerError(str(error), place=where) from None
        if unknown := [name for name in cases[-1].answers if name not in names]:
            raise CallerError(f"there is no step {unknown[0]!r}", place=where, remedy=f"steps: {', '.join(sorted(names))}")
    return tuple(cases)


def _refuse_unknown(raw: Mapping[str, Any], known: set[str], *, place: str) -> None:
    for field in raw:
        if field not in known:
            raise CallerError(f"unknown field {field!r}", place=place, remedy=f"known fields: {', '.join(sorted(known))}")


def _missing(field: str, place: str) -> str:
    raise CallerError(f"{field} is missing", place=place)
