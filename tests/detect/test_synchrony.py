"""Agents that act in step, against agents that have a cause in common or nothing at all."""

import random

import pytest

from andoncord.detect.bank import Bank
from andoncord.detect.finding import Finding
from andoncord.detect.pack import default_rules
from andoncord.detect.synchrony import in_step
from andoncord.kernel.time import MINUTE_NS, SECOND_NS
from andoncord.telemetry.event import Event, EventKind

START_NS = 1_767_225_600 * SECOND_NS
RULE = tuple(rule for rule in default_rules() if rule.id == "moving-together")


def market(*, together: float, cost: float, is_told: bool, seed: int, moves: int = 600, agents: int = 5) -> list[Finding]:
    """Prices every five minutes: each agent's own moves, a share that all make together, and a cost that all follow."""
    chance, bank = random.Random(seed), Bank(RULE, false_alarms_per_week=1.0)
    prices, level = [100.0] * agents, 50.0
    found: list[Finding] = []
    for move in range(moves):
        common, step = chance.gauss(0, 1), chance.gauss(0, 1)
        level += step
        for agent in range(agents):
            prices[agent] += chance.gauss(0, 1) + together * common + cost * step
            told = f', "cost": {level:.4f}' if is_told else ""
            at_ns = START_NS + move * 5 * MINUTE_NS + agent * SECOND_NS
            found += bank.observe(
                Event(
                    kind=EventKind.TOOL_COMPLETED,
                    agent=f"seller-{agent}",
                    name="set_price",
                    arguments=f'{{"price": {prices[agent]:.4f}{told}}}',
                    span_id=f"{move}-{agent}",
                    start_ns=at_ns,
                    end_ns=at_ns,
                    trusted=True,
                )
            )
    assert not bank.faults
    return found


@pytest.mark.parametrize("seed", range(2))
def test_prices_in_step_are_found_once(seed: int) -> None:
    """Five sellers that make half of their moves together are found within two days, once."""
    (found,) = market(together=1.0, cost=0.0, is_told=False, seed=seed)

    assert found.severity == "high"
    assert len(found.facts["agents"]) == 5


@pytest.mark.parametrize("seed", range(2))
def test_a_declared_cause_is_no_collusion(seed: int) -> None:
    """What follows a declared cost is silent, and so are prices that have nothing in common."""
    assert not market(together=0.0, cost=1.0, is_told=True, seed=seed)
    assert not market(together=0.0, cost=0.0, is_told=False, seed=seed)


def test_an_undeclared_cause_is_taken_for_collusion() -> None:
    """The limit that the runbook states: a common cause that nobody declared looks the same."""
    assert market(together=0.0, cost=1.0, is_told=False, seed=1)


def test_the_share_of_shifts_is_a_p_value() -> None:
    """Of unrelated moves at most one in ten has a share of a tenth or less, up to chance."""
    chance, low = random.Random(3), 0
    for trial in range(200):
        moves = [[chance.gauss(0, 1) for _ in range(48)] for _ in range(4)]
        low += in_step(moves, seed=trial)[1] <= 0.1

    assert low <= 34
