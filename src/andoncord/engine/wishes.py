"""What people may ask for, and what is written down when they do."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from andoncord.engine import approving, desking, lifecycle, stating, ticketing, turning, undoing
from andoncord.engine.asked import MAX_TEXT, declare, lasts_ms, needed, text_of
from andoncord.engine.drafts import held_by_others, intent_draft, moved, order_draft
from andoncord.engine.facts import PersonAsked
from andoncord.engine.standing import give, lift
from andoncord.engine.state import State
from andoncord.incident.incident import Incident
from andoncord.kernel.effect import EffectKind
from andoncord.kernel.errors import CallerError, ConflictError
from andoncord.kernel.journal import Draft
from andoncord.kernel.vocabulary import Disposition, IncidentState, Severity
from andoncord.policy import policy as policies
from andoncord.respond.ladder import RUNGS, height
from andoncord.respond.playbook import Playbook

ORDER_MS = 1_000
CONFIGURE_MS = 2_000
MAX_FLEET = 10_000
"""Agents that one wish may hold."""


def grant(state: State, wish: PersonAsked, *, playbooks: Sequence[Playbook]) -> tuple[Draft, ...]:
    """The entries that a person's wish calls for; empty when the same wish (by its key) was granted before.

    Raises:
        CallerError: the wish cannot be granted, with the reason.
    """
    if not wish.by.startswith("person:"):
        raise CallerError("only a person can ask", place="by", remedy="name one as person:<name>")
    if wish.key and wish.key in state.wishes:
        return ()
    try:
        command = COMMANDS[wish.command]
    except KeyError:
        raise CallerError(f"unknown command {wish.command!r}", remedy=f"use one of: {', '.join(COMMANDS)}") from None
    drafts = command(state, wish, playbooks)
    if not wish.key or not drafts:
        return drafts
    first = msgspec.structs.replace(drafts[0], body={**drafts[0].body, "wish": wish.key})
    return (first, *drafts[1:])


def _contain(state: State, wish: PersonAsked, playbooks: Sequence[Playbook]) -> tuple[Draft, ...]:
    """Order a rung for an agent. Lowering is not containing: that is `release`."""
    rung = _rung(wish)
    if not wish.incident:
        declared = next(iter(state.index.of_agents({wish.agent})), None)
        if declared is None:
            raise ConflictError(f"no incident is open for {wish.agent!r}", remedy="declare one first")
        incident = state.incident(declared)
    else:
        incident = state.incident(wish.incident)
    agent = _agent(incident, wish)
    in_force = state.rung_of(agent)
    if height(rung) < height(in_force):
        raise ConflictError(f"{in_force} is in force for {agent}; {rung} would lower it", remedy="use release")
    return (
        order_draft(
            state,
            incident.id,
            f"by-person/{_count(state, incident)}/{rung}/{agent}",
            agent,
            rung=rung,
            reason=text_of(wish, "reason") or f"{rung} by hand",
            deadline_ms=ORDER_MS,
            by=wish.by,
            lasts_ms=_lasts_ms(wish, in_force),
        ),
    )


def _contain_fleet(state: State, wish: PersonAsked, playbooks: Sequence[Playbook]) -> tuple[Draft, ...]:
    """Order a rung for several agents at once, in one incident declared for it. What is in force is never lowered."""
    rung = _rung(wish)
    agents = wish.parameters.get("agents")
    if not isinstance(agents, list) or not agents or not all(isinstance(agent, str) and agent for agent in agents):
        raise CallerError("agents is missing", place="agents", remedy="name at least one agent")
    if len(agents) > MAX_FLEET:
        raise CallerError(f"more than {MAX_FLEET} agents at once", place="agents")
    reason = text_of(wish, "reason") or f"{rung} by hand"
    title = f"{rung} of {len(agents)} agents ordered by hand"
    parameters = {"title": title, "severity": Severity.CRITICAL if rung == "kill" else Severity.HIGH, "reason": reason}
    declared = declare(state, msgspec.structs.replace(wish, agent=agents[0], parameters=parameters), playbooks)
    opened = msgspec.structs.replace(declared[0], body={**declared[0].body, "agents": agents})
    orders = [
        order_draft(
            state,
            opened.incident,
            f"by-person/{number}/{rung}/{agent}",
            agent,
            rung=rung,
            reason=reason,
            deadline_ms=ORDER_MS,
            by=wish.by,
            offset=number - 1,
        )
        for number, agent in enumerate(agents, start=1)
    ]
    return (opened, *declared[1:], *orders)


def _release(state: State, wish: PersonAsked, playbooks: Sequence[Playbook]) -> tuple[Draft, ...]:
    """Let an agent go on. Only a person or a verified recovery may (RSP-15); the person gives a reason."""
    incident = state.incident(wish.incident)
    agent = _agent(incident, wish)
    reason = needed(text_of(wish, "reason"), "reason")
    if state.rung_of(agent) == "none":
        raise ConflictError(f"nothing is in force for {agent}")
    others = held_by_others(state, incident.id, agent)
    if others != "none":
        raise ConflictError(f"another incident holds {agent} at {others}", remedy="release it there first")
    return (
        order_draft(
            state,
            incident.id,
            f"by-person/{_count(state, incident)}/none/{agent}",
            agent,
            rung="none",
            reason=reason,
            deadline_ms=ORDER_MS,
            by=wish.by,
            may_lower=True,
        ),
    )


def _approve_recovery(state: State, wish: PersonAsked, playbooks: Sequence[Playbook]) -> tuple[Draft, ...]:
    """Allow the recovery plan to run; after a failed attempt, allow another."""
    incident = state.incident(wish.incident)
    if incident.plan is None:
        raise ConflictError("there is no recovery plan yet", remedy="wait for the investigation")
    if not incident.plan["automatic"]:
        raise ConflictError(
            f"the plan is to {incident.plan['strategy'].replace('_', ' ')}: nothing of it can be run from here",
            remedy=incident.plan.get("person") or "release the agent when the cause is removed",
        )
    if incident.recovery_approved_by:
        raise ConflictError(f"the recovery was approved by {incident.recovery_approved_by}")
    if not incident.is_open:
        raise ConflictError("the incident is resolved")
    if incident.recovery_role == "admin" and wish.parameters.get("scope") != "admin":
        raise ConflictError("the playbook wants this recovery approved by an admin", remedy="ask somebody who is one")
    body = {"reason": text_of(wish, "reason")}
    return (Draft(kind="recovery.approved", incident=incident.id, by=wish.by, body=body),)


def _undo(state: State, wish: PersonAsked, playbooks: Sequence[Playbook]) -> tuple[Draft, ...]:
    """Undo what was done for an incident, or one step of it, by the reversals that were stated when it was done."""
    reason = needed(text_of(wish, "reason"), "reason")
    return undoing.begin(state, state.incident(wish.incident), step=text_of(wish, "step"), by=wish.by, reason=reason)


def _cancel_step(state: State, wish: PersonAsked, playbooks: Sequence[Playbook]) -> tuple[Draft, ...]:
    """Stop waiting for a step; its receipt says who did."""
    return turning.cancel(
        state,
        state.incident(wish.incident),
        needed(text_of(wish, "intent"), "intent"),
        by=wish.by,
        reason=needed(text_of(wish, "reason"), "reason"),
    )


def _fork_playbook(state: State, wish: PersonAsked, playbooks: Sequence[Playbook]) -> tuple[Draft, ...]:
    """Do the steps after the containment anew, from one of them on."""
    return turning.fork(
        state,
        state.incident(wish.incident),
        needed(text_of(wish, "step"), "step"),
        by=wish.by,
        reason=needed(text_of(wish, "reason"), "reason"),
    )


def _dispose(state: State, wish: PersonAsked, playbooks: Sequence[Playbook]) -> tuple[Draft, ...]:
    """Say what the incident turned out to be. Anything but `real` also resolves it, once nothing of it is in force."""
    incident = state.incident(wish.incident)
    try:
        disposition = Disposition(str(wish.parameters.get("disposition", "")))
    except ValueError:
        words = ", ".join(each.value for each in Disposition)
        raise CallerError("unknown disposition", place="disposition", remedy=f"use one of: {words}") from None
    drafts = [
        Draft(
            kind="incident.disposed",
            incident=incident.id,
            by=wish.by,
            body={"disposition": disposition, "reason": text_of(wish, "reason")},
        )
    ]
    if disposition is not Disposition.REAL and incident.is_open:
        held = [agent for agent in incident.agents if state.rung_of(agent) != "none"]
        held += [order.id for order in state.orders.in_force.values() if order.incident == incident.id]
        if held:
            raise ConflictError(f"{', '.join(held)} is still held", remedy="release it first, so that nobody forgets it")
        drafts.append(moved(incident, IncidentState.RESOLVED, f"{disposition.value.replace('_', ' ')}", by=wish.by))
    return tuple(drafts)


def _note(state: State, wish: PersonAsked, playbooks: Sequence[Playbook]) -> tuple[Draft, ...]:
    incident = state.incident(wish.incident)
    return (Draft(kind="note.added", incident=incident.id, by=wish.by, body={"text": needed(text_of(wish, "text"), "text")}),)


def _acknowledge(state: State, wish: PersonAsked, playbooks: Sequence[Playbook]) -> tuple[Draft, ...]:
    """Say that one looks after an incident: its pages stop, until that has grown stale."""
    incident = state.incident(wish.incident)
    if not incident.is_open:
        raise ConflictError("the incident is resolved")
    return (Draft(kind="incident.acknowledged", incident=incident.id, by=wish.by, body={"note": text_of(wish, "note")}),)


def _apply_proposal(state: State, wish: PersonAsked, playbooks: Sequence[Playbook]) -> tuple[Draft, ...]:
    """Activate the policy that the review proposes, and have the guards load it (LRN-2)."""
    incident = state.incident(wish.incident)
    proposal = (incident.review or {}).get("review", {}).get("proposal")
    if not proposal:
        raise ConflictError("the review proposes no policy")
    if incident.proposal_applied:
        raise ConflictError(f"the proposal was applied as policy {incident.proposal_applied}")
    yaml = str(wish.parameters.get("yaml") or proposal["yaml"])
    return _activation(state, wish, yaml, incident.id)


def _activate_policy(state: State, wish: PersonAsked, playbooks: Sequence[Playbook]) -> tuple[Draft, ...]:
    return _activation(state, wish, needed(text_of(wish, "yaml"), "yaml"), "")


def _activation(state: State, wish: PersonAsked, yaml: str, incident: str) -> tuple[Draft, ...]:
    """A policy that does not parse or fails its own tests is refused, and what was in force stays."""
    loaded = policies.load(yaml, place="policy")
    drafts = [
        Draft(
            kind="policy.activated",
            incident=incident,
            by=wish.by,
            body={
                "id": policy.id,
                "yaml": yaml,
                "compiled": policies.compile_policies([policy]),
                "reason": text_of(wish, "reason"),
            },
        )
        for policy in loaded
    ]
    number = len(state.steps.get(incident, {})) + 1
    drafts.append(
        intent_draft(
            state,
            incident,
            f"policies/{number}",
            EffectKind.POLICIES,
            "*",
            deadline_ms=CONFIGURE_MS,
            reversal="activate the policy without this rule",
            parameters={},
            by=wish.by,
        )
    )
    return tuple(drafts)


def _answer_review(state: State, wish: PersonAsked, playbooks: Sequence[Playbook]) -> tuple[Draft, ...]:
    """Fill in the review's blanks. It closes when none is left and a structural change is applied (LRN-2)."""
    incident = state.incident(wish.incident)
    if incident.review is None:
        raise ConflictError("the review is not drafted yet", remedy="it is drafted when the incident is resolved")
    answers = wish.parameters.get("answers")
    known = {answer["id"]: answer for answer in incident.review["review"]["answers"]}
    if not isinstance(answers, dict) or not answers:
        raise CallerError("answers is missing", place="answers", remedy="give question id and text")
    given: dict[str, str] = {}
    for question, text in answers.items():
        if question not in known:
            raise CallerError(f"unknown question {question!r}", place="answers", remedy=f"use: {', '.join(known)}")
        if not isinstance(text, str) or len(text) > MAX_TEXT:
            raise CallerError(f"an answer is text of at most {MAX_TEXT} characters", place=f"answers.{question}")
        if text.strip():
            given[question] = text.strip()
    drafts = [Draft(kind="review.answered", incident=incident.id, by=wish.by, body={"answers": given})]
    open_questions = [
        question
        for question, answer in known.items()
        if answer["needs_person"] and question not in given and question not in incident.answers
    ]
    if not open_questions and incident.proposal_applied and incident.state is IncidentState.RESOLVED:
        drafts.append(
            moved(incident, IncidentState.REVIEWED, "every question answered and a structural change applied", by=wish.by)
        )
    return tuple(drafts)


