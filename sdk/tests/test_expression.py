"""The closures of the condition language: strict, error-absorbing, bounded."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from andoncord_sdk.expression import (
    MAX_DEPTH,
    MAX_MATCH_TEXT,
    MAX_NODES,
    ExpressionError,
    compile_condition,
    compile_expression,
)

ARGS = {"op": "name", "name": "args"}
MISSING = {"op": "field", "of": ARGS, "name": "missing"}


def const(value: Any) -> dict[str, Any]:
    return {"op": "const", "value": value}


def two(op: str, left: Any, right: Any) -> dict[str, Any]:
    return {"op": op, "args": [left, right]}


def value_of(tree: dict[str, Any], **environment: Any) -> Any:
    return compile_expression(tree)(environment)


def outcome_of(tree: dict[str, Any], environment: dict[str, Any]) -> Any:
    try:
        return compile_condition(tree)(environment)
    except ExpressionError:
        return "error"


SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-3, 3), st.floats(), st.text(max_size=2))


@given(
    st.sampled_from(["<", "<=", ">", ">="]),
    st.integers(-2, 2),
    st.one_of(SCALARS, st.lists(SCALARS, max_size=2), st.dictionaries(st.sampled_from("ab"), SCALARS, max_size=2)),
)
def test_the_short_way_of_a_comparison_decides_like_the_long_one(op: str, limit: int, args: Any) -> None:
    """`args.a > 1`, compiled to one function, gives what its parts give one by one, errors included."""
    short = two(op, {"op": "field", "of": ARGS, "name": "a"}, const(limit))
    # A sum is no shortcut's left side; adding nothing changes no number and makes an error of everything else.
    long = two(op, two("+", {"op": "field", "of": ARGS, "name": "a"}, const(0)), const(limit))

    assert outcome_of(short, {"args": args}) == outcome_of(long, {"args": args}) or not _is_finite(args)


def _is_finite(args: Any) -> bool:
    """Sums refuse infinities that comparisons allow."""
    value = args.get("a") if isinstance(args, dict) else None
    return not isinstance(value, float) or abs(value) < float("inf")


@pytest.mark.parametrize("op", ["==", "!=", "<", "<=", ">", ">="])
def test_text_and_numbers_never_compare(op: str) -> None:
    """A number is never compared with a text that looks like it."""
    with pytest.raises(ExpressionError, match="number"):
        value_of(two(op, const(5), const("5")))


def test_true_is_not_one() -> None:
    """A boolean is not a number, although Python thinks so."""
    with pytest.raises(ExpressionError):
        value_of(two("==", const(1), const(True)))


def test_null_compares_with_everything() -> None:
    """`null` is the one value that may be compared with any kind."""
    assert value_of(two("==", const("a"), const(None))) is False
    assert value_of(two("!=", const(5), const(None))) is True


def test_nan_is_an_error_not_a_no() -> None:
    """NaN does not slip under a limit: comparing it is an error."""
    with pytest.raises(ExpressionError, match="NaN"):
        value_of(two(">", ARGS, const(5)), args=float("nan"))


def test_huge_numbers_from_an_agent_are_compared_not_crashed_on() -> None:
    """A number of 400 digits is compared as it is; reckoning with it is an error."""
    assert value_of(two(">", ARGS, const(5.5)), args=10**400) is True
    with pytest.raises(ExpressionError, match="64 bits"):
        value_of(two("+", ARGS, const(1.5)), args=10**400)
    with pytest.raises(ExpressionError, match="64 bits"):
        value_of(two("*", const(2**62), const(2)))


@pytest.mark.parametrize("order", [0, 1])
def test_and_absorbs_errors(order: int) -> None:
    """`false && error` is false in either order; `true && error` is the error."""
    parts = [const(False), MISSING]
    assert value_of({"op": "&&", "args": parts[::-1] if order else parts}, args={}) is False
    parts = [const(True), MISSING]
    with pytest.raises(ExpressionError):
        value_of({"op": "&&", "args": parts[::-1] if order else parts}, args={})


@pytest.mark.parametrize("order", [0, 1])
def test_or_absorbs_errors(order: int) -> None:
    """`true || error` is true in either order; `false || error` is the error."""
    parts = [const(True), MISSING]
    assert value_of({"op": "||", "args": parts[::-1] if order else parts}, args={}) is True
    parts = [const(False), MISSING]
    with pytest.raises(ExpressionError):
        value_of({"op": "||", "args": parts[::-1] if order else parts}, args={})


def test_a_missing_field_says_its_name() -> None:
    """A missing field is an error that names it; `has` asks without one."""
    with pytest.raises(ExpressionError, match="no field 'missing'"):
        value_of(MISSING, args={})
    has = {"op": "call", "function": "has", "args": [MISSING]}
    assert value_of(has, args={}) is False
    assert value_of(has, args={"missing": None}) is True


def test_membership_in_a_mixed_list_is_found_or_an_error() -> None:
    """An element of another kind turns a no into an error, never a yes into one."""
    mixed = {"op": "list", "items": [const("a"), const(5)]}
    assert value_of(two("in", const(5), mixed)) is True
    with pytest.raises(ExpressionError):
        value_of(two("in", const("b"), mixed))
    with pytest.raises(ExpressionError):
        value_of(two("in", const(5), {"op": "list", "items": [const("a"), const("b")]}))


def test_text_is_not_searched_with_in() -> None:
    """`in` over text would be a substring test in disguise: it is refused."""
    with pytest.raises(ExpressionError, match="contains"):
        value_of(two("in", const("a"), const("abc")))


def test_matches_looks_at_bounded_text() -> None:
    """`matches` refuses text beyond its bound instead of taking long."""
    node = {"op": "call", "function": "matches", "args": [ARGS, const("^a+$")]}
    assert value_of(node, args="a" * MAX_MATCH_TEXT) is True
    with pytest.raises(ExpressionError, match="no more than"):
        value_of(node, args="a" * (MAX_MATCH_TEXT + 1))


def test_index_stays_inside_the_list() -> None:
    """There is no counting from the end and nothing beyond it."""
    for at in (-1, 2, True, 1.0, "0"):
        with pytest.raises(ExpressionError):
            value_of({"op": "index", "of": ARGS, "at": const(at)}, args=["a", "b"])
    assert value_of({"op": "index", "of": ARGS, "at": const(1)}, args=["a", "b"]) == "b"


def test_a_condition_is_true_or_false() -> None:
    """A condition that gives anything else is an error."""
    with pytest.raises(ExpressionError, match="not true or false"):
        compile_condition(const(1))({})


@pytest.mark.parametrize(
    "tree",
    [
        {},
        {"op": "eval", "args": []},
        {"op": "const", "value": [1]},
        {"op": "const", "value": float("nan")},
        {"op": "const", "value": 2**63},
        {"op": "name"},
        {"op": "&&", "args": [const(True)]},
        {"op": "==", "args": [const(1)]},
        {"op": "==", "args": [const(1), const(1), const(1)]},
        {"op": "!", "of": "x"},
        {"op": "call", "function": "__import__", "args": [const("os")]},
        {"op": "call", "function": "matches", "args": [ARGS, ARGS]},
        {"op": "call", "function": "matches", "args": [ARGS, const("(")]},
        {"op": "list", "items": "ab"},
        [],
        None,
    ],
)
def test_a_malformed_tree_is_refused(tree: Any) -> None:
    """Whatever arrives over the wire is refused with an `ExpressionError` unless it is an expression."""
    with pytest.raises(ExpressionError):
        compile_expression(tree)


def test_size_is_bounded() -> None:
    """Neither breadth nor depth can make compiling or evaluating expensive."""
    deep: dict[str, Any] = const(True)
    for _ in range(MAX_DEPTH):
        deep = {"op": "!", "of": deep}
    with pytest.raises(ExpressionError, match="deep"):
        compile_expression(deep)
    with pytest.raises(ExpressionError, match="parts"):
        compile_expression({"op": "list", "items": [const(1)] * MAX_NODES})
