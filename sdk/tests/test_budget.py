"""A run's budget."""

import random
import threading

import pytest

from andoncord_sdk import Guard, RunStopped
from andoncord_sdk.budget import Budget, cost_of


def test_a_reservation_that_does_not_fit_is_not_given() -> None:
    """Spent, held and asked for together never exceed the limit."""
    budget = Budget(1_000_000)
    held = budget.reserve(700_000)

    assert held is not None
    assert budget.reserve(300_001) is None
    assert budget.reserve(300_000) is not None


def test_settling_gives_back_what_was_not_spent() -> None:
    """Only the real cost stays; settling twice changes nothing."""
    budget = Budget(1_000_000)
    held = budget.reserve(900_000)
    assert held is not None

    held.settle(100_000)
    held.settle(900_000)

    assert (budget.spent_micro_usd, budget.held_micro_usd) == (100_000, 0)


def test_a_call_of_unknown_cost_is_held_at_the_dearest_so_far() -> None:
    """Without a stated cost, the dearest call made so far stands in for it."""
    budget = Budget(1_000_000)
    budget.charge(400_000)

    first, second = budget.reserve(None), budget.reserve(None)

    assert first is not None
    assert first.amount_micro_usd == 400_000
    assert second is None


def test_a_budget_that_is_used_up_admits_no_call_of_unknown_cost() -> None:
    """At the limit exactly, a free call still fits and a call of unknown cost does not."""
    budget = Budget(0)

    assert budget.reserve(0) is not None
    assert budget.reserve(None) is None


@pytest.mark.parametrize("cost", [None, float("nan"), float("inf"), -1.0, "many"])
def test_a_cost_that_is_no_cost_counts_as_unknown(cost: float | None) -> None:
    """Nothing that an agent states as a cost can lower what is counted."""
    assert cost_of(cost, unknown_micro_usd=7) == 7


@pytest.mark.parametrize("seed", range(5))
def test_sixteen_threads_never_exceed_the_budget_by_more_than_one_call(seed: int) -> None:
    """With costs stated before the calls, the budget is used up and never exceeded."""
    chance = random.Random(seed)
    limit, dearest = 1_000_000, 50_000
    costs = [[chance.randint(1, dearest) for _ in range(200)] for _ in range(16)]
    run = Guard("spender", budget_usd=limit / 1e6).run()
    start = threading.Barrier(16)
    refused: list[int] = []

    def spend(mine: list[int]) -> None:
        start.wait()
        try:
            for cost in mine:
                with run.model_step("m", max_cost_usd=cost / 1e6) as call:
                    call.cost_usd = cost / 1e6
        except RunStopped:
            refused.append(1)

    with run:
        threads = [threading.Thread(target=spend, args=(mine,)) for mine in costs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert len(refused) == 16
    assert limit - 16 * dearest < run.budget.spent_micro_usd <= limit
    assert run.budget.held_micro_usd == 0
