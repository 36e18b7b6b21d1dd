"""Is one set of policies more permissive than another? Proved with Z3, over all requests there can be (extra `prove`).

A request is turned into unknowns: the texts of agent, role, tool and environment, and for every place that a condition reads
(`args.amount`) what kind of value is there, and the value. Both sets become formulas over them, with the semantics of
`andoncord_sdk.policy`: an error in a prohibition refuses, an error in a permission does not permit. Z3 then looks for a request
that the new set lets go on and the old one refuses, or of which the old one asks something that the new one does not.

What Z3 cannot follow (`matches`, indexing, lists and maps as values, sizes of anything but text) is an unknown of its own,
the same for the same text of an expression. So "no" holds for all requests; a counterexample may come from such an unknown, and
counts only when the real evaluator decides it as Z3 says.

Numbers are reckoned with exactly: that 64-bit arithmetic ends in an error is part of the formulas, that floats round is not.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import msgspec
import z3

from andoncord_sdk.explain import render
from andoncord_sdk.expression import MAX_TEXT
from andoncord_sdk.obligation import Obligation, load_obligations
from andoncord_sdk.policy import Decision, PolicySet
from andoncord_sdk.values import INT_MAX, INT_MIN

TIMEOUT_MS = 20_000
MIN_TIMEOUT_MS = 1_000
"""For each prohibition that is looked at."""
MAX_NUMBER = 2**53
"""Numbers in requests that are considered: beyond it JSON's readers disagree about what a number is."""
MAX_SUM_TEXT = 16 * MAX_TEXT
MAX_LENGTH = 1_000
"""Elements of a list in a counterexample."""
MAX_ATTEMPTS = 8
"""Counterexamples that are tried before the answer is left open."""

