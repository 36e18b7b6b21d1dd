"""Whether an answer is the one that is known to be right (DET-18). The answer is hostile text; nothing in it is executed."""

import math
import re
from typing import Annotated, Any

import msgspec
import re2

from andoncord.kernel.errors import CallerError

MAX_ANSWER = 32_768
"""Characters of an answer that are looked at."""
_NUMBER = re.compile(r"[-+]?(?:[0-9][0-9,_ ]*)?(?:\.[0-9]+|[0-9])(?:[eE][-+]?[0-9]{1,3})?")
_decode = msgspec.json.Decoder().decode


class Expected(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the right answer is. Everything that is given must hold."""

    equals: str | None = None
    """The answer, but for case and white space."""
    contains: tuple[str, ...] = ()
    """Each of these stands in it, whatever their case."""
    lacks: tuple[str, ...] = ()
    """None of these does."""
    matches: str | None = None
    """An RE2 pattern is found in it."""
    number: float | None = None
    """The last number in it is this one."""
    within: Annotated[float, msgspec.Meta(ge=0)] = 1e-9
    """How far from it that number may be."""
    member: dict[str, Any] = {}
    """It is a JSON object with these values."""

    def check(self, place: str) -> None:
        """Raises CallerError: nothing is expected, or the pattern is none."""
        if self == Expected(within=self.within):
            raise CallerError("expects nothing", place=place, remedy="say equals, contains, lacks, matches, number or member")
        if self.matches is not None:
            try:
                _compiled(self.matches)
            except re2.error as wrong:
                why = wrong.args[0] if wrong.args else wrong
                text = why.decode("utf-8", "replace") if isinstance(why, bytes) else str(why)
                raise CallerError(f"is not a pattern: {text}", place=f"{place}.matches") from None


class Judged(msgspec.Struct, frozen=True):
    """Whether an answer is right, and what is wrong with it."""

    passed: bool
    reason: str = ""


def judge(answer: str, expected: Expected) -> Judged:
    """Hold an answer against what is expected; the first thing that does not hold.

    >>> judge("It is Canberra.", Expected(contains=("canberra",), lacks=("sydney",))).passed
    True
    >>> judge("about 1,204.5 EUR", Expected(number=1204.5)).passed, judge("42", Expected(number=41))
    (True, Judged(passed=False, reason='the last number is 42, not 41'))
    """
    text = answer[:MAX_ANSWER]
    plain = " ".join(text.split()).casefold()
    if expected.equals is not None and plain != " ".join(expected.equals.split()).casefold():
        return Judged(False, "is another answer")
    for part in expected.contains:
        if part.casefold() not in plain:
            return Judged(False, f"does not say {part!r}")
    for part in expected.lacks:
        if part.casefold() in plain:
            return Judged(False, f"says {part!r}")
    if expected.matches is not None and not _compiled(expected.matches).search(_sound(text)):
        return Judged(False, "does not match the pattern")
    if expected.number is not None:
        found = _last_number(text)
        if found is None:
            return Judged(False, "says no number")
        if not abs(found - expected.number) <= expected.within:
            return Judged(False, f"the last number is {found:g}, not {expected.number:g}")
    return _members(text, expected.member) if expected.member else Judged(True)


def _compiled(pattern: str) -> Any:
    """A pattern of the settings; what is wrong with one is for the caller to say, and not for the library to log."""
    options = re2.Options()
    options.log_errors = False
    return re2.compile(pattern, options)


def _sound(text: str) -> str:
    """The text without halves of characters."""
    return text.encode("utf-8", "replace").decode()


def _last_number(text: str) -> float | None:
    number = None
    for found in _NUMBER.finditer(text):
        number = found[0]
    if number is None:
        return None
    value = float(re.sub(r"[,_ ]", "", number))
    return value if math.isfinite(value) else None


def _members(text: str, members: dict[str, Any]) -> Judged:
    try:
        value = _decode(text.encode("utf-8", "replace"))
    except (msgspec.DecodeError, RecursionError):
        return Judged(False, "is not JSON")
    if not isinstance(value, dict):
        return Judged(False, "is no JSON object")
    for name, wanted in members.items():
        if value.get(name) != wanted:
            return Judged(False, f"{name} is not {wanted!r}")
    return Judged(True)