def _publish_version(state: State, wish: PersonAsked, playbooks: Sequence[Playbook]) -> tuple[Draft, ...]:
    """Add a version to the registry (RCV-1); the first of an agent becomes active, a later one when activated."""
    agent = needed(wish.agent, "agent")
    values = wish.parameters.get("values")
    if not isinstance(values, dict) or not values:
        raise CallerError("values is missing", place="values", remedy='give an object, for example {"prompt": "…"}')
    at_ns = state.head.at_ns if state.head else 0
    published = state.registry.publish(
        agent, values, version=str(wish.parameters.get("version", "")), at_ns=at_ns, by=wish.by
    ).versions(agent)[-1]
    known = {each.version for each in state.registry.versions(agent)}
    if published.version in known:
        return ()
    body: dict[str, Any] = {
        "agent": agent,
        "version": published.version,
        "values": values,
        "note": text_of(wish, "note"),
        "good": bool(wish.parameters.get("good", False)),
    }
    drafts = [Draft(kind="registry.published", by=wish.by, body=body)]
    if not known:
        drafts.append(_configure(state, agent, published.version, wish))
    return tuple(drafts)


def _activate_version(state: State, wish: PersonAsked, playbooks: Sequence[Playbook]) -> tuple[Draft, ...]:
    agent = needed(wish.agent, "agent")
    version = state.registry.get(agent, needed(text_of(wish, "version"), "version"))
    body = {"agent": agent, "version": version.version, "reason": text_of(wish, "reason")}
    return (Draft(kind="registry.activated", by=wish.by, body=body), _configure(state, agent, version.version, wish))


