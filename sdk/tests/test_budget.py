"""A run's budget."""

import random
import threading
from collections.abc import Iterable

import pytest

from andoncord_sdk import CallDenied, Guard, RunStopped
from andoncord_sdk.budget import NOTHING, Amounts, Budget, Limits, cost_of


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


@pytest.mark.parametrize(
    ("budget", "call", "told"),
    [
        (Budget(limit_calls=1), (0, 0), "of 1 calls does not cover this call: 1 calls spent"),
        (Budget(limit_tokens=99), (0, 50), "of 99 tokens does not cover this call: 50 tokens spent"),
        (Budget(None, above=Budget(9, name="the budget of team a")), (5, 0), "the budget of team a of $0.0000 does not cover"),
    ],
    ids=["calls", "tokens", "above"],
)
def test_whatever_runs_out_refuses(budget: Budget, call: tuple[int, int], told: str) -> None:
    """Calls, tokens and the budget above limit like money does, and the refusal says which of them it was."""
    first = budget.reserve(*call)
    assert first is not None
    first.settle(*call)

    assert budget.reserve(*call) is None
    shortfall = budget.shortfall(*call)
    assert shortfall is not None
    assert told in shortfall.message


def test_a_call_that_was_never_made_costs_nothing() -> None:
    """Released, a reservation gives back money, tokens and the call itself, here and above."""
    above = Budget(9, limit_calls=1)
    budget = Budget(9, limit_tokens=9, limit_calls=1, above=above)
    held = budget.reserve(9, 9)
    assert held is not None

    held.release()

    assert budget.reserve(9, 9) is not None
    assert above.spent == Amounts()


def test_a_limit_is_never_lowered_below_what_is_committed() -> None:
    """What was spent and what is held stay covered; only what is free can be taken back."""
    budget = Budget(100)
    held = budget.reserve(60)

    assert held is not None
    assert budget.limit_to(Limits(micro_usd=10)) == Limits(micro_usd=60)
    assert budget.reserve(1) is None


def test_a_free_call_needs_no_reservation_unless_calls_are_counted() -> None:
    """A call that costs nothing is admitted up to the limit, not beyond it, and counted where calls are limited."""
    budget, counting = Budget(5), Budget(limit_calls=1)

    assert budget.reserve_free() is NOTHING
    budget.charge(6)
    assert budget.reserve_free() is None
    assert Budget(above=budget).reserve_free() is None
    assert [counting.reserve_free() is None for _ in range(2)] == [False, True]


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


@pytest.mark.parametrize("seed", range(3))
def test_sixteen_callers_of_several_runs_never_exceed_the_budget_above_them(seed: int) -> None:
    """Money, tokens and calls of all runs together stay within the shared limits, and nothing is held in the end."""
    chance = random.Random(seed)
    above = Budget(1_000_000, limit_tokens=40_000, limit_calls=900)
    runs = [Budget(300_000, limit_calls=400, above=above) for _ in range(4)]
    calls = [[(chance.randint(1, 2_000), chance.randint(1, 90)) for _ in range(100)] for _ in range(16)]
    start = threading.Barrier(16)

    def spend(budget: Budget, mine: Iterable[tuple[int, int]]) -> None:
        start.wait()
        for number, (cost, tokens) in enumerate(mine):
            held = budget.reserve(cost, tokens)
            if held is None:
                continue
            if number % 7 == 0:
                held.release()
            else:
                held.settle(cost - cost // 3, tokens)

    threads = [threading.Thread(target=spend, args=(runs[number % 4], mine)) for number, mine in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    for budget in (above, *runs):
        assert budget.held == Amounts()
        assert all(limit is None or spent <= limit for limit, spent in zip(budget.limits, budget.spent, strict=True))
    assert above.spent == Amounts(*(sum(run.spent[index] for run in runs) for index in range(3)))
    assert above.spent.tokens > 39_000 or above.spent.calls > 850 or above.spent.micro_usd > 990_000


PRICE = {"provider": "acme", "model": "a-1", "input": 3, "output": 15}


def test_an_unknown_price_is_refused_where_money_is_limited() -> None:
    """Unknown is not free. A stated maximum, a price, a promise to state the cost or no limit on money let the call be made."""
    with Guard("a", budget_usd=1).run() as run:
        with pytest.raises(CallDenied, match="the price of x is not known and the budget is limited: state max_cost_usd"):
            run.model_step("x").begin()
        run.model_step("x", max_cost_usd=0.1).begin().end()
        run.model_step("x", is_priced=True).begin().end()
    for guard in (
        Guard("a", budget_calls=9),
        Guard("a", budget_usd=1, on_unknown_price="estimate"),
        Guard("a", budget_usd=1, prices=[{**PRICE, "model": "x"}]),
    ):
        with guard.run() as run:
            run.model_step("x").begin().end()


def test_a_call_is_settled_by_the_price_table_when_its_cost_is_not_stated() -> None:
    """Tokens times price; and the tokens themselves."""
    with Guard("a", budget_usd=1, budget_tokens=2_000, prices=[PRICE]).run() as run:
        with run.model_step("a-1") as call:
            call.input_tokens, call.output_tokens = 1_000, 100
        run.model_call(model="a-1", input_tokens=100, output_tokens=10)

        assert run.budget.spent == Amounts(4_500 + 450, 1_210, 1)
        with pytest.raises(RunStopped, match="budget of 2000 tokens does not cover this call: 1210 tokens spent"):
            run.model_step("a-1", max_tokens=900).begin()
