"""Policies as people write them: YAML with a scope, a condition and tests, checked and compiled for guards (PRV-3).

```yaml
id: refund-cap
effect: forbid                       # or permit: then whatever is not permitted is denied
scope: {agent: "support-*", tool: payments.refund}
when: args.amount_micro_usd > 200_000_000
message: refunds over 200 USD need a person
severity: high
tests:
  - {name: small refund, request: {args: {amount_micro_usd: 5_000_000}}, expect: allow}
```

A scope names `agent`, `role`, `tool` and `environment` as globs, and a resource by the prefix of one text argument:
`resource: {argument: path, prefix: /data/reports/}`. A condition may ask about `agent`, `role`, `tool`, `args`, `run` (`id`,
`task`, `spent_micro_usd`, `calls`) and `environment`.
A policy that does not parse, or whose tests fail, is never accepted.
"""

import re
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from andoncord.kernel.errors import CallerError
from andoncord.kernel.vocabulary import Severity
from andoncord.policy.document import Document, read_documents
from andoncord.policy.expression import Tree, parse
from andoncord_sdk.obligation import load_obligations
from andoncord_sdk.policy import MAX_TEXT, PolicyError, PolicySet

NAMES = ("agent", "role", "tool", "args", "run", "environment")
"""What a condition can ask about, and what a test's request can set."""
FIELDS = ("id", "effect", "scope", "when", "obligations", "message", "severity", "source", "tests")
SCOPE_FIELDS = ("agent", "role", "tool", "environment", "resource")
RESOURCE_FIELDS = ("argument", "prefix")
TEST_FIELDS = ("name", "request", "expect")

ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_RUN = {"id": "run", "task": "", "spent_micro_usd": 0, "calls": 0}

Expectation = Literal["allow", "deny", "oblige"]
"""`oblige`: the call goes on once the obligations are met."""


class PolicyTest(msgspec.Struct, frozen=True, kw_only=True):
    """One case a policy must decide as it says."""

    name: str
    request: dict[str, Any]
    expect: Expectation
    place: str


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """One permission or prohibition."""

    id: str
    effect: Literal["forbid", "permit"]
    agent: str
    """Glob."""
    role: str
    """Glob."""
    tool: str
    """Glob."""
    environment: str
    """Glob."""
    resource: dict[str, str] | None
    """`argument`, and the `prefix` its text begins with."""
    condition: str
    """As written; empty when it holds always."""
    when: Tree | None
    obligations: tuple[dict[str, Any], ...]
    """Of a prohibition: what lets a call go on all the same. Each a kind with its settings."""
    message: str
    severity: Severity | None
    source: str
    tests: tuple[PolicyTest, ...]
    place: str


def read(text: str, *, place: str) -> tuple[Policy, ...]:
    """Read and check the policies of one YAML file, without running their tests.

    Raises:
        CallerError: with file and line; nothing of the file is accepted then.
    """
    policies = tuple(_policy(document) for document in read_documents(text, place=place))
    if not policies:
        raise CallerError("there is no policy in it", place=place)
    compile_policies(policies)
    return policies


def load(text: str, *, place: str) -> tuple[Policy, ...]:
    r"""Read, check and test the policies of one YAML file.

    Raises:
        CallerError: with file and line; nothing of the file is accepted then.

    >>> load("id: cap\neffect: forbid\nscope: {tool: shell}\nsevrity: high", place="policies/cap.yaml")
    Traceback (most recent call last):
    andoncord.kernel.errors.CallerError: policies/cap.yaml:4: unknown field 'sevrity', did you mean 'severity'?
    """
    policies = read(text, place=place)
    for policy in policies:
        for failure in failures(policy):
            raise failure
    return policies


def check_tests(policy: Policy) -> list[str]:
    """What is wrong with a policy by its own tests; empty when they all hold."""
    return [problem for test in policy.tests if (problem := _problem(policy, test))]


def failures(policy: Policy) -> list[CallerError]:
    """The same, each with the place of its test."""
    found = ((test, _problem(policy, test)) for test in policy.tests)
    return [CallerError(f"policy {policy.id}: {problem}", place=test.place) for test, problem in found if problem]


def compile_policies(policies: Sequence[Policy]) -> list[dict[str, Any]]:
    """The policies as guards load them: plain JSON, conditions as trees.

    Raises:
        CallerError: when two have the same id, or a guard would not load them.
    """
    seen: dict[str, Policy] = {}
    for policy in policies:
        if policy.id in seen:
            raise CallerError(f"policy {policy.id!r} is also at {seen[policy.id].place}", place=policy.place)
        seen[policy.id] = policy
    compiled = [_compiled(policy) for policy in policies]
    try:
        PolicySet(compiled)
    except PolicyError as error:
        raise CallerError(str(error), place=policies[0].place) from None
    return compiled


def _compiled(policy: Policy) -> dict[str, Any]:
    # What came later is left out where it says nothing: a guard refuses fields that it does not know.
    later = {
        "role": policy.role if policy.role != "*" else None,
        "resource": policy.resource,
        "obligations": list(policy.obligations) or None,
    }
    return {
        **{name: value for name, value in later.items() if value is not None},
        "id": policy.id,
        "effect": policy.effect,
        "agent": policy.agent,
        "tool": policy.tool,
        "environment": policy.environment,
        "when": policy.when,
        "condition": policy.condition[:MAX_TEXT],
        "message": policy.message,
        "severity": policy.severity.value if policy.severity else None,
        "source": policy.source,
    }


