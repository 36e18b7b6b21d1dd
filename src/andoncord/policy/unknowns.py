"""The unknowns of a request, and policies as formulas over them (extra `prove`)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import z3

from andoncord.policy.z3_text import AMBIGUOUS, matches, plain, string
from andoncord_sdk.explain import render
from andoncord_sdk.expression import MAX_TEXT
from andoncord_sdk.values import INT_MAX, INT_MIN

MAX_NUMBER = 2**53
"""Numbers in requests that are considered: beyond it JSON's readers disagree about what a number is."""
MAX_SUM_TEXT = 16 * MAX_TEXT
MAX_LENGTH = 1_000
"""Elements of a list in a counterexample."""

MISSING, NULL, BOOL, NUMBER, TEXT, MAP, OTHER = range(7)
SCOPES = ("agent", "role", "tool", "environment")
_RUN = {"id": TEXT, "task": TEXT, "calls": NUMBER, "spent_micro_usd": NUMBER}
"""What every request says about its run."""


class Value(NamedTuple):
    """A value nobody knows yet. `kind` says which of the others counts; `error` that there is no value at all."""

    error: Any
    kind: Any
    truth: Any
    number: Any
    text: Any
    what: str
    """The expression's text: two values of a kind that is not followed are equal if their texts are."""


