"""Cedar as a second opinion, and as a language to write and to read."""

from typing import Any

import cedarpy
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from andoncord.kernel.errors import CallerError
from andoncord.policy.cedar_export import export_cedar
from andoncord.policy.cedar_import import import_cedar
from andoncord.policy.policy import Policy, compile_policies, read
from andoncord_sdk.policy import PolicySet

# Arguments by name, where they are right: `a` and `b` whole numbers, `s` and `path` texts, `t` a truth, `m` a map with a text.
leaves = st.sampled_from(
    ["args.a > 1", "args.a - args.b <= 2", "args.a * 3 != 6", "args.a in [1, 2]", "-args.a == -2", 'args.s == "x"',
     'args.s != "a*\\"b"', 'args.s.startsWith("x*")', 'args.path.contains("/../")', 'args.s.endsWith("é")', "args.t", "!args.t",
     "args.t == true", 'args.m.k in ["v", "w"]', 'args["m"].k == "v"', "has(args.a)", "run.calls < 2", 'agent == "bot"',
     'environment != "prod"', "false"]
)  # fmt: skip
conditions = st.recursive(
    leaves,
    lambda inner: (
        st.builds(lambda one, op, two: f"({one} {op} {two})", inner, st.sampled_from(["&&", "||"]), inner)
        | inner.map(lambda one: f"!({one})")
    ),
    max_leaves=3,
)
documents = st.fixed_dictionaries(
    {
        "effect": st.sampled_from(["forbid", "forbid", "permit"]),
        "scope": st.fixed_dictionaries(
            {"tool": st.sampled_from(["*", "pay", "p*", "*y"])},
            optional={
                "agent": st.sampled_from(["bot", "bot-*"]),
                "environment": st.just("prod"),
                "role": st.sampled_from(["clerk", "*k"]),
            },
        ),
        "message": st.just("no"),
    },
    optional={"when": conditions},
)
sets = st.lists(documents, min_size=1, max_size=4)
heads = {
    "agent": st.sampled_from(["bot", "bot-1", "else"]),
    "tool": st.sampled_from(["pay", "put", "look"]),
    "role": st.sampled_from(["", "clerk"]),
    "environment": st.sampled_from(["", "prod"]),
    "run": st.integers(0, 3).map(lambda calls: {"id": "r", "task": "", "calls": calls, "spent_micro_usd": 0}),
}
texts = st.sampled_from(["", "x", "x*y", 'a*"b', "/data/../x", "café"])
right = st.fixed_dictionaries(
    {
        "a": st.integers(-3, 3),
        "b": st.integers(-3, 3),
        "s": texts,
        "path": texts,
        "t": st.booleans(),
        "m": st.fixed_dictionaries({"k": st.sampled_from(["v", "x"])}),
    }
)
wrong = st.dictionaries(
    st.sampled_from(["a", "b", "s", "path", "t", "m"]),
    st.sampled_from([0, 2, "x", "2", True, [], ["x"], {"k": 1}, {}, 2**63 - 1]),
)


def policies_of(found: list[dict[str, Any]]) -> tuple[Policy, ...]:
    return read(yaml.safe_dump_all([{"id": f"p-{number}", **each} for number, each in enumerate(found)]), place="generated")


def cedar_allows(policies: cedarpy.PolicySet, request: dict[str, Any]) -> bool:
    who = {"principal": {"type": "Agent", "id": request["agent"]}, "action": {"type": "Action", "id": request["tool"]}}
    whole = {**who, "resource": {"type": "Tool", "id": "any"}, "context": request}
    return bool(cedarpy.is_authorized(whole, policies, []).allowed)


SETTINGS = settings(max_examples=80, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))


@SETTINGS
@given(sets, st.lists(st.fixed_dictionaries({**heads, "args": right}), min_size=8, max_size=8))
def test_cedar_decides_the_same(found: list[dict[str, Any]], requests: list[dict[str, Any]]) -> None:
    """On requests that are as the policies expect them, Cedar and a guard agree; so does what is read back from Cedar."""
    policies = policies_of(found)
    ours = PolicySet(compile_policies(policies))
    written = export_cedar(policies)
    theirs = cedarpy.PolicySet.from_str(written)
    again = PolicySet(compile_policies(read(import_cedar(written, place="generated"), place="generated")))

    for request in requests:
        allowed = ours.decide(request).allow
        assert cedar_allows(theirs, request) == allowed
        assert again.decide(request).allow == allowed