def _problem(policy: Policy, test: PolicyTest) -> str:
    """What a test finds wrong with its policy, were it the only one in force; empty when nothing is."""
    decision = PolicySet([_compiled(policy)]).decide(test.request)
    got = "allow" if decision.allow else "oblige" if decision.obligations else "deny"
    if got == test.expect:
        return ""
    because = f" ({decision.explanation})" if decision.message else ""
    return f"test {test.name!r} expects {test.expect} but gets {got}{because}"


def _policy(document: Document) -> Policy:
    fields = document.check_fields((), FIELDS, what="a policy")
    policy_id = _text(document, "id")
    if not ID.fullmatch(policy_id):
        raise CallerError(
            f"bad id {policy_id!r}", place=document.at("id"), remedy="use lower-case letters, digits, '-', '_', '.'"
        )
    effect = _one_of(document, ("effect",), fields.get("effect"), ("forbid", "permit"))
    if "scope" not in fields:
        raise CallerError("'scope' is missing", place=document.at(), remedy="write scope: {tool: …}, with '*' for every tool")
    scope = document.check_fields(("scope",), SCOPE_FIELDS, what="'scope'")
    resource = None
    if "resource" in scope:
        document.check_fields(("scope", "resource"), RESOURCE_FIELDS, what="'resource'")
        resource = {name: _text(document, "scope", "resource", name) for name in RESOURCE_FIELDS}
    condition = _text(document, "when", default="")
    severity = fields.get("severity")
    return Policy(
        id=policy_id,
        effect="forbid" if effect == "forbid" else "permit",
        agent=_text(document, "scope", "agent", default="*"),
        role=_text(document, "scope", "role", default="*"),
        tool=_text(document, "scope", "tool"),
        environment=_text(document, "scope", "environment", default="*"),
        resource=resource,
        condition=condition,
        obligations=_obligations(document, fields, effect),
        when=parse(condition, place=document.at("when"), names=NAMES) if condition else None,
        message=_text(document, "message", default="" if effect == "permit" else None),
        severity=Severity(_one_of(document, ("severity",), severity, tuple(Severity))) if severity is not None else None,
        source=_text(document, "source", default=""),
        tests=_tests(document, fields),
        place=document.at(),
    )


def _obligations(document: Document, fields: dict[str, Any], effect: str) -> tuple[dict[str, Any], ...]:
    given = fields.get("obligations")
    if given is None:
        return ()
    if effect == "permit":
        remedy = "write a forbid with them, of the same scope, beside this permit"
        raise CallerError("obligations belong to a forbid", place=document.at("obligations"), remedy=remedy)
    if not isinstance(given, list) or not given:
        raise CallerError(
            "'obligations' has to be a list", place=document.at("obligations"), remedy="- require_approval: {role: …}"
        )
    for number, each in enumerate(given):
        try:
            load_obligations([each])
        except ValueError as error:
            raise CallerError(str(error), place=document.at("obligations", number)) from None
    return tuple(given)


def _tests(document: Document, fields: dict[str, Any]) -> tuple[PolicyTest, ...]:
    tests = fields.get("tests", [])
    if not isinstance(tests, list):
        raise CallerError("'tests' has to be a list", place=document.at("tests"))
    return tuple(_test(document, number) for number in range(len(tests)))


def _test(document: Document, number: int) -> PolicyTest:
    path = ("tests", number)
    fields = document.check_fields(path, TEST_FIELDS, what="a test")
    given = document.check_fields((*path, "request"), NAMES, what="'request'") if "request" in fields else {}
    request: dict[str, Any] = {
        "agent": given.get("agent") or _example(_text(document, "scope", "agent", default="*")),
        "role": given.get("role") or _example(_text(document, "scope", "role", default="*")),
        "tool": given.get("tool") or _example(_text(document, "scope", "tool")),
        "args": given.get("args", {}),
        "run": given.get("run", {}),
        "environment": given.get("environment") or _example(_text(document, "scope", "environment", default="*")),
    }
    for name, kind in {"agent": str, "role": str, "tool": str, "args": dict, "run": dict, "environment": str}.items():
        if not isinstance(request[name], kind):
            what = "text" if kind is str else "a mapping"
            raise CallerError(f"{name!r} of a request has to be {what}", place=document.at(*path, "request", name))
    request["run"] = {**_RUN, **request["run"]}
    expect = _one_of(document, (*path, "expect"), fields.get("expect"), ("allow", "deny", "oblige"))
    return PolicyTest(
        name=_text(document, *path, "name", default=f"{number + 1}"),
        request=request,
        expect="allow" if expect == "allow" else "oblige" if expect == "oblige" else "deny",
        place=document.at(*path),
    )


def _example(glob: str) -> str:
    """Some text that a glob without character classes matches.

    >>> _example("support-*")
    'support-1'
    """
    return glob.replace("*", "1").replace("?", "1")


def _text(document: Document, *path: str | int, default: str | None = None) -> str:
    value = document.get(*path)
    name = path[-1]
    if value is None and default is not None:
        return default
    if value is None:
        raise CallerError(f"{name!r} is missing", place=document.at(*path))
    if not isinstance(value, str):
        raise CallerError(f"{name!r} has to be text", place=document.at(*path), remedy='put it in quotes: "…"')
    if not value.strip() or (len(value) > MAX_TEXT and name != "when"):
        raise CallerError(f"{name!r} has to be 1 to {MAX_TEXT} characters of text", place=document.at(*path))
    return value


def _one_of(document: Document, path: tuple[str | int, ...], value: Any, words: Sequence[str]) -> str:
    if value not in tuple(words):
        what = f"{path[-1]!r} is missing" if value is None else f"{path[-1]!r} is {str(value)[:40]!r}"
        raise CallerError(what, place=document.at(*path), remedy=f"write one of: {', '.join(words)}")
    return str(value)
