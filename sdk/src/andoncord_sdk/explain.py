"""Why a condition came out as it did: a tree as text, and the part of it that decided.

Nothing here is needed to decide; it runs only when a call has been refused and somebody wants to know why.
"""

import json
from collections.abc import Mapping
from typing import Any

from andoncord_sdk.expression import ARITHMETIC, COMPARISONS, Node, compile_expression
from andoncord_sdk.values import ExpressionError

MAX_CLAUSE = 240
"""Characters of a clause in a message."""
MAX_SEEN = 2
"""Values that are shown beside a clause."""
MAX_SEEN_TEXT = 80
"""Characters of one such value."""

_BINDING = {"||": 1, "&&": 2, **dict.fromkeys(COMPARISONS, 3), "+": 4, "-": 4, "*": 5}
_UNARY = 6
_POSTFIX = 7
_CONSTANTS = {"true": True, "false": False, "null": None}

Request = Mapping[str, Any]


def deciding_clause(tree: Node, request: Request) -> str:
    """The smallest part of a condition that made it true, false or impossible to check, and the values it looked at.

    >>> amount = {"op": "field", "of": {"op": "name", "name": "args"}, "name": "usd"}
    >>> small = {"op": "<", "args": [amount, {"op": "const", "value": 50}]}
    >>> mine = {"op": "==", "args": [{"op": "name", "name": "agent"}, {"op": "const", "value": "support"}]}
    >>> deciding_clause({"op": "&&", "args": [mine, small]}, {"agent": "support", "args": {"usd": 80}})
    'args.usd < 50 (args.usd is 80)'
    """
    clause = _deciding(tree, request)
    text = _cut(render(clause), MAX_CLAUSE)
    seen = _seen(clause, request)
    return f"{text} ({', '.join(seen)})" if seen else text


def _deciding(tree: Node, request: Request) -> Node:
    op = tree["op"]
    if op == "!":
        inner = _deciding(tree["of"], request)
        return inner if inner is not tree["of"] else tree
    if op not in ("&&", "||"):
        return tree
    outcome = _outcome(tree, request)
    # All parts of a true `&&` and of a false `||` were needed; otherwise one part was enough.
    if outcome is (op == "&&"):
        return tree
    for part in tree["args"]:
        if _outcome(part, request) is outcome:
            return _deciding(part, request)
    return tree


def _outcome(tree: Node, request: Request) -> Any:
    """What a part comes to; None when it cannot be evaluated."""
    try:
        return compile_expression(tree)(request)
    except Exception:  # The values come from an agent: reading them may do anything.
        return None


def _seen(tree: Node, request: Request) -> list[str]:
    """What the names and fields of a clause stood for."""
    seen: dict[str, str] = {}
    for place in _places(tree):
        text = render(place)
        if text in seen or len(seen) == MAX_SEEN:
            continue
        try:
            value = compile_expression(place)(request)
        except ExpressionError:
            seen[text] = f"{text} is missing"
            continue
        except Exception:  # Likewise.
            continue
        seen[text] = f"{text} is {_shown(value)}"
    return list(seen.values())


def _places(tree: Node) -> list[Node]:
    """The names and fields that a clause reads, outermost first."""
    if tree["op"] in ("name", "field", "index"):
        return [tree]
    if tree["op"] == "call" and tree["function"] == "has":
        return []
    return [place for part in (*tree.get("args", ()), *tree.get("items", ())) for place in _places(part)] + (
        _places(tree["of"]) if "of" in tree else []
    )


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return "a map"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    if value is None or isinstance(value, bool | int | float | str):
        return _cut(json.dumps(value, ensure_ascii=False), MAX_SEEN_TEXT)
    return "a thing"


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def render(tree: Node) -> str:
    """Write a tree as text that parses to the same tree.

    >>> render({"op": "!", "of": {"op": "&&", "args": [{"op": "name", "name": "a"}, {"op": "name", "name": "b"}]}})
    '!(a && b)'
    """
    return _render(tree)[0]


def _render(tree: Node) -> tuple[str, int]:
    """The text of a tree and how tightly its outermost operator binds."""
    op = tree["op"]
    if op in _BINDING:
        return _render_binary(tree), _BINDING[op]
    if op == "const":
        return _render_const(tree["value"])
    if op == "!":
        return f"!{_tight(tree['of'], _UNARY)}", _UNARY
    if op == "neg":
        # A minus before a plain number would be read as a negative number.
        inner = _tight(tree["of"], _UNARY)
        return (f"-({inner})" if inner[:1].isdigit() else f"-{inner}"), _UNARY
    return _render_operand(tree), _POSTFIX


def _render_operand(tree: Node) -> str:
    match tree["op"]:
        case "name":
            return str(tree["name"])
        case "field":
            return f"{_tight(tree['of'], _POSTFIX)}.{tree['name']}"
        case "index":
            return f"{_tight(tree['of'], _POSTFIX)}[{render(tree['at'])}]"
        case "list":
            return f"[{', '.join(render(item) for item in tree['items'])}]"
    receiver, *rest = tree["args"]
    if tree["function"] in ("size", "has"):
        return f"{tree['function']}({render(receiver)})"
    return f"{_tight(receiver, _POSTFIX)}.{tree['function']}({', '.join(map(render, rest))})"


def _render_binary(tree: Node) -> str:
    op = tree["op"]
    power = _BINDING[op]
    first, *rest = tree["args"]
    # Only arithmetic may continue to the left without parentheses: `a - b - c` is `(a - b) - c`.
    left = _tight(first, power if op in ARITHMETIC else power + 1)
    return f" {op} ".join([left, *(_tight(part, power + 1) for part in rest)])


def _tight(tree: Node, power: int) -> str:
    text, binds = _render(tree)
    return text if binds >= power else f"({text})"


def _render_const(value: Any) -> tuple[str, int]:
    if isinstance(value, str):
        return _quoted(value), _POSTFIX
    for word, constant in _CONSTANTS.items():
        if value is constant:
            return word, _POSTFIX
    text = repr(value)
    return text, _UNARY if text.startswith("-") else _POSTFIX


def _quoted(text: str) -> str:
    escapes = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}
    return '"' + "".join(escapes.get(c) or (f"\\x{ord(c):02x}" if ord(c) < 32 else c) for c in text) + '"'