@SETTINGS
@given(sets, st.lists(st.fixed_dictionaries({**heads, "args": wrong}), min_size=8, max_size=8))
def test_cedar_never_allows_what_a_guard_refuses(found: list[dict[str, Any]], requests: list[dict[str, Any]]) -> None:
    """Arguments that are missing or of another type do not slip past a prohibition because Cedar skips what errs."""
    policies = policies_of(found)
    ours = PolicySet(compile_policies(policies))
    theirs = cedarpy.PolicySet.from_str(export_cedar(policies))

    for request in requests:
        assert not cedar_allows(theirs, request) or ours.decide(request).allow


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"when": 'args.s.matches("x+")'}, "of texts, Cedar asks only how they begin and end"),
        ({"when": "args.a > 1.5"}, "Cedar has no null, no fractions"),
        ({"when": "args.a == null"}, "Cedar has no null"),
        ({"when": "args.a == args.b"}, "compare with a literal"),
        ({"when": 'args.s < "b"'}, "Cedar orders and adds only whole numbers"),
        ({"when": "size(args.s) > 1"}, "of texts, Cedar asks only"),
        ({"when": "args.l[0] == 1"}, "no indices into lists"),
        ({"scope": {"tool": "pa?"}}, "Cedar has only '*'"),
        ({"scope": {"tool": "*", "resource": {"argument": "path", "prefix": "/"}}}, "Cedar cannot tell `..`"),
    ],
)
def test_what_cedar_cannot_express_is_refused(change: dict[str, Any], message: str) -> None:
    """Nothing is left out or approximated: the policy's place and the remedy are named."""
    policies = policies_of([{"effect": "forbid", "scope": {"tool": "*"}, "message": "no", **change}])

    with pytest.raises(CallerError, match=r"^generated:1: policy p-0: Cedar cannot express") as refusal:
        export_cedar(policies)
    assert message in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("permit(", "not valid Cedar"),
        ('// a; b\n\npermit(principal in Team::"a", action, resource);', "p.cedar:3: groups of principals cannot be imported"),
        ('permit(principal, action, resource == File::"x");', "p.cedar:1: a resource cannot be imported"),
        ("permit(principal, action, resource) when { context.user == 1 };", "p.cedar:1: context.user cannot be imported"),
        (
            "permit(principal, action, resource);\npermit(principal, action, resource) when { if true then true else false };",
            "p.cedar:2: the operation if-then-else cannot be imported",
        ),
        ('@id("Big") permit(principal, action, resource);', "p.cedar:1: the id 'Big' cannot be imported"),
        ("permit(principal == ?principal, action, resource);", "templates cannot be imported"),
    ],
)
def test_what_ours_cannot_say_is_refused(text: str, message: str) -> None:
    """The line of the Cedar policy and what to write instead are named."""
    with pytest.raises(CallerError) as refusal:
        import_cedar(text, place="p.cedar")
    assert message in str(refusal.value)


def test_cedars_default_is_kept() -> None:
    """Cedar denies what nothing permits: what is imported does so too, for every agent."""
    text = (
        'permit(principal == Agent::"bot", action in [Action::"look", Action::"read"], resource) unless { context.args.deep };'
    )
    ours = PolicySet(compile_policies(read(import_cedar(text, place="p.cedar"), place="p.yaml")))

    assert ours.decide({"agent": "bot", "tool": "read", "args": {"deep": False}}).allow
    assert not ours.decide({"agent": "bot", "tool": "read", "args": {}}).allow
    assert not ours.decide({"agent": "bot", "tool": "pay", "args": {"deep": False}}).allow
    assert not ours.decide({"agent": "else", "tool": "read", "args": {"deep": False}}).allow


@pytest.mark.parametrize("when", ['args.x == "x"', "args.x == 1", "args.x == true", 'args.x in ["x", "y"]', "args.x > 1"])
@pytest.mark.parametrize("args", [{}, {"x": 7}, {"x": "z"}, {"x": False}, {"x": ["x"]}])
def test_another_type_is_no_way_around_an_exported_prohibition(when: str, args: dict[str, Any]) -> None:
    """Where a guard holds because it cannot compare, the exported policies deny."""
    policies = policies_of([{"effect": "forbid", "scope": {"tool": "pay"}, "when": when, "message": "no"}])
    request = {"agent": "bot", "tool": "pay", "role": "", "environment": "", "args": args, "run": {}}

    allowed = cedar_allows(cedarpy.PolicySet.from_str(export_cedar(policies)), request)
    assert allowed == PolicySet(compile_policies(policies)).decide(request).allow


def test_what_a_policy_obliges_to_is_an_annotation() -> None:
    """Cedar has no obligations: it refuses, and says in words for what a guard would let the call go on."""
    obliging = {"obligations": [{"require_approval": {"role": "finance"}}, {"redact": {"paths": ["card.no"]}}]}
    written = export_cedar(policies_of([{"effect": "forbid", "scope": {"tool": "*"}, "message": "no", **obliging}]))

    assert '@obligations("approval by finance; redact card.no")' in written
    request = {"agent": "a", "tool": "pay", "role": "", "environment": "", "args": {}, "run": {}}
    assert not cedar_allows(cedarpy.PolicySet.from_str(written), request)
