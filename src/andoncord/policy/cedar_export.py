"""Policies as Cedar, for authorizers that speak it.

A request to the exported policies is `principal = Agent::"<agent>"`, `action = Action::"<tool>"`, any resource, and as context
`agent`, `role`, `tool`, `environment`, `args` and `run`.

Cedar skips a policy that errs, prohibitions too; ours hold. So every permission repeats that no prohibition applies: where a
prohibition cannot be checked, no permission can either, and Cedar's default denies. Cedar's `==` is false between different
types; ours is an error, so the type is checked beside it. Cedar does not absorb errors as ours does: what is exported never
allows what a guard refuses, and agrees wherever every part of the conditions can be evaluated. Cedar has no obligations: a
prohibition with some refuses there, and an annotation says what a guard would let it go on for.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from andoncord.kernel.errors import CallerError
from andoncord.policy.policy import Policy
from andoncord_sdk.explain import render
from andoncord_sdk.obligation import load_obligations

_HEADING = """\
// Exported by Andoncord. A request: principal = Agent::"<agent>", action = Action::"<tool>", any resource,
// context = {agent, role, tool, environment, args, run}. Numbers are whole; Cedar knows neither fractions nor null.
"""
_ARITHMETIC = ("+", "-", "*")
_ORDER = ("<", "<=", ">", ">=")


def export_cedar(policies: Sequence[Policy]) -> str:
    """The policies as one Cedar policy set.

    Raises:
        CallerError: for what Cedar cannot express, with the policy's place and what to write instead.
    """
    forbids = [policy for policy in policies if policy.effect == "forbid"]
    permits = [policy for policy in policies if policy.effect == "permit"]
    unchecked = [f"!({_applies(policy)})" for policy in forbids]
    # Whom no permission is about may do everything that is not forbidden.
    others = [f"!({_whole(_scopes(policy, ('agent', 'role', 'environment')))})" for policy in permits]
    written = [_written("permit", "everyone-else", "", [*others, *unchecked])]
    written += [_written("permit", policy.id, policy.message, [_applies(policy), *unchecked]) for policy in permits]
    written += [_written("forbid", policy.id, policy.message, [_applies(policy)], owed=_owed(policy)) for policy in forbids]
    return _HEADING + "".join(written)


def _written(effect: str, policy_id: str, message: str, conditions: Sequence[str], *, owed: str = "") -> str:
    said = f"@message({_quoted(message)})\n" if message else ""
    said += f"@obligations({_quoted(owed)})\n" if owed else ""
    needed = [condition for condition in conditions if condition != "true"]
    whole = " &&\n  ".join(needed)
    when = f" when {{\n  {whole}\n}}" if needed else ""
    return f"\n@id({_quoted(policy_id)})\n{said}{effect} (principal, action, resource){when};\n"


def _owed(policy: Policy) -> str:
    """What lets a call go on that the policy forbids, in words."""
    return "; ".join(str(each) for each in load_obligations(policy.obligations or None))


def _applies(policy: Policy) -> str:
    """Scope and condition of a policy; the scope is asked first, so that a condition errs only where it matters."""
    if policy.resource is not None:
        raise _refusal(policy, "the scope 'resource'", "leave it to the guard: Cedar cannot tell `..` in a path")
    parts = _scopes(policy, ("agent", "role", "tool", "environment"))
    if policy.when is not None:
        parts.append(f"({_Writer(policy).condition(policy.when)})")
    return _whole(parts)


def _whole(parts: Sequence[str]) -> str:
    return " && ".join(parts) or "true"


def _scopes(policy: Policy, names: Sequence[str]) -> list[str]:
    globs = [(name, str(getattr(policy, name))) for name in names]
    return [_scope(policy, name, glob) for name, glob in globs if glob != "*"]


def _scope(policy: Policy, name: str, glob: str) -> str:
    if "?" in glob or "[" in glob:
        raise _refusal(policy, f"the glob {glob!r}", "Cedar has only '*': write one policy for each name")
    if "*" not in glob:
        return f"context.{name} == {_quoted(glob)}"
    return f"context.{name} like {_quoted(glob)}"


def _refusal(policy: Policy, what: str, remedy: str) -> CallerError:
    return CallerError(f"policy {policy.id}: Cedar cannot express {what}", place=policy.place, remedy=remedy)


class _Writer:
    """Writes the condition of one policy."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    def condition(self, tree: Mapping[str, Any]) -> str:
        """An expression in Cedar's words, in parentheses where needed."""
        op = tree["op"]
        if op in ("&&", "||"):
            return "(" + f" {op} ".join(self.condition(part) for part in tree["args"]) + ")"
        if op in ("!", "neg"):
            return f"{'!' if op == '!' else '-'}({self.condition(tree['of'])})"
        if op in _ARITHMETIC or op in _ORDER:
            if any(isinstance(part.get("value"), str) for part in tree["args"]):
                raise self._refusal(tree, "Cedar orders and adds only whole numbers")
            return f"({f' {op} '.join(self.condition(part) for part in tree['args'])})"
        if op in ("==", "!="):
            return self._compared(tree)
        if op == "in":
            return self._member(tree)
        return self._called(tree) if op == "call" else self._operand(tree)

    def _refusal(self, tree: Mapping[str, Any], remedy: str) -> CallerError:
        return _refusal(self._policy, render(tree)[:80], remedy)

    def _operand(self, tree: Mapping[str, Any]) -> str:
        match tree["op"]:
            case "name":
                return f"context.{tree['name']}"
            case "field":
                return f"{self.condition(tree['of'])}[{_quoted(tree['name'])}]"
            case "index" if isinstance(tree["at"].get("value"), str):
                return f"{self.condition(tree['of'])}[{_quoted(tree['at']['value'])}]"
            case "const" if isinstance(tree["value"], bool):
                return "true" if tree["value"] else "false"
            case "const" if isinstance(tree["value"], int):
                return str(tree["value"]) if tree["value"] >= 0 else f"({tree['value']})"
            case "const" if isinstance(tree["value"], str):
                return _quoted(tree["value"])
        raise self._refusal(tree, "Cedar has no null, no fractions and no indices into lists: ask for a whole number or a text")

    def _compared(self, tree: Mapping[str, Any]) -> str:
        one, two = tree["args"]
        if one["op"] == "const":
            one, two = two, one
        if two["op"] != "const" or one["op"] == "const":
            raise self._refusal(
                tree, "compare with a literal: Cedar finds values of different types unequal, where a guard errs"
            )
        checked = self._of_type(one, [two["value"]], tree)
        return f"({checked} && {self.condition(one)} {tree['op']} {self.condition(two)})"

    def _member(self, tree: Mapping[str, Any]) -> str:
        needle, hay = tree["args"]
        if hay["op"] != "list" or not hay["items"] or any(item["op"] != "const" for item in hay["items"]):
            raise self._refusal(tree, "write the list out with literals")
        checked = self._of_type(needle, [item["value"] for item in hay["items"]], tree)
        return f"({checked} && [{', '.join(self.condition(item) for item in hay['items'])}].contains({self.condition(needle)}))"

    def _of_type(self, tree: Mapping[str, Any], values: Sequence[Any], whole: Mapping[str, Any]) -> str:
        """Something true that errs unless an expression has the type of the values."""
        text = self.condition(tree)
        if all(isinstance(value, bool) for value in values):
            return f"({text} || true)"
        if all(isinstance(value, int) and not isinstance(value, bool) for value in values):
            return f"{text} <= {text}"
        if all(isinstance(value, str) for value in values):
            return f'{text} like "*"'
        raise self._refusal(whole, "compare with whole numbers only, or with texts only: Cedar has no null and no fractions")

    def _called(self, tree: Mapping[str, Any]) -> str:
        function, (receiver, *rest) = tree["function"], tree["args"]
        if function == "has":
            return f"({self.condition(receiver['of'])} has {_quoted(receiver['name'])})"
        shapes = {"startsWith": "{}*", "endsWith": "*{}", "contains": "*{}*"}
        if function not in shapes:
            raise self._refusal(tree, "of texts, Cedar asks only how they begin and end, and what they contain")
        if not isinstance(rest[0].get("value"), str):
            raise self._refusal(tree, "write the text as a literal")
        pattern = shapes[function].format(_escaped(rest[0]["value"]).replace("*", "\\*"))
        return f'({self.condition(receiver)} like "{pattern}")'


def _escaped(text: str) -> str:
    plain = {"\\": "\\\\", '"': '\\"'}
    return "".join(plain.get(c) or (c if c.isprintable() else f"\\u{{{ord(c):x}}}") for c in text)


def _quoted(text: str) -> str:
    return f'"{_escaped(text)}"'
