"""What fitted numbers are worth on runs that they were not fitted on: folds by group, fitted anew for each."""

import math
from collections.abc import Mapping, Sequence
from zlib import crc32

from andoncord.detect.depletion import LEFT, MIN_AGENTS, MIN_MOST, Shared
from andoncord.investigate.responsible import FITTED, WEIGHTS
from andoncord.telemetry.event import Event, EventKind

FOLDS = 5
ROUNDS = 150
STEP = 0.5
RIDGE = 0.02
"""Pull towards no weight, for each run: weights of signs that hardly occur stay small."""

Signs = Sequence[Mapping[str, float]]
"""Of each step of a run: sign → how strongly."""
LEFTS = (0.01, 0.02, 0.05, 0.1, 0.2)
MOSTS = (1.0, 10.0, 50.0)


def fold_of(group: str) -> int:
    """The fold of a group: by its name, so that runs of one task stay together."""
    return crc32(group.encode()) % FOLDS


def blame(runs: Sequence[tuple[str, Signs, Sequence[bool]]]) -> tuple[dict[str, float], dict[str, float]]:
    """Hit rates of the ranking of steps on held-out folds, and the weights fitted on all.

    Args:
        runs: group, signs of each step, and whether each step is the responsible one.
    """
    hits = {"responsible_step_at_1_held_out": 0, "responsible_step_at_3_held_out": 0}
    for fold in range(FOLDS):
        weights = fit([run for run in runs if fold_of(run[0]) != fold])
        for group, signs, truth in runs:
            if fold_of(group) != fold:
                continue
            order = sorted(range(len(signs)), key=lambda step: (-score(signs[step], weights), step))
            hits["responsible_step_at_1_held_out"] += any(truth[step] for step in order[:1])
            hits["responsible_step_at_3_held_out"] += any(truth[step] for step in order[:3])
    return {name: hit / max(1, len(runs)) for name, hit in hits.items()}, fit(runs)


def fit(runs: Sequence[tuple[str, Signs, Sequence[bool]]]) -> dict[str, float]:
    """Weights of a conditional logistic model: which step of a run is it? By gradient ascent, from nothing."""
    weights = {sign: 0.0 if sign in FITTED else weight for sign, weight in WEIGHTS.items()}
    usable = [(signs, truth) for _, signs, truth in runs if any(truth) and not all(truth)]
    for _ in range(ROUNDS):
        slope = dict.fromkeys(FITTED, 0.0)
        for signs, truth in usable:
            powers = [math.exp(min(50.0, score(each, weights))) for each in signs]
            total = sum(powers)
            right = sum(power for power, is_it in zip(powers, truth, strict=True) if is_it)
            for each, power, is_it in zip(signs, powers, truth, strict=True):
                pull = (power / right if is_it else 0.0) - power / total
                for sign in FITTED:
                    if sign in each:
                        slope[sign] += pull * each[sign]
        for sign in FITTED:
            weights[sign] += STEP * (slope[sign] / max(1, len(usable)) - RIDGE * weights[sign])
    return weights


def score(signs: Mapping[str, float], weights: Mapping[str, float]) -> float:
    """The suspicion of a step."""
    return sum(weights[sign] * amount for sign, amount in signs.items())


def falls(events: Sequence[Event]) -> list[tuple[float, float]]:
    """What was left of each quantity that agents share, and the most it had been, whenever enough of them had seen it."""
    shared, found = Shared(), list[tuple[float, float]]()
    for event in events:
        if event.kind is EventKind.TOOL_COMPLETED and event.result.startswith("{"):
            for quantity in shared.note(event):
                if len(quantity.recent) >= MIN_AGENTS:
                    found.append((quantity.last, quantity.most))
    return found


def depletion(runs: Sequence[tuple[str, Sequence[tuple[float, float]], bool]]) -> dict[str, float]:
    """F1 and false alarms of used-up supplies on held-out folds, with both thresholds chosen on the other folds.

    Args:
        runs: group, what `falls` says of the run, and whether it truly collapsed.
    """
    found: list[tuple[bool, bool]] = []
    for fold in range(FOLDS):
        training = [run for run in runs if fold_of(run[0]) != fold]
        left, most = max(
            ((left, most) for left in LEFTS for most in MOSTS),
            key=lambda pair: (_f1([(_fired(run[1], *pair), run[2]) for run in training]), pair == (LEFT, MIN_MOST)),
        )
        found += [(_fired(run[1], left, most), run[2]) for run in runs if fold_of(run[0]) == fold]
    benign = [fired for fired, truth in found if not truth]
    return {
        "depletion_f1_held_out": _f1(found),
        "depletion_false_alarms_per_100_held_out": 100 * sum(benign) / max(1, len(benign)),
    }


def _fired(seen: Sequence[tuple[float, float]], left: float, most: float) -> bool:
    return any(highest >= most and last <= left * highest for last, highest in seen)


def _f1(pairs: Sequence[tuple[bool, bool]]) -> float:
    right = sum(fired and truth for fired, truth in pairs)
    return 2 * right / max(1, sum(fired for fired, _ in pairs) + sum(truth for _, truth in pairs))
