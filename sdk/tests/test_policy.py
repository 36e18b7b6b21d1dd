"""Deciding by policies: deny overrides, errors close, permissions make the rest forbidden."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from andoncord_sdk.policy import MAX_REMEMBERED, Decision, PolicyError, PolicySet

AMOUNT = {"op": "field", "of": {"op": "name", "name": "args"}, "name": "amount"}
BIG = {"op": ">", "args": [AMOUNT, {"op": "const", "value": 100}]}
SMALL = {"op": "<=", "args": [AMOUNT, {"op": "const", "value": 100}]}


def forbid(policy_id: str = "cap", **fields: Any) -> dict[str, Any]:
    return {"id": policy_id, "effect": "forbid", "message": "ask a person", **fields}


def permit(policy_id: str = "may", **fields: Any) -> dict[str, Any]:
    return {"id": policy_id, "effect": "permit", **fields}


def decide(policies: list[dict[str, Any]], tool: str = "pay", agent: str = "bot", **rest: Any) -> Decision:
    return PolicySet(policies).decide({"agent": agent, "tool": tool, "args": {}, **rest})


def test_without_policies_everything_is_allowed() -> None:
    """No policy, no restriction: the declared scope is the guard's affair."""
    assert decide([]) == Decision(allow=True)


def test_a_prohibition_says_which_and_why() -> None:
    """A refusal names the policy and carries its message."""
    decision = decide([forbid(when=BIG)], args={"amount": 101})

    clause = "args.amount > 100 (args.amount is 101)"
    assert decision == Decision(allow=False, code="policy", policy_id="cap", message="ask a person", clause=clause)
    assert decision.explanation == f"ask a person [cap: {clause}]"
    assert decide([forbid(when=BIG)], args={"amount": 100}).allow


def test_deny_overrides() -> None:
    """A prohibition holds whatever is permitted, in either order."""
    both = [permit(), forbid(when=BIG)]

    assert decide(both, args={"amount": 5}) == Decision(allow=True, policy_id="may")
    assert not decide(both, args={"amount": 500}).allow
    assert not decide(both[::-1], args={"amount": 500}).allow


def test_a_prohibition_that_cannot_be_checked_holds() -> None:
    """A missing amount does not slip past a cap; the message says what was wrong."""
    decision = decide([forbid(when=BIG)], args={})

    assert (decision.allow, decision.code, decision.policy_id) == (False, "policy", "cap")
    assert "could not be checked: there is no field 'amount'" in decision.message


def test_a_permission_that_cannot_be_checked_permits_nothing() -> None:
    """An errored permission leaves the call denied, and is named as a near miss."""
    decision = decide([permit(when=SMALL)], args={})

    assert (decision.allow, decision.code) == (False, "scope")
    assert decision.near_misses == ("may could not be checked: there is no field 'amount'",)


def test_one_permission_makes_the_rest_forbidden() -> None:
    """What no permission covers is denied once the agent has one; the closest permissions are named."""
    decision = decide(
        [permit(tool="orders.*"), permit("small", tool="pay", when=SMALL, condition="args.amount <= 100")], args={"amount": 101}
    )

    assert (decision.allow, decision.code, decision.policy_id) == (False, "scope", "")
    assert decision.near_misses == ("small permits it only if args.amount <= 100 (args.amount is 101)", "may permits orders.*")
    assert "nothing permits bot to call pay" in decision.message


def test_permissions_of_others_do_not_concern_an_agent() -> None:
    """A permission for another agent or another environment restricts nobody else."""
    policies = [permit(agent="report-*", environment="prod", tool="read")]

    assert decide(policies, agent="bot", environment="prod").allow
    assert decide(policies, agent="report-1", environment="test").allow
    assert not decide(policies, agent="report-1", environment="prod").allow


def test_a_scope_can_name_a_role() -> None:
    """A role is a glob like the others; a guard that declares no role has the empty one, which only `*` matches."""
    policies = [permit(role="report-*", tool="read"), forbid("no-interns", role="intern", tool="pay")]

    assert not decide(policies, role="report-writer").allow
    assert decide(policies, role="report-writer", tool="read").allow
    assert not decide(policies, role="intern").allow
    assert decide(policies, role="clerk").allow
    assert decide(policies).allow


RESOURCE = {"argument": "path", "prefix": "/data/reports/"}


@pytest.mark.parametrize(
    ("path", "is_forbidden", "is_permitted"),
    [
        ("/data/reports/may.csv", True, True),
        ("/data/keys", False, False),
        ("/data/reports", False, False),
        ("s3://bucket/may.csv", False, False),
        ("/data/reports/../keys", True, False),
        ("/data/reports/a/..", True, False),
        ("/data//reports/may.csv", True, False),
        ("/data/reports/%2e%2E/keys", True, False),
        ("/data\\reports\\may.csv", True, False),
        (7, True, False),
        (None, True, False),
    ],
)
def test_a_scope_can_name_a_resource(path: object, is_forbidden: bool, is_permitted: bool) -> None:
    """A resource is the prefix of an argument; where it cannot be told, a prohibition applies and a permission does not."""
    assert decide([forbid(resource=RESOURCE)], args={"path": path}).allow is not is_forbidden
    assert decide([permit(resource=RESOURCE)], args={"path": path}).allow is is_permitted


