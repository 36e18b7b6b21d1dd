"""Playbooks: what is done, in which order, for which severity. Data, frozen into an incident when it opens."""

from collections.abc import Iterable
from typing import Any

import msgspec
import yaml

from andoncord.kernel.errors import CallerError
from andoncord.kernel.vocabulary import Severity
from andoncord.respond.ladder import RUNGS

STEP_WORDS = ("fence", "capture", "contain", "verify", "investigate")
RECOVERY_WORDS = ("person", "automatic")
DURATION_UNITS_MS = {"ms": 1, "s": 1_000, "m": 60_000}


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a playbook."""

    do: str
    """One of `STEP_WORDS`."""
    rung: str = ""
    at_most_ms: int
    undo: str


class Playbook(msgspec.Struct, frozen=True, kw_only=True):
    """What to do about an incident of one severity."""

    id: str
    version: int
    severity: Severity
    source: str
    steps: tuple[Step, ...]
    recovery: str
    """Who may start the recovery: a `person`, or the plan by itself (`automatic`)."""


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
    _refuse_unknown(raw, {"id", "version", "when", "source", "steps", "recovery"}, place=place)
    when = raw.get("when") or {}
    try:
        severity = Severity(str(when.get("severity")))
    except ValueError:
        words = ", ".join(severity.value for severity in Severity)
        raise CallerError("when.severity is missing or unknown", place=place, remedy=f"use one of: {words}") from None
    steps = raw.get("steps")
    if not isinstance(steps, list) or not steps:
        raise CallerError("steps is missing", place=place, remedy="list at least one step")
    recovery = str(raw.get("recovery", "person"))
    if recovery not in RECOVERY_WORDS:
        raise CallerError(f"unknown recovery {recovery!r}", place=place, remedy=f"use one of: {', '.join(RECOVERY_WORDS)}")
    return Playbook(
        id=str(raw.get("id", "")) or _missing("id", place),
        version=int(raw.get("version", 1)),
        severity=severity,
        source=str(raw.get("source", "")) or _missing("source", place),
        steps=tuple(_step(step, place=f"{place}: steps[{index}]") for index, step in enumerate(steps)),
        recovery=recovery,
    )


def choose(playbooks: Iterable[Playbook], severity: Severity) -> Playbook:
    """The playbook for `severity`.

    Raises:
        CallerError: none is loaded for it.
    """
    for playbook in playbooks:
        if playbook.severity is severity:
            return playbook
    raise CallerError(f"no playbook for severity {severity.value}", remedy="add one to the playbooks folder")


def _step(raw: Any, *, place: str) -> Step:
    if not isinstance(raw, dict) or len(raw) != 1:
        raise CallerError("a step is one word with its settings", place=place, remedy="for example '- capture: {at_most: 2s}'")
    word, settings = next(iter(raw.items()))
    if word not in STEP_WORDS:
        raise CallerError(f"unknown step {word!r}", place=place, remedy=f"use one of: {', '.join(STEP_WORDS)}")
    settings = settings or {}
    _refuse_unknown(settings, {"rung", "at_most", "undo"}, place=place)
    rung = str(settings.get("rung", ""))
    if word in ("fence", "contain") and rung not in RUNGS[1:]:
        raise CallerError(f"{word} needs a rung", place=place, remedy=f"use one of: {', '.join(RUNGS[1:])}")
    return Step(
        do=word,
        rung=rung,
        at_most_ms=duration_ms(str(settings.get("at_most", "")), place=f"{place}.at_most"),
        undo=str(settings.get("undo", "")) or _missing("undo", place),
    )


def duration_ms(text: str, *, place: str = "") -> int:
    """A duration such as `500ms`, `2s` or `5m` in milliseconds.

    >>> duration_ms("2s"), duration_ms("500ms")
    (2000, 500)
    """
    for unit, factor in DURATION_UNITS_MS.items():
        number = text.removesuffix(unit)
        if number != text and number.isdigit():
            return int(number) * factor
    raise CallerError(f"not a duration: {text!r}", place=place, remedy="write for example 500ms, 2s or 5m")


def _refuse_unknown(raw: dict[str, Any], known: set[str], *, place: str) -> None:
    for field in raw:
        if field not in known:
            raise CallerError(f"unknown field {field!r}", place=place, remedy=f"known fields: {', '.join(sorted(known))}")


def _missing(field: str, place: str) -> str:
    raise CallerError(f"{field} is missing", place=place)
