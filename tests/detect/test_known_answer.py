"""Answers held against the ones that are known to be right."""

import pytest

from andoncord.detect.known_answer import Expected, judge
from andoncord.kernel.errors import CallerError


@pytest.mark.parametrize(
    ("answer", "expected", "is_right"),
    [
        ("  Canberra\n", Expected(equals="canberra"), True),
        ("Canberra, not Sydney", Expected(contains=("canberra",), lacks=("sydney",)), False),
        ("Total: 1,204.50 EUR", Expected(number=1204.5), True),
        ("between 3 and 4", Expected(number=3), False),
        ("3.14", Expected(number=3.1416, within=0.01), True),
        ("none", Expected(number=0), False),
        ("1e999", Expected(number=1), False),
        ("order A-17 shipped", Expected(matches=r"\bA-[0-9]+\b"), True),
        ('{"total": 7, "note": "x"}', Expected(member={"total": 7}), True),
        ('{"total": 8}', Expected(member={"total": 7}), False),
        ("[" * 10_000, Expected(member={"total": 7}), False),
        ("\ud83d broken", Expected(contains=("broken",), matches="broken", member={"a": 1}), False),
        ("a" * 100_000 + "!", Expected(matches="(a+)+$"), True),
        ("", Expected(contains=("x",)), False),
    ],
)
def test_an_answer_is_right_or_wrong(answer: str, expected: Expected, is_right: bool) -> None:
    """Nothing that an answer says is executed, breaks the judgement or takes it long."""
    judged = judge(answer, expected)

    assert judged.passed == is_right
    assert bool(judged.reason) != is_right


def test_what_expects_nothing_is_refused() -> None:
    """A task without an answer, or with a pattern that is none, is a mistake with a place."""
    with pytest.raises(CallerError, match="expects nothing"):
        Expected(within=0.5).check("canaries.x.expect")
    with pytest.raises(CallerError, match=r"canaries\.x\.expect\.matches"):
        Expected(matches="(").check("canaries.x.expect")
