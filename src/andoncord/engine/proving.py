"""What is known of orders after their verdict: one that is broken later has not held, and the verdict says so."""

from collections.abc import Iterator

import msgspec

from andoncord.engine.facts import OrderBroken
from andoncord.engine.state import Intent, State
from andoncord.incident.incident import VerdictGiven
from andoncord.kernel.effect import EffectKind
from andoncord.kernel.journal import Draft
from andoncord.kernel.vocabulary import Verdict
from andoncord.respond.proof import VERDICTS, proof


def judged_orders(state: State) -> Iterator[Intent]:
    """Orders about one tool or one run that are in force, were judged, and have not been seen to fail."""
    for order in state.orders.in_force.values():
        if order.scope.is_whole:
            continue
        for intent in state.intents_of(order.incident):
            is_told = intent.standing == order.id and intent.effect.kind is EffectKind.ORDER
            given = _last_verdict(state, intent) if is_told and intent.effect.parameters.get("within") else None
            if given is not None and given.verdict is not Verdict.FAILED:
                yield intent


def broken(state: State, fact: OrderBroken) -> tuple[Draft, ...]:
    """Take the verdict on an order back; nothing where it is not in force any more, not judged yet, or known to have failed."""
    intent = state.intents.get(fact.order)
    given = None if intent is None or intent.standing not in state.orders.in_force else _last_verdict(state, intent)
    if intent is None or given is None or given.verdict is Verdict.FAILED:
        return ()
    reached = {each.stage: each.at_ns for each in given.stages if each.stage not in VERDICTS}
    way = proof(reached, verdict=Verdict.FAILED, judged_ns=fact.now_ns) if reached else ()
    body = {
        "intent": given.intent,
        "agent": given.agent,
        "verdict": Verdict.FAILED,
        "missing": [fact.why],
        "evidence": list(given.evidence),
        "in_flight": msgspec.to_builtins(given.in_flight),
        "stages": [msgspec.to_builtins(each) for each in way],
    }
    return (Draft(kind="verdict.given", incident=intent.incident, body=body),)


def _last_verdict(state: State, order: Intent) -> VerdictGiven | None:
    verification = state.step(order.incident, f"{order.step}/verify")
    if verification is None:
        return None
    verdicts = [given for given in state.incidents[order.incident].verdicts if given.intent == verification.id]
    return verdicts[-1] if verdicts else None
