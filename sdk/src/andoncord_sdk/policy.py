"""Policies as a guard applies them: permissions and prohibitions, looked up by tool, decided in about a microsecond.

* Deny overrides: one `forbid` that applies refuses the call, whatever is permitted.
* A `forbid` whose condition cannot be evaluated applies; a `permit` whose condition cannot be evaluated does not.
* As soon as any `permit` is about an agent (in its environment), that agent may do only what is permitted.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import translate
from typing import Any, Literal, NamedTuple

from andoncord_sdk.expression import ExpressionError, compile_condition

MAX_POLICIES = 10_000
MAX_REMEMBERED = 1024
"""Combinations of agent, tool and environment for which the policies that concern them are kept at hand."""
MAX_NEAR_MISSES = 3
MAX_TEXT = 1024
"""Characters of a glob, an id or a message."""

DecisionCode = Literal["", "policy", "scope"]
Request = Mapping[str, Any]
Condition = Callable[[Request], bool]


class PolicyError(ValueError):
    """A compiled policy that cannot be loaded: nothing of its set is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Whether a call is allowed, and why not."""

    allow: bool
    code: DecisionCode = ""
    """`policy`: a prohibition applies; `scope`: nothing permits it; empty when allowed."""
    policy_id: str = ""
    """The policy that decided; empty when none did."""
    message: str = ""
    near_misses: tuple[str, ...] = ()
    """Why the permissions that come closest did not apply."""


_ALLOWED = Decision(allow=True)


class PolicySet:
    """The policies in force, ready to decide.

    Args:
        compiled: what `andoncord.policy.policy.compile_policies` makes: objects with `id`, `effect` (`forbid` or `permit`),
            `agent`, `tool` and `environment` (globs), `when` (an expression tree or None) and `message`;
            for people also `condition`, `severity` and `source`.

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
    """

    def __init__(self, compiled: Sequence[Mapping[str, Any]]) -> None:
        if len(compiled) > MAX_POLICIES:
            raise PolicyError(f"{len(compiled)} policies; at most {MAX_POLICIES} can be in force")
        self._policies = tuple(_loaded(policy) for policy in compiled)
        if len({policy.id for policy in self._policies}) != len(self._policies):
            raise PolicyError("two policies have the same id")
        self._concerning: dict[tuple[str, str, str], _Concerning] = {}

    def __len__(self) -> int:
        return len(self._policies)

    def decide(self, request: Request) -> Decision:
        """Decide on one call.

        Args:
            request: `agent` and `tool`; whatever conditions ask about: `args`, `run`, `environment`.
        """
        key = (request["agent"], request["tool"], request.get("environment", ""))
        concerning = self._concerning.get(key) or self._look_up(key)
        for policy in concerning.forbids:
            try:
                if policy.when is None or policy.when(request):
                    return policy.refusal
            except Exception as error:  # Whatever goes wrong in a prohibition, it holds.
                return Decision(
                    allow=False,
                    code="policy",
                    policy_id=policy.id,
                    message=f"{policy.refusal.message} (its condition could not be checked: {_said(error)})",
                )
        if not concerning.needs_permit:
            return _ALLOWED
        for policy in concerning.permits:
            try:
                if policy.when is None or policy.when(request):
                    return policy.permission
            except Exception:  # Whatever goes wrong in a permission, it does not permit. The near misses say so.
                continue
        return self._not_permitted(request, concerning)

    def _look_up(self, key: tuple[str, str, str]) -> "_Concerning":
        agent, tool, environment = key
        mine = [policy for policy in self._policies if policy.agent(agent) and policy.environment(environment)]
        concerning = _Concerning(
            forbids=tuple(policy for policy in mine if policy.effect == "forbid" and policy.tool(tool)),
            permits=tuple(policy for policy in mine if policy.effect == "permit" and policy.tool(tool)),
            elsewhere=tuple(policy for policy in mine if policy.effect == "permit" and not policy.tool(tool))[:MAX_NEAR_MISSES],
            needs_permit=any(policy.effect == "permit" for policy in mine),
        )
        if len(self._concerning) >= MAX_REMEMBERED:
            self._concerning.clear()
        self._concerning[key] = concerning
        return concerning

    def _not_permitted(self, request: Request, concerning: "_Concerning") -> Decision:
        misses = [_why_not(policy, request) for policy in concerning.permits]
        misses += [f"{policy.id} permits {policy.tool_glob}" for policy in concerning.elsewhere]
        nothing_permits = f"nothing permits {str(request['agent'])[:80]} to call {str(request['tool'])[:80]} like this"
        near_misses = tuple(misses[:MAX_NEAR_MISSES])
        return Decision(
            allow=False,
            code="scope",
            message=f"{nothing_permits}: {'; '.join(near_misses)}" if near_misses else nothing_permits,
            near_misses=near_misses,
        )


class _Policy(NamedTuple):
    id: str
    effect: str
    agent: Callable[[str], bool]
    tool: Callable[[str], bool]
    environment: Callable[[str], bool]
    tool_glob: str
    condition: str
    when: Condition | None
    refusal: Decision
    permission: Decision


class _Concerning(NamedTuple):
    """What is there to decide about one tool of one agent in one environment."""

    forbids: tuple[_Policy, ...]
    permits: tuple[_Policy, ...]
    elsewhere: tuple[_Policy, ...]
    """Permissions of the agent for other tools."""
    needs_permit: bool


_FIELDS = frozenset({"id", "effect", "agent", "tool", "environment", "when", "condition", "message", "severity", "source"})


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
    return _Policy(
        id=policy_id,
        effect=effect,
        agent=_glob(_text(compiled, "agent", "*")),
        tool=_glob(_text(compiled, "tool", "*")),
        environment=_glob(_text(compiled, "environment", "*")),
        tool_glob=_text(compiled, "tool", "*"),
        condition=str(compiled.get("condition") or ""),
        when=when,
        refusal=Decision(allow=False, code="policy", policy_id=policy_id, message=message or f"forbidden by {policy_id}"),
        permission=Decision(allow=True, policy_id=policy_id, message=message),
    )


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


def _why_not(policy: _Policy, request: Request) -> str:
    try:
        assert policy.when is not None
        policy.when(request)
    except Exception as error:
        return f"{policy.id} could not be checked: {_said(error)}"
    return f"{policy.id} permits it only if {policy.condition or 'its condition holds'}"


def _said(error: Exception) -> str:
    return str(error)[:200] if isinstance(error, ExpressionError) else type(error).__name__
