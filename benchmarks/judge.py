"""Does the interval of a corrected pass rate hold the true rate, and how often does that of the judge alone?"""

import random
from math import sqrt

from andoncord.detect.judge_error import Labels, corrected
from benchmarks.result import Result

PASS_RATES = (0.5, 0.8, 0.9, 0.97)
JUDGES = ((0.95, 0.9), (0.9, 0.7), (0.8, 0.6), (0.99, 0.5))
"""Share of good runs that a judge passes, and of bad ones that it fails."""
LABELS = (3, 5, 10, 20, 50)
"""Labels of the runs of each verdict."""


def run(*, rounds: int = 300, runs: int = 400, seed: int = 7) -> Result:
    """Draw runs, verdicts and labels for every rate and judge."""
    chance = random.Random(seed)
    figures: dict[str, float] = {}
    baselines: dict[str, float] = {}
    for labels in LABELS:
        least, inside, alone, width = 1.0, 0, 0, 0.0
        for true in PASS_RATES:
            for good, bad in JUDGES:
                found = [_one(chance, true, good, bad, runs=runs, labels=labels) for _ in range(rounds)]
                held = sum(each[0] for each in found)
                least = min(least, held / rounds)
                inside, alone = inside + held, alone + sum(each[1] for each in found)
                width += sum(each[2] for each in found)
        cases = rounds * len(PASS_RATES) * len(JUDGES)
        figures[f"coverage_{labels}_labels_min"] = round(least, 3)
        figures[f"coverage_{labels}_labels"] = round(inside / cases, 3)
        figures[f"width_{labels}_labels"] = round(width / cases, 3)
        baselines["coverage_judge_alone"] = round(alone / cases, 3)
    notes = (
        f"{rounds} rounds of {runs} judged runs for each of {len(PASS_RATES)} rates and {len(JUDGES)} judges; 0.95 promised",
    )
    return Result(figures=figures, baselines=baselines, notes=notes)


def _one(chance: random.Random, true: float, good: float, bad: float, *, runs: int, labels: int) -> tuple[bool, bool, float]:
    """Whether the interval holds the true rate, whether that of the judge alone would, and how wide it is."""
    passed = 0
    for _ in range(runs):
        passed += chance.random() < (good if chance.random() < true else 1.0 - bad)
    known = Labels()
    for verdict in (True, False):
        # People label runs of either verdict, so that the rarer one has labels too.
        of_good, of_bad = (good, 1.0 - bad) if verdict else (1.0 - good, bad)
        right = true * of_good / (true * of_good + (1.0 - true) * of_bad)
        for _ in range(labels):
            known = known.with_one(judged=verdict, true=chance.random() < right)
    share = passed / runs
    found = corrected(share, runs, known, least=labels)
    assert found.low is not None
    assert found.high is not None
    return (
        found.low <= true <= found.high,
        abs(share - true) <= 1.96 * sqrt(share * (1.0 - share) / runs),
        found.high - found.low,
    )
