"""The parser of the condition language, and that the SDK's closures mean what the text says."""

import math
import operator
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from andoncord.kernel.errors import CallerError
from andoncord.policy.expression import Tree, parse
from andoncord_sdk.explain import render
from andoncord_sdk.expression import ExpressionError, compile_expression
from andoncord_sdk.values import INT_MAX, INT_MIN, equal, kind_of

NAMES = ("args", "agent", "count", "absent")

leaves = st.one_of(
    st.builds(
        lambda value: {"op": "const", "value": value},
        st.one_of(
            st.booleans(),
            st.none(),
            st.integers(INT_MIN, INT_MAX),
            st.floats(allow_nan=False, allow_infinity=False),
            st.text(max_size=8),
        ),
    ),
    st.builds(lambda name: {"op": "name", "name": name}, st.sampled_from(NAMES)),
    st.builds(
        lambda name: {"op": "field", "of": {"op": "name", "name": "args"}, "name": name}, st.sampled_from(["amount", "gone"])
    ),
)


def grown(children: st.SearchStrategy[Tree]) -> st.SearchStrategy[Tree]:
    pair = st.tuples(children, children).map(list)
    return st.one_of(
        st.builds(
            lambda op, args: {"op": op, "args": args},
            st.sampled_from(["==", "!=", "<", "<=", ">", ">=", "in", "+", "-", "*"]),
            pair,
        ),
        st.builds(
            lambda op, args: {"op": op, "args": args}, st.sampled_from(["&&", "||"]), st.lists(children, min_size=2, max_size=4)
        ),
        st.builds(lambda op, of: {"op": op, "of": of}, st.sampled_from(["!", "neg"]), children),
        st.builds(lambda items: {"op": "list", "items": items}, st.lists(children, max_size=3)),
        st.builds(lambda of, name: {"op": "field", "of": of, "name": name}, children, st.sampled_from(["amount", "size"])),
        st.builds(lambda of, at: {"op": "index", "of": of, "at": at}, children, children),
        st.builds(
            lambda f, args: {"op": "call", "function": f, "args": args},
            st.sampled_from(["startsWith", "endsWith", "contains"]),
            pair,
        ),
        st.builds(lambda of: {"op": "call", "function": "size", "args": [of]}, children),
        st.builds(
            lambda of: {"op": "call", "function": "has", "args": [{"op": "field", "of": of, "name": "amount"}]}, children
        ),
    )


trees = st.recursive(leaves, grown, max_leaves=12)
values = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-5, 5), st.floats(allow_infinity=False), st.sampled_from(["", "a", "ab", "5"])
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["amount", "a"]), inner, max_size=2)),
    max_leaves=4,
)
environments = st.fixed_dictionaries({"args": values, "agent": values, "count": values})


ORDER: dict[str, Callable[[Any, Any], Any]] = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
NUMBERS = {**ORDER, "+": operator.add, "-": operator.sub, "*": operator.mul}
TEXT = {
    **ORDER,
    "+": operator.add,
    "startsWith": str.startswith,
    "endsWith": str.endswith,
    "contains": operator.contains,
}


class Wrong:
    """What the interpreter below gives instead of raising."""


def interpret(tree: Tree, env: dict[str, Any]) -> Any:  # noqa: PLR0911 - the language, spelled out once more
    """The language as a reader would explain it: no closures, no special cases, no exceptions."""
    op = tree["op"]
    if op == "const":
        return tree["value"]
    if op == "name":
        return env.get(tree["name"], Wrong)
    if op in ("&&", "||"):
        parts = [interpret(part, env) for part in tree["args"]]
        if any(part is (op == "||") for part in parts):
            return op == "||"
        return Wrong if any(part is not (op == "&&") for part in parts) else op == "&&"
    if op == "list":
        items = [interpret(item, env) for item in tree["items"]]
        return Wrong if Wrong in [item for item in items if item is Wrong] else items
    inner = [interpret(tree[key], env) for key in ("of", "at") if key in tree]
    if tree.get("function") == "has":
        holder = interpret(tree["args"][0]["of"], env)
        return tree["args"][0]["name"] in holder if isinstance(holder, dict) else Wrong
    inner += [interpret(part, env) for part in tree.get("args", [])]
    if any(value is Wrong for value in inner):
        return Wrong
    try:
        return apply(op if op != "call" else tree["function"], inner, tree.get("name", ""))
    except (KeyError, IndexError, TypeError, OverflowError, ExpressionError):
        return Wrong


