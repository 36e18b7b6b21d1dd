"""From a fact to what is written down about it. Pure: no clock, no I/O, no chance."""

from collections.abc import Sequence

import msgspec

from andoncord.detect.finding import Finding
from andoncord.engine import approving, desking, paging
from andoncord.engine.books import loaded
from andoncord.engine.expiry import end_expired
from andoncord.engine.facts import (
    ApprovalAsked,
    ApprovalsTaken,
    EffectHeld,
    Fact,
    FindingArrived,
    GuardAhead,
    OncallLoaded,
    OrderBroken,
    PersonAsked,
    PlaybooksLoaded,
    ReceiptArrived,
    SystemNoted,
    TelemetryDigested,
    TimePassed,
    WorkHandedOver,
)
from andoncord.engine.judging import judged
from andoncord.engine.proving import broken
from andoncord.engine.restored import hold
from andoncord.engine.state import Intent, State
from andoncord.engine.wishes import grant
from andoncord.incident.correlate import agents_of, causes_of, home_of, says_nothing_new
from andoncord.kernel.effect import EffectKind, Receipt
from andoncord.kernel.journal import Draft
from andoncord.kernel.vocabulary import IncidentState, Mode, Pattern
from andoncord.respond.ladder import FENCING
from andoncord.respond.playbook import Playbook


def decide(state: State, fact: Fact, *, playbooks: Sequence[Playbook]) -> tuple[Draft, ...]:
    """The entries that a fact calls for; empty when it is known already.

    Raises:
        CallerError: a person asked for something that cannot be done; the reason is in the error.
    """
    match fact:
        case FindingArrived(finding=finding):
            return _finding(state, finding, playbooks)
        case ReceiptArrived(receipt=receipt):
            return _receipt(state, receipt)
        case PersonAsked():
            return grant(state, fact, playbooks=playbooks)
        case TelemetryDigested(last_seq=last, log=log):
            if last <= state.digested.get(log, 0):
                return ()
            whose = {"log": log} if log else {}
            body = {"first_seq": fact.first_seq, "last_seq": last, "sha256": fact.sha256, **whose}
            return (Draft(kind="telemetry.digested", body=body),)
        case GuardAhead() | OrderBroken():
            return _of_orders(state, fact, playbooks)
        case ApprovalAsked() | ApprovalsTaken() | WorkHandedOver() | EffectHeld():
            return _of_agents(state, fact)
        case _:
            return _of_ourselves(state, fact)


def _of_orders(state: State, fact: GuardAhead | OrderBroken, playbooks: Sequence[Playbook]) -> tuple[Draft, ...]:
    """What becomes known of orders later."""
    match fact:
        case GuardAhead():
            return tuple(hold(state, fact, playbooks=playbooks))
        case OrderBroken():
            return broken(state, fact)


def _of_agents(state: State, fact: ApprovalAsked | ApprovalsTaken | WorkHandedOver | EffectHeld) -> tuple[Draft, ...]:
    """What agents cannot do without a person."""
    match fact:
        case ApprovalAsked():
            return approving.ask(state, fact)
        case ApprovalsTaken():
            return approving.take(state, fact)
        case WorkHandedOver():
            return desking.take_in(state, fact)
        case EffectHeld():
            return desking.hold(state, fact)


def _of_ourselves(state: State, fact: SystemNoted | TimePassed | PlaybooksLoaded | OncallLoaded) -> tuple[Draft, ...]:
    match fact:
        case SystemNoted(what=what, detail=detail):
            return (Draft(kind="system.noted", body={"what": what, **detail}),)
        case TimePassed(now_ns=now_ns):
            return (
                tuple(end_expired(state, now_ns))
                or tuple(paging.notices_due(state, now_ns))
                or tuple(approving.ended(state, now_ns))
            )
        case PlaybooksLoaded(playbooks=new):
            return loaded(state, new)
        case OncallLoaded(escalation=escalation, tracker=tracker):
            return paging.loaded(state, escalation, tracker)


def _receipt(state: State, receipt: Receipt) -> tuple[Draft, ...]:
    intent = state.intents.get(receipt.intent)
    if intent is None or intent.receipt is not None:
        return ()
    return (Draft(kind="receipt.recorded", incident=intent.incident, body={"receipt": msgspec.to_builtins(receipt)}),)


