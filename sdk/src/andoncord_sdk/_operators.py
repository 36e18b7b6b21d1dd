"""The operators of the condition language: each takes compiled operands and returns a function of the environment."""

import operator
from collections.abc import Callable, Mapping
from typing import Any

from andoncord_sdk.pattern import Pattern
from andoncord_sdk.values import ExpressionError, equal, kind_of, number, within_64_bits

MAX_TEXT = 4096
"""Characters of one literal; sixteen times as many may come out of `+`."""
MAX_MATCH_TEXT = 8192
"""Characters of text that `matches` will look at."""

Environment = Mapping[str, Any]
Evaluate = Callable[[Environment], Any]


def constant(value: Any) -> Evaluate:
    return lambda environment: value


def name(name: str) -> Evaluate:
    def look_up(environment: Environment) -> Any:
        try:
            return environment[name]
        except KeyError:
            raise ExpressionError(f"there is no '{name}' here") from None

    return look_up


def field(of: Evaluate, name: str) -> Evaluate:
    def look_up(environment: Environment) -> Any:
        value = of(environment)
        try:
            if type(value) is dict or isinstance(value, Mapping):
                return value[name]
        except KeyError:
            raise ExpressionError(f"there is no field '{name}'") from None
        raise ExpressionError(f"cannot read field '{name}' of a {kind_of(value)}")

    return look_up


def field_of_name(holder: str, key: str) -> Evaluate:
    """`holder.key` in one step, because nearly every condition has one."""
    explain = field(name(holder), key)

    def look_up(environment: Environment) -> Any:
        try:
            value = environment[holder]
            if type(value) is dict:
                return value[key]
        except KeyError:
            pass
        return explain(environment)

    return look_up


def index(of: Evaluate, at: Evaluate) -> Evaluate:
    def look_up(environment: Environment) -> Any:
        value, key = of(environment), at(environment)
        if isinstance(value, Mapping):
            if not isinstance(key, str):
                raise ExpressionError(f"a map is indexed by text, not by a {kind_of(key)}")
            if key not in value:
                raise ExpressionError(f"there is no field {key[:80]!r}")
            return value[key]
        if kind_of(value) != "list":
            raise ExpressionError(f"cannot index a {kind_of(value)}")
        if not isinstance(key, int) or isinstance(key, bool):
            raise ExpressionError(f"a list is indexed by a whole number, not by a {kind_of(key)}")
        if not 0 <= key < len(value):
            raise ExpressionError(f"index {key} is outside a list of {len(value)}")
        return value[key]

    return look_up


def list_of(items: list[Evaluate]) -> Evaluate:
    return lambda environment: [item(environment) for item in items]


def negation(operand: Evaluate) -> Evaluate:
    def negate(environment: Environment) -> bool:
        value = operand(environment)
        if value is True:
            return False
        if value is False:
            return True
        raise ExpressionError(f"'!' needs true or false, not a {kind_of(value)}")

    return negate


def negative(operand: Evaluate) -> Evaluate:
    return lambda environment: within_64_bits(-_whole_or_finite(operand(environment), "-"))


def decided_by(decisive: bool, parts: list[Evaluate]) -> Evaluate:
    """`||` (decided by true) and `&&` (decided by false) over two or more parts; an error counts only when nothing decides."""

    def decide(environment: Environment) -> Any:
        error: ExpressionError | None = None
        for part in parts:
            try:
                value = part(environment)
            except ExpressionError as caught:
                error = caught
                continue
            if value is decisive:
                break
            if value is not (not decisive):
                error = ExpressionError(f"'{'||' if decisive else '&&'}' needs true or false, not a {kind_of(value)}")
        else:
            if error is not None:
                raise error
            return not decisive
        return decisive

    return decide


def membership(left: Evaluate, right: Evaluate) -> Evaluate:
    """Membership: true when any element is equal; otherwise an element of another kind is an error, not a no."""

    def is_in(environment: Environment) -> bool:
        needle, hay = left(environment), right(environment)
        if isinstance(hay, Mapping):
            if not isinstance(needle, str):
                raise ExpressionError(f"a map has text keys; cannot look for a {kind_of(needle)}")
            return needle in hay
        if kind_of(hay) != "list":
            raise ExpressionError(f"'in' needs a list or a map on its right, not a {kind_of(hay)}; for text use contains")
        error: ExpressionError | None = None
        for item in hay:
            try:
                if equal(needle, item):
                    return True
            except ExpressionError as caught:
                error = caught
        if error is not None:
            raise error
        return False

    return is_in


def is_one_of(left: Evaluate, words: frozenset[str]) -> Evaluate:
    def is_one_of(environment: Environment) -> bool:
        needle = left(environment)
        if isinstance(needle, str):
            return needle in words
        if needle is None:
            return False
        raise ExpressionError(f"cannot compare a {kind_of(needle)} with a text")

    return is_one_of


