"""Decisions: a small or imagined change of the mix says nothing, a large one is found with its size."""

import random
from collections.abc import Sequence

import pytest

from andoncord.detect.detector import Hit, Trigger
from andoncord.detect.ledger import WEEK_NS, Ledger
from andoncord.detect.mix import MIN_DECISIONS, DecisionMix, Past, divergence, shares_of
from andoncord.detect.profile import Draws
from andoncord.detect.runs import Runs, RunTotals
from andoncord.kernel.time import SECOND_NS
from andoncord.telemetry.event import Event, EventKind

START_NS = 1_767_225_600 * SECOND_NS
KINDS = 12
USUAL = [1 / (kind + 1) for kind in range(KINDS)]


def watch() -> DecisionMix:
    return DecisionMix(
        Trigger(frozenset({EventKind.RUN_ENDED})),
        key=lambda event: (event.agent, True),
        runs=Runs(),
        ledger=Ledger(per_week=1.0),
        is_fed=True,
    )


def play(detector: DecisionMix, weights: Sequence[float], runs: int, *, seed: int, first: int = 0) -> list[tuple[int, Hit]]:
    chance, found = random.Random(seed), []
    for number in range(first, first + runs):
        run = RunTotals()
        run.end = Event(kind=EventKind.RUN_ENDED, agent="a", trusted=True)
        run.started_ns = run.judged_at_ns = START_NS + number * WEEK_NS // 10_000
        run.actions += [f"t{chance.choices(range(KINDS), weights)[0]}" for _ in range(8)]
        found += [(number, hit) for hit in detector.judge((run,))]
    return found


def moved(share: float) -> list[float]:
    """The usual mix with `share` of it moved to the rarest kind."""
    total = sum(USUAL)
    return [(1 - share) * each / total + (share if kind == KINDS - 1 else 0.0) for kind, each in enumerate(USUAL)]


@pytest.mark.parametrize("share", [0.0, 0.15])
def test_less_than_three_in_ten_is_no_divergence(share: float) -> None:
    """Neither the same mix nor one in which a seventh has moved is called diverged."""
    detector = watch()

    assert play(detector, USUAL, 600, seed=1) == []
    assert play(detector, moved(share), 400, seed=2, first=600) == []


def test_a_divergence_is_found_with_its_size_and_what_moved() -> None:
    """Six in ten moved: found within thirty runs, called high, with the decision that grew."""
    detector = watch()
    play(detector, USUAL, 600, seed=1)
    found = play(detector, moved(0.6), 60, seed=2, first=600)

    assert found[0][0] < 630
    assert found[-1][1].severity == "high"
    assert "t11" in found[0][1].facts["moved"]
    assert abs(found[0][1].facts["divergence"] - 0.6 * (1 - USUAL[-1] / sum(USUAL))) < 0.12


def test_nothing_is_said_before_the_past_is_long_enough() -> None:
    """Below two thousand decisions chance alone would be taken for a change."""
    detector = watch()
    few = MIN_DECISIONS // 8 - 1
    play(detector, USUAL, few, seed=1)

    assert play(detector, moved(0.9), 40, seed=2, first=few) == []


def test_the_size_is_corrected_for_chance() -> None:
    """Where nothing changed, twenty runs of three decisions show 0.15 by chance; corrected it is less, its bound nothing."""
    chance, past = random.Random(5), Past()
    runs = [shares_of([f"t{chance.choices(range(KINDS), USUAL)[0]}" for _ in range(3)]) for _ in range(2_020)]
    for shares in runs[20:]:
        past.learn(shares, 3)
    raw = 0.5 * sum(abs(sum(run.get(f"t{kind}", 0) for run in runs[:20]) / 20 - past.of(f"t{kind}")) for kind in range(KINDS))

    size, at_least = divergence(runs[:20], past, Draws(1))
    assert size < 0.7 * raw > 0.07
    assert at_least < 0.05