def _mark_version(state: State, wish: PersonAsked, playbooks: Sequence[Playbook]) -> tuple[Draft, ...]:
    agent = needed(wish.agent, "agent")
    version = state.registry.get(agent, needed(text_of(wish, "version"), "version"))
    body = {"agent": agent, "version": version.version, "good": bool(wish.parameters.get("good", True))}
    return (Draft(kind="registry.marked", by=wish.by, body=body),)


def _configure(state: State, agent: str, version: str, wish: PersonAsked) -> Draft:
    number = len(state.steps.get("", {})) + 1
    return intent_draft(
        state,
        "",
        f"configure/{number}/{agent}",
        EffectKind.CONFIGURE,
        agent,
        deadline_ms=CONFIGURE_MS,
        reversal="activate the version before",
        parameters={"version": version},
        by=wish.by,
    )


def _agent(incident: Incident, wish: PersonAsked) -> str:
    """The agent that a wish is about: named, or the only one there is."""
    if wish.agent:
        if wish.agent not in incident.agents:
            raise CallerError(
                f"{wish.agent!r} is not part of {incident.id}", remedy=f"its agents: {', '.join(incident.agents)}"
            )
        return wish.agent
    if len(incident.agents) != 1:
        raise CallerError("several agents are involved", place="agent", remedy=f"name one of: {', '.join(incident.agents)}")
    return incident.agents[0]


