"""One number per run: false alarms within what was spent, found soon, and the incident does not become the baseline."""

import math
import random
from collections.abc import Callable

import pytest

from andoncord.detect.evidence import RANK_BETS, Wealth, rank_factors
from andoncord.detect.profile import Profile
from andoncord.detect.stream import AMOUNT, EVENT, RELEARN, SHARE, Scale, Side, Stream
from andoncord.kernel.time import MINUTE_NS, SECOND_NS

START_NS = 1_767_225_600 * SECOND_NS
EVERY_NS = 5 * MINUTE_NS
Make = Callable[[random.Random], float]


def cost(chance: random.Random) -> float:
    return 20_000 * math.exp(0.5 * chance.gauss(0, 1))


def play(stream: Stream, values: list[float], *, first: int = 0, spend: float = 1e-4) -> list[int]:
    return [
        first + place
        for place, value in enumerate(values)
        if stream.update(value, at_ns=START_NS + (first + place) * EVERY_NS, span_id=f"s{place}", spend=spend)
    ]


@pytest.mark.parametrize(
    ("scale", "side", "make"),
    [
        (AMOUNT, Side.BOTH, cost),
        (SHARE, Side.DOWN, lambda chance: chance.betavariate(8, 2)),
        (EVENT, Side.UP, lambda chance: float(chance.random() < 0.05)),
    ],
)
def test_alarms_on_nothing_are_no_more_than_was_spent(scale: Scale, side: Side, make: Make) -> None:
    """20 000 runs without a change, a thousandth of a false alarm spent on each, give at most twenty alarms."""
    chance = random.Random(3)
    alarms = [
        alarm
        for seed in range(4)
        for alarm in play(Stream(scale, side, seed=seed), [make(chance) for _ in range(5_000)], spend=1e-3)
    ]

    assert len(alarms) <= 20


def test_a_lasting_change_is_found_and_said_once() -> None:
    """Costs that triple are found within twenty runs, with their beginning, and not again while they last."""
    chance = random.Random(1)
    stream = Stream(AMOUNT, Side.UP, seed=1)
    play(stream, [cost(chance) for _ in range(500)])
    alarms = play(stream, [3 * cost(chance) for _ in range(RELEARN)], first=500)

    assert len(alarms) == 1
    assert alarms[0] < 520


def test_what_is_raised_does_not_become_normal_unless_it_stays() -> None:
    """Back at the old level the alarm ends and the next rise is found; a new level that stays long enough is the new normal."""
    chance = random.Random(3)
    stream = Stream(AMOUNT, Side.UP, seed=1)
    play(stream, [cost(chance) for _ in range(500)])
    assert play(stream, [3 * cost(chance) for _ in range(60)], first=500)
    assert play(stream, [cost(chance) for _ in range(100)], first=560) == []
    assert not stream.is_raised
    assert play(stream, [3 * cost(chance) for _ in range(RELEARN + 30)], first=660)
    assert not stream.is_raised
    assert play(stream, [3 * cost(chance) for _ in range(300)], first=1_000) == []


def test_a_new_agent_is_judged_from_its_first_runs_by_what_its_role_lends() -> None:
    """With a past lent by others a tenfold cost is found within ten runs of an agent nobody has seen; without, it is not."""
    chance = random.Random(4)
    pool = Profile(per_unit=AMOUNT.per_unit, daily=True)
    for place in range(1_000):
        pool.learn(AMOUNT.of(cost(chance)), place % 24)
    dear = [10 * cost(chance) for _ in range(10)]

    assert play(Stream(AMOUNT, Side.UP, seed=1, past=pool.lend(1)), dear, spend=1e-3)
    assert play(Stream(AMOUNT, Side.UP, seed=1), dear, spend=1e-3) == []


def test_what_is_over_before_the_evidence_is_complete_is_not_raised() -> None:
    """Scores that fell for a while and are all good again raise nothing, however near the evidence was."""
    for seed in range(40):
        chance = random.Random(seed)
        stream = Stream(SHARE, Side.DOWN, seed=seed)
        play(stream, [float(chance.random() < 0.9) for _ in range(40)], spend=1e-5)
        fell = play(stream, [float(chance.random() < 0.4) for _ in range(20)], first=40, spend=1e-5)
        if not fell:
            assert not play(stream, [1.0] * 25, first=60, spend=0.0)[13:]
            assert not play(stream, [1.0] * 75, first=85, spend=1e-5)


def test_the_beginning_of_a_change_is_in_its_interval() -> None:
    """In nine of ten streams the change lies between the earliest and the latest beginning that are told."""
    inside = 0
    for seed in range(100):
        chance, wealth = random.Random(seed), Wealth(RANK_BETS)
        for number in range(1, 400):
            rank = chance.random() ** (1 / 3 if number >= 150 else 1)
            if wealth.update(rank_factors(rank), spend=1e-5, at_ns=number) >= 1.0:
                break
        earliest, latest = wealth.began_between_ns
        inside += earliest <= 150 <= latest
        assert earliest <= wealth.began_ns <= latest
    assert inside >= 90


def test_what_a_role_hardly_ever_does_is_noticed_in_an_agent_with_few_runs() -> None:
    """Thirty runs say little about one in a hundred; with the role's two thousand the change is found sooner, or not at all."""
    role = Profile(per_unit=1.0, daily=False)
    for number in range(2_000):
        role.learn_event(float(number % 100 == 0), 0)

    def runs_to_alarm(lent: Profile | None, happens: float) -> int:
        stream, chance = Stream(EVENT, Side.UP, seed=1), random.Random(4)
        for number in range(160):
            value = 0.0 if number < 45 else float(chance.random() < happens)
            alarm = stream.update(value, at_ns=START_NS + number * MINUTE_NS, span_id="s", spend=1e-5, role=lent)
            if alarm is not None:
                return number
        return 160

    assert runs_to_alarm(role, 0.3) < 0.9 * runs_to_alarm(None, 0.3)
    assert runs_to_alarm(role, 0.01) == 160
