"""The desk: work is taken in once, taken up and finished by people; side effects are held, let go once, or dropped."""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from andoncord.engine.asked import needed, text_of
from andoncord.engine.drafts import capture_draft, intent_draft
from andoncord.engine.facts import EffectHeld, PersonAsked, WorkHandedOver
from andoncord.engine.state import State
from andoncord.kernel.effect import EffectKind
from andoncord.kernel.errors import CallerError, ConflictError
from andoncord.kernel.journal import Draft
from andoncord.respond.desk import MAX_OF_AGENT, MAX_OPEN, Held, Item, batch_digest, refuse_wrong_approver
from andoncord.respond.playbook import Playbook
from andoncord.respond.steps import IRREVERSIBLE

TELL_MS = 30_000
RELEASE_EACH_MS = 30_000
"""How long one side effect may take."""
RELEASE_MAX_MS = 600_000
MAX_AT_ONCE = 100
"""Side effects that one word lets go: more are not read."""


def take_in(state: State, fact: WorkHandedOver) -> tuple[Draft, ...]:
    """Put work into the inbox; nothing where it is there already. What was returned to the agent comes back under its id.

    Raises:
        ConflictError: too much waits.
    """
    known = state.desk.item_for(fact.work.agent, fact.work.key)
    if known is not None and known.status != "returned":
        return ()
    incident = _home(state, fact.work.order, fact.work.agent)
    if known is not None:
        body: dict[str, Any] = {"id": known.id, "reason": fact.work.reason}
        return (Draft(kind="handover.reopened", incident=known.incident, by=f"agent:{fact.work.agent}", body=body),)
    waiting = state.desk.waiting()
    _refuse_too_many([each.work.agent for each in waiting], fact.work.agent, "items wait in the hand-over inbox")
    item = f"hnd_{state.desk.received + 1:06d}"
    body = {"id": item, "work": msgspec.to_builtins(fact.work)}
    if fact.digest:
        body["digest"] = fact.digest
    received = Draft(kind="handover.received", incident=incident, by=f"agent:{fact.work.agent}", body=body)
    facts = {"item": item, **msgspec.to_builtins(fact.work)}
    return (received, *_tell(state, incident, fact.work.agent, f"handover/{item}", "handover", fact.to, facts))


def hold(state: State, fact: EffectHeld) -> tuple[Draft, ...]:
    """Hold a side effect; nothing where it is held already.

    Raises:
        ConflictError: too many wait.
    """
    effect, digest = fact.effect, fact.digest or fact.effect.digest
    if state.desk.effect_for(digest) is not None:
        return ()
    waiting = state.desk.still_held()
    _refuse_too_many([each.effect.agent for each in waiting], effect.agent, "side effects are held")
    incident = _home(state, effect.order, effect.agent)
    held = f"eff_{state.desk.kept + 1:06d}"
    body = {"id": held, "effect": msgspec.to_builtins(effect), "digest": digest, "not_by": list(fact.not_by)}
    kept = Draft(kind="effect.held", incident=incident, by=f"agent:{effect.agent}", body=body)
    if any(each.effect.agent == effect.agent for each in waiting):
        return (kept,)  # Whoever has to know was told of the first: a batch is one message.
    facts = {"effect": held, "agent": effect.agent, "tool": effect.tool}
    return (kept, *_tell(state, incident, effect.agent, f"held/{held}", "held", fact.to, facts))


def take(state: State, wish: PersonAsked, playbooks: Sequence[Playbook]) -> tuple[Draft, ...]:
    """Take an item up, so that nobody else does the same work."""
    item = _open(state, wish)
    if item.status == "taken" and item.by != wish.by:
        raise ConflictError(f"{item.id} was taken by {item.by.removeprefix('person:')}", remedy="ask them to hand it on")
    return () if item.status == "taken" else (_change("taken", item, wish),)


def finish(state: State, wish: PersonAsked, playbooks: Sequence[Playbook]) -> tuple[Draft, ...]:
    """The work is done; the answer is what came of it."""
    return (_change("done", _open(state, wish), wish, answer=needed(text_of(wish, "answer"), "answer")),)


def give_back(state: State, wish: PersonAsked, playbooks: Sequence[Playbook]) -> tuple[Draft, ...]:
    """The agent is to do it after all."""
    return (_change("returned", _open(state, wish), wish, answer=needed(text_of(wish, "reason"), "reason")),)


def close(state: State, wish: PersonAsked, playbooks: Sequence[Playbook]) -> tuple[Draft, ...]:
    """Nobody is to do it."""
    return (_change("closed", _open(state, wish), wish, answer=needed(text_of(wish, "reason"), "reason")),)