def _rung(wish: PersonAsked) -> str:
    rung = str(wish.parameters.get("rung", ""))
    if rung not in RUNGS[1:]:
        raise CallerError(f"unknown rung {rung!r}", place="rung", remedy=f"use one of: {', '.join(RUNGS[1:])}")
    return rung


def _lasts_ms(wish: PersonAsked, in_force: str) -> int:
    """How long the order is to last, in milliseconds; 0 for no end."""
    given_ms = lasts_ms(wish)
    if given_ms and in_force != "none":
        raise ConflictError(
            f"{in_force} is in force without an end; an order with one would let the agent go", remedy="leave the end out"
        )
    return given_ms


def _count(state: State, incident: Incident) -> int:
    return sum(step.startswith("by-person/") and "/verify" not in step for step in state.steps.get(incident.id, {})) + 1


COMMANDS: dict[str, Callable[[State, PersonAsked, Sequence[Playbook]], tuple[Draft, ...]]] = {
    "declare": declare,
    "contain": _contain,
    "contain_fleet": _contain_fleet,
    "release": _release,
    "order": give,
    "lift": lift,
    "approve_recovery": _approve_recovery,
    "undo": _undo,
    "cancel_step": _cancel_step,
    "fork_playbook": _fork_playbook,
    "dispose": _dispose,
    "note": _note,
    "merge": lifecycle.merge,
    "split": lifecycle.split,
    "assign": lifecycle.assign,
    "star": lifecycle.star,
    "acknowledge": _acknowledge,
    "open_ticket": ticketing.open_by_person,
    "capture": desking.capture,
    "take_handover": desking.take,
    "finish_handover": desking.finish,
    "return_handover": desking.give_back,
    "close_handover": desking.close,
    "release_held": desking.release,
    "discard_held": desking.discard,
    "send_statement": stating.send,
    "reject_statement": stating.reject,
    "answer_ask": stating.answer,
    "grant_approval": approving.grant,
    "deny_approval": approving.deny,
    "apply_proposal": _apply_proposal,
    "activate_policy": _activate_policy,
    "answer_review": _answer_review,
    "publish_version": _publish_version,
    "activate_version": _activate_version,
    "mark_version": _mark_version,
}