class World:
    """The unknowns of one comparison, and the formulas over them."""

    def __init__(self) -> None:
        self.places: dict[tuple[str, ...], Value] = {}
        self.opaque: dict[str, Any] = {}
        self.lengths: dict[tuple[str, ...], Any] = {}
        self.facts: list[Any] = []
        for scope in SCOPES:
            self.facts += [
                self.place((scope,)).kind == TEXT,
                z3.Length(self.place((scope,)).text) >= (scope in ("agent", "tool")),
            ]
        self.facts += [self.place((name,)).kind == MAP for name in ("args", "run")]
        for name, kind in _RUN.items():
            self.facts += [self.place(("run", name)).kind == kind, self.place(("run", name)).number >= 0]

    # Sets of policies.

    def refuses(self, policy: Mapping[str, Any]) -> Any:
        """That one prohibition applies."""
        return z3.And(self._scope(policy), self._tool(policy), self._applies(policy, True))

    def permits(self, policies: Sequence[Mapping[str, Any]]) -> Any:
        """That a permission applies, or none is needed."""
        permits = [policy for policy in policies if policy["effect"] == "permit"]
        applies = [z3.And(self._scope(policy), self._tool(policy), self._applies(policy, False)) for policy in permits]
        return z3.Or(z3.Not(z3.Or([self._scope(policy) for policy in permits])), *applies)

    def _scope(self, policy: Mapping[str, Any]) -> Any:
        return z3.And([matches(self.place((name,)).text, policy.get(name, "*")) for name in ("agent", "role", "environment")])

    def _tool(self, policy: Mapping[str, Any]) -> Any:
        return matches(self.place(("tool",)).text, policy.get("tool", "*"))

    def _applies(self, policy: Mapping[str, Any], on_error: bool) -> Any:
        parts = []
        if policy.get("resource") is not None:
            parts.append(self._resource(policy["resource"]))
        if policy.get("when") is not None:
            parts.append(self._truth(self.value(policy["when"])))
        if not parts:
            return z3.BoolVal(True)
        all_hold = z3.And([z3.And(z3.Not(error), truth) for error, truth in parts])
        if not on_error:
            return all_hold
        one_fails = z3.Or([z3.And(z3.Not(error), z3.Not(truth)) for error, truth in parts])
        return z3.Not(one_fails)

    def _resource(self, resource: Mapping[str, str]) -> tuple[Any, Any]:
        value = self.place(("args", resource["argument"]))
        failed = z3.Or(value.error, value.kind != TEXT, z3.InRe(value.text, AMBIGUOUS))
        return failed, z3.PrefixOf(string(resource["prefix"]), value.text)

    # Expressions.

    def place(self, path: tuple[str, ...]) -> Value:
        """The unknown at a path; where what would hold it is no map, reading it is an error."""
        if path in self.places:
            return self.places[path]
        what = ".".join(path)
        kind, number = z3.Int(f"kind of {what}"), z3.Real(what)
        value = Value(z3.BoolVal(False), kind, z3.Bool(f"truth of {what}"), number, z3.String(f"text of {what}"), what)
        if len(path) > 1:
            value = value._replace(error=z3.Or(self.place(path[:-1]).kind != MAP, kind == MISSING))
        self.facts += [kind >= MISSING, kind <= OTHER, number <= MAX_NUMBER, number >= -MAX_NUMBER]
        self.places[path] = value
        return value

    def value(self, tree: Mapping[str, Any]) -> Value:
        """What an expression comes to."""
        match tree["op"]:
            case "const":
                return _known(tree["value"], render(tree))
            case "name" | "field" | "index":
                path = _path(tree)
                return self._foreign(tree) if path is None else self.place(path)
            case "call":
                return self._called(tree)
            case "&&" | "||":
                return self._decided(tree)
            case "!" | "neg":
                return self._turned(tree)
        return self._binary(tree)

    def _turned(self, tree: Mapping[str, Any]) -> Value:
        value = self.value(tree["of"])
        if tree["op"] == "neg":
            return self._reckoned(tree, lambda one: -one, [value])
        error, truth = self._truth(value)
        return _answer(error, z3.Not(truth), tree)

    def _binary(self, tree: Mapping[str, Any]) -> Value:
        match tree["op"]:
            case "-":
                return self._reckoned(tree, lambda one, two: one - two, [self.value(part) for part in tree["args"]])
            case "*":
                return self._reckoned(tree, lambda one, two: one * two, [self.value(part) for part in tree["args"]])
            case "+":
                return self._added(tree)
            case "==" | "!=":
                error, equal = self._equal(*(self.value(part) for part in tree["args"]))
                return _answer(error, equal if tree["op"] == "==" else z3.Not(equal), tree)
            case "<" | "<=" | ">" | ">=":
                return self._ordered(tree)
            case "in":
                return self._member(tree)
        return self._foreign(tree)

    def _unknown(self, what: str) -> Any:
        return self.opaque.setdefault(what, z3.Bool(what))

    def _foreign(self, tree: Mapping[str, Any], *, kinds: tuple[int, ...] = ()) -> Value:
        """An expression that is not followed: any outcome is possible, the same one wherever it stands."""
        what = render(tree)
        error, truth = self._unknown(f"{what} fails"), self._unknown(what)
        kind, number, text = z3.Int(f"kind of {what}"), z3.Real(f"{what} "), z3.String(f"text of {what}")
        self.facts += [z3.Or([kind == each for each in (kinds or range(NULL, OTHER + 1))])]
        return Value(error, kind, truth, number, text, what)

    def _truth(self, value: Value) -> tuple[Any, Any]:
        return z3.Or(value.error, value.kind != BOOL), value.truth

    def _decided(self, tree: Mapping[str, Any]) -> Value:
        parts = [self._truth(self.value(part)) for part in tree["args"]]
        is_or = tree["op"] == "||"
        decisive = z3.Or([z3.And(z3.Not(error), truth if is_or else z3.Not(truth)) for error, truth in parts])
        failed = z3.And(z3.Not(decisive), z3.Or([error for error, _ in parts]))
        return _answer(failed, decisive if is_or else z3.Not(decisive), tree)

    def _reckoned(self, tree: Mapping[str, Any], symbol: Callable[..., Any], parts: list[Value]) -> Value:
        result = symbol(*(part.number for part in parts))
        failed = z3.Or(*(z3.Or(part.error, part.kind != NUMBER) for part in parts), result > INT_MAX, result < INT_MIN)
        return _known(0, render(tree))._replace(error=failed, number=result)

    def _added(self, tree: Mapping[str, Any]) -> Value:
        one, two = (self.value(part) for part in tree["args"])
        total = self._reckoned(tree, lambda mine, other: mine + other, [one, two])
        are_texts = z3.And(one.kind == TEXT, two.kind == TEXT)
        text = z3.Concat(one.text, two.text)
        failed = z3.If(are_texts, z3.Length(text) > MAX_SUM_TEXT, total.error)
        return total._replace(error=z3.Or(one.error, two.error, failed), kind=z3.If(are_texts, TEXT, NUMBER), text=text)

    def _equal(self, one: Value, two: Value) -> tuple[Any, Any]:
        is_null = z3.Or(one.kind == NULL, two.kind == NULL)
        known = z3.If(
            one.kind == TEXT,
            one.text == two.text,
            z3.If(one.kind == NUMBER, one.number == two.number, one.truth == two.truth),
        )
        followed = z3.And(one.kind != MAP, one.kind != OTHER)
        names = sorted((one.what, two.what))
        other = z3.BoolVal(True) if one.what == two.what else self._unknown(f"{names[0]} == {names[1]}")
        fails = self._unknown(f"{names[0]} == {names[1]} fails")
        error = z3.Or(
            one.error, two.error, z3.And(z3.Not(is_null), z3.Or(one.kind != two.kind, z3.And(z3.Not(followed), fails)))
        )
        return error, z3.If(is_null, one.kind == two.kind, z3.If(followed, known, other))

    def _ordered(self, tree: Mapping[str, Any]) -> Value:
        one, two = (self.value(part) for part in tree["args"])
        op = tree["op"]
        if op in (">", ">="):
            one, two = two, one
        both_text = z3.And(one.kind == TEXT, two.kind == TEXT)
        both_numbers = z3.And(one.kind == NUMBER, two.kind == NUMBER)
        strict = op in ("<", ">")
        numbers = one.number < two.number if strict else one.number <= two.number
        texts = one.text < two.text if strict else one.text <= two.text
        failed = z3.Or(one.error, two.error, z3.Not(z3.Or(both_text, both_numbers)))
        return _answer(failed, z3.If(both_text, texts, numbers), tree)

    def _member(self, tree: Mapping[str, Any]) -> Value:
        needle, hay = tree["args"]
        if hay["op"] != "list":
            return self._foreign(tree, kinds=(BOOL,))
        wanted = self.value(needle)
        compared = [self._equal(wanted, self.value(item)) for item in hay["items"]]
        found = z3.Or([z3.And(z3.Not(error), equal) for error, equal in compared])
        items_fail = [self.value(item).error for item in hay["items"]]
        failed = z3.Or(wanted.error, *items_fail, z3.And(z3.Not(found), z3.Or([error for error, _ in compared])))
        return _answer(failed, found, tree)

    def _called(self, tree: Mapping[str, Any]) -> Value:
        function, arguments = tree["function"], tree["args"]
        if function == "has":
            path = _path(arguments[0])
            if path is None or len(path) == 1:
                return self._foreign(tree, kinds=(BOOL,))
            inside, holder = self.place(path), self.place(path[:-1])
            return _answer(z3.Or(holder.error, holder.kind != MAP), inside.kind != MISSING, tree)
        if function == "matches":
            subject = self.value(arguments[0])
            unfollowed = self._foreign(tree, kinds=(BOOL,))
            return _answer(z3.Or(subject.error, subject.kind != TEXT, unfollowed.error), unfollowed.truth, tree)
        if function == "size":
            return self._sized(tree)
        text, piece = (self.value(argument) for argument in arguments)
        tests = {
            "startsWith": z3.PrefixOf(piece.text, text.text),
            "endsWith": z3.SuffixOf(piece.text, text.text),
            "contains": z3.Contains(text.text, piece.text),
        }
        failed = z3.Or(text.error, piece.error, text.kind != TEXT, piece.kind != TEXT)
        return _answer(failed, tests[function], tree)

    def _sized(self, tree: Mapping[str, Any]) -> Value:
        (of,) = tree["args"]
        value, path, what = self.value(of), _path(of), render(tree)
        length = z3.Int(f"length: {what}")
        self.facts.append(length >= 0)
        if path is not None:
            self.lengths[path] = length
        self._unknown(f"{what} of a map or list")
        number = z3.ToReal(z3.If(value.kind == TEXT, z3.Length(value.text), length))
        failed = z3.Or(value.error, z3.And([value.kind != kind for kind in (TEXT, MAP, OTHER)]))
        return _known(0, what)._replace(error=failed, number=number)

    def without_lists_and_maps(self) -> list[Any]:
        """That there are none but the maps in which something is looked for."""
        holders = {place[:-1] for place in self.places}
        plain = [value.kind for place, value in self.places.items() if place not in holders]
        return [z3.And(kind != OTHER, kind != MAP) for kind in plain]

    # Back to a request.

    def request(self, model: Any) -> dict[str, Any]:
        """The request that a model of the formulas describes."""
        return {name: self._given((name,), model) for name in (*SCOPES, "args", "run")}

    def _given(self, path: tuple[str, ...], model: Any) -> Any:
        value = self.place(path)
        kind = model.eval(value.kind, model_completion=True).as_long()
        if kind == MAP:
            below = [place for place in self.places if place[:-1] == path]
            return {place[-1]: self._given(place, model) for place in below if not self._is_missing(place, model)}
        if kind == BOOL:
            return z3.is_true(model.eval(value.truth, model_completion=True))
        if kind == NUMBER:
            exact = model.eval(value.number, model_completion=True)
            number = (exact.approx(20) if z3.is_algebraic_value(exact) else exact).as_fraction()
            return int(number) if number.denominator == 1 else float(number)
        if kind == TEXT:
            return plain(model.eval(value.text, model_completion=True))
        if kind == OTHER:
            length = model.eval(self.lengths.get(path, z3.IntVal(0)), model_completion=True).as_long()
            return [None] * min(length, MAX_LENGTH)
        return None

    def _is_missing(self, path: tuple[str, ...], model: Any) -> bool:
        return bool(model.eval(self.place(path).kind, model_completion=True).as_long() == MISSING)


def _path(tree: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The names and fields of `args.a.b` or `args.a["b"]`; None for a field of anything else."""
    if tree["op"] == "name":
        return (tree["name"],)
    step = tree.get("name") if tree["op"] == "field" else tree["at"].get("value") if tree["op"] == "index" else None
    holder = _path(tree["of"]) if isinstance(step, str) else None
    return None if holder is None or not isinstance(step, str) else (*holder, step)


def _known(value: Any, what: str) -> Value:
    kind = NULL if value is None else BOOL if isinstance(value, bool) else TEXT if isinstance(value, str) else NUMBER
    number = z3.RealVal(repr(value)) if kind == NUMBER and "e" not in repr(value) else z3.RealVal(0)
    if kind == NUMBER and "e" in repr(value):
        number = z3.RealVal(f"{float(value):.400f}".rstrip("0"))
    text = string(value if isinstance(value, str) else "")
    return Value(z3.BoolVal(False), z3.IntVal(kind), z3.BoolVal(value is True), number, text, what)


def _answer(error: Any, truth: Any, tree: Mapping[str, Any]) -> Value:
    return _known(True, render(tree))._replace(error=error, truth=truth)