def apply(op: str, values: list[Any], name: str) -> Any:  # noqa: PLR0911
    left, right = values[0], values[-1]
    kinds = [kind_of(value) for value in values]
    if op == "field":
        return left[name] if kinds == ["map"] else Wrong
    if op == "index":
        if kinds not in (["map", "text"], ["list", "number"]) or isinstance(right, float):
            return Wrong
        return left[right] if kinds[0] == "map" or right >= 0 else Wrong
    if op == "!":
        return not left if kinds == ["bool"] else Wrong
    if op in ("==", "!="):
        return equal(left, right) is (op == "==")
    if op == "in":
        if kinds[1] == "map":
            return left in right if kinds[0] == "text" else Wrong
        verdicts = (
            [apply("==", [left, item], "") if comparable(left, item) else Wrong for item in right]
            if kinds[1] == "list"
            else [Wrong]
        )
        return True if True in verdicts else (Wrong if Wrong in verdicts else False)
    if op == "size":
        return len(left) if kinds[0] in ("text", "list", "map") else Wrong
    if kinds == ["text", "text"]:
        return TEXT[op](left, right) if op in TEXT else Wrong
    if set(kinds) != {"number"} or any(math.isnan(value) for value in values):
        return Wrong
    outcome: Any = -left if op == "neg" else NUMBERS[op](left, right) if op in NUMBERS else Wrong
    if outcome is Wrong or isinstance(outcome, bool):
        return outcome
    fits = INT_MIN <= outcome <= INT_MAX if isinstance(outcome, int) else math.isfinite(outcome)
    return outcome if fits else Wrong


def comparable(left: Any, right: Any) -> bool:
    try:
        equal(left, right)
    except ExpressionError:
        return False
    return True


@given(trees)
def test_rendering_and_parsing_round_trips(tree: Tree) -> None:
    """What is rendered parses back to the same tree."""
    assert parse(render(tree), place="here") == tree


@settings(max_examples=300)
@given(trees, environments)
def test_closures_agree_with_a_plain_interpreter(tree: Tree, environment: dict[str, Any]) -> None:
    """Compiled closures give what a straightforward reading of the tree gives, errors included."""
    expected = interpret(tree, environment)
    try:
        got = compile_expression(tree)(environment)
    except ExpressionError:
        got = Wrong
    assert repr(got) == repr(expected)


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    """No text makes the parser fail with anything but a `CallerError`."""
    problem = ""
    try:
        parse(text, place="here")
    except CallerError as error:
        problem = str(error)
    assert problem == "" or problem.startswith("here: ")


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("1 + 2 * 3", "1 + (2 * 3)"),
        ("1 - 2 - 3", "(1 - 2) - 3"),
        ("a || b && c", "a || (b && c)"),
        ("!a && b", "(!a) && b"),
        ("a + 1 < b * 2", "(a + 1) < (b * 2)"),
        ("a in [1, 2] || c", "(a in [1, 2]) || c"),
        ("-a.b", "-(a.b)"),
        ("a.size() > 2", "size(a) > 2"),
        ("200_000_000", "200000000"),
        (r"r'a\d'", r'"a\\d"'),
        ("'it\\'s \\u00e9'", '"it\'s é"'),
    ],
)
def test_precedence_and_spelling(text: str, tree: str) -> None:
    """Operators bind as in CEL; the same value may be spelled in several ways."""
    assert parse(text, place="here") == parse(tree, place="here")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the expression ends too early at column 1"),
        ("a = 1", "unexpected '=' at column 3, write '=='"),
        ("a and b", "unexpected 'and' at column 3, write '&&'"),
        ("True", "unexpected 'True' at column 1, write 'true'"),
        ("a < b < c", "comparisons cannot be chained at column 7, write a < b && b < c"),
        ("a == 'x", "text that is not closed at column 6"),
        ("1__0", "a malformed number at column 1"),
        ("99999999999999999999", "a whole number that does not fit in 64 bits at column 1"),
        ("(a", "expected ')' but found the end at column 3"),
        ("agnt == 'x'", "unknown name 'agnt' at column 1, did you mean 'agent'?"),
        ("a.startWith('x')", "unknown function 'startWith' at column 3, did you mean 'startsWith'?"),
        ("a.matches(b)", "matches() needs its pattern written out at column 3"),
        ("a ? b : c", "unexpected '?' at column 3, write the condition with '&&' and '||'"),
        ("a &&\n  b b", "unexpected 'b' at line 2, column 5"),
        ("a == '\\q'", "unknown escape '\\q' at column 7"),
    ],
)
def test_a_mistake_is_named_with_its_column(text: str, message: str) -> None:
    """Every mistake comes with where it is and, where we can guess, what to write."""
    with pytest.raises(CallerError) as caught:
        parse(text, place="policies/p.yaml:4", names={"a", "b", "c", "agent"})
    assert str(caught.value).startswith(f"policies/p.yaml:4: {message}")
