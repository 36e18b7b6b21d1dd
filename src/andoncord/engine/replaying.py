"""From the journal to the state: what each kind of entry changes. Replaying the same entries gives the same state."""

from collections.abc import Iterable
from typing import Any

import msgspec

from andoncord.detect.finding import Finding
from andoncord.engine.played import CHANGES
from andoncord.engine.shaping import SHAPES, change_of
from andoncord.engine.state import ActivePolicy, Control, Intent, State
from andoncord.incident.incident import Incident, Note, VerdictGiven
from andoncord.incident.inflight import InFlightCall
from andoncord.incident.stage import Reached
from andoncord.kernel.effect import Effect, EffectKind, Receipt
from andoncord.kernel.journal import Entry
from andoncord.kernel.time import MILLISECOND_NS
from andoncord.kernel.vocabulary import Category, Disposition, IncidentState, Pattern, Severity, SevLevel, Verdict
from andoncord.respond.playbook import Playbook

DESK = ("handover.", "effect.", "statement.")
MAX_SEEN = 100_000
"""Finding ids remembered, so that the same finding twice is one; the oldest are forgotten first."""


def replay(entries: Iterable[Entry]) -> State:
    """The state after all of `entries`, which start at the beginning of the journal."""
    state = State()
    for entry in entries:
        apply(state, entry)
    return state


def apply(state: State, entry: Entry) -> None:
    """Advance `state` by one entry.

    An entry of an unknown kind was written by a newer version: it is kept in the chain and otherwise left alone.
    """
    assert entry.seq == state.seq + 1, f"entry {entry.seq} does not follow {state.seq}"
    state.seq = entry.seq
    state.head = entry
    if entry.incident:
        state.index.changed[entry.incident] = entry.seq
    if entry.body.get("wish"):
        state.wishes[entry.body["wish"]] = entry.incident
    if entry.kind.startswith("approval."):
        state.approvals.apply(entry)
    elif entry.kind.startswith(DESK):
        state.desk.apply(entry)
    reduce = _REDUCERS.get(entry.kind)
    if reduce:
        reduce(state, entry)
    elif entry.kind in CHANGES:
        _update(state, entry.incident, **CHANGES[entry.kind](state.incidents[entry.incident], entry))
    elif entry.kind in SHAPES:
        _update(state, entry.incident, **SHAPES[entry.kind](state.incidents, entry))
    if entry.incident and (change := change_of(entry)):
        _update(state, entry.incident, changes=(*state.incidents[entry.incident].changes, change))


def _update(state: State, incident_id: str, /, **changes: Any) -> None:
    before = state.incidents[incident_id]
    _put(state, before, msgspec.structs.replace(before, **changes))


def _put(state: State, before: Incident | None, after: Incident) -> None:
    state.incidents[after.id] = after
    state.index.renew(before, after)


def _see(state: State, finding: str) -> None:
    state.seen[finding] = None
    while len(state.seen) > MAX_SEEN:
        del state.seen[next(iter(state.seen))]


def _finding_grouped(state: State, entry: Entry) -> None:
    body, incident = entry.body, state.incidents[entry.incident]
    _see(state, body["id"])
    counted = {**incident.grouped, body["rule"]: incident.grouped.get(body["rule"], 0) + 1}
    _update(state, incident.id, grouped=counted, last_finding_ns=max(incident.last_finding_ns, body["at_ns"]))


def _finding_recorded(state: State, entry: Entry) -> None:
    finding = msgspec.convert(entry.body["finding"], Finding)
    _see(state, finding.id)
    if not entry.incident:
        state.shadow_findings += 1
        return
    incident = state.incidents[entry.incident]
    agents = incident.agents if finding.agent in incident.agents else (*incident.agents, finding.agent)
    _update(
        state,
        entry.incident,
        findings=(*incident.findings, finding),
        last_finding_ns=max(incident.last_finding_ns, finding.at_ns),
        agents=agents,
        onset_ns=min(incident.onset_ns, finding.onset_ns) if finding.onset_ns else incident.onset_ns,
    )


def _incident_opened(state: State, entry: Entry) -> None:
    body = entry.body
    opened = Incident(
        id=entry.incident,
        title=body["title"],
        state=IncidentState.DETECTED,
        severity=Severity.LOW,
        sev=SevLevel.SEV3,
        category=Category.DECISION_FAILURE,
        pattern=Pattern.POLICY_VIOLATION,
        agents=tuple(body["agents"]),
        environment=body.get("environment", ""),
        opened_ns=entry.at_ns,
        onset_ns=body.get("onset_ns") or entry.at_ns,
        detected_ns=entry.at_ns,
        declared_by=body.get("declared_by", ""),
        book=state.book,
    )
    _put(state, None, opened)


