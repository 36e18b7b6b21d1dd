"""The steps of a playbook: whether one is done at all, by which key, and what came of it.

Whether a step is done is written down before it is done, so that a condition which changes later changes nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from andoncord.engine.books import facts_of
from andoncord.engine.state import Intent, State
from andoncord.incident.incident import Incident
from andoncord.kernel.effect import EffectKind
from andoncord.kernel.journal import Draft
from andoncord.kernel.time import MILLISECOND_NS
from andoncord.respond.facts import worst
from andoncord.respond.playbook import Step
from andoncord.respond.rehearse import skip_reason
from andoncord.respond.steps import KINDS

RETRY_VERSION = "retry-"
"""How the versions begin that are made for a retry."""
WAIT_MARGIN_MS = 5_000
"""How much later than its time a wait may end before it counts as failed."""


def is_held(incident: Incident) -> bool:
    """A person undid what was done: nothing goes on by itself."""
    return bool(incident.undo)


def judged(state: State, incident: Incident, step: dict[str, Any]) -> tuple[list[Draft], bool]:
    """A draft where it is still to be written down whether the step is done; and whether it is."""
    read = read_step(step)
    if not read.condition and not read.limit:
        return [], True
    key = step_key(incident, step)
    if key in incident.judged:
        return [], not incident.judged[key]
    why = skip_reason(read, {"incident": facts_of(incident), "steps": outcomes(state, incident)})
    if not why and read.limit and (times := _times_lately(state, incident, read)) >= read.limit:
        lately = f"{times} times in the last {read.per_ms / 60_000:g} minutes"
        why = f"it was done for {incident.agents[0]} {lately}, and {read.limit} is the limit"
    return [Draft(kind="step.judged", incident=incident.id, body={"step": key, "name": read.name, "skipped": why})], not why


def is_worked(state: State, incident: Incident) -> bool:
    """Whether the steps before the recovery have come to their end; a playbook without a step `recover` does not wait."""
    if not any(step["do"] == "recover" for step in incident.steps) or not incident.may_act:
        return True
    last = max(index for index, step in enumerate(incident.steps) if step["do"] == "recover")
    return _are_done(state, incident, incident.steps[:last])


def is_before_done(state: State, incident: Incident, step: dict[str, Any]) -> bool:
    """Whether the steps before this one have come to their end, as far as any of them is done in turn."""
    return _are_done(state, incident, incident.steps[: incident.steps.index(step)])


def _are_done(state: State, incident: Incident, steps: Sequence[dict[str, Any]]) -> bool:
    for step in steps:
        if not is_in_turn(step):
            continue
        key = step_key(incident, step)
        if incident.judged.get(key):
            continue
        for each in [f"{key}/{agent}" for agent in incident.agents] if step.get("late") else [key]:
            intent = state.step(incident.id, each)
            if not incident.judged.get(each) and (intent is None or intent.receipt is None):
                return False
    return True


def is_in_turn(step: Mapping[str, Any]) -> bool:
    """Whether a frozen step is done after the containment and in turn with others like it."""
    kind = KINDS[step["do"]]
    if kind.contains:
        return bool(step.get("late"))
    return kind.effect is not None and kind.effect is not EffectKind.INVESTIGATE


def step_key(incident: Incident, step: dict[str, Any]) -> str:
    """Which step of which playbook in which round; for a step that contains, what stands between round and agent.

    The orders of a late step are one for each agent: its name follows after a slash.
    """
    if step.get("late") or not KINDS[step["do"]].contains:
        key = f"{incident.round}/{step.get('playbook', '')}/{step.get('name', step['do'])}"
        return f"{key}~{incident.forks[key]}" if key in incident.forks else key
    if KINDS[step["do"]].orders:
        return f"{incident.round}/{step['do']}/{step.get('playbook', '')}/{step.get('name', step['do'])}"
    named = f"/{step.get('name', step['do'])}" if step.get("condition") or step.get("limit") else ""
    rung = f":{step['rung']}" if step.get("rung") else ""
    return f"{incident.round}/{step['do']}{rung}{named}"


def read_step(step: dict[str, Any]) -> Step:
    """A frozen step; what an older version froze lacks a name."""
    return msgspec.convert({"name": step["do"], **step}, Step)


def outcomes(state: State, incident: Incident) -> dict[str, str]:
    """What came of every step, by its name; empty for what was not done yet."""
    found: dict[str, str] = {}
    for step in incident.steps:
        name = step.get("name", step["do"])
        if step["do"] == "retry":
            found[name] = incident.retried
        elif step["do"] == "recover":
            found[name] = "failed" if incident.recovery_failed else ""
        else:
            found[name] = worst((*_outcomes_of(state, incident, step), found.get(name, "")))
    return found


def _outcomes_of(state: State, incident: Incident, step: dict[str, Any]) -> Iterator[str]:
    key = f"{incident.round}/investigate" if step["do"] == "investigate" else step_key(incident, step)
    if incident.judged.get(key):
        yield "skipped"
    if step["do"] == "verify":
        if incident.containment is not None:
            yield incident.containment.value.lower()
        return
    for intent in state.intents_of(incident.id):
        if (intent.step == key or intent.step.startswith(f"{key}/")) and intent.receipt is not None:
            # What a person said, or what holds because nobody did, is what the next steps look at.
            yield str(intent.receipt.detail.get("answer") or intent.receipt.outcome.value)


def is_looked_into(state: State, incident: Incident) -> bool:
    """The investigation of this round has come to its end, or there is nothing to investigate."""
    if not incident.findings:
        return True
    intent = state.step(incident.id, f"{incident.round}/investigate")
    return intent is not None and intent.receipt is not None


def _times_lately(state: State, incident: Incident, step: Step) -> int:
    """How often this step was done for the incident's first agent within the time that its limit counts in."""
    since_ns = (state.head.at_ns if state.head else 0) - step.per_ms * MILLISECOND_NS

    # What stands after the round is the same in every incident; a fork of it is the same step.
    key = step_key(incident, msgspec.to_builtins(step)).partition("/")[2].partition("~")[0]

    def is_same(intent: Intent) -> bool:
        if step.do == "retry":  # Its effects are those of a recovery; the first of them makes the version.
            return str(intent.effect.parameters.get("version", "")).startswith(RETRY_VERSION) and "/configure/" in (
                intent.step.replace(":", "/")
            )
        done = intent.step.partition("/")[2].partition("~")[0]
        return done == key or done.startswith(f"{key}/")

    lately = (state.intents[intent] for intent in state.index.targets.get(incident.agents[0], ()))
    return sum(intent.issued_ns >= since_ns and is_same(intent) for intent in lately)
