"""When a guard knows an order that the journal does not: this server was restored from an older state.

What was ordered between the backup and its restoring is lost to the journal, but not to the guards. Their agents are held, each
as soon as a guard of it says what it knows, until a person has looked; and the generation rises, so that orders from now on
are newer than anything that was lost.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import msgspec

from andoncord.engine.drafts import order_draft
from andoncord.engine.facts import GuardAhead
from andoncord.engine.state import State
from andoncord.kernel.journal import Draft
from andoncord.kernel.vocabulary import Category, IncidentState, Pattern, Severity, SevLevel
from andoncord.respond.composing import choose
from andoncord.respond.ladder import height
from andoncord.respond.playbook import Playbook

ORDER_MS = 1_000
SEVERITY = Severity.HIGH


def is_ahead(state: State, agent: str, epoch: tuple[int, int]) -> bool:
    """Whether a guard of `agent` has in force what this journal never ordered.

    Orders of another generation than an agent's last one are compared by their counter alone, which no generation resets.

    >>> [is_ahead(State(), "a", epoch) for epoch in ((1, 0), (1, 3), (2, 0))]
    [False, True, True]
    """
    generation, counter = epoch
    control = state.controls.get(agent)
    if generation > state.generation:
        return True
    ordered_in = state.intents[control.intent].effect.parameters["epoch"][0] if control else 0
    return counter > state.epoch_of(agent)[1] and generation >= ordered_in


def hold(state: State, fact: GuardAhead, *, playbooks: Sequence[Playbook]) -> Iterator[Draft]:
    """Raise the generation, open an incident, and hold the agent; what it obeyed stays, if that was more."""
    if not is_ahead(state, fact.agent, fact.epoch):
        return
    generation = max(state.generation, fact.epoch[0]) + 1
    incident = f"inc_{len(state.incidents) + 1:06d}"
    known, theirs = state.epoch_of(fact.agent), fact.epoch
    title = f"{fact.agent} obeys an order that this server does not know: it was restored from an older state"
    yield Draft(
        kind="system.noted",
        incident="",
        body={
            "what": "a guard is ahead of the journal",
            "agent": fact.agent,
            "instance": fact.instance,
            "reported": list(theirs),
            "known": list(known),
            "generation": generation,
        },
    )
    playbook = choose(playbooks, SEVERITY)
    yield Draft(kind="incident.opened", incident=incident, body={"title": title, "agents": [fact.agent]})
    yield Draft(
        kind="incident.judged",
        incident=incident,
        body={
            "severity": SEVERITY,
            "sev": SevLevel.SEV2,
            "category": Category.STATE_CORRUPTION,
            "pattern": Pattern.STATE_CORRUPTION,
            "title": title,
            "reasons": [
                f"{fact.instance} obeys {theirs[0]}.{theirs[1]} ({fact.rung}); the journal ends at {known[0]}.{known[1]}"
            ],
            "impact": {},
            "may_act": False,
            "playbook": f"{playbook.id} v{playbook.version}",
            "steps": msgspec.to_builtins(playbook.steps),
            "recovery_by": "person",
        },
    )
    moved = {"from": IncidentState.DETECTED, "to": IncidentState.TRIAGED, "why": "held until a person confirms"}
    yield Draft(kind="incident.moved", incident=incident, body=moved)
    rung = max("pause", fact.rung, key=height)
    yield order_draft(
        # The order is of the new generation, which the first draft above brings about.
        replace(state, generation=generation),
        incident,
        # Like an order by hand: watched and given a verdict, and lifted by a person alone.
        f"by-person/1/{rung}/{fact.agent}",
        fact.agent,
        rung=rung,
        reason="held after a restore, until a person confirms",
        deadline_ms=ORDER_MS,
    )
