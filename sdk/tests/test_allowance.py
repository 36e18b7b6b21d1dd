"""Slices of shared budgets: believed only when proven, good only for their time, asked for before a call is refused."""

import json
from typing import Any

import pytest

from andoncord_sdk.allowance import Allowance, AllowanceError, allowance_mac, proven
from andoncord_sdk.budget import Amounts, Limits

KEY = b"k" * 32
SECOND = 1_000_000_000


class Slices:
    """An allowance, a clock, and a control plane that answers each time it is wanted."""

    def __init__(self, *answers: dict[str, Any]) -> None:
        self.now = 0
        self.answers = list(answers)
        self.reports: list[dict[str, Any]] = []
        self.allowance = Allowance(wanted=lambda: self, clock_ns=lambda: self.now)  # type: ignore[arg-type,return-value]
        self.allowance.covered()

    def set(self) -> None:
        """In the place of the event that wakes the lease keeper."""
        self.reports.append(self.allowance.report())
        if self.answers:
            self.allowance.take(json.dumps({"life_ms": 60_000, **self.answers.pop(0)}))


def test_nothing_may_be_spent_before_the_first_slice() -> None:
    """Once the control plane says that a budget is shared, the guard waits to hear how much it may spend."""
    slices = Slices({"ceiling": [500, None, None]})
    budget = slices.allowance.budget
    assert budget.reserve(1) is None

    slices.allowance.errand(300, 0).do()

    assert slices.reports == [{"spent": [0, 0, 0], "ceiling": [0, 0, 0], "need": [300, 0, 1], "is_leaving": False}]
    assert budget.reserve(300) is not None


def test_an_errand_ends_at_once_when_nothing_can_come() -> None:
    """Told that no budget can cover it, the guard does not ask again, and says which budget it was."""
    slices = Slices({"ceiling": [5, None, None], "why": "the fleet's budget of $1.00 per day", "is_final": True})

    slices.allowance.errand(300, 0).do()

    assert len(slices.reports) == 1
    assert slices.allowance.told == "the fleet's budget of $1.00 per day"
    assert slices.allowance.budget.reserve(300) is None


def test_a_slice_ends_with_its_time() -> None:
    """Counted from the asking, on a clock that runs on; what is spent and held stays covered."""
    slices = Slices({"ceiling": [500, None, None]})
    slices.allowance.errand(1, 0).do()
    held = slices.allowance.budget.reserve(100)
    assert held is not None

    slices.now = 60 * SECOND
    slices.allowance.expire()

    assert slices.allowance.budget.limits == Limits(100, None, None)
    assert slices.allowance.budget.reserve(1) is None


def test_a_forked_child_starts_with_nothing() -> None:
    """What the parent spent is the parent's to report, and what it holds is not the child's."""
    slices = Slices({"ceiling": [500, None, None]})
    slices.allowance.errand(1, 0).do()
    slices.allowance.budget.charge(200)

    slices.allowance.forget_other_threads()

    assert slices.allowance.report() == {"spent": [0, 0, 0], "ceiling": [0, 0, 0], "need": [0, 0, 0], "is_leaving": False}
    assert slices.allowance.budget.spent == Amounts()


@pytest.mark.parametrize(
    "change",
    [{"text": "{}"}, {"mac": "0" * 64}, {"mac": None}, {"nonce": "older"}, {"guard": "other"}, {"key": b""}],
)
def test_an_answer_that_proves_nothing_is_not_believed(change: dict[str, Any]) -> None:
    """Another text, another request, another guard, no key: nothing is taken over."""
    text = '{"ceiling":[1000000,null,null],"life_ms":60000}'
    terms: dict[str, Any] = {"key": KEY, "guard": "grd_1", "nonce": "n1"}
    answer = {"text": text, "mac": allowance_mac(KEY, guard="grd_1", nonce="n1", text=text)}
    assert proven(answer, **terms) == text

    for name, value in change.items():
        (answer if name in answer else terms)[name] = value
    with pytest.raises(AllowanceError):
        proven(answer, **terms)


@pytest.mark.parametrize(
    "text", ["", "[]", '{"ceiling":[1]}', '{"ceiling":[-1,0,0],"life_ms":1}', '{"ceiling":[1,1,1],"life_ms":0}']
)
def test_a_malformed_answer_changes_nothing(text: str) -> None:
    """What cannot be read leaves what is in force."""
    slices = Slices()
    with pytest.raises(AllowanceError):
        slices.allowance.take(text)

    assert slices.allowance.budget.limits == Limits(0, 0, 0)