MISSING, NULL, BOOL, NUMBER, TEXT, MAP, OTHER = range(7)
_SCOPES = ("agent", "role", "tool", "environment")
_RUN = {"id": TEXT, "task": TEXT, "calls": NUMBER, "spent_micro_usd": NUMBER}
"""What every request says about its run."""


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the new set allows something that the old one refuses."""

    answer: Literal["no", "yes", "unknown"]
    request: dict[str, Any] | None = None
    """One such request."""
    refused_by: str = ""
    """Why the old set refuses it."""
    is_obliged: bool = False
    """The old set does not refuse it outright: it obliges to something that the new one does not ask."""
    why: str = ""
    """Why the answer is unknown."""


def compare(old: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]], *, timeout_ms: int = TIMEOUT_MS) -> Comparison:
    """Look for a request that `new` allows and `old` refuses; both as `compile_policies` makes them.

    Cost: milliseconds for each old prohibition that the new set does not have, growing with the number of conditions; Z3 gives
    up after `timeout_ms` in all, but not before a second for each.

    >>> cap = {"id": "cap", "effect": "forbid", "tool": "pay", "when": None, "message": "no"}
    >>> compare([cap], [cap]).answer, compare([cap], []).request["tool"]
    ('no', 'pay')
    """
    before, after = PolicySet(old), PolicySet(new)
    world = _World()
    kept = {_meaning(policy) for policy in new}
    gone = [policy for policy in old if policy["effect"] == "forbid" and _meaning(policy) not in kept]
    refusals = [(world.refuses(policy), asked) for policy in gone for asked in _obligations(policy) or (None,)]
    permits = [[policy for policy in side if policy["effect"] == "permit"] for side in (old, new)]
    if {_meaning(policy) for policy in permits[0]} != {_meaning(policy) for policy in permits[1]}:
        refusals.append((z3.Not(world.permits(old)), None))
    permitted = world.permits(new)
    answer = Comparison(answer="no")
    for refusal, asked in refusals:  # One at a time: Z3 finds a request for one refusal much sooner than for any of many.
        solver = z3.Solver()
        solver.set("timeout", max(timeout_ms // len(refusals), MIN_TIMEOUT_MS))
        solver.add(refusal, permitted, *world.facts)
        standing = {
            policy["id"]: z3.Not(world.refuses(policy))
            for policy in new
            if policy["effect"] == "forbid" and ((owed := _obligations(policy)) == () or asked in owed)
        }
        found = _search(solver, world, before, after, dict(standing), asked)
        if found.answer == "unknown" and world.opaque:
            # Perhaps there is a request without the lists and maps that are not followed.
            solver.reset()
            solver.add(refusal, permitted, *world.facts, *world.without_lists_and_maps())
            again = _search(solver, world, before, after, dict(standing), asked)
            found = again if again.answer == "yes" else found
        if found.answer == "yes":
            return found
        if found.answer == "unknown":
            answer = found
    return answer


def _search(
    solver: Any, world: "_World", before: PolicySet, after: PolicySet, prohibitions: dict[str, Any], asked: Obligation | None
) -> Comparison:
    """Look for a request that meets the formulas, and that the evaluator decides as they say.

    The new prohibitions are added as they turn out to stand against what was found: of many, few matter.

    Args:
        prohibitions: those of the new set that refuse outright or ask the same.
        asked: what the old set asks; None where it refuses.
    """
    attempts = 0
    while attempts < MAX_ATTEMPTS:
        verdict = solver.check()
        if verdict == z3.unsat and attempts == 0:
            return Comparison(answer="no")
        if verdict == z3.unsat:
            break
        if verdict == z3.unknown:
            return Comparison(answer="unknown", why=f"Z3 gave up: {solver.reason_unknown()}")
        model = solver.model()
        request = world.request(model)
        refusal, decision = before.decide(request), after.decide(request)
        against = _against(decision, asked)
        if not against and (_against(refusal, asked) or not (refusal.allow or refusal.obligations)):
            is_obliged = bool(refusal.obligations)
            return Comparison(answer="yes", request=request, refused_by=refusal.explanation, is_obliged=is_obliged)
        if against in prohibitions:
            solver.add(prohibitions.pop(against))
            continue
        if not world.opaque:
            break
        attempts += 1
        solver.add(z3.Or([unknown != model.eval(unknown, model_completion=True) for unknown in world.opaque.values()]))
    followed = ", ".join(sorted(world.opaque)[:3]) or "how numbers round"
    return Comparison(answer="unknown", why=f"no counterexample stood the test; Z3 does not follow {followed}")


def _against(decision: Decision, asked: Obligation | None) -> str:
    """The policy that refuses outright or, where that is what counts, asks for `asked`; empty when none does."""
    if decision.obligations:
        return next((owed.policy_id for owed in decision.obligations if owed.obligation == asked), "")
    return "" if decision.allow else decision.policy_id or "nothing permits it"


def _obligations(policy: Mapping[str, Any]) -> tuple[Obligation, ...]:
    return load_obligations(policy.get("obligations"))


def _meaning(policy: Mapping[str, Any]) -> bytes:
    """What two policies share when they decide alike: a refusal that both sets have makes no difference."""
    scope = [policy.get(name, "*") for name in (*_SCOPES, "tool")]
    said = [policy["effect"], scope, policy.get("resource"), policy.get("when"), policy.get("obligations")]
    return msgspec.json.encode(said, order="sorted")


class _Value(NamedTuple):
    """A value nobody knows yet. `kind` says which of the others counts; `error` that there is no value at all."""

    error: Any
    kind: Any
    truth: Any
    number: Any
    text: Any
    what: str
    """The expression's text: two values of a kind that is not followed are equal if their texts are."""