def release(state: State, wish: PersonAsked, playbooks: Sequence[Playbook]) -> tuple[Draft, ...]:
    """Have held side effects carried out, exactly as they are, each once. The digest names what was read."""
    chosen = _chosen(state, wish)
    agents = sorted({each.effect.agent for each in chosen})
    if len(agents) > 1:
        raise CallerError(
            f"they are of several agents: {', '.join(agents)}", place="ids", remedy="release those of one at a time"
        )
    incident = chosen[0].incident
    ids = [each.id for each in chosen]
    body = {"ids": ids, "digest": batch_digest(chosen), "reason": needed(text_of(wish, "reason"), "reason")}
    told = [
        {
            "id": each.id,
            "run_id": each.effect.run_id,
            "tool": each.effect.tool,
            "arguments": each.effect.arguments,
            "digest": each.digest,
            "roles": list(each.effect.roles),
        }
        for each in chosen
    ]
    step = f"release/{chosen[0].id}/"
    number = sum(each.startswith(step) for each in state.steps.get(incident, ())) + 1
    intent = intent_draft(
        state,
        incident,
        f"{step}{number}",
        EffectKind.RELEASE,
        agents[0],
        deadline_ms=min(RELEASE_MAX_MS, RELEASE_EACH_MS * len(chosen)),
        reversal=f"{IRREVERSIBLE}: side effects leave the house",
        parameters={"effects": told},
        by=wish.by,
    )
    return (Draft(kind="effect.released", incident=incident, by=wish.by, body=body), intent)


def discard(state: State, wish: PersonAsked, playbooks: Sequence[Playbook]) -> tuple[Draft, ...]:
    """Drop held side effects for good."""
    chosen = _chosen(state, wish)
    body = {
        "ids": [each.id for each in chosen],
        "digest": batch_digest(chosen),
        "reason": needed(text_of(wish, "reason"), "reason"),
    }
    return (Draft(kind="effect.discarded", incident=chosen[0].incident, by=wish.by, body=body),)


def capture(state: State, wish: PersonAsked, playbooks: Sequence[Playbook]) -> tuple[Draft, ...]:
    """Seal evidence about an agent as it is now, whatever is in force for it."""
    incident = state.incident(needed(wish.incident, "incident"))
    agent = needed(wish.agent, "agent")
    if agent not in incident.agents:
        raise CallerError(f"{agent!r} is not part of {incident.id}", remedy=f"its agents: {', '.join(incident.agents)}")
    known = [each for each in state.intents_of(incident.id) if each.step.startswith("evidence/")]
    if any(each.receipt is None for each in known):
        raise ConflictError("evidence is being sealed", remedy="wait for its receipt")
    return (capture_draft(state, incident.id, f"evidence/{len(known) + 1}/{agent}", agent, [], by=wish.by),)


def _refuse_too_many(agents: Sequence[str], agent: str, what: str) -> None:
    if len(agents) >= MAX_OPEN:
        raise ConflictError(f"{MAX_OPEN} {what}")
    if sum(each == agent for each in agents) >= MAX_OF_AGENT:
        raise ConflictError(f"{MAX_OF_AGENT} {what}, of {agent} alone")


def _chosen(state: State, wish: PersonAsked) -> list[Held]:
    ids = wish.parameters.get("ids")
    if not isinstance(ids, list) or not 0 < len(ids) <= MAX_AT_ONCE or len(set(map(str, ids))) != len(ids):
        raise CallerError(f"names 1 to {MAX_AT_ONCE} side effects, each once", place="ids")
    chosen = [state.desk.effect(str(each)) for each in ids]
    for each in chosen:
        if each.status != "held":
            raise ConflictError(f"{each.id} is {each.status}", remedy="read it again: andon held list --status all")
    if needed(str(wish.parameters.get("digest") or ""), "digest") != batch_digest(chosen):
        raise ConflictError("this is the digest of other side effects", place="digest", remedy="read them again")
    role, roles = str(wish.parameters.get("role") or ""), wish.parameters.get("roles") or {}
    refuse_wrong_approver(chosen, by=wish.by, role=role, roles=roles)
    return chosen


def _open(state: State, wish: PersonAsked) -> Item:
    item = state.desk.item(needed(str(wish.parameters.get("item") or ""), "item"))
    if item.status not in ("waiting", "taken"):
        raise ConflictError(f"{item.id} is {item.status} already")
    return item


def _change(word: str, item: Item, wish: PersonAsked, *, answer: str = "") -> Draft:
    return Draft(kind=f"handover.{word}", incident=item.incident, by=wish.by, body={"id": item.id, "answer": answer})


def _home(state: State, order: str, agent: str) -> str:
    """The incident that the order belongs to, or the latest open one of the agent; empty where there is none."""
    given = state.orders.in_force.get(order)
    if given is not None:
        return given.incident
    known = state.index.of_agents({agent})
    return known[-1] if known else ""


def _tell(
    state: State, incident: str, agent: str, step: str, kind: str, to: Sequence[str], facts: dict[str, Any]
) -> Iterator[Draft]:
    if to:
        yield intent_draft(
            state,
            incident,
            step,
            EffectKind.NOTIFY,
            agent,
            deadline_ms=TELL_MS,
            reversal="nothing to undo",
            parameters={"kind": kind, "to": list(to), "facts": facts},
        )
