"""Policies as YAML: read strictly, tested before they are accepted, compiled for guards."""

import json
from importlib import resources
from typing import Any

import msgspec
import pytest

from andoncord.kernel.errors import CallerError
from andoncord.kernel.vocabulary import Severity
from andoncord.policy.document import read_documents
from andoncord.policy.policy import FIELDS, NAMES, SCOPE_FIELDS, TEST_FIELDS, Policy, check_tests, compile_policies, load
from andoncord_sdk.policy import PolicySet

CAP = """\
id: refund-cap
effect: forbid
scope: {agent: "support-*", tool: "payments.refund"}
when: "args.amount_micro_usd > 200_000_000"
message: "refunds over 200 USD need a person"
severity: high
tests:
  - {name: small, request: {args: {amount_micro_usd: 5}}, expect: allow}
  - {name: big, request: {args: {amount_micro_usd: 300_000_000}}, expect: deny}
"""
PACKAGED = resources.files("andoncord") / "policies"
PACKAGED_NAMES = sorted(file.name for file in PACKAGED.iterdir() if file.name.endswith(".yaml"))
SCHEMA: dict[str, Any] = json.loads((PACKAGED / "policy.schema.json").read_text(encoding="utf-8"))


def one(text: str = CAP) -> Policy:
    (policy,) = load(text, place="policies/refunds.yaml")
    return policy


def test_a_policy_is_read() -> None:
    """Every field arrives; a test's request is completed from the scope."""
    policy = one()

    assert (policy.id, policy.effect, policy.agent, policy.severity) == ("refund-cap", "forbid", "support-*", Severity.HIGH)
    assert policy.place == "policies/refunds.yaml:1"
    assert policy.tests[0].request["agent"] == "support-1"
    assert check_tests(policy) == []


def test_what_guards_load_decides_as_written() -> None:
    """The compiled policy survives JSON and decides like the text says."""
    compiled = msgspec.json.decode(msgspec.json.encode(compile_policies([one()])))
    request = {"agent": "support-7", "tool": "payments.refund", "args": {"amount_micro_usd": 200_000_001}}

    decision = PolicySet(compiled).decide(request)

    assert (decision.allow, decision.policy_id, decision.message) == (False, "refund-cap", "refunds over 200 USD need a person")


def test_a_policy_whose_tests_fail_is_not_accepted() -> None:
    """Loading stops at the first test that does not hold, with its line."""
    with pytest.raises(CallerError) as caught:
        load(CAP.replace("expect: deny", "expect: allow"), place="policies/refunds.yaml")

    assert str(caught.value) == (
        "policies/refunds.yaml:9: policy refund-cap: test 'big' expects allow but gets deny "
        "(refunds over 200 USD need a person "
        "[refund-cap: args.amount_micro_usd > 200000000 (args.amount_micro_usd is 300000000)])"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("severity: high", "sevrity: high"), ":6: unknown field 'sevrity', did you mean 'severity'?"),
        (("severity: high", "severity: huge"), ":6: 'severity' is 'huge', write one of: low, medium, high, critical"),
        (("effect: forbid", "effect: deny"), ":2: 'effect' is 'deny', write one of: forbid, permit"),
        (("effect: forbid\n", ""), ":1: 'effect' is missing, write one of: forbid, permit"),
        (("id: refund-cap", "id: Refund Cap"), ":1: bad id 'Refund Cap'"),
        (("tool:", "tools:"), ":3: unknown field 'tools', did you mean 'tool'?"),
        (('scope: {agent: "support-*", tool: "payments.refund"}\n', ""), ":1: 'scope' is missing"),
        (('message: "refunds over 200 USD need a person"\n', ""), ":1: 'message' is missing"),
        (("args.amount_micro_usd >", "arg.amount_micro_usd >"), ":4: unknown name 'arg' at column 1, did you mean 'args'?"),
        (("> 200", "> > 200"), ":4: unexpected '>' at column 25"),
        (("expect: deny", "expect: denied"), ":9: 'expect' is 'denied', write one of: allow, deny"),
        (("{args: {amount_micro_usd: 5}}", "{arg: {}}"), ":8: unknown field 'arg', did you mean 'args'?"),
        (("{args: {amount_micro_usd: 5}}", "{args: 5}"), ":8: 'args' of a request has to be a mapping"),
        (("severity: high", "obligations: [require_aproval: {role: a}]"), ":6: the obligation 'require_aproval' is not known"),
        (("severity: high", "obligations: {redact: {paths: [a]}}"), ":6: 'obligations' has to be a list"),
        (
            ("severity: high", "obligations: [require_approval: {role: finance}]"),
            ":9: policy refund-cap: test 'big' expects deny but gets oblige",
        ),
        (('agent: "support-*"', "resource: {argument: path}"), ":3: 'prefix' is missing"),
        (('agent: "support-*"', "resource: /data"), ":3: 'resource' has to be a mapping"),
        (("severity: high", "severity: high\nseverity: low"), ":7: field 'severity' stands here twice"),
    ],
)
def test_a_mistake_is_named_with_its_line(change: tuple[str, str], message: str) -> None:
    """Every mistake is refused with file, line and remedy."""
    text = CAP.replace(*change)
    assert text != CAP
    with pytest.raises(CallerError) as caught:
        load(text, place="policies/refunds.yaml")
    assert str(caught.value).startswith(f"policies/refunds.yaml{message}")