class _World:
    """The unknowns of one comparison, and the formulas over them."""

    def __init__(self) -> None:
        self.places: dict[tuple[str, ...], _Value] = {}
        self.opaque: dict[str, Any] = {}
        self.lengths: dict[tuple[str, ...], Any] = {}
        self.facts: list[Any] = []
        for scope in _SCOPES:
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
        return z3.And([_matches(self.place((name,)).text, policy.get(name, "*")) for name in ("agent", "role", "environment")])

    def _tool(self, policy: Mapping[str, Any]) -> Any:
        return _matches(self.place(("tool",)).text, policy.get("tool", "*"))

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
        failed = z3.Or(value.error, value.kind != TEXT, z3.InRe(value.text, _AMBIGUOUS))
        return failed, z3.PrefixOf(_string(resource["prefix"]), value.text)

    # Expressions.

    def place(self, path: tuple[str, ...]) -> _Value:
        """The unknown at a path; where what would hold it is no map, reading it is an error."""
        if path in self.places:
            return self.places[path]
        what = ".".join(path)
        kind, number = z3.Int(f"kind of {what}"), z3.Real(what)
        value = _Value(z3.BoolVal(False), kind, z3.Bool(f"truth of {what}"), number, z3.String(f"text of {what}"), what)
        if len(path) > 1:
            value = value._replace(error=z3.Or(self.place(path[:-1]).kind != MAP, kind == MISSING))
        self.facts += [kind >= MISSING, kind <= OTHER, number <= MAX_NUMBER, number >= -MAX_NUMBER]
        self.places[path] = value
        return value

    def value(self, tree: Mapping[str, Any]) -> _Value:
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

    def _turned(self, tree: Mapping[str, Any]) -> _Value:
        value = self.value(tree["of"])
        if tree["op"] == "neg":
            return self._reckoned(tree, lambda one: -one, [value])
        error, truth = self._truth(value)
        return _answer(error, z3.Not(truth), tree)

    def _binary(self, tree: Mapping[str, Any]) -> _Value:
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

    def _foreign(self, tree: Mapping[str, Any], *, kinds: tuple[int, ...] = ()) -> _Value:
        """An expression that is not followed: any outcome is possible, the same one wherever it stands."""
        what = render(tree)
        error, truth = self._unknown(f"{what} fails"), self._unknown(what)
        kind, number, text = z3.Int(f"kind of {what}"), z3.Real(f"{what} "), z3.String(f"text of {what}")
        self.facts += [z3.Or([kind == each for each in (kinds or range(NULL, OTHER + 1))])]
        return _Value(error, kind, truth, number, text, what)

    def _truth(self, value: _Value) -> tuple[Any, Any]:
        return z3.Or(value.error, value.kind != BOOL), value.truth

    def _decided(self, tree: Mapping[str, Any]) -> _Value:
        parts = [self._truth(self.value(part)) for part in tree["args"]]
        is_or = tree["op"] == "||"
        decisive = z3.Or([z3.And(z3.Not(error), truth if is_or else z3.Not(truth)) for error, truth in parts])
        failed = z3.And(z3.Not(decisive), z3.Or([error for error, _ in parts]))
        return _answer(failed, decisive if is_or else z3.Not(decisive), tree)

    def _reckoned(self, tree: Mapping[str, Any], symbol: Callable[..., Any], parts: list[_Value]) -> _Value:
        result = symbol(*(part.number for part in parts))
        failed = z3.Or(*(z3.Or(part.error, part.kind != NUMBER) for part in parts), result > INT_MAX, result < INT_MIN)
        return _known(0, render(tree))._replace(error=failed, number=result)

    def _added(self, tree: Mapping[str, Any]) -> _Value:
        one, two = (self.value(part) for part in tree["args"])
        total = self._reckoned(tree, lambda mine, other: mine + other, [one, two])
        are_texts = z3.And(one.kind == TEXT, two.kind == TEXT)
        text = z3.Concat(one.text, two.text)
        failed = z3.If(are_texts, z3.Length(text) > MAX_SUM_TEXT, total.error)
        return total._replace(error=z3.Or(one.error, two.error, failed), kind=z3.If(are_texts, TEXT, NUMBER), text=text)

    def _equal(self, one: _Value, two: _Value) -> tuple[Any, Any]:
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

    def _ordered(self, tree: Mapping[str, Any]) -> _Value:
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

    def _member(self, tree: Mapping[str, Any]) -> _Value:
        needle, hay = tree["args"]
        if hay["op"] != "list":
            return self._foreign(tree, kinds=(BOOL,))
        wanted = self.value(needle)
        compared = [self._equal(wanted, self.value(item)) for item in hay["items"]]
        found = z3.Or([z3.And(z3.Not(error), equal) for error, equal in compared])
        items_fail = [self.value(item).error for item in hay["items"]]
        failed = z3.Or(wanted.error, *items_fail, z3.And(z3.Not(found), z3.Or([error for error, _ in compared])))
        return _answer(failed, found, tree)

    def _called(self, tree: Mapping[str, Any]) -> _Value:
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

    def _sized(self, tree: Mapping[str, Any]) -> _Value:
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
        return {name: self._given((name,), model) for name in (*_SCOPES, "args", "run")}

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
            return _plain(model.eval(value.text, model_completion=True))
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


