"""The alarm budget: never more is spent than came in, whoever appears, leaves or is watched how often."""

import random

from andoncord.detect.ledger import MAX_SPEND, WEEK_NS, Ledger
from andoncord.kernel.time import DAY_NS, HOUR_NS, SECOND_NS

START_NS = 1_767_225_600 * SECOND_NS


def test_all_streams_together_spend_no_more_than_the_budget() -> None:
    """Four weeks of streams that come, go and are watched at very different rates cost at most four times the budget."""
    chance = random.Random(7)
    ledger, spent, at_ns = Ledger(per_week=2.0), 0.0, START_NS
    while at_ns < START_NS + 4 * WEEK_NS:
        at_ns += chance.randrange(HOUR_NS)
        oldest = (at_ns - START_NS) // (2 * DAY_NS)
        spent += ledger.spend(oldest + int(chance.paretovariate(1.0)), at_ns, trusted=chance.random() < 0.7)

    assert 1.0 < spent <= 8.0 + 1e-9
    assert spent == ledger.kept().expected


def test_who_has_no_token_cannot_thin_out_the_budget_of_who_has_one() -> None:
    """A thousand forged streams leave half of the income to the one that is bound to a token (SIG-2)."""
    ledger = Ledger(per_week=1.0)
    ledger.spend("real", START_NS, trusted=True)
    for number in range(1_000):
        ledger.spend(number, START_NS, trusted=False)

    assert ledger.spend("real", START_NS + WEEK_NS // 1_000, trusted=True) == 0.0005


def test_a_leap_of_the_clock_buys_no_cheap_alarm() -> None:
    """However long nothing was seen, one observation may not use more than the bound."""
    ledger = Ledger(per_week=50.0)
    ledger.spend("a", START_NS, trusted=True)

    assert ledger.spend("a", START_NS + 3 * DAY_NS, trusted=True) == MAX_SPEND
    assert ledger.spend("a", START_NS + 1_000 * WEEK_NS, trusted=True) <= MAX_SPEND