def equals_text(left: Evaluate, text: str, expected: bool) -> Evaluate:
    def equals(environment: Environment) -> bool:
        value = left(environment)
        if isinstance(value, str):
            return (value == text) is expected
        return equal(value, text) is expected

    return equals


def ordered(op: str, test: Callable[[Any, Any], bool]) -> Callable[[Evaluate, Evaluate], Evaluate]:
    def build(left: Evaluate, right: Evaluate) -> Evaluate:
        def compare(environment: Environment) -> bool:
            mine, other = left(environment), right(environment)
            if type(mine) is int and type(other) is int:
                return test(mine, other)
            if isinstance(mine, str) and isinstance(other, str):
                return test(mine, other)
            if isinstance(mine, str) or isinstance(other, str):
                raise ExpressionError(f"'{op}' cannot order a {kind_of(mine)} and a {kind_of(other)}")
            return test(number(mine, op), number(other, op))

        return compare

    return build


def ordered_by_whole(op: str, left: Evaluate, limit: int) -> Evaluate:
    """`amount > 200`: the commonest condition there is, without a call for the literal."""
    test, otherwise = ORDER[op], BINARY[op](left, constant(limit))

    def compare(environment: Environment) -> bool:
        value = left(environment)
        return test(value, limit) if type(value) is int else otherwise(environment)

    return compare


def field_ordered_by_whole(op: str, holder: str, key: str, limit: int) -> Evaluate:
    """`args.amount > 200` in one step; whatever is not that simple goes the long way."""
    test, otherwise = ORDER[op], BINARY[op](field_of_name(holder, key), constant(limit))

    def compare(environment: Environment) -> bool:
        try:
            held = environment[holder]
            if type(held) is dict and type(value := held[key]) is int:
                return test(value, limit)
        except KeyError:
            pass
        return bool(otherwise(environment))

    return compare


def _whole_or_finite(value: Any, op: str) -> int | float:
    return within_64_bits(number(value, op))


def add(left: Evaluate, right: Evaluate) -> Evaluate:
    def add(environment: Environment) -> Any:
        mine, other = left(environment), right(environment)
        if isinstance(mine, str) and isinstance(other, str):
            if len(mine) + len(other) > 16 * MAX_TEXT:
                raise ExpressionError(f"'+' would make text of more than {16 * MAX_TEXT} characters")
            return mine + other
        return within_64_bits(_whole_or_finite(mine, "+") + _whole_or_finite(other, "+"))

    return add


def subtract(left: Evaluate, right: Evaluate) -> Evaluate:
    return lambda environment: within_64_bits(
        _whole_or_finite(left(environment), "-") - _whole_or_finite(right(environment), "-")
    )


def multiply(left: Evaluate, right: Evaluate) -> Evaluate:
    def multiply(environment: Environment) -> int | float:
        return within_64_bits(_whole_or_finite(left(environment), "*") * _whole_or_finite(right(environment), "*"))

    return multiply


def size(of: Evaluate) -> Evaluate:
    def size(environment: Environment) -> int:
        value = of(environment)
        if kind_of(value) not in ("text", "list", "map"):
            raise ExpressionError(f"size() needs text, a list or a map, not a {kind_of(value)}")
        return len(value)

    return size


def text_test(function: str, of: Evaluate, part: Evaluate) -> Evaluate:
    test: Callable[[str, str], bool] = {
        "startsWith": str.startswith,
        "endsWith": str.endswith,
        "contains": str.__contains__,
    }[function]

    def check(environment: Environment) -> bool:
        text, piece = of(environment), part(environment)
        if not isinstance(text, str) or not isinstance(piece, str):
            raise ExpressionError(f"{function}() needs text, not a {kind_of(piece if isinstance(text, str) else text)}")
        return test(text, piece)

    return check


def matches(of: Evaluate, source: str) -> Evaluate:
    search = Pattern(source).search

    def check(environment: Environment) -> bool:
        text = of(environment)
        if not isinstance(text, str):
            raise ExpressionError(f"matches() needs text, not a {kind_of(text)}")
        if len(text) > MAX_MATCH_TEXT:
            raise ExpressionError(f"matches() looks at no more than {MAX_MATCH_TEXT} characters, and the text has {len(text)}")
        return search(text)

    return check


def equality(expected: bool) -> Callable[[Evaluate, Evaluate], Evaluate]:
    def build(left: Evaluate, right: Evaluate) -> Evaluate:
        return lambda environment: equal(left(environment), right(environment)) is expected

    return build


ORDER: dict[str, Callable[[Any, Any], bool]] = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}

BINARY: dict[str, Callable[[Evaluate, Evaluate], Evaluate]] = {
    "==": equality(True),
    "!=": equality(False),
    **{op: ordered(op, test) for op, test in ORDER.items()},
    "in": membership,
    "+": add,
    "-": subtract,
    "*": multiply,
}
