"""The auditor (KPI-2): what should have happened by now and has not, read off the state alone.

It trusts nobody who promised to do something: an effect is late when its deadline is over, whatever its performer says.
"""

from collections.abc import Iterator
from enum import StrEnum

import msgspec

from andoncord.engine.queries import next_action
from andoncord.engine.state import Intent, State
from andoncord.incident.incident import Incident
from andoncord.kernel.effect import EffectKind, Outcome
from andoncord.kernel.time import DAY_NS, HOUR_NS, MILLISECOND_NS, MINUTE_NS, SECOND_NS
from andoncord.kernel.vocabulary import IncidentState, SevLevel, Verdict

GRACE_NS = 15 * SECOND_NS
"""How long after its deadline an effect without a receipt is late. The engine gives up after 5 s; the rest is for a start."""
IDLE_NS = MINUTE_NS
"""How long an open incident may have nothing under way and nothing to ask for. Chosen: steps follow within milliseconds."""
PERSON_NS = {SevLevel.SEV1: 5 * MINUTE_NS, SevLevel.SEV2: HOUR_NS, SevLevel.SEV3: DAY_NS}
"""How long a person may be waited for (INC-3: minutes, an hour; the day is chosen)."""

DESK_NS = 4 * HOUR_NS
"""How long work and side effects may wait for a person. Chosen: half a working day."""


class Fault(StrEnum):
    """What kind of promise was not kept."""

    EFFECT_LATE = "effect_late"
    """An effect has no receipt although its deadline is over: the machinery is stuck."""
    NOTHING_NEXT = "nothing_next"
    """An open incident has nothing under way and asks nobody."""
    CONTROL_UNCONFIRMED = "control_unconfirmed"
    """An order is in force that not everybody confirmed, and nothing proved it since."""
    CONTAINMENT_UNPROVEN = "containment_unproven"
    """The last verdict is not VERIFIED, and nothing is under way that could change it."""
    NOTICE_UNDELIVERED = "notice_undelivered"
    """A message or hook that was to reach somebody did not."""
    PERSON_LATE = "person_late"
    """A person was asked, or left an order standing, and the time for an answer is over."""
    REVIEW_LATE = "review_late"
    """A review is due."""


OURS = frozenset((Fault.EFFECT_LATE, Fault.NOTHING_NEXT))
"""Faults of the machinery: while there is one, nobody should be told that all is well."""
PERSON = "person:"
"""How the name begins of whoever is no machine."""
_NOTICES = frozenset(("notify", "page", "ticket", "notice", "hook"))
"""Kinds of effects that are to reach somebody or something outside."""
REMEDIES = {
    Fault.EFFECT_LATE: "look at the server's log; a restart performs it again, without doing anything twice",
    Fault.NOTHING_NEXT: "look at the incident; release, recover or dispose of it by hand",
    Fault.CONTROL_UNCONFIRMED: "treat the agent as running: end its process, or take its credentials away",
    Fault.CONTAINMENT_UNPROVEN: "treat the agent as running: raise the order to kill, or end its process",
    Fault.NOTICE_UNDELIVERED: "tell the people yourself, and mend the target",
    Fault.PERSON_LATE: "decide, or hand it to somebody who can",
    Fault.REVIEW_LATE: "answer the open questions of the review",
}


class Overdue(msgspec.Struct, frozen=True, kw_only=True):
    """One promise that was not kept."""

    fault: Fault
    incident: str
    agent: str
    text: str
    since_ns: int
    """From when on it was late."""
    remedy: str


def audit(state: State, *, now: int) -> tuple[Overdue, ...]:
    """Everything that is overdue, our own machinery first, then the longest overdue.

    Cost: O(open incidents, their effects, orders in force).
    """
    found = [*late_effects(state, now=now), *_orders(state), *_desk(state, now)]
    for incident in state.incidents.values():
        found += about(state, incident, now=now)
    return tuple(sorted(found, key=lambda each: (each.fault not in OURS, each.since_ns, each.incident, each.fault)))


def about(state: State, incident: Incident, *, now: int) -> Iterator[Overdue]:
    """What is overdue of one incident, but for its effects without a receipt."""
    if incident.is_open:
        yield from _open(state, incident, now)
    elif incident.state is IncidentState.RESOLVED and not incident.merged_into:
        yield from _review(incident, now)


def late_effects(state: State, *, now: int) -> Iterator[Overdue]:
    """Effects without a receipt although their time is over, and pages and notices that were due and were not sent."""
    yield from _late_notices(state, now)
    for intent in (state.intents[each] for each in state.outstanding):
        due_ns = intent.issued_ns + intent.effect.deadline_ms * MILLISECOND_NS + GRACE_NS
        if now > due_ns:
            yield _overdue(Fault.EFFECT_LATE, intent.incident, intent.effect.target, f"{_named(intent)} has no receipt", due_ns)


def _late_notices(state: State, now: int) -> Iterator[Overdue]:
    for page in state.notices.pages.values():
        if page.due_ns is not None and now > page.due_ns + GRACE_NS:
            agent = next(iter(state.incidents[page.incident].agents), "")
            text = f"page {page.number + 1} of {page.name} is due and was not sent"
            yield _overdue(Fault.EFFECT_LATE, page.incident, agent, text, page.due_ns + GRACE_NS)
    # What was gathered for people who are not in the settings any more waits for nobody's fault but theirs.
    fault = Fault.EFFECT_LATE if state.notices.escalation else Fault.NOTICE_UNDELIVERED
    for each in state.notices.waiting.values():
        if now > each.due_ns + GRACE_NS:
            agent = next(iter(state.incidents[each.incident].agents), "")
            yield _overdue(fault, each.incident, agent, "a gathered notice is due and was not sent", each.due_ns + GRACE_NS)


