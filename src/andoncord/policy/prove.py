"""Is one set of policies more permissive than another? Proved with Z3, over all requests there can be (extra `prove`).

A request is turned into unknowns: the texts of agent, role, tool and environment, and for every place that a condition reads
(`args.amount`) what kind of value is there, and the value. Both sets become formulas over them, with the semantics of
`andoncord_sdk.policy`: an error in a prohibition refuses, an error in a permission does not permit. Z3 then looks for a request
that the new set lets go on and the old one refuses, or of which the old one asks something that the new one does not.

What Z3 cannot follow (`matches`, indexing, lists and maps as values, sizes of anything but text) is an unknown of its own,
the same for the same text of an expression. So "no" holds for all requests; a counterexample may come from such an unknown, and
counts only when the real evaluator decides it as Z3 says.

Numbers are reckoned with exactly: that 64-bit arithmetic ends in an error is part of the formulas, that floats round is not.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
import z3

from andoncord.policy.unknowns import SCOPES, World
from andoncord_sdk.obligation import Obligation, asked_by, load_obligations
from andoncord_sdk.policy import Decision, PolicySet

TIMEOUT_MS = 20_000
MIN_TIMEOUT_MS = 1_000
"""For each prohibition that is looked at."""
MAX_ATTEMPTS = 8
"""Counterexamples that are tried before the answer is left open."""


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the new set allows something that the old one refuses."""

    answer: Literal["no", "yes", "unknown"]
    request: dict[str, Any] | None = None
    """One such request."""
    refused_by: str = ""
    """Why the old set refuses it."""
    is_obliged: bool = False
    """The old set does not refuse it outright: it obliges to something that the new one does not ask."""
    why: str = ""
    """Why the answer is unknown."""


def compare(old: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]], *, timeout_ms: int = TIMEOUT_MS) -> Comparison:
    """Look for a request that `new` allows and `old` refuses; both as `compile_policies` makes them.

    Cost: milliseconds for each old prohibition that the new set does not have, growing with the number of conditions; Z3 gives
    up after `timeout_ms` in all, but not before a second for each.

    >>> cap = {"id": "cap", "effect": "forbid", "tool": "pay", "when": None, "message": "no"}
    >>> compare([cap], [cap]).answer, compare([cap], []).request["tool"]
    ('no', 'pay')
    """
    before, after = PolicySet(old), PolicySet(new)
    world = World()
    kept = {_meaning(policy) for policy in new}
    gone = [policy for policy in old if policy["effect"] == "forbid" and _meaning(policy) not in kept]
    refusals = [(world.refuses(policy), asked) for policy in gone for asked in _obligations(policy) or (None,)]
    permits = [[policy for policy in side if policy["effect"] == "permit"] for side in (old, new)]
    if {_meaning(policy) for policy in permits[0]} != {_meaning(policy) for policy in permits[1]}:
        refusals.append((z3.Not(world.permits(old)), None))
    permitted = world.permits(new)
    answer = Comparison(answer="no")
    for refusal, asked in refusals:  # One at a time: Z3 finds a request for one refusal much sooner than for any of many.
        solver = z3.Solver()
        solver.set("timeout", max(timeout_ms // len(refusals), MIN_TIMEOUT_MS))
        solver.add(refusal, permitted, *world.facts)
        standing = {
            policy["id"]: z3.Not(world.refuses(policy))
            for policy in new
            if policy["effect"] == "forbid" and ((owed := _obligations(policy)) == () or asked in owed)
        }
        found = _search(solver, world, before, after, dict(standing), asked)
        if found.answer == "unknown" and world.opaque:
            # Perhaps there is a request without the lists and maps that are not followed.
            solver.reset()
            solver.add(refusal, permitted, *world.facts, *world.without_lists_and_maps())
            again = _search(solver, world, before, after, dict(standing), asked)
            found = again if again.answer == "yes" else found
        if found.answer == "yes":
            return found
        if found.answer == "unknown":
            answer = found
    return answer


def _search(
    solver: Any, world: World, before: PolicySet, after: PolicySet, prohibitions: dict[str, Any], asked: Obligation | None
) -> Comparison:
    """Look for a request that meets the formulas, and that the evaluator decides as they say.

    The new prohibitions are added as they turn out to stand against what was found: of many, few matter.

    Args:
        prohibitions: those of the new set that refuse outright or ask the same.
        asked: what the old set asks; None where it refuses.
    """
    attempts = 0
    while attempts < MAX_ATTEMPTS:
        verdict = solver.check()
        if verdict == z3.unsat and attempts == 0:
            return Comparison(answer="no")
        if verdict == z3.unsat:
            break
        if verdict == z3.unknown:
            return Comparison(answer="unknown", why=f"Z3 gave up: {solver.reason_unknown()}")
        model = solver.model()
        request = world.request(model)
        refusal, decision = before.decide(request), after.decide(request)
        against = _against(decision, asked)
        if not against and (_against(refusal, asked) or not (refusal.allow or refusal.obligations)):
            is_obliged = bool(refusal.obligations)
            return Comparison(answer="yes", request=request, refused_by=refusal.explanation, is_obliged=is_obliged)
        if against in prohibitions:
            solver.add(prohibitions.pop(against))
            continue
        if not world.opaque:
            break
        attempts += 1
        solver.add(z3.Or([unknown != model.eval(unknown, model_completion=True) for unknown in world.opaque.values()]))
    followed = ", ".join(sorted(world.opaque)[:3]) or "how numbers round"
    return Comparison(answer="unknown", why=f"no counterexample stood the test; Z3 does not follow {followed}")


def _against(decision: Decision, asked: Obligation | None) -> str:
    """The policy that refuses outright or, where that is what counts, asks for `asked`; empty when none does."""
    if decision.obligations:
        return next((owed.policy_id for owed in decision.obligations if asked_by(owed.obligation) == asked), "")
    return "" if decision.allow else decision.policy_id or "nothing permits it"


def _obligations(policy: Mapping[str, Any]) -> tuple[Obligation, ...]:
    return tuple(map(asked_by, load_obligations(policy.get("obligations"))))


def _meaning(policy: Mapping[str, Any]) -> bytes:
    """What two policies share when they decide alike: a refusal that both sets have makes no difference."""
    scope = [policy.get(name, "*") for name in (*SCOPES, "tool")]
    said = [policy["effect"], scope, policy.get("resource"), policy.get("when"), policy.get("obligations")]
    return msgspec.json.encode(said, order="sorted")