def test_a_missing_resource_is_not_guessed() -> None:
    """Without the argument a prohibition applies and a permission does not; a condition that is false settles it."""
    assert not decide([forbid(resource=RESOURCE)]).allow
    assert not decide([permit(resource=RESOURCE)]).allow
    assert decide([forbid(resource=RESOURCE, when=BIG)], args={"amount": 1}).allow
    assert "the resource args.path is missing" in decide([forbid(resource=RESOURCE)]).message
    assert "args.path is missing" in decide([permit(resource=RESOURCE, when=BIG)], args={"amount": 1}).near_misses[0]


def test_a_refusal_shows_the_clause_that_decided() -> None:
    """Of a condition with alternatives only the one that holds is named, with what it saw."""
    other = {"op": "==", "args": [{"op": "name", "name": "agent"}, {"op": "const", "value": "else"}]}
    decision = decide([forbid(when={"op": "||", "args": [other, BIG]})], args={"amount": 101})

    assert decision.clause == "args.amount > 100 (args.amount is 101)"


@pytest.mark.parametrize(
    ("glob", "tool", "matches"),
    [
        ("pay", "pay", True),
        ("pay", "payments", False),
        ("pay*", "payments.refund", True),
        ("*.refund", "payments.refund", True),
        ("Pay", "pay", False),
        ("pay.refund", "payxrefund", False),
        ("pay", "pay\n", False),
        ("pa?", "pay", True),
        ("*", "", True),
    ],
)
def test_scopes_are_globs(glob: str, tool: str, matches: bool) -> None:
    """Scopes match whole names, in their exact case."""
    assert decide([forbid(tool=glob)], tool=tool).allow is not matches


def test_anything_that_breaks_inside_a_prohibition_holds() -> None:
    """A value that explodes when it is read is no way around a prohibition."""

    class Hostile(dict[str, Any]):
        def __contains__(self, key: object) -> bool:
            raise RuntimeError

        def __getitem__(self, key: str) -> Any:
            raise RuntimeError

    assert not decide([forbid(when=BIG)], args=Hostile()).allow
    assert not decide([permit(when=SMALL)], args=Hostile()).allow


@pytest.mark.parametrize(
    "policy",
    [
        {},
        {"id": "x", "effect": "allow"},
        {"id": "", "effect": "forbid"},
        {"id": "x", "effect": "forbid", "obligations": []},
        {"id": "x", "effect": "forbid", "resource": "/data"},
        {"id": "x", "effect": "forbid", "resource": {"argument": "path"}},
        {"id": "x", "effect": "forbid", "resource": {"argument": "path", "prefix": ""}},
        {"id": "x", "effect": "forbid", "when": {"op": "exec"}},
        {"id": "x", "effect": "forbid", "tool": None},
        {"id": "x", "effect": "forbid", "tool": "a" * 2000},
        "x",
    ],
)
def test_a_policy_that_is_not_understood_is_refused(policy: Any) -> None:
    """A set with a policy that could not be enforced is not loaded at all."""
    with pytest.raises(PolicyError):
        PolicySet([forbid(), policy])


def test_ids_are_unique() -> None:
    """Two policies with one id could not be told apart in a refusal."""
    with pytest.raises(PolicyError, match="same id"):
        PolicySet([forbid(), forbid()])


def test_what_is_remembered_is_bounded() -> None:
    """Made-up tool names do not fill the memory."""
    policies = PolicySet([forbid(tool="pay")])
    for number in range(MAX_REMEMBERED + 10):
        policies.decide({"agent": "bot", "tool": f"tool-{number}"})

    assert len(policies._concerning) <= MAX_REMEMBERED
    assert not policies.decide({"agent": "bot", "tool": "pay"}).allow


RUN_IS_LATE = {
    "op": ">",
    "args": [{"op": "field", "of": {"op": "name", "name": "run"}, "name": "calls"}, {"op": "const", "value": 3}],
}
GENERATED = st.lists(
    st.fixed_dictionaries(
        {
            "effect": st.sampled_from(["forbid", "permit"]),
            "agent": st.sampled_from(["*", "bot", "b*"]),
            "tool": st.sampled_from(["*", "pay", "p*", "look"]),
            "environment": st.sampled_from(["*", "prod"]),
            "role": st.sampled_from(["*", "clerk"]),
            "when": st.sampled_from([None, BIG, SMALL, RUN_IS_LATE]),
        }
    ),
    max_size=5,
)


@given(GENERATED, st.sampled_from(["pay", "look"]), st.sampled_from([{}, {"amount": 5}, {"amount": 500}]), st.integers(2, 5))
def test_bound_to_an_agent_policies_decide_the_same(
    policies: list[dict[str, Any]], tool: str, args: dict[str, Any], calls: int
) -> None:
    """What a guard asks before each call is the decision itself, found by a shorter way."""
    known = PolicySet([{**policy, "id": f"p{number}"} for number, policy in enumerate(policies)])
    request = {"agent": "bot", "tool": tool, "args": args, "run": {"calls": calls}, "environment": "prod", "role": "clerk"}
    bound = known.bound_to("bot", role="clerk", environment="prod")

    for _ in range(2):
        assert bound.decide(tool, args, lambda: {"calls": calls}) == known.decide(request)
