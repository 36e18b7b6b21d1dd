"""Cedar policies as ours, as far as ours can say them; read with cedarpy (extra `cedar`).

Understood are requests as `andoncord.policy.cedar_export` describes them. Cedar denies what nothing permits, so a permission
that never applies is added where none is about every agent. Cedar skips a policy that errs; ours is stricter about a
prohibition, which then holds, and like Cedar about a permission, except that `error || true` is true here and an error there.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import cedarpy
import yaml

from andoncord.kernel.errors import CallerError
from andoncord.policy.expression import Tree
from andoncord.policy.policy import ID, NAMES, read
from andoncord_sdk.explain import render

DEFAULT_DENY = "cedar-default-deny"
_BINARY = frozenset(("==", "!=", "<", "<=", ">", ">=", "+", "-", "*"))
_STATEMENT = re.compile(r'(?P<skip>\s+|//[^\n]*)|(?P<text>"(?:[^"\\]|\\.)*")|(?P<end>;)|.', re.DOTALL)
_WORDS = {"principal": "agent", "action": "tool"}


def import_cedar(text: str, *, place: str) -> str:
    """The policies of a Cedar file as YAML that `andoncord.policy.policy.read` accepts.

    Raises:
        CallerError: it is not Cedar, or says something that ours cannot; with the line where the policy begins.
    """
    try:
        parsed = json.loads(cedarpy.policies_to_json_str(text))
    except ValueError as error:
        raise CallerError(f"not valid Cedar: {str(error).splitlines()[0]}", place=place) from None
    if parsed["templates"]:
        raise CallerError("templates cannot be imported", place=place, remedy="write each policy out")
    lines = _lines(text)
    found = sorted(parsed["staticPolicies"].items(), key=lambda item: int(item[0].removeprefix("policy")))
    documents = [_Reader(policy, place=f"{place}:{lines[number]}").document(number) for number, (_, policy) in enumerate(found)]
    if not any(each["effect"] == "permit" and "agent" not in each["scope"] for each in documents):
        denies = {"id": DEFAULT_DENY, "effect": "permit", "scope": {"tool": "*"}, "when": "false"}
        documents.append({**denies, "message": "Cedar denies what nothing permits"})
    written = yaml.safe_dump_all(documents, sort_keys=False, allow_unicode=True, width=120)
    read(written, place=place)
    return str(written)


def _lines(text: str) -> list[int]:
    """The line on which each statement begins."""
    lines, begins = [], True
    for match in _STATEMENT.finditer(text):
        if match["skip"] is not None:
            continue
        if begins:
            lines.append(text.count("\n", 0, match.start()) + 1)
        begins = match["end"] is not None
    return lines


class _Reader:
    """Reads one policy of Cedar's JSON form."""

    def __init__(self, policy: Mapping[str, Any], *, place: str) -> None:
        self._policy = policy
        self._place = place

    def document(self, number: int) -> dict[str, Any]:
        """The policy as a YAML document of ours."""
        policy = self._policy
        notes = policy.get("annotations") or {}
        policy_id = notes.get("id") or f"cedar-{number + 1}"
        if not ID.fullmatch(policy_id):
            raise self._refusal(f"the id {policy_id[:80]!r}", "use lower-case letters, digits, '-', '_', '.'")
        scope: dict[str, str] = {}
        conditions = [self._head("principal", "agent", scope), self._head("action", "tool", scope)]
        if policy["resource"]["op"] != "All":
            raise self._refusal("a resource", "ask about context.args, where the arguments of the call are")
        for condition in policy["conditions"]:
            body = self._tree(condition["body"])
            conditions.append(body if condition["kind"] == "when" else {"op": "!", "of": body})
        parts = [condition for condition in conditions if condition is not None]
        message = notes.get("message") or notes.get("advice") or ("imported from Cedar" if policy["effect"] == "forbid" else "")
        document = {"id": policy_id, "effect": policy["effect"], "scope": {"tool": "*", **scope}}
        if parts:
            document["when"] = render(parts[0] if len(parts) == 1 else {"op": "&&", "args": parts})
        return {**document, "message": message} if message else document

    def _refusal(self, what: str, remedy: str) -> CallerError:
        return CallerError(f"{what} cannot be imported", place=self._place, remedy=remedy)

    def _head(self, variable: str, name: str, scope: dict[str, str]) -> Tree | None:
        """What the head says of a variable: as a scope where that can say it, else as a condition."""
        head = self._policy[variable]
        if head["op"] == "All" or (head["op"] == "is" and head.get("entity_type") == "Agent" and "in" not in head):
            return None
        entities = [head["entity"]] if head["op"] == "==" else head.get("entities", []) if variable == "action" else []
        ids = [self._entity(entity, name) for entity in entities]
        if not ids:
            raise self._refusal(f"groups of {variable}s", f"name each {name}")
        if len(ids) == 1 and not re.search(r"[*?\[]", ids[0]):
            scope[name] = ids[0]
            return None
        return {"op": "in", "args": [{"op": "name", "name": name}, _list(ids)]}

    def _entity(self, entity: Mapping[str, Any], name: str) -> str:
        wanted = "Agent" if name == "agent" else "Action"
        given = entity.get("__entity", entity)
        if given["type"] != wanted:
            raise self._refusal(f"{given['type']}::{json.dumps(given['id'])}", f"here it has to be {wanted}::…")
        return str(given["id"])

    def _tree(self, node: Mapping[str, Any]) -> Tree:
        ((op, of),) = node.items()
        if op in ("&&", "||"):
            return {"op": op, "args": [self._tree(of["left"]), self._tree(of["right"])]}
        if op in ("!", "neg"):
            return {"op": op, "of": self._tree(of["arg"])}
        if op in _BINARY:
            return self._entities_compared(op, of) or {"op": op, "args": [self._tree(of["left"]), self._tree(of["right"])]}
        if op == "contains":
            return {"op": "in", "args": [self._tree(of["right"]), self._tree(of["left"])]}
        if op == "like":
            return self._like(self._tree(of["left"]), of["pattern"])
        if op == "has":
            return self._has(of)
        return self._operand(op, of)

    def _operand(self, op: str, of: Any) -> Tree:
        if op == "Value" and isinstance(of, bool | int | str):
            return {"op": "const", "value": of}
        if op == "Set":
            return {"op": "list", "items": [self._tree(item) for item in of]}
        if op == ".":
            if of["left"] == {"Var": "context"}:
                if of["attr"] in NAMES:
                    return {"op": "name", "name": of["attr"]}
                raise self._refusal(f"context.{of['attr']}", f"what conditions can ask about: {', '.join(NAMES)}")
            holder = self._tree(of["left"])
            if re.fullmatch(r"[A-Za-z_]\w*", of["attr"], re.ASCII) and of["attr"] not in ("true", "false", "null", "in"):
                return {"op": "field", "of": holder, "name": of["attr"]}
            return {"op": "index", "of": holder, "at": {"op": "const", "value": of["attr"]}}
        what = f"the variable {of}" if op == "Var" else f"the operation {op}"
        raise self._refusal(what, "say it with comparisons, like, has, contains, &&, || and !")

    def _entities_compared(self, op: str, of: Mapping[str, Any]) -> Tree | None:
        """`principal == Agent::"x"` inside a condition."""
        variable, value = of["left"].get("Var"), of["right"].get("Value")
        if op not in ("==", "!=") or variable not in _WORDS or not isinstance(value, Mapping):
            return None
        name = _WORDS[variable]
        return {"op": op, "args": [{"op": "name", "name": name}, {"op": "const", "value": self._entity(value, name)}]}

    def _has(self, of: Mapping[str, Any]) -> Tree:
        if of["left"] == {"Var": "context"}:
            return {"op": "const", "value": of["attr"] in NAMES}
        field = {"op": "field", "of": self._tree(of["left"]), "name": of["attr"]}
        return {"op": "call", "function": "has", "args": [field]}

    def _like(self, subject: Tree, pattern: Sequence[Any]) -> Tree:
        pieces = [""]
        for piece in pattern:
            if piece == "Wildcard":
                pieces.append("")
            else:
                pieces[-1] += piece["Literal"]
        first, *middle, last = pieces if len(pieces) > 1 else (pieces[0], "")
        if len(pieces) == 1:
            # `like` errs where the subject is no text; `==` with a text does so here too.
            return {"op": "==", "args": [subject, {"op": "const", "value": first}]}
        if not middle and not last:
            return _call("startsWith", subject, first)
        if not middle and not first:
            return _call("endsWith", subject, last)
        if len(middle) == 1 and not first and not last:
            return _call("contains", subject, middle[0])
        between = r"(?:.|\n)*".join(re.sub(r"([^\w ])", r"\\\1", piece, flags=re.ASCII) for piece in pieces)
        return _call("matches", subject, f"^{between}$")


def _call(function: str, subject: Tree, text: str) -> Tree:
    return {"op": "call", "function": function, "args": [subject, {"op": "const", "value": text}]}


def _list(texts: Sequence[str]) -> Tree:
    return {"op": "list", "items": [{"op": "const", "value": text} for text in texts]}