def _orders(state: State) -> Iterator[Overdue]:
    for control in state.controls.values():
        intent = state.intents.get(control.intent)
        receipt = intent.receipt if intent else None
        if control.rung == "none" or receipt is None or receipt.outcome is Outcome.DONE:
            continue
        if _is_proven(state, control.agent, receipt.at_ns):
            continue
        confirmed, asked = receipt.detail.get("confirmed"), receipt.detail.get("asked")
        who = f"{confirmed} of {asked}" if isinstance(asked, int) else "not all"
        text = f"{control.rung} of {control.agent}: {who} confirmed"
        yield _overdue(Fault.CONTROL_UNCONFIRMED, control.incident, control.agent, text, receipt.at_ns)


def _desk(state: State, now: int) -> Iterator[Overdue]:
    """The oldest side effect and the oldest work of each agent that nobody looked after for too long."""
    waiting = [
        (each.effect.agent, each.incident, each.held_ns, f"{each.effect.tool} is held") for each in state.desk.still_held()
    ]
    waiting += [
        (each.work.agent, each.incident, each.received_ns, f"{each.id} was handed over")
        for each in state.desk.waiting()
        if each.status == "waiting"
    ]
    told: set[str] = set()
    for agent, incident, since_ns, text in sorted(waiting, key=lambda each: each[2]):
        if agent not in told and now > since_ns + DESK_NS:
            told.add(agent)
            yield _overdue(Fault.PERSON_LATE, incident, agent, f"{text}, and nobody has looked after it", since_ns + DESK_NS)


def _is_proven(state: State, agent: str, after_ns: int) -> bool:
    """Whether a later verdict says that the agent has stopped, whoever confirmed the order."""
    return any(
        given.agent in (agent, "") and given.verdict is Verdict.VERIFIED and given.at_ns >= after_ns
        for incident in state.incidents.values()
        if agent in incident.agents
        for given in incident.verdicts
    )


def _open(state: State, incident: Incident, now: int) -> Iterator[Overdue]:
    intents = list(state.intents_of(incident.id))
    yield from _undelivered(incident, intents)
    if any(intent.receipt is None for intent in intents):
        return
    last_ns = max(
        (
            incident.opened_ns,
            *(intent.receipt.at_ns for intent in intents if intent.receipt),
            *(given.at_ns for given in incident.verdicts),
            *(note.at_ns for note in incident.notes),
        )
    )
    asked = next_action(state, incident)
    if incident.containment in (Verdict.UNVERIFIED, Verdict.FAILED) and now > last_ns + IDLE_NS:
        missing = "; ".join(incident.verdicts[-1].missing) or "no evidence"
        text = f"the last verdict is {incident.containment.value}: {missing}"
        yield _overdue(Fault.CONTAINMENT_UNPROVEN, incident.id, incident.verdicts[-1].agent, text, last_ns + IDLE_NS)
    agent = incident.agents[0] if incident.agents else ""
    if asked is None:
        if held := _held_by_person(state, incident):
            if now > last_ns + PERSON_NS[incident.sev]:
                yield _overdue(Fault.PERSON_LATE, incident.id, agent, held, last_ns + PERSON_NS[incident.sev])
        elif now > last_ns + IDLE_NS:
            text = f"{incident.state.value}, and nothing is under way"
            yield _overdue(Fault.NOTHING_NEXT, incident.id, agent, text, last_ns + IDLE_NS)
    elif now > last_ns + PERSON_NS[incident.sev]:
        yield _overdue(Fault.PERSON_LATE, incident.id, asked["agent"], asked["title"], last_ns + PERSON_NS[incident.sev])


def _held_by_person(state: State, incident: Incident) -> str:
    """What a person ordered and nobody lifted; empty where there is nothing. It may stand: the engine has nothing to do."""
    for control in filter(None, map(state.controls.get, incident.agents)):
        if control.rung != "none" and control.by.startswith(PERSON):
            return f"{control.rung} of {control.agent}, ordered by {control.by}, stands until somebody releases it"
    for order in state.orders.in_force.values():
        if order.incident == incident.id and order.by.startswith(PERSON):
            return f"{order.what} for {order.scope.text}, ordered by {order.by}, stands until somebody lifts it"
    return ""


def _undelivered(incident: Incident, intents: list[Intent]) -> Iterator[Overdue]:
    for intent in intents:
        receipt = intent.receipt
        if intent.effect.kind.value in _NOTICES and receipt is not None and receipt.outcome is not Outcome.DONE:
            said = receipt.detail.get("missing") or receipt.detail.get("reason") or receipt.outcome.value
            why = "; ".join(map(str, said)) if isinstance(said, list) else said
            text = f"{_named(intent)} did not arrive: {why}"
            yield _overdue(Fault.NOTICE_UNDELIVERED, incident.id, intent.effect.target, text, receipt.at_ns)


def _review(incident: Incident, now: int) -> Iterator[Overdue]:
    due_ns = ((incident.review or {}).get("review") or {}).get("due_ns") or 0
    if due_ns and now > due_ns:
        agent = incident.agents[0] if incident.agents else ""
        yield _overdue(Fault.REVIEW_LATE, incident.id, agent, f"the review of a {incident.sev.value} is not closed", due_ns)


def _named(intent: Intent) -> str:
    kind = "order" if intent.effect.kind is EffectKind.ORDER else intent.effect.kind.value
    return f"{kind} for {intent.effect.target}" if intent.effect.target else kind


def _overdue(fault: Fault, incident: str, agent: str, text: str, since_ns: int) -> Overdue:
    return Overdue(fault=fault, incident=incident, agent=agent, text=text, since_ns=since_ns, remedy=REMEDIES[fault])