def _incident_judged(state: State, entry: Entry) -> None:
    body = entry.body
    _update(
        state,
        entry.incident,
        severity=Severity(body["severity"]),
        sev=SevLevel(body["sev"]),
        category=Category(body["category"]),
        pattern=Pattern(body["pattern"]),
        title=body["title"],
        reasons=tuple(body["reasons"]),
        impact=body["impact"],
        may_act=body["may_act"],
        playbook=body["playbook"],
        steps=tuple(body["steps"]),
        recovery_by=body["recovery_by"],
        recovery_role=body.get("recovery_role", "respond"),
    )


def _incident_moved(state: State, entry: Entry) -> None:
    to = IncidentState(entry.body["to"])
    changes: dict[str, Any] = {"state": to}
    if to is IncidentState.CONTAINED:
        changes["contained_ns"] = entry.body.get("contained_ns") or entry.at_ns
    elif to is IncidentState.RESOLVED:
        changes["resolved_ns"] = entry.at_ns
        state.notices.resolve(entry.incident)
    elif to is IncidentState.REVIEWED:
        changes["reviewed_ns"] = entry.at_ns
        state.notices.close(entry.incident)
    _update(state, entry.incident, **changes)


def _intent_issued(state: State, entry: Entry) -> None:
    effect = msgspec.convert(entry.body["effect"], Effect)
    intent = Intent(
        id=entry.body["intent"],
        incident=entry.incident,
        step=entry.body["step"],
        effect=effect,
        by=entry.by,
        issued_ns=entry.at_ns,
    )
    state.intents[intent.id] = intent
    state.steps.setdefault(entry.incident, {})[intent.step] = intent.id
    state.outstanding[intent.id] = None
    state.index.targets.setdefault(effect.target, []).append(intent.id)
    if effect.kind is EffectKind.ORDER:
        state.index.changed.update(dict.fromkeys(state.index.by_agent.get(effect.target, ()), entry.seq))
    if effect.kind is EffectKind.NOTIFY:
        state.notices.issue(entry, effect)
    elif effect.kind is EffectKind.DRAFT:
        state.desk.draft(intent.id, entry.incident)
    if effect.kind is EffectKind.ORDER and not intent.standing:
        counter = effect.parameters["epoch"][1]
        assert counter > state.epoch, "an epoch only rises"
        state.epoch = counter
        state.controls[effect.target] = Control(
            agent=effect.target,
            rung=effect.parameters["rung"],
            epoch=counter,
            incident=entry.incident,
            intent=intent.id,
            reason=effect.parameters["reason"],
            by=entry.by,
            since_ns=entry.at_ns,
            expires_ns=entry.at_ns + lasts_ms * MILLISECOND_NS if (lasts_ms := effect.parameters.get("lasts_ms")) else 0,
        )


def _order_given(state: State, entry: Entry) -> None:
    _raise_epoch(state, state.orders.give(entry))


def _order_lifted(state: State, entry: Entry) -> None:
    _raise_epoch(state, state.orders.lift(entry))


def _raise_epoch(state: State, epoch: int) -> None:
    assert epoch > state.epoch, "an epoch only rises"
    state.epoch = epoch


def _receipt_recorded(state: State, entry: Entry) -> None:
    receipt = msgspec.convert(entry.body["receipt"], Receipt)
    intent = state.intents[receipt.intent]
    state.intents[receipt.intent] = msgspec.structs.replace(intent, receipt=receipt)
    state.outstanding.pop(receipt.intent, None)
    if intent.effect.kind is EffectKind.NOTIFY:
        state.notices.receive(entry.incident, intent.effect, receipt)
    elif intent.effect.kind is EffectKind.RELEASE:
        state.desk.receive(intent.effect, receipt)
    if intent.effect.kind is EffectKind.INVESTIGATE and receipt.detail:
        _update(state, entry.incident, investigation=receipt.detail)
    elif intent.effect.kind is EffectKind.REVIEW and receipt.detail:
        _update(state, entry.incident, review=receipt.detail)


def _verdict_given(state: State, entry: Entry) -> None:
    given = VerdictGiven(
        at_ns=entry.at_ns,
        verdict=Verdict(entry.body["verdict"]),
        agent=entry.body["agent"],
        intent=entry.body["intent"],
        missing=tuple(entry.body["missing"]),
        evidence=tuple(entry.body["evidence"]),
        in_flight=msgspec.convert(entry.body.get("in_flight", []), tuple[InFlightCall, ...]),
        stages=msgspec.convert(entry.body.get("stages", []), tuple[Reached, ...]),
    )
    _update(state, entry.incident, verdicts=(*state.incidents[entry.incident].verdicts, given))


