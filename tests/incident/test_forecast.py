"""What another hour of an incident would cost."""

from andoncord.incident.forecast import forecast
from andoncord.incident.impact import estimate
from andoncord.kernel.time import HOUR_NS, MINUTE_NS
from andoncord.testing.story import finding

DOLLAR = 1_000_000


def test_the_mean_is_rate_times_amount_and_the_tail_lies_above() -> None:
    """Sixty runs of one dollar in an hour cost about sixty in the next; the tail more, with few runs still more."""
    many, few = forecast([DOLLAR] * 60, span_ns=HOUR_NS), forecast([DOLLAR] * 6, span_ns=HOUR_NS // 10)

    assert many is not None
    assert few is not None
    assert 55 * DOLLAR < many.expected_micro_usd < 66 * DOLLAR
    assert many.expected_micro_usd < many.p95_micro_usd <= many.cvar95_micro_usd
    assert few.cvar95_micro_usd / few.expected_micro_usd > many.cvar95_micro_usd / many.expected_micro_usd


def test_it_is_the_same_each_time() -> None:
    """The journal replays to the same words."""
    amounts = [DOLLAR, 3 * DOLLAR, 900 * DOLLAR]

    assert forecast(amounts, span_ns=HOUR_NS) == forecast(amounts, span_ns=HOUR_NS)


def test_too_little_is_unknown() -> None:
    """Two runs, no amounts, or half a minute say nothing about the next hour."""
    assert forecast([DOLLAR] * 2, span_ns=HOUR_NS) is None
    assert forecast([0] * 9, span_ns=HOUR_NS) is None
    assert forecast([DOLLAR] * 9, span_ns=MINUTE_NS // 2) is None


def test_an_incident_tells_it() -> None:
    """Three runs with money at risk over half an hour are enough for a sentence, and none without money."""
    dear = [
        finding(f"f{number}", run_id=f"r{number}", at_ns=number * 10 * MINUTE_NS, facts={"at_risk_micro_usd": 50 * DOLLAR})
        for number in range(1, 4)
    ]
    found = estimate(dear)

    assert "another hour would cost" in found.text
    assert found.next_hour is not None
    assert found.next_hour.runs == 3
    assert estimate([finding("f1")]).next_hour is None