def _known(value: Any, what: str) -> _Value:
    kind = NULL if value is None else BOOL if isinstance(value, bool) else TEXT if isinstance(value, str) else NUMBER
    number = z3.RealVal(repr(value)) if kind == NUMBER and "e" not in repr(value) else z3.RealVal(0)
    if kind == NUMBER and "e" in repr(value):
        number = z3.RealVal(f"{float(value):.400f}".rstrip("0"))
    text = _string(value if isinstance(value, str) else "")
    return _Value(z3.BoolVal(False), z3.IntVal(kind), z3.BoolVal(value is True), number, text, what)


def _string(text: str) -> Any:
    """A literal. Z3 reads escapes in it, so a backslash has to be one."""
    return z3.StringVal(text.replace("\\", "\\u{5c}"))


def _answer(error: Any, truth: Any, tree: Mapping[str, Any]) -> _Value:
    return _known(True, render(tree))._replace(error=error, truth=truth)


def _matches(text: Any, glob: str) -> Any:
    """That a text matches a glob, as `fnmatch.translate` understands it."""
    if not any(character in glob for character in "*?["):
        return text == _string(glob)
    if glob == "*":
        return z3.BoolVal(True)
    if glob.count("*") == 1 and not any(character in glob for character in "?["):
        # The same without a regular expression, which Z3 finds easier.
        first, last = (_string(part) for part in glob.split("*"))
        return z3.And(z3.PrefixOf(first, text), z3.SuffixOf(last, text), z3.Length(text) >= len(glob) - 1)
    pieces = [_piece(piece) for piece in _pieces(glob)]
    return z3.InRe(text, pieces[0] if len(pieces) == 1 else z3.Concat(*pieces))


def _pieces(glob: str) -> Iterable[str]:
    """A glob cut into `*`, `?`, `[…]` and single characters."""
    at = 0
    while at < len(glob):
        end = glob.find("]", at + 2 + glob.startswith("[!", at)) if glob[at] == "[" else -1
        yield glob[at : end + 1] if end > 0 else glob[at]
        at = end + 1 if end > 0 else at + 1


def _piece(piece: str) -> Any:
    one = z3.AllChar(z3.ReSort(z3.StringSort()))
    if piece == "*":
        return z3.Star(one)
    if piece == "?":
        return one
    if len(piece) == 1:
        return z3.Re(_string(piece))
    inside, is_negated = (piece[2:-1], True) if piece[1] == "!" else (piece[1:-1], False)
    choices, at = [], 0
    while at < len(inside):
        if inside[at + 1 : at + 2] == "-" and at + 2 < len(inside):
            choices.append(z3.Range(_string(inside[at]), _string(inside[at + 2])))
            at += 3
        else:
            choices.append(z3.Re(_string(inside[at])))
            at += 1
    members = choices[0] if len(choices) == 1 else z3.Union(*choices)
    return z3.Intersect(one, z3.Complement(members)) if is_negated else members


def _plain(text: Any) -> str:
    r"""A text of Z3, whose unusual characters come as `\u{1f}`."""
    return re.sub(r"\\u\{([0-9a-f]+)\}", lambda match: chr(int(match[1], 16)), str(text.as_string()))


def _within(*pieces: Any) -> Any:
    """A text with one of the pieces somewhere in it."""
    anything = z3.Full(z3.ReSort(z3.StringSort()))
    return z3.Concat(anything, pieces[0] if len(pieces) == 1 else z3.Union(*pieces), anything)


def _ambiguous() -> Any:
    """The texts of which `andoncord_sdk.policy.Resource` says that it cannot tell where they lead."""
    anything = z3.Full(z3.ReSort(z3.StringSort()))
    one, slash = z3.AllChar(z3.ReSort(z3.StringSort())), z3.Re("/")
    dots = z3.Union(z3.Re("."), z3.Re(".."))
    segment = z3.Concat(z3.Option(z3.Concat(anything, slash)), dots, z3.Option(z3.Concat(slash, anything)))
    not_after_colon = z3.Option(z3.Concat(anything, z3.Intersect(one, z3.Complement(z3.Re(":")))))
    doubled = z3.Concat(not_after_colon, z3.Re("//"), anything)
    escapes = [z3.Re(f"%{code}") for code in ("2e", "2E", "2f", "2F", "5c", "5C", "25")]
    return z3.Union(segment, doubled, _within(z3.Re(_string("\\")), z3.Range("\\u{0}", "\\u{1f}"), *escapes))


_AMBIGUOUS = _ambiguous()
