"""Comparing sets of policies: proofs that hold, counterexamples that are real."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from andoncord.policy.expression import parse
from andoncord.policy.prove import compare
from andoncord_sdk.policy import PolicySet


def policy(effect: str, when: str = "", **fields: Any) -> dict[str, Any]:
    """A compiled policy."""
    tree = parse(when, place="test") if when else None
    return {"id": f"{effect}-{abs(hash((when, repr(fields))))}", "effect": effect, "when": tree, "message": "no", **fields}


REPORTS = {"argument": "path", "prefix": "/data/reports/"}

APPROVAL, REDACTION = {"require_approval": {"role": "finance"}}, {"redact": {"paths": ["card"]}}
APPROVED: dict[str, Any] = {"obligations": [APPROVAL]}
MASKED: dict[str, Any] = {"obligations": [REDACTION]}
BOTH: dict[str, Any] = {"obligations": [APPROVAL, REDACTION]}

CASES: list[tuple[str, list[dict[str, Any]], list[dict[str, Any]], str]] = [
    ("a higher cap", [policy("forbid", "args.usd > 200")], [policy("forbid", "args.usd > 300")], "yes"),
    ("a lower cap", [policy("forbid", "args.usd > 300")], [policy("forbid", "args.usd > 200")], "no"),
    ("at the cap", [policy("forbid", "args.usd >= 200")], [policy("forbid", "args.usd > 200")], "yes"),
    ("said differently", [policy("forbid", "args.usd > 200")], [policy("forbid", "!(args.usd <= 200)")], "no"),
    (
        "a missing amount is let by",
        [policy("forbid", "args.usd > 9")],
        [policy("forbid", "has(args.usd) && args.usd > 9")],
        "yes",
    ),
    ("absorbed by the other part", [policy("forbid", "args.a > 1 || args.b > 1")], [policy("forbid", "args.a > 1")], "yes"),
    ("a wider tool", [policy("permit", tool="*.read")], [policy("permit", tool="*")], "yes"),
    ("a narrower tool", [policy("permit", tool="files.*")], [policy("permit", tool="files.r*d")], "no"),
    ("the last permission goes", [policy("permit", tool="read")], [], "yes"),
    ("another role", [policy("forbid", role="intern*")], [policy("forbid", role="intern-?")], "yes"),
    (
        "a longer prefix",
        [policy("permit", resource=REPORTS)],
        [policy("permit", resource={**REPORTS, "prefix": "/data/"})],
        "yes",
    ),
    (
        "a shorter prefix",
        [policy("permit", resource={**REPORTS, "prefix": "/data/"})],
        [policy("permit", resource=REPORTS)],
        "no",
    ),
    (
        "a prefix by hand lets climb out",
        [policy("permit", resource=REPORTS)],
        [policy("permit", 'args.path.startsWith("/data/reports/")')],
        "yes",
    ),
    ("the same pattern", [policy("forbid", 'args.s.matches("x+")')], [policy("forbid", 'args.s.matches("x+")')], "no"),
    ("one text more", [policy("permit", 'agent in ["a", "b"]')], [policy("permit", 'agent in ["a", "b", "c"]')], "yes"),
    ("sums", [policy("forbid", "args.a + args.b > 10")], [policy("forbid", "args.a > 5 && args.b > 5")], "yes"),
    ("case by class", [policy("forbid", tool="[ab]x")], [policy("forbid", tool="ax"), policy("forbid", tool="bx")], "no"),
    ("approval instead of refusal", [policy("forbid", "args.usd > 9")], [policy("forbid", "args.usd > 9", **APPROVED)], "yes"),
    ("refusal instead of approval", [policy("forbid", "args.usd > 9", **APPROVED)], [policy("forbid", "args.usd > 9")], "no"),
    (
        "approval of less",
        [policy("forbid", "args.usd > 9", **APPROVED)],
        [policy("forbid", "args.usd > 99", **APPROVED)],
        "yes",
    ),
    ("approval of more", [policy("forbid", "args.usd > 9", **APPROVED)], [policy("forbid", "args.usd > 5", **APPROVED)], "no"),
    ("one obligation less", [policy("forbid", **BOTH)], [policy("forbid", **APPROVED)], "yes"),
    ("in two policies", [policy("forbid", **BOTH)], [policy("forbid", **APPROVED), policy("forbid", **MASKED)], "no"),
    ("length", [policy("forbid", "size(args.s) > 4")], [policy("forbid", "size(args.s) > 5")], "yes"),
]


@pytest.mark.parametrize(("old", "new", "answer"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_more_permissive_or_not(old: list[dict[str, Any]], new: list[dict[str, Any]], answer: str) -> None:
    """What a person would say after some thought; a counterexample is decided by the evaluator as it is told."""
    found = compare(old, new)

    assert (found.answer, found.why) == (answer, "")
    if found.request is not None:
        before, after = asked(old, found.request), asked(new, found.request)
        assert after is not None
        assert before is None or before - after
        assert found.is_obliged is (before is not None)


def asked(policies: list[dict[str, Any]], request: dict[str, Any]) -> set[str] | None:
    """What a call has to meet to go on; None when it is refused whatever it meets."""
    decision = PolicySet(policies).decide(request)
    return {str(owed.obligation) for owed in decision.obligations} if decision.allow or decision.obligations else None


def test_what_cannot_be_followed_is_said() -> None:
    """Where Z3 does not know what a pattern means, the answer stays open and says so."""
    found = compare([policy("forbid", 'args.s.matches("x")')], [policy("forbid", 'args.s.matches("[x]")')])

    assert found.answer == "unknown"
    assert 'args.s.matches("' in found.why


leaves = st.sampled_from(
    ["args.a > 1", "args.a == args.b", 'args.s == "x"', "has(args.a)", 'args.s.startsWith("x")', "args.a in [1, 2]", "args.t",
     "run.calls < 2", "args.s == null", "-args.a * 2 < args.b", 'args.m.k != "x"', "!args.t", 'args.s + "y" == "xy"']
)  # fmt: skip
conditions = st.recursive(
    leaves,
    lambda inner: st.builds(lambda one, op, two: f"({one} {op} {two})", inner, st.sampled_from(["&&", "||"]), inner),
    max_leaves=3,
)
policies = st.builds(
    lambda effect, when, tool, agent, resource: policy(
        effect, when, tool=tool, agent=agent, resource={"argument": "s", "prefix": "x"} if resource else None
    ),
    st.sampled_from(["forbid", "forbid", "permit"]),
    conditions,
    st.sampled_from(["*", "pay", "p*"]),
    st.sampled_from(["*", "bot", "bot-?"]),
    st.integers(0, 3).map(lambda number: number == 0),
)
values: st.SearchStrategy[Any] = st.sampled_from(
    [0, 1, 2, 1.5, -3, "x", "xy", "../x", "", None, True, False, [], {"k": "x"}, {}]
)
requests = st.fixed_dictionaries(
    {
        "agent": st.sampled_from(["bot", "bot-1", "else"]),
        "tool": st.sampled_from(["pay", "put", "look"]),
        "role": st.just(""),
        "environment": st.just(""),
        "args": st.dictionaries(st.sampled_from(["a", "b", "s", "t", "m"]), values, max_size=5),
        "run": st.integers(0, 3).map(lambda calls: {"id": "r", "task": "", "calls": calls, "spent_micro_usd": 0}),
    }
)
sets = st.lists(policies, max_size=3, unique_by=lambda one: one["id"])


@settings(max_examples=100, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(sets, sets, st.lists(requests, min_size=20, max_size=20))
def test_a_proof_is_never_contradicted(
    old: list[dict[str, Any]], new: list[dict[str, Any]], tried: list[dict[str, Any]]
) -> None:
    """Where the answer is no, no request is allowed by the new set and refused by the old one; these sets are all followed."""
    before, after = PolicySet(old), PolicySet(new)
    found = compare(old, new, timeout_ms=5_000)

    assert found.answer != "unknown", found.why
    for request in tried:
        if after.decide(request).allow and not before.decide(request).allow:
            assert found.answer == "yes", request
