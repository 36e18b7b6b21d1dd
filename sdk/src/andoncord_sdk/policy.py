r"""Policies as a guard applies them: permissions and prohibitions, looked up by tool, decided in about a microsecond.

* Deny overrides: one `forbid` that applies refuses the call, whatever is permitted.
* A `forbid` whose condition cannot be evaluated applies; a `permit` whose condition cannot be evaluated does not.
* A `forbid` with obligations lets the call go on once all of them are met, if nothing else stands against it.
* As soon as any `permit` is about an agent (in its role and environment), that agent may do only what is permitted.
* A scope can name a resource by the prefix of one text argument. Where that argument is missing, is no text, or is written so
  that the place it leads to cannot be told from its beginning (`..`, `//`, `\\`, `%2e`), the scope cannot be checked either.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import translate
from typing import Any, Literal, NamedTuple

from andoncord_sdk.explain import deciding_clause
from andoncord_sdk.expression import ExpressionError, Node, compile_condition
from andoncord_sdk.obligation import Obligation, Owed, load_obligations
from andoncord_sdk.values import kind_of

MAX_POLICIES = 10_000
MAX_REMEMBERED = 1024
"""Combinations of agent, tool and environment for which the policies that concern them are kept at hand."""
MAX_NEAR_MISSES = 3
MAX_TEXT = 1024
"""Characters of a glob, an id or a message."""

DecisionCode = Literal["", "policy", "scope", "obligation"]
Request = Mapping[str, Any]
Condition = Callable[[Request], bool]


class PolicyError(ValueError):
    """A compiled policy that cannot be loaded: nothing of its set is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Whether a call is allowed, and why not."""

    allow: bool
    code: DecisionCode = ""
    """`policy`: a prohibition applies; `scope`: nothing permits it; `obligation`: it may go on once `obligations` are met;
    empty when allowed."""
    policy_id: str = ""
    """The policy that decided; empty when none did."""
    message: str = ""
    clause: str = ""
    """The part of the prohibition that applied, with the values it looked at; empty when it has no condition."""
    near_misses: tuple[str, ...] = ()
    """Why the permissions that come closest did not apply."""
    obligations: tuple[Owed, ...] = ()
    """What is owed, when nothing else stands against the call."""

    @property
    def explanation(self) -> str:
        """The message with the policy and its clause, or with the near misses: what the caller is told."""
        if self.near_misses:
            return f"{self.message}: {'; '.join(self.near_misses)}"
        if self.obligations:
            return "; ".join(f"{each.message} [{each.policy_id}: {each.obligation}]" for each in self.obligations)
        if self.allow or not self.policy_id:
            return self.message
        return f"{self.message} [{self.policy_id}: {self.clause}]" if self.clause else f"{self.message} [{self.policy_id}]"


_ALLOWED = Decision(allow=True)


class PolicySet:
    """The policies in force, ready to decide.

    Args:
        compiled: what `andoncord.policy.policy.compile_policies` makes: objects with `id`, `effect` (`forbid` or `permit`),
            `agent`, `role`, `tool` and `environment` (globs), `resource` (`argument` and `prefix`, or None), `when` (an
            expression tree or None), `obligations` of a prohibition and `message`; for people also `condition`, `severity`
            and `source`.

    Raises:
        PolicyError: when any of them is malformed.

    Cost: 1 µs a decision, whatever the number of policies; the first one about a tool looks at all of them.

    >>> spent = {"op": "field", "of": {"op": "name", "name": "args"}, "name": "usd"}
    >>> cap = {"op": ">", "args": [spent, {"op": "const", "value": 200}]}
    >>> policies = PolicySet([{"id": "cap", "effect": "forbid", "tool": "refund", "when": cap, "message": "ask a person"}])
    >>> policies.decide({"agent": "support", "tool": "refund", "args": {"usd": 12}}).allow
    True
    >>> decision = policies.decide({"agent": "support", "tool": "refund", "args": {"usd": "12"}})
    >>> decision.allow, decision.message
    (False, "ask a person (its condition could not be checked: '>' cannot order a text and a number)")
    >>> policies.decide({"agent": "support", "tool": "refund", "args": {"usd": 300}}).explanation
    'ask a person [cap: args.usd > 200 (args.usd is 300)]'
    """

    def __init__(self, compiled: Sequence[Mapping[str, Any]]) -> None:
        if len(compiled) > MAX_POLICIES:
            raise PolicyError(f"{len(compiled)} policies; at most {MAX_POLICIES} can be in force")
        self._policies = tuple(_loaded(policy) for policy in compiled)
        if len({policy.id for policy in self._policies}) != len(self._policies):
            raise PolicyError("two policies have the same id")
        self._concerning: dict[tuple[str, str, str, str], _Concerning] = {}
        """By agent, tool, environment and role."""

    def __len__(self) -> int:
        return len(self._policies)

    def decide(self, request: Request) -> Decision:
        """Decide on one call.

        Args:
            request: `agent` and `tool`; whatever scopes and conditions ask about: `args`, `run`, `role`, `environment`.
        """
        key = (request["agent"], request["tool"], request.get("environment", ""), request.get("role", ""))
        concerning = self._concerning.get(key)
        if concerning is None:
            if len(self._concerning) >= MAX_REMEMBERED:
                self._concerning.clear()
            concerning = self._concerning[key] = self._look_up(*key)
        return concerning.decide(request)

    def bound_to(self, agent: str, *, role: str = "", environment: str = "") -> "BoundPolicies":
        """These policies as one agent meets them."""
        return BoundPolicies(self, agent, role, environment)

    def _look_up(self, agent: str, tool: str, environment: str, role: str) -> "_Concerning":
        mine = [each for each in self._policies if each.agent(agent) and each.environment(environment) and each.role(role)]
        return _Concerning(
            forbids=tuple(policy for policy in mine if policy.effect == "forbid" and policy.tool(tool)),
            permits=tuple(policy for policy in mine if policy.effect == "permit" and policy.tool(tool)),
            elsewhere=tuple(policy for policy in mine if policy.effect == "permit" and not policy.tool(tool))[:MAX_NEAR_MISSES],
            needs_permit=any(policy.effect == "permit" for policy in mine),
        )


class BoundPolicies:
    """A policy set as one agent meets it: what concerns a call is found by the tool alone.

    >>> bound = PolicySet([{"id": "no-shell", "effect": "forbid", "tool": "shell", "message": "no shell"}]).bound_to("coder")
    >>> bound.decide("shell", {}, dict).allow, bound.decide("search", {}, dict).allow
    (False, True)
    """

    __slots__ = ("_agent", "_by_tool", "_environment", "_role", "policies")

    def __init__(self, policies: PolicySet, agent: str, role: str, environment: str) -> None:
        self.policies = policies
        self._by_tool: dict[str, _Concerning] = {}
        self._agent = agent
        self._role = role
        self._environment = environment

    def decide(self, tool: str, arguments: Any, facts: Callable[[], Mapping[str, Any]]) -> Decision:
        """Decide on one call.

        Args:
            arguments: what conditions see as `args`.
            facts: gives what they see as `run`; called only when one of them looks.
        """
        concerning = self._by_tool.get(tool)
        if concerning is None:
            if len(self._by_tool) >= MAX_REMEMBERED:
                self._by_tool.clear()
            concerning = self.policies._look_up(self._agent, tool, self._environment, self._role)
            self._by_tool[tool] = concerning
        if concerning.is_silent:
            return _ALLOWED
        return concerning.decide(
            {
                "agent": self._agent,
                "role": self._role,
                "environment": self._environment,
                "tool": tool,
                "args": arguments,
                "run": facts() if concerning.asks_about_run else None,
            }
        )


class _Policy(NamedTuple):
    id: str
    effect: str
    agent: Callable[[str], bool]
    role: Callable[[str], bool]
    tool: Callable[[str], bool]
    environment: Callable[[str], bool]
    tool_glob: str
    resource: "Resource | None"
    when: Node | None
    applies: Condition | None
    """Resource and condition together; None when there is neither."""
    refusal: Decision
    permission: Decision
    obligations: tuple[Obligation, ...]
    """A prohibition that has some lets a call go on once they are met."""
    digest: str


class _Concerning:
    """What there is to decide about one tool of one agent in one environment."""

    __slots__ = ("_elsewhere", "_forbids", "_needs_permit", "_permits", "asks_about_run", "is_silent")

    def __init__(
        self,
        *,
        forbids: tuple[_Policy, ...],
        permits: tuple[_Policy, ...],
        elsewhere: tuple[_Policy, ...],
        needs_permit: bool,
    ) -> None:
        self._forbids = tuple((policy.applies, policy) for policy in forbids)
        self._permits = permits
        self._elsewhere = elsewhere
        """Permissions of the agent for other tools."""
        self._needs_permit = needs_permit
        self.is_silent = not forbids and not needs_permit
        self.asks_about_run = any(_names("run", policy.when) for policy in (*forbids, *permits))

    def decide(self, request: Request) -> Decision:
        try:
            for applies, _ in self._forbids:
                if applies is None or applies(request):
                    break
            else:
                return self._permitted(request) if self._needs_permit else _ALLOWED
        except Exception:  # Told below, with the policy that it is about.
            pass
        return self._forbidden(request)

    def _forbidden(self, request: Request) -> Decision:
        """What comes of prohibitions of which at least one applies: a refusal, or what is owed."""
        owed: list[Owed] = []
        for applies, policy in self._forbids:
            try:
                refused = _refused(policy, request) if applies is None or applies(request) else None
            except Exception as error:  # Whatever goes wrong in a prohibition, it holds.
                message = f"{policy.refusal.message} (its condition could not be checked: {_said(error)})"
                refused = Decision(allow=False, code="policy", policy_id=policy.id, message=message)
            if refused is None:
                continue
            if not policy.obligations:
                return refused
            owed += [Owed(each, policy.id, policy.digest, refused.message) for each in policy.obligations]
        if self._needs_permit and not (permitted := self._permitted(request)).allow:
            return permitted
        return Decision(
            allow=False, code="obligation", policy_id=owed[0].policy_id, message=owed[0].message, obligations=tuple(owed)
        )

    def _permitted(self, request: Request) -> Decision:
        for policy in self._permits:
            try:
                if policy.applies is None or policy.applies(request):
                    return policy.permission
            except Exception:  # Whatever goes wrong in a permission, it does not permit. The near misses say so.
                continue
        return self._not_permitted(request)

    def _not_permitted(self, request: Request) -> Decision:
        misses = [_why_not(policy, request) for policy in self._permits]
        misses += [f"{policy.id} permits {policy.tool_glob}" for policy in self._elsewhere]
        nothing_permits = f"nothing permits {str(request['agent'])[:80]} to call {str(request['tool'])[:80]} like this"
        return Decision(allow=False, code="scope", message=nothing_permits, near_misses=tuple(misses[:MAX_NEAR_MISSES]))


class Resource(NamedTuple):
    """What a scope names by the beginning of one argument.

    >>> reports = Resource("path", "/data/reports/")
    >>> reports.holds({"path": "/data/reports/may.csv"}), reports.holds({"path": "/data/keys"})
    (True, False)
    >>> reports.holds({"path": "/data/reports/../keys"})
    Traceback (most recent call last):
    andoncord_sdk.values.ExpressionError: where the resource args.path leads cannot be told from its beginning
    """

    argument: str
    prefix: str

    def holds(self, arguments: Any) -> bool:
        """Whether the argument begins with the prefix.

        Raises:
            ExpressionError: it is missing, no text, or ambiguous.
        """
        if not isinstance(arguments, Mapping) or self.argument not in arguments:
            raise ExpressionError(f"the resource args.{self.argument} is missing")
        value = arguments[self.argument]
        if not isinstance(value, str):
            raise ExpressionError(f"the resource args.{self.argument} is a {kind_of(value)}, not a text")
        if _AMBIGUOUS.search(value):
            raise ExpressionError(f"where the resource args.{self.argument} leads cannot be told from its beginning")
        return value.startswith(self.prefix)

    def __str__(self) -> str:
        return f"args.{self.argument} begins with {self.prefix!r}"


_AMBIGUOUS = re.compile(r"(?:^|/)\.{1,2}(?:/|$)|(?<!:)//|\\|%(?:2[eEfF]|5[cC]|25)|[\x00-\x1f]")
"""Segments `.` and `..`, doubled slashes (after a scheme they are meant), backslashes, escapes of these, control characters."""

_FIELDS = frozenset(
    {"id", "effect", "agent", "role", "tool", "environment", "resource", "when", "obligations"}
    | {"message", "condition", "severity", "source"}
)


def policy_digest(compiled: Mapping[str, Any]) -> str:
    """Names one version of a policy, for guards and for the control plane alike."""
    return hashlib.sha256(json.dumps(compiled, sort_keys=True, default=str).encode()).hexdigest()


def _loaded(compiled: Mapping[str, Any]) -> _Policy:
    if not isinstance(compiled, Mapping):
        raise PolicyError("a compiled policy is an object")
    policy_id = _text(compiled, "id")
    if unknown := sorted(str(field) for field in compiled.keys() - _FIELDS):
        # It may have come from a newer server and mean something that would not be enforced here.
        raise PolicyError(f"policy {policy_id}: {unknown[0]!r} is not known to this version of the SDK")
    effect = _text(compiled, "effect")
    if effect not in ("forbid", "permit"):
        raise PolicyError(f"policy {policy_id}: its effect is neither forbid nor permit")
    message = _text(compiled, "message", "")
    try:
        when = None if compiled.get("when") is None else compile_condition(compiled["when"])
    except ExpressionError as error:
        raise PolicyError(f"policy {policy_id}: {error}") from None
    resource = _resource(compiled)
    try:
        obligations = load_obligations(compiled.get("obligations"))
    except ValueError as error:
        raise PolicyError(f"policy {policy_id}: {error}") from None
    if obligations and effect == "permit":
        raise PolicyError(f"policy {policy_id}: obligations belong to a forbid; what it forbids goes on once they are met")
    return _Policy(
        id=policy_id,
        effect=effect,
        agent=_glob(_text(compiled, "agent", "*")),
        tool=_glob(_text(compiled, "tool", "*")),
        role=_glob(_text(compiled, "role", "*")),
        environment=_glob(_text(compiled, "environment", "*")),
        tool_glob=_text(compiled, "tool", "*"),
        resource=resource,
        when=compiled.get("when"),
        applies=_both(resource, when),
        refusal=Decision(allow=False, code="policy", policy_id=policy_id, message=message or f"forbidden by {policy_id}"),
        permission=Decision(allow=True, policy_id=policy_id, message=message),
        obligations=obligations,
        digest=policy_digest(compiled),
    )


def _resource(compiled: Mapping[str, Any]) -> Resource | None:
    given = compiled.get("resource")
    if given is None:
        return None
    if not isinstance(given, Mapping) or given.keys() != {"argument", "prefix"}:
        raise PolicyError(f"policy {compiled['id']}: its resource needs an 'argument' and a 'prefix', and nothing else")
    return Resource(_text(given, "argument"), _text(given, "prefix"))


def _both(resource: Resource | None, when: Condition | None) -> Condition | None:
    """Both have to hold. One that does not hold settles it, even when the other cannot be checked."""
    if resource is None:
        return when

    def applies(request: Request) -> bool:
        try:
            is_there = resource.holds(request.get("args"))
        except ExpressionError:
            if when is not None and not when(request):
                return False
            raise
        return is_there and (when is None or when(request))

    return applies


def _names(name: str, tree: Node | None) -> bool:
    """Whether an expression looks at `name`."""
    if tree is None:
        return False
    if tree["op"] == "name":
        return bool(tree["name"] == name)
    parts = [*tree.get("args", ()), *tree.get("items", ()), *(tree[key] for key in ("of", "at") if key in tree)]
    return any(_names(name, part) for part in parts)


def _text(compiled: Mapping[str, Any], field: str, default: str | None = None) -> str:
    value = compiled.get(field, default)
    if not isinstance(value, str) or len(value) > MAX_TEXT or (default is None and not value):
        raise PolicyError(f"policy {str(compiled.get('id'))[:80]}: {field!r} has to be text of at most {MAX_TEXT} characters")
    return value


def _glob(pattern: str) -> Callable[[str], bool]:
    if pattern == "*":
        return lambda text: True
    if not any(character in pattern for character in "*?["):
        return pattern.__eq__
    match = re.compile(translate(pattern)).match
    return lambda text: match(text) is not None


def _refused(policy: _Policy, request: Request) -> Decision:
    """The refusal of a prohibition that applies, with the part of it that does."""
    parts = [] if policy.resource is None else [str(policy.resource)]
    if policy.when is not None:
        parts.append(deciding_clause(policy.when, request))
    return replace(policy.refusal, clause=" and ".join(parts))


def _why_not(policy: _Policy, request: Request) -> str:
    """Why a permission for this tool does not permit this call."""
    assert policy.applies is not None
    try:
        policy.applies(request)
        if policy.resource is not None and not policy.resource.holds(request.get("args")):
            return f"{policy.id} permits it only if {policy.resource}"
    except Exception as error:
        return f"{policy.id} could not be checked: {_said(error)}"
    assert policy.when is not None
    return f"{policy.id} permits it only if {deciding_clause(policy.when, request)}"


def _said(error: Exception) -> str:
    return str(error)[:200] if isinstance(error, ExpressionError) else type(error).__name__
