"""Conditions of policies and rules: a JSON tree, compiled once to Python closures and evaluated in about a microsecond.

The tree is what `andoncord.policy.expression.parse` makes of a condition such as `args.amount_micro_usd > 200_000_000`;
guards receive only the tree, so an agent's process never parses text. The language is a strict subset of CEL:

* a missing name or field, a wrong type, NaN and an integer beyond 64 bits raise `ExpressionError`: nothing is guessed.
  Text and numbers never mix, not even in `==`; only `null` may be compared with everything.
  `int` and `double` do mix, because JSON does not tell them apart;
* `&&` and `||` absorb errors as in CEL: `false && error` is false in either order, `true || error` is true;
* `matches` finds a pattern (see `andoncord_sdk.pattern`) anywhere in at most `MAX_MATCH_TEXT` characters; longer text raises.

An error is never an answer: who asks decides what it means (an errored `forbid` applies, an errored `permit` does not).
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

from andoncord_sdk import _operators as operators
from andoncord_sdk._operators import MAX_MATCH_TEXT, MAX_TEXT, Environment, Evaluate
from andoncord_sdk.values import MAX_DEPTH, ExpressionError, kind_of, within_64_bits

__all__ = [
    "ARITHMETIC",
    "COMPARISONS",
    "FUNCTIONS",
    "MAX_DEPTH",
    "MAX_MATCH_TEXT",
    "MAX_NODES",
    "MAX_TEXT",
    "Evaluate",
    "ExpressionError",
    "Node",
    "compile_condition",
    "compile_expression",
]

MAX_NODES = 512
"""Nodes of one expression."""

Node = Mapping[str, Any]

_DECIDING = frozenset(("==", "!=", "<", "<=", ">", ">=", "in", "&&", "||", "!"))
"""Operations that give true or false, or raise."""

COMPARISONS = ("==", "!=", "<", "<=", ">", ">=", "in")
ARITHMETIC = ("+", "-", "*")
FUNCTIONS = {"startsWith": 2, "endsWith": 2, "contains": 2, "matches": 2, "size": 1, "has": 1}
"""Name and number of arguments, the receiver included."""


def compile_expression(tree: Node) -> Evaluate:
    """Turn a tree into a function of the environment; every name the expression uses must be in that environment.

    Raises:
        ExpressionError: here when the tree is malformed or too big, later when it cannot be evaluated.

    >>> over = compile_expression({"op": ">", "args": [{"op": "name", "name": "spent"}, {"op": "const", "value": 5}]})
    >>> over({"spent": 6}), over({"spent": 5})
    (True, False)
    >>> over({})
    Traceback (most recent call last):
    andoncord_sdk.values.ExpressionError: there is no 'spent' here
    """
    return _Compiler().compile(tree, depth=1)


def compile_condition(tree: Node) -> Callable[[Environment], bool]:
    """Like `compile_expression`, for an expression that has to be true or false."""
    evaluate = compile_expression(tree)
    if tree["op"] in _DECIDING:
        return evaluate

    def condition(environment: Environment) -> bool:
        value = evaluate(environment)
        if isinstance(value, bool):
            return value
        raise ExpressionError(f"the condition gives {kind_of(value)}, not true or false")

    return condition


class _Compiler:
    """One compilation: counts nodes, refuses what is not in the language."""

    def __init__(self) -> None:
        self.nodes = 0

    def compile(self, node: Any, *, depth: int) -> Evaluate:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise ExpressionError(f"the expression has more than {MAX_NODES} parts")
        if depth > MAX_DEPTH:
            raise ExpressionError(f"the expression is nested more than {MAX_DEPTH} deep")
        if not isinstance(node, Mapping) or not isinstance(node.get("op"), str):
            raise ExpressionError("malformed expression tree: every node is an object with an 'op'")
        op = node["op"]
        if op in ("const", "name", "field", "index", "list"):
            return self._operand(op, node, depth)
        if op == "call":
            return self._call(node, depth)
        if op in ("!", "neg"):
            of = self.compile(node.get("of"), depth=depth + 1)
            return operators.negation(of) if op == "!" else operators.negative(of)
        if op in ("&&", "||"):
            return operators.decided_by(op == "||", self._children(node, "args", depth, at_least=2))
        if op in operators.BINARY:
            return self._binary(op, node, depth)
        raise ExpressionError(f"unknown operation {op[:40]!r} in the expression tree")

    def _operand(self, op: str, node: Node, depth: int) -> Evaluate:
        if op == "const":
            return operators.constant(_checked_const(node.get("value")))
        if op == "name":
            return operators.name(_text(node, "name"))
        if op == "list":
            return operators.list_of(self._children(node, "items", depth))
        holder = self.compile(node.get("of"), depth=depth + 1)
        if op == "index":
            return operators.index(holder, self.compile(node.get("at"), depth=depth + 1))
        if node["of"]["op"] == "name":
            return operators.field_of_name(node["of"]["name"], _text(node, "name"))
        return operators.field(holder, _text(node, "name"))

    def _children(self, node: Node, key: str, depth: int, *, at_least: int = 0) -> list[Evaluate]:
        children = node.get(key)
        if not isinstance(children, list | tuple) or len(children) < at_least:
            raise ExpressionError(f"malformed expression tree: '{node['op']}' needs a list in '{key}'")
        return [self.compile(child, depth=depth + 1) for child in children]

    def _binary(self, op: str, node: Node, depth: int) -> Evaluate:
        operands = self._children(node, "args", depth, at_least=2)
        if len(operands) != 2:
            raise ExpressionError(f"malformed expression tree: '{op}' needs two operands")
        right = node["args"][1]
        if op in ("==", "!=") and right["op"] == "const" and isinstance(right["value"], str):
            return operators.equals_text(operands[0], right["value"], op == "==")
        if op == "in" and right["op"] == "list" and (words := _constant_texts(right)):
            return operators.is_one_of(operands[0], words)
        if op in operators.ORDER and right["op"] == "const" and type(right["value"]) is int:
            left = node["args"][0]
            if left["op"] == "field" and left["of"]["op"] == "name":
                return operators.field_ordered_by_whole(op, left["of"]["name"], left["name"], right["value"])
            return operators.ordered_by_whole(op, operands[0], right["value"])
        return operators.BINARY[op](operands[0], operands[1])

    def _call(self, node: Node, depth: int) -> Evaluate:
        function = _text(node, "function")
        arguments = self._children(node, "args", depth)
        if FUNCTIONS.get(function) != len(arguments):
            raise ExpressionError(f"there is no function {function[:40]!r} with {len(arguments)} arguments")
        if function == "has":
            return _has(node["args"][0])
        if function == "size":
            return operators.size(arguments[0])
        if function == "matches":
            pattern = node["args"][1].get("value")
            if node["args"][1]["op"] != "const" or not isinstance(pattern, str):
                raise ExpressionError("matches() needs its pattern written out, not computed")
            return operators.matches(arguments[0], pattern)
        return operators.text_test(function, arguments[0], arguments[1])


def _text(node: Node, key: str) -> str:
    value = node.get(key)
    if not isinstance(value, str) or not value:
        raise ExpressionError(f"malformed expression tree: '{node['op']}' needs text in '{key}'")
    return value


def _checked_const(value: Any) -> Any:
    if isinstance(value, str) and len(value) > MAX_TEXT:
        raise ExpressionError(f"a literal has more than {MAX_TEXT} characters")
    if isinstance(value, float) and not math.isfinite(value):
        raise ExpressionError("a literal is not a finite number")
    if isinstance(value, int) and not isinstance(value, bool):
        return within_64_bits(value)
    if value is None or isinstance(value, bool | float | str):
        return value
    raise ExpressionError(f"a literal cannot be a {kind_of(value)}")


def _has(node: Node) -> Evaluate:
    """True when the field is there: the one way to ask without an error. What would hold the field must exist."""
    if node["op"] != "field":
        raise ExpressionError("has() takes a field by its name, as in has(args.amount)")
    holder = compile_expression(node["of"])
    name = node["name"]

    def is_there(environment: Environment) -> bool:
        value = holder(environment)
        if not isinstance(value, Mapping):
            raise ExpressionError(f"has() cannot look for '{name}' in a {kind_of(value)}")
        return name in value

    return is_there


def _constant_texts(node: Node) -> frozenset[str]:
    """The elements of a list written out with text alone; empty when it is anything else."""
    values = [item["value"] for item in node["items"] if item["op"] == "const" and isinstance(item["value"], str)]
    return frozenset(values) if len(values) == len(node["items"]) else frozenset()
