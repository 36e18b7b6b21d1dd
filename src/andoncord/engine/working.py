"""Doing the steps of a playbook that come after the containment, one after another."""

from collections.abc import Iterator
from typing import Any

import msgspec

from andoncord.engine.books import facts_of
from andoncord.engine.drafts import intent_draft
from andoncord.engine.mitigating import mitigate
from andoncord.engine.recovering import is_let_go_by_person, recovery_begun
from andoncord.engine.state import State
from andoncord.engine.stepping import WAIT_MARGIN_MS, is_held, is_in_turn, is_looked_into, judged, read_step, step_key
from andoncord.incident.incident import Incident
from andoncord.kernel.effect import EffectKind
from andoncord.kernel.journal import Draft
from andoncord.kernel.time import MILLISECOND_NS
from andoncord.respond.playbook import Step
from andoncord.respond.steps import KINDS

TOO_LATE = "the way back has begun"
"""Why an order is not given any more."""


def work(state: State, incident: Incident) -> Iterator[Draft]:
    """Do the steps that come after the containment, one after another."""
    if not incident.may_act or is_held(incident) or not is_looked_into(state, incident):
        return
    for step in incident.steps:
        if not is_in_turn(step):
            continue
        drafts, waiting = (_ordered if step.get("late") else _done)(state, incident, step)
        yield from drafts
        if drafts or waiting:
            return


def _done(state: State, incident: Incident, step: dict[str, Any]) -> tuple[list[Draft], bool]:
    """The next draft of a step, and whether its receipt is still missing."""
    intent = state.step(incident.id, step_key(incident, step))
    if intent is not None:
        return [], intent.receipt is None
    drafts, is_done = judged(state, incident, step)
    if drafts or not is_done:
        return drafts, False
    effect = KINDS[step["do"]].effect
    assert effect is not None
    return [_intent(state, incident, read_step(step), effect)], False


def _ordered(state: State, incident: Incident, step: dict[str, Any]) -> tuple[list[Draft], bool]:
    """The same of a step that gives orders, one for each agent. None is given any more once the way back has begun."""
    key = step_key(incident, step)
    if recovery_begun(state, incident) or is_let_go_by_person(state, incident):
        if incident.judged.get(key) or any(state.step(incident.id, f"{key}/{agent}") for agent in incident.agents):
            return [], False
        body = {"step": key, "name": read_step(step).name, "skipped": TOO_LATE}
        return [Draft(kind="step.judged", incident=incident.id, body=body)], False
    drafts, is_done = judged(state, incident, step)
    if drafts or not is_done:
        return drafts, False
    return mitigate(state, incident, step)


def _intent(state: State, incident: Incident, step: Step, effect: EffectKind) -> Draft:
    now = state.head.at_ns if state.head else 0
    deadline_ms = step.at_most_ms
    whose = {"playbook": step.playbook, "name": step.name, "agents": list(incident.agents)}
    parameters: dict[str, Any] = {**step.settings, **whose}
    if effect in (EffectKind.WAIT, EffectKind.ASK):
        parameters["until_ns"] = now + int(step.settings["for_ms"]) * MILLISECOND_NS
        deadline_ms = int(step.settings["for_ms"]) + WAIT_MARGIN_MS
    if effect is not EffectKind.WAIT:
        parameters["incident"] = facts_of(incident)
    return intent_draft(
        state,
        incident.id,
        step_key(incident, msgspec.to_builtins(step)),
        effect,
        incident.agents[0],
        deadline_ms=deadline_ms,
        reversal=step.undo,
        parameters=parameters,
    )
