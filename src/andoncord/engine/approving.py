"""Approvals: written down when asked, answered once by the right person, used once, and denied when nobody answers."""

from collections.abc import Iterator, Sequence

import msgspec

from andoncord.engine.asked import needed, text_of
from andoncord.engine.facts import ApprovalAsked, ApprovalsTaken, PersonAsked
from andoncord.engine.state import State
from andoncord.kernel.errors import ConflictError
from andoncord.kernel.journal import Draft
from andoncord.kernel.time import SECOND_NS
from andoncord.respond.approval import MAX_OF_AGENT, MAX_OPEN, Request, refuse_second_word, refuse_wrong_person
from andoncord.respond.playbook import Playbook

HEARD_NS = 15 * SECOND_NS
"""So long a request that expired is not asked anew: chosen, three times as long as guards leave between two looks at most."""


def ask(state: State, fact: ApprovalAsked) -> tuple[Draft, ...]:
    """Write a request down; none where the same one waits already.

    Raises:
        ConflictError: too many wait.
    """
    digest = fact.digest or fact.action.digest
    if state.approvals.open_for(digest) is not None:
        return ()
    latest = state.approvals.latest_for(digest)
    if latest is not None and latest.status == "denied" and fact.now_ns < latest.asked_ns + int(fact.wait_s * SECOND_NS):
        return ()  # Who was told no does not ask again at once.
    if latest is not None and latest.status == "expired" and fact.now_ns < latest.until_ns + HEARD_NS:
        return ()  # Whoever waited for it asks every few seconds, and has to hear that it is over.
    waiting = [each.action.agent for each in state.approvals.requests.values() if each.status == "waiting"]
    if len(waiting) >= MAX_OPEN:
        raise ConflictError(f"{MAX_OPEN} requests wait for an approval")
    if waiting.count(fact.action.agent) >= MAX_OF_AGENT:
        raise ConflictError(f"{MAX_OF_AGENT} requests of {fact.action.agent} alone wait for an approval")
    body = {
        "id": f"apr_{state.approvals.asked + 1:06d}",
        "action": msgspec.to_builtins(fact.action),
        "digest": digest,
        "requested_by": fact.requested_by,
        "not_by": list(fact.not_by),
        "people": fact.people,
        "wait_ns": int(fact.wait_s * SECOND_NS),
    }
    return (Draft(kind="approval.requested", by=f"agent:{fact.action.agent}", body=body),)


def take(state: State, fact: ApprovalsTaken) -> tuple[Draft, ...]:
    """Use up what was granted for these actions; each is good for one guard, once."""
    drafts: list[Draft] = []
    for action in fact.actions:
        request = state.approvals.open_for(action.digest)
        if request is not None and request.status == "granted" and fact.now_ns < request.until_ns:
            body = {"id": request.id, "digest": request.digest, "instance": fact.instance}
            drafts.append(Draft(kind="approval.used", by=f"agent:{action.agent}", body=body))
    return tuple(drafts)


def grant(state: State, wish: PersonAsked, playbooks: Sequence[Playbook]) -> tuple[Draft, ...]:
    """Approve one exact call. The digest has to be given: it names what was shown. Where several have to, count one."""
    request = _waiting(state, wish)
    refuse_second_word(request, by=wish.by)
    given = needed(str(wish.parameters.get("digest") or ""), "digest")
    if given != request.digest:
        raise ConflictError("this is the digest of another action", place="digest", remedy=f"read {request.id} again")
    use_ns = int(float(wish.parameters["use_within_s"]) * SECOND_NS)
    body = {"id": request.id, "digest": request.digest, "use_ns": use_ns, "reason": text_of(wish, "reason")}
    is_enough = len(request.approved_by) + 1 >= request.people
    return (Draft(kind="approval.granted" if is_enough else "approval.seconded", by=wish.by, body=body),)


def deny(state: State, wish: PersonAsked, playbooks: Sequence[Playbook]) -> tuple[Draft, ...]:
    """Refuse one call."""
    request = _waiting(state, wish)
    body = {"id": request.id, "digest": request.digest, "reason": text_of(wish, "reason")}
    return (Draft(kind="approval.denied", by=wish.by, body=body),)


def ended(state: State, now_ns: int) -> Iterator[Draft]:
    """What nobody answered, or nobody used, in time: it is denied."""
    for request in state.approvals.requests.values():
        if request.status in ("waiting", "granted") and request.until_ns <= now_ns:
            why = "nobody answered in time" if request.status == "waiting" else "it was not used in time"
            yield Draft(kind="approval.expired", body={"id": request.id, "digest": request.digest, "why": why})


def _waiting(state: State, wish: PersonAsked) -> Request:
    request = state.approvals.get(needed(str(wish.parameters.get("request") or ""), "request"))
    if request.status != "waiting":
        raise ConflictError(f"{request.id} is {request.status}")
    refuse_wrong_person(request, by=wish.by, roles=wish.parameters.get("roles") or {})
    return request
