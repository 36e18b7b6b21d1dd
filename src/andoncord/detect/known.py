"""What a condition comes to before there is an event: by the kind of the event and by what is declared about its agent.

A rule that cannot match is not asked, so that many rules cost little. Only certainties count: what depends on anything else, or
could be an error, is unknown.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from andoncord.telemetry.event import Event
from andoncord_sdk.pattern import Pattern

Tree = Mapping[str, Any]
Known = Mapping[str, Mapping[str, Any]]
"""Name → field → value, as far as they are known."""
Need = tuple[str, str, str]
"""Name, field and the text it must have."""

EVENT_NAME = frozenset({("event", "name")})
MAX_NAME = 256
"""Characters of a text that patterns are tried on here: names and kinds have no more."""
MAX_PATTERNS = 512
_UNKNOWN = object()
_TEXT_FIELDS = frozenset(name for name in Event.__struct_fields__ if Event.__annotations__[name] is str)
_ORDER = {
    "<": lambda left, right: left < right,
    "<=": lambda left, right: left <= right,
    ">": lambda left, right: left > right,
    ">=": lambda left, right: left >= right,
}


def decide(tree: Tree, known: Known) -> bool | None:
    """True or false where that is certain, else None.

    >>> from andoncord.policy.expression import parse
    >>> tree = parse("event.kind == 'a' && event.name == 'x'", place="", names=("event",))
    >>> decide(tree, {"event": {"kind": "b"}}), decide(tree, {"event": {"kind": "a"}})
    (False, None)
    """
    op = tree["op"]
    if op == "!":
        inner = decide(tree["of"], known)
        return None if inner is None else not inner
    if op in ("&&", "||"):
        decisive: bool = op == "||"
        parts = [decide(part, known) for part in tree["args"]]
        if decisive in parts:
            return decisive
        return None if None in parts else not decisive
    value = _value(tree, known)
    return value if isinstance(value, bool) else None


def needs(tree: Tree) -> tuple[Need, ...]:
    """The texts that fields must have for a condition to hold, of those that it names outright.

    >>> from andoncord.policy.expression import parse
    >>> needs(parse("event.name == 'x' && event.ok && attributes.code == 'y'", place="", names=("event", "attributes")))
    (('event', 'name', 'x'), ('attributes', 'code', 'y'))
    """
    if tree["op"] == "&&":
        return tuple(need for part in tree["args"] for need in needs(part))
    if tree["op"] != "==":
        return ()
    for field, text in (tree["args"], reversed(tree["args"])):
        if text["op"] == "const" and isinstance(text["value"], str) and field["op"] == "field" and field["of"]["op"] == "name":
            holder, name = field["of"]["name"], field["name"]
            if holder == "attributes" or (holder == "event" and name in _TEXT_FIELDS):
                return ((holder, name, text["value"]),)
    return ()


def mentions(tree: Any, fields: frozenset[tuple[str, str]]) -> bool:
    """Whether a condition looks at one of these fields, or at a whole name of theirs."""
    if isinstance(tree, Mapping):
        if tree.get("op") == "field" and tree["of"].get("op") == "name":
            return (tree["of"]["name"], tree["name"]) in fields
        if tree.get("op") == "name":
            return any(tree["name"] == name for name, _ in fields)
        return any(mentions(part, fields) for part in tree.values())
    return isinstance(tree, list | tuple) and any(mentions(part, fields) for part in tree)


def _value(tree: Tree, known: Known) -> Any:
    op = tree["op"]
    if op == "const":
        return tree["value"]
    if op == "field" and tree["of"]["op"] == "name":
        return known.get(tree["of"]["name"], {}).get(tree["name"], _UNKNOWN)
    if op == "call" and tree["function"] == "size":
        value = _value(tree["args"][0], known)
        return len(value) if isinstance(value, str | Mapping | list | tuple) else _UNKNOWN
    if op == "call" and tree["function"] == "matches":
        text = _value(tree["args"][0], known)
        return _pattern(tree["args"][1]["value"]).search(text) if isinstance(text, str) and len(text) <= MAX_NAME else _UNKNOWN
    if op in ("==", "!=", "in") or op in _ORDER:
        return _compared(op, *(_value(part, known) for part in tree["args"]))
    return _UNKNOWN


@lru_cache(maxsize=MAX_PATTERNS)
def _pattern(source: str) -> Pattern:
    return Pattern(source)


def _compared(op: str, left: Any, right: Any) -> Any:
    if left is _UNKNOWN or right is _UNKNOWN:
        return _UNKNOWN
    if op == "in":
        return left in right if isinstance(left, str) and isinstance(right, Mapping) else _UNKNOWN
    if op in ("==", "!="):
        return (left == right) is (op == "==") if isinstance(left, str) and isinstance(right, str) else _UNKNOWN
    if type(left) is int and type(right) is int:
        return _ORDER[op](left, right)
    return _UNKNOWN