def _plan_made(state: State, entry: Entry) -> None:
    incident = state.incidents[entry.incident]
    retried = "tried" if entry.body["plan"]["strategy"] == "retry" else incident.retried
    _update(state, entry.incident, plan=entry.body["plan"], plan_round=incident.round, retried=retried)


def _recovery_approved(state: State, entry: Entry) -> None:
    incident = state.incidents[entry.incident]
    attempt = incident.round + 1 if incident.recovery_failed else incident.round
    _update(state, entry.incident, recovery_approved_by=entry.by, recovery_failed="", round=attempt)


def _recovery_failed(state: State, entry: Entry) -> None:
    changes: dict[str, Any] = {"recovery_failed": entry.body["why"], "recovery_approved_by": ""}
    if state.incidents[entry.incident].retried == "tried":
        changes["retried"] = "failed"
    if entry.body.get("contain_again"):
        changes["round"] = state.incidents[entry.incident].round + 1
        changes["recovery_failed"] = ""
        changes["recovery_by"] = "person"
    _update(state, entry.incident, **changes)


def _review_answered(state: State, entry: Entry) -> None:
    _update(state, entry.incident, answers={**state.incidents[entry.incident].answers, **entry.body["answers"]})


def _policy_activated(state: State, entry: Entry) -> None:
    policy = ActivePolicy(
        id=entry.body["id"],
        yaml=entry.body["yaml"],
        compiled=tuple(entry.body["compiled"]),
        by=entry.by,
        incident=entry.incident,
    )
    state.policies[policy.id] = policy
    if entry.incident:
        _update(state, entry.incident, proposal_applied=policy.id)


def _incident_disposed(state: State, entry: Entry) -> None:
    _update(state, entry.incident, disposition=Disposition(entry.body["disposition"]))


def _note_added(state: State, entry: Entry) -> None:
    note = Note(at_ns=entry.at_ns, by=entry.by, text=entry.body["text"])
    _update(state, entry.incident, notes=(*state.incidents[entry.incident].notes, note))


def _registry_published(state: State, entry: Entry) -> None:
    body = entry.body
    state.registry = state.registry.publish(
        body["agent"],
        body["values"],
        version=body["version"],
        note=body["note"],
        good=body["good"],
        at_ns=entry.at_ns,
        by=entry.by,
    )


def _registry_activated(state: State, entry: Entry) -> None:
    body = entry.body
    state.registry = state.registry.activate(body["agent"], body["version"], at_ns=entry.at_ns, by=entry.by)


def _registry_marked(state: State, entry: Entry) -> None:
    body = entry.body
    state.registry = state.registry.mark_good(body["agent"], body["version"], good=body["good"])


def _playbooks_loaded(state: State, entry: Entry) -> None:
    state.book = entry.body["digest"]
    state.books[state.book] = msgspec.convert(entry.body["playbooks"], tuple[Playbook, ...])


def _system_noted(state: State, entry: Entry) -> None:
    state.generation = max(state.generation, entry.body.get("generation", 0))


def _oncall_loaded(state: State, entry: Entry) -> None:
    state.notices.load(entry)


def _notice_queued(state: State, entry: Entry) -> None:
    state.notices.queue(entry)


def _page_unanswered(state: State, entry: Entry) -> None:
    state.notices.give_up(entry)


def _incident_acknowledged(state: State, entry: Entry) -> None:
    state.notices.acknowledge(entry)
    _update(state, entry.incident, acknowledged_by=entry.by, acknowledged_ns=entry.at_ns)


def _telemetry_digested(state: State, entry: Entry) -> None:
    state.digested[entry.body.get("log", "")] = entry.body["last_seq"]


_REDUCERS = {
    "finding.recorded": _finding_recorded,
    "finding.grouped": _finding_grouped,
    "incident.opened": _incident_opened,
    "incident.judged": _incident_judged,
    "incident.moved": _incident_moved,
    "incident.disposed": _incident_disposed,
    "intent.issued": _intent_issued,
    "order.given": _order_given,
    "order.lifted": _order_lifted,
    "receipt.recorded": _receipt_recorded,
    "verdict.given": _verdict_given,
    "plan.made": _plan_made,
    "recovery.approved": _recovery_approved,
    "recovery.failed": _recovery_failed,
    "review.answered": _review_answered,
    "policy.activated": _policy_activated,
    "note.added": _note_added,
    "registry.published": _registry_published,
    "registry.activated": _registry_activated,
    "registry.marked": _registry_marked,
    "telemetry.digested": _telemetry_digested,
    "system.noted": _system_noted,
    "playbooks.loaded": _playbooks_loaded,
    "oncall.loaded": _oncall_loaded,
    "notice.queued": _notice_queued,
    "page.unanswered": _page_unanswered,
    "incident.acknowledged": _incident_acknowledged,
}
