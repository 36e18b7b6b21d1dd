"""Strict operations on the values of JSON: what a condition may do with what it finds, and an error for everything else."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

MAX_DEPTH = 48
"""Nesting of two values compared with `==`, and of one expression."""
INT_MIN, INT_MAX = -(2**63), 2**63 - 1


class ExpressionError(Exception):
    """An expression could not be evaluated, or is no expression at all."""


def kind_of(value: Any) -> str:
    """The word for a value's type in messages; numbers are one kind.

    >>> [kind_of(value) for value in (True, 1, 1.5, "a", None, [1], {})]
    ['bool', 'number', 'number', 'text', 'null', 'list', 'map']
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "text"
    if isinstance(value, Mapping):
        return "map"
    return "list" if isinstance(value, Sequence) else "thing"


def number(value: Any, op: str) -> int | float:
    """The value when it is a number that can be reckoned with; true, false and NaN are not."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ExpressionError(f"'{op}' needs a number, not a {kind_of(value)}")
    if isinstance(value, float) and math.isnan(value):
        raise ExpressionError(f"'{op}' cannot work with NaN")
    return value


def within_64_bits(value: int | float) -> int | float:
    """The value when it is a 64-bit integer or a finite number."""
    if isinstance(value, int):
        if not INT_MIN <= value <= INT_MAX:
            raise ExpressionError("a whole number does not fit in 64 bits")
    elif not math.isfinite(value):
        raise ExpressionError("a number is out of range")
    return value


def equal(left: Any, right: Any, *, depth: int = 1) -> bool:
    """Strict equality: the same kind or an error; `null` is only equal to `null`.

    >>> equal(1, 1.0), equal(None, "a"), equal([1, "a"], [1, "a"])
    (True, False, True)
    >>> equal(1, "1")
    Traceback (most recent call last):
    andoncord_sdk.values.ExpressionError: cannot compare a number with a text
    """
    if type(left) is str and type(right) is str:
        return left == right
    if left is None or right is None:
        return left is right
    kind, other = kind_of(left), kind_of(right)
    if kind != other:
        raise ExpressionError(f"cannot compare a {kind} with a {other}")
    if kind == "number":
        return number(left, "==") == number(right, "==")
    if depth > MAX_DEPTH:
        raise ExpressionError(f"compared values are nested more than {MAX_DEPTH} deep")
    if kind == "list":
        return len(left) == len(right) and all(
            equal(mine, other, depth=depth + 1) for mine, other in zip(left, right, strict=True)
        )
    if kind == "map":
        return left.keys() == right.keys() and all(equal(left[key], right[key], depth=depth + 1) for key in left)
    return bool(left == right)
