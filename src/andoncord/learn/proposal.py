"""A structural change made from a case: a policy as YAML, with the tests that show what it would have done (LRN-2)."""

import re
from typing import Any

import msgspec

from andoncord.investigate.casefile import Avoid, Cause
from andoncord.kernel.canon import short_digest
from andoncord.kernel.text import visible
from andoncord.learn.case import Case

MAX_VALUE = 200
"""Characters of an argument compared whole; a longer one is recognised by its beginning."""
MAX_FIELDS = 8
MASKED = "[redacted:"
"""A masked value stands in the record, not in the next call: it recognises nothing."""
_IDENTIFIER = re.compile(r"[A-Za-z_]\w{0,40}", re.ASCII)
_RESERVED = frozenset({"in", "true", "false", "null", "and", "or", "not", "True", "False", "None"})


class Proposal(msgspec.Struct, frozen=True, kw_only=True):
    """A change that a person may apply. It is drafted from telemetry, so nothing applies it by itself."""

    kind: str
    """`policy`."""
    yaml: str
    why: str
    applied: bool = False


def propose(case: Case) -> Proposal | None:
    """The narrowest policy that would have refused what led to the case; None when the record names no such call.

    The best supported cause that names one decides. The policy forbids, so applying it can deny but never permit.
    """
    if case.investigation is None:
        return None
    for cause in case.investigation.root_causes:
        if cause.avoid is not None:
            return _policy(case, cause, cause.avoid)
    return None


def _policy(case: Case, cause: Cause, avoid: Avoid) -> Proposal | None:
    tool = avoid.tool or "*"
    agent = _literal_glob(avoid.agent)
    if not agent or not _literal_glob(tool if tool != "*" else "x"):
        return None
    condition, denied = _condition(avoid)
    if tool == "*" and not condition:
        return None  # It would forbid the agent everything: that is containment, not learning.
    what = f"{visible(tool, 60)} by {visible(avoid.agent, 60)}" if tool != "*" else f"calls of {visible(avoid.agent, 60)}"
    message = f"{what} refused since incident {visible(case.incident, 60)}: {visible(avoid.because, 160)}"
    lines = [
        f"id: {_policy_id(case, avoid)}",
        "effect: forbid",
        f"scope: {{agent: {_yaml(agent)}, tool: {_yaml(_literal_glob(tool) if tool != '*' else '*')}}}",
    ]
    if condition:
        lines.append(f"when: {_yaml(condition)}")
    lines += [
        f"message: {_yaml(message)}",
        f"severity: {case.severity.value}",
        f"source: {_yaml(f'incident {visible(case.incident, 60)}, {cause.type.value}')}",
        "tests:",
        f"  - {{name: the call of the incident, request: {_flow({**_asked(avoid), **denied})}, expect: deny}}",
        f"  - {{name: another agent, request: {_flow({**_asked(avoid), **denied, 'agent': 'another-agent'})}, expect: allow}}",
    ]
    if condition:
        lines.append(f"  - {{name: an ordinary call, request: {_flow(_asked(avoid))}, expect: allow}}")
    why = f"{cause.summary} {visible(avoid.because, 160).capitalize()}: this policy refuses it next time."
    if not condition:
        why += " It refuses the tool to this agent altogether; narrow it first if the agent needs the tool."
    return Proposal(kind="policy", yaml="\n".join(lines) + "\n", why=visible(why, 600))


def _asked(avoid: Avoid) -> dict[str, Any]:
    return {"agent": avoid.agent, "tool": avoid.tool or "any.tool", "args": {}, "run": {"spent_micro_usd": 0}}


def _condition(avoid: Avoid) -> tuple[str, dict[str, Any]]:
    """The condition, and the part of a request that meets it. Each looks before it compares: an error would forbid too."""
    parts: list[str] = []
    met: dict[str, Any] = {}
    if avoid.arguments:
        arguments = _recognisable(avoid.arguments)
        parts += [_same(name, value) for name, value in arguments.items()]
        if arguments:
            met["args"] = arguments
    if avoid.version:
        parts.append(f"has(run.config_version) && run.config_version == {_literal(avoid.version)}")
        met["run"] = {"spent_micro_usd": 0, "config_version": avoid.version}
    if avoid.cost_micro_usd:
        parts.append(f"run.spent_micro_usd > {avoid.cost_micro_usd}")
        met["run"] = {**met.get("run", {}), "spent_micro_usd": avoid.cost_micro_usd + 1}
    return " && ".join(parts), met


def _recognisable(arguments: str) -> dict[str, Any]:
    """The arguments by which a call can be told: texts, whole numbers and truths of its top level, in order."""
    try:
        decoded = msgspec.json.decode(arguments)
    except msgspec.DecodeError:
        return {}
    if not isinstance(decoded, dict):
        return {}
    return {
        name: value
        for name, value in list(decoded.items())[:MAX_FIELDS]
        if isinstance(value, str | int) and not _is_unusable(name) and not _is_unusable(str(value))
    }


def _is_unusable(text: str) -> bool:
    return MASKED in text or any(0xD800 <= ord(character) <= 0xDFFF for character in text) or abs(_number(text)) >= 2**63


def _number(text: str) -> int:
    return int(text) if re.fullmatch(r"-?\d{1,40}", text, re.ASCII) else 0


def _same(name: str, value: Any) -> str:
    plain = _IDENTIFIER.fullmatch(name) and name not in _RESERVED
    there = f"has(args.{name})" if plain else f"{_literal(name)} in args"
    field = f"args.{name}" if plain else f"args[{_literal(name)}]"
    if isinstance(value, str) and len(value) > MAX_VALUE:
        return f"{there} && {field}.startsWith({_literal(value[:MAX_VALUE])})"
    return f"{there} && {field} == {_literal(value)}"


def _literal(value: str | int | bool) -> str:
    """A value in the condition language."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value) if value >= 0 else f"(-{abs(value)})"
    return '"' + "".join(_escaped(character) for character in value) + '"'


def _escaped(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    code = ord(character)
    return character if character.isprintable() or code > 0xFFFF else f"\\u{code:04x}"


def _literal_glob(name: str) -> str:
    """A name as a glob that matches only itself; empty when no policy can name it."""
    if not name or len(name) > 200 or not name.isprintable() or not name.strip():
        return ""
    return "".join(f"[{character}]" if character in "*?[" else character for character in name)


def _policy_id(case: Case, avoid: Avoid) -> str:
    words = re.sub(r"[^a-z0-9]+", "-", f"{avoid.agent}-{avoid.tool or avoid.version}".lower()).strip("-")[:40].strip("-")
    return f"{words or 'policy'}-{short_digest(case.incident, avoid.agent, avoid.tool, avoid.arguments, length=6)}"


def _yaml(text: str) -> str:
    """A double-quoted YAML scalar in ASCII: no text of an agent can end it or start another."""
    out = ['"']
    for character in text:
        code = ord(character)
        if character in '"\\':
            out.append(f"\\{character}")
        elif 0x20 <= code < 0x7F:
            out.append(character)
        else:
            out.append(f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}")
    return "".join(out) + '"'


def _flow(value: Any) -> str:
    """A value as YAML flow style."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_yaml(str(name))}: {_flow(each)}" for name, each in value.items()) + "}"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int) else _yaml(str(value))