def test_obligations_reach_the_guard_as_written() -> None:
    """What is obliged to survives JSON, its test says `oblige`, and a permit has none."""
    text = CAP.replace("severity: high", "obligations: [require_approval: {role: finance}, redact: {paths: [card.no]}]")
    (obliging,) = load(text.replace("expect: deny", "expect: oblige"), place="p.yaml")
    compiled = msgspec.json.decode(msgspec.json.encode(compile_policies([obliging])))
    request = {"agent": "support-7", "tool": "payments.refund", "args": {"amount_micro_usd": 200_000_001}}

    decision = PolicySet(compiled).decide(request)

    assert [str(owed.obligation) for owed in decision.obligations] == ["approval by finance", "redact card.no"]
    with pytest.raises(CallerError, match="obligations belong to a forbid"):
        load(text.replace("effect: forbid", "effect: permit"), place="p.yaml")


def test_role_and_resource_reach_the_guard_only_where_they_narrow() -> None:
    """They are compiled when a policy names them, and left out otherwise: older guards refuse fields they do not know."""
    scope = 'scope: {role: "clerk*", tool: "files.*", resource: {argument: path, prefix: /data/}}'
    narrow = one(CAP.replace('scope: {agent: "support-*", tool: "payments.refund"}', scope).split("tests:")[0])

    (compiled,) = compile_policies([narrow])
    assert (compiled["role"], compiled["resource"]) == ("clerk*", {"argument": "path", "prefix": "/data/"})
    assert not {"role", "resource"} & compile_policies([one()])[0].keys()


@pytest.mark.parametrize("text", ["", "# nothing\n", "- a\n", "text", "5"])
def test_a_file_without_a_policy_is_refused(text: str) -> None:
    """An empty file or another kind of document is no policy."""
    with pytest.raises(CallerError, match=r"policies/p\.yaml"):
        load(text, place="policies/p.yaml")


def test_one_id_cannot_stand_for_two_policies() -> None:
    """The second policy of an id is refused, with the place of the first."""
    with pytest.raises(CallerError, match=r"p\.yaml:11: policy 'refund-cap' is also at p\.yaml:1"):
        load(f"{CAP}---\n{CAP}", place="p.yaml")


@pytest.mark.parametrize("name", PACKAGED_NAMES)
def test_packaged_policies_load_and_fit_the_schema(name: str) -> None:
    """What we ship passes its own tests and the schema that editors use."""
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft202012Validator(SCHEMA)
    text = (PACKAGED / name).read_text(encoding="utf-8")

    assert all(policy.tests for policy in load(text, place=name))
    for document in read_documents(text, place=name):
        assert [error.message for error in validator.iter_errors(document.value)] == []


def test_the_schema_and_the_reader_know_the_same_fields() -> None:
    """An editor accepts the fields that loading accepts, and no others."""
    fields = SCHEMA["properties"]
    test = fields["tests"]["items"]["properties"]

    assert set(fields) == set(FIELDS)
    assert set(fields["scope"]["properties"]) == set(SCOPE_FIELDS)
    assert set(test) == set(TEST_FIELDS)
    assert set(test["request"]["properties"]) == set(NAMES)