def _finding(state: State, finding: Finding, playbooks: Sequence[Playbook]) -> tuple[Draft, ...]:
    """Record a finding, and open, enlarge or raise an incident with it.

    A finding in mode shadow is counted and no more, and so is the silence of a process that was ended on our order.
    """
    if finding.id in state.seen:
        return ()
    recorded = {"finding": msgspec.to_builtins(finding)}
    if finding.mode is Mode.SHADOW or _is_silence_we_caused(state, finding):
        return (Draft(kind="finding.recorded", body=recorded),)

    drafts: list[Draft] = []
    index = state.index
    near = sorted(
        {
            *index.near(finding.agent, finding.trace_id),
            *index.of_agents(set(agents_of(finding))),
            *index.of_causes(causes_of(finding)),
        }
    )
    home = home_of(finding, (state.incidents[incident] for incident in near))
    if home is None:
        home = f"inc_{len(state.incidents) + 1:06d}"
        known: tuple[Finding, ...] = ()
        was_allowed = False
        was_playbook = ""
        drafts.append(
            Draft(
                kind="incident.opened",
                incident=home,
                body={
                    "title": finding.summary,
                    "agents": [finding.agent],
                    "environment": finding.environment,
                    "onset_ns": finding.onset_ns,
                },
            )
        )
    else:
        incident = state.incidents[home]
        if says_nothing_new(finding, incident):
            counted = {"id": finding.id, "rule": finding.rule, "agent": finding.agent, "at_ns": finding.at_ns}
            return (Draft(kind="finding.grouped", incident=home, body=counted),)
        known = incident.findings
        was_allowed = incident.may_act
        was_playbook = incident.playbook
    drafts.append(Draft(kind="finding.recorded", incident=home, body=recorded))
    drafts.append(judged(state, home, (*known, finding), was_allowed=was_allowed, playbooks=playbooks))
    if home not in state.incidents:
        drafts.append(
            Draft(
                kind="incident.moved",
                incident=home,
                body={"from": IncidentState.DETECTED, "to": IncidentState.TRIAGED, "why": "judged from its findings"},
            )
        )
    elif _comes_after_release(state, home, finding) and was_playbook:
        drafts.append(
            Draft(
                kind="recovery.failed",
                incident=home,
                body={"why": f"a new finding after the release: {finding.summary}", "contain_again": True},
            )
        )
        drafts.append(
            Draft(
                kind="incident.moved",
                incident=home,
                body={
                    "from": IncidentState.RECOVERING,
                    "to": IncidentState.TRIAGED,
                    "why": "it went wrong again after the release",
                },
            )
        )
    return tuple(drafts)


def _is_silence_we_caused(state: State, finding: Finding) -> bool:
    """The supervisor ended or froze this very instance, so that it says nothing any more is what was wanted."""
    if finding.pattern is not Pattern.SILENCE or not finding.instance:
        return False
    is_fenced = state.rung_of(finding.agent) in FENCING or state.orders.may_fence(finding.agent)
    for intent_id in state.index.targets.get(finding.agent, ()):
        intent = state.intents[intent_id]
        ordered = intent.effect.kind is EffectKind.ORDER
        if is_fenced and ordered and intent.receipt and finding.instance in intent.receipt.detail.get("covered", ()):
            return True
        if intent.effect.kind is not EffectKind.TERMINATE or intent.receipt is None:
            continue
        if intent.receipt.detail.get("process_tree_empty") and finding.instance in _asked_before(state, intent):
            return True
    return False


def _asked_before(state: State, termination: Intent) -> set[str]:
    """The instances that the orders before a termination were sent to."""
    instances: set[str] = set()
    for intent in state.intents_of(termination.incident):
        if intent.effect.kind is EffectKind.ORDER and intent.receipt and intent.issued_ns <= termination.issued_ns:
            instances.update(intent.receipt.detail.get("unconfirmed", ()))
            instances.update(ack["instance"] for ack in intent.receipt.detail.get("acks", ()))
    return instances


def _comes_after_release(state: State, home: str, finding: Finding) -> bool:
    """The agent was let go by the recovery of this incident, and what the finding shows began after that."""
    incident = state.incidents[home]
    if incident.state is not IncidentState.RECOVERING:
        return False
    releases = [
        intent
        for intent in state.intents_of(home)
        if intent.effect.kind is EffectKind.ORDER and intent.effect.parameters["rung"] == "none" and not intent.standing
    ]
    return any(finding.onset_ns > intent.issued_ns and intent.effect.target == finding.agent for intent in releases)
