"""Playing a playbook through without doing anything: for its own examples, and for `andon playbook dry-run`."""

from collections.abc import Mapping
from typing import Any

import msgspec

from andoncord.respond.facts import example
from andoncord.respond.playbook import Case, Playbook, Step, condition
from andoncord.respond.steps import KINDS
from andoncord_sdk.values import ExpressionError


class Played(msgspec.Struct, frozen=True, kw_only=True):
    """What one step of a rehearsal came to."""

    step: Step
    outcome: str
    """`skipped`, or what came of it."""
    why: str = ""
    """Why it was skipped."""


class Failed(msgspec.Struct, frozen=True, kw_only=True):
    """An example that did not come out as it says."""

    playbook: str
    case: str
    expected: tuple[str, ...]
    found: tuple[str, ...]
    why: str


def skip_reason(step: Step, facts: Mapping[str, Any]) -> str:
    """Why a step is not done; empty when it is.

    Where a condition cannot be said, a step that contains is done, and any other is not.
    """
    if not step.condition:
        return ""
    try:
        holds = condition(step.condition, facts)
    except ExpressionError as error:
        return "" if KINDS[step.do].contains else f"its condition cannot be said: {error}"
    return "" if holds else f"its condition does not hold: {step.condition}"


def rehearse(steps: tuple[Step, ...], incident: Mapping[str, Any], answers: Mapping[str, str]) -> tuple[Played, ...]:
    """Go through the steps in order with the answers that are given; a step without one comes to `done`.

    In an attempt after the first, the answers are also what the steps came to in the attempt before.
    """
    again = incident["attempt"] > 1
    outcomes = {step.name: answers.get(step.name, "") if again else "" for step in steps}
    played: list[Played] = []
    for step in steps:
        why = skip_reason(step, {"incident": incident, "steps": outcomes})
        outcome = "skipped" if why else answers.get(step.name, "verified" if step.do == "verify" else "done")
        outcomes[step.name] = outcome
        played.append(Played(step=step, outcome=outcome, why=why))
    return tuple(played)


def run_cases(playbook: Playbook) -> tuple[Failed, ...]:
    """The playbook's own examples that do not come out as they say."""
    return tuple(failed for case in playbook.tests if (failed := _run_case(playbook, case)) is not None)


def _run_case(playbook: Playbook, case: Case) -> Failed | None:
    played = rehearse(playbook.steps, example(case.incident), case.answers)
    done = tuple(each.step.name for each in played if not each.why)
    if done == case.expect:
        return None
    why = "; ".join(f"{each.step.name}: {each.why}" for each in played if each.why)
    return Failed(playbook=playbook.id, case=case.name, expected=case.expect, found=done, why=why)
