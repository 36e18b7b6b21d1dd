"""The chance that an agent has an incident in the next hour, from its last hours and its past (DET-20).

A discrete-time hazard model: one row for each agent and hour in which the agent was at work and not already in an incident, and
whether an incident of it was detected in the hour after. It is fitted on the installation's own history and judged on hours
that came after those it was fitted on, against the best thing everybody knows without a model: whether the agent had an
incident lately. As long as it does not beat that beyond what chance explains, it says nothing.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import log, log1p

import msgspec
import numpy as np
from numpy.typing import NDArray

from andoncord.detect.ports import SeriesPoint
from andoncord.kernel.time import HOUR_NS
from andoncord.learn.risk import Interval, Judgement, Prediction, Risk, Seen, Share

HORIZON_HOURS = 1
AT_WORK_HOURS = 24
"""An agent that was not heard of for so long is not at work, and has no row. Chosen."""
NEVER_HOURS = 720.0
"""Hours since the last incident of an agent that had none: those of a month."""
RECENT_HOURS = 12
"""How long ago a change counts as recent. Source: as in the simulation behind the features."""
HALF_LIFE_HOURS = 6.0
"""Of what counts as lately."""
PRIOR_HOURS = 720.0
"""Hours at the fleet's rate that an agent's own rate is mixed with. Chosen: a month."""
FOLDS = 5
"""Stretches of time: the model is judged on each but the first, fitted on those before it."""
MIN_INCIDENTS = 20
"""Incidents in the hours it is judged on, below which nothing is claimed. With 20 the standard error of a rate is a quarter."""
MIN_HOURS = 500
"""Agent-hours below which nothing is fitted."""
RIDGE = 1.0
"""Prior precision of each coefficient, features in standard deviations. Source: Gelman et al., Annals of Applied Statistics 2
(2008), who set a scale of 2.5; 1 is tighter, as incidents are few."""
STEPS = 30
RESAMPLES = 400
BLOCK_HOURS = 24
"""Hours are drawn again by whole days: hours of a day, and agents in it, depend on each other."""
BINS = 5

FEATURES = (
    "hours since its last incident",
    "it never had one",
    "how often it had one",
    "failed steps, lately",
    "failed steps in the last hour",
    "failed verdicts, lately",
    "cost an hour, lately",
    "time of a step, lately",
    "tokens of a step, lately",
    "a change in the last 12 hours",
    "steps in the last hour",
    "failed steps of the others",
    "findings in the last 6 hours",
)
"""What a row holds, in order; everything with "lately" is compared with the agent's own past."""
RECENCY = (0, 1)
"""The features of the baseline: whether the agent had an incident lately."""

Matrix = NDArray[np.float64]


class Rows(msgspec.Struct, frozen=True):
    """The history as the model sees it. Arrays: hours (rows,) int64, x (rows, features) float64, y (rows,) float64."""

    agents: tuple[str, ...]
    hours: NDArray[np.int64]
    x: Matrix
    y: Matrix


def predict(
    points: Sequence[SeriesPoint],
    incidents: Sequence[Seen],
    changes: Sequence[tuple[str, int]],
    findings: Sequence[tuple[str, int]],
    *,
    since_ns: int,
    now_ns: int,
) -> Prediction:
    """Fit on the past, judge on what came after, and predict the next hour if that went well.

    Args:
        points: what happened per agent and hour, counted from `since_ns`; hours in which nothing was heard are left out.
        incidents: every real incident, once for each agent of it.
        changes: agent and time of changes.
        findings: agent and time of findings, also of those that opened no incident.
        since_ns: when the history begins, full hours before `now_ns`.

    Cost: about 20 µs an agent-hour, and a fit of a second on 100 000 of them.
    Source: Allison, "Discrete-time methods for the analysis of event histories", Sociological Methodology 13 (1982).
    """
    last_hour = (now_ns - since_ns) // HOUR_NS - 1
    rows = rows_of(points, incidents, changes, findings, since_ns=since_ns, until_hour=last_hour)
    past = rows.hours <= last_hour - HORIZON_HOURS
    if int(past.sum()) < MIN_HOURS:
        return Prediction(is_on=False, why_off=f"needs {MIN_HOURS} agent-hours of history, has {int(past.sum())}", at_ns=now_ns)
    x, y, hours = rows.x[past], rows.y[past], rows.hours[past]
    if y.sum() < MIN_INCIDENTS:
        return Prediction(
            is_on=False, why_off=f"needs {MIN_INCIDENTS} incidents in its history, has {int(y.sum())}", at_ns=now_ns
        )
    judged = judge(x, y, hours)
    if judged is None:
        why = f"needs {MIN_INCIDENTS} incidents after the first fifth of its history"
        return Prediction(is_on=False, why_off=why, at_ns=now_ns)
    if judged.gain.low <= 0.0:
        why = "on this history it is not better than knowing who had an incident lately, beyond what chance explains"
        return Prediction(is_on=False, why_off=why, at_ns=now_ns, judgement=judged)
    model, recency = Logistic.fit(x, y), Logistic.fit(x[:, RECENCY], y)
    last = rows.hours == last_hour
    probabilities, known = model.of(rows.x[last]), recency.of(rows.x[last][:, RECENCY])
    agents = [agent for agent, is_last in zip(rows.agents, last, strict=True) if is_last]
    risks = [
        Risk(agent=agent, probability=float(chance), recency=float(by_recency), because=model.because(row))
        for agent, chance, by_recency, row in zip(agents, probabilities, known, rows.x[last], strict=True)
    ]
    risks.sort(key=lambda risk: (-risk.probability, risk.agent))
    return Prediction(is_on=True, at_ns=now_ns, judgement=judged, risks=tuple(risks))


def judge(x: Matrix, y: Matrix, hours: NDArray[np.int64]) -> Judgement | None:
    """The model on hours after those it was fitted on; None where there were too few incidents in them."""
    first, last = int(hours.min()), int(hours.max()) + 1
    edges = [first + (last - first) * fold // FOLDS for fold in range(FOLDS + 1)]
    predicted, recency = np.full(len(y), np.nan), np.full(len(y), np.nan)
    for fold in range(1, FOLDS):
        # The hour of an incident must be over before the first hour that is judged, or the future would be in the past.
        train, test = hours < edges[fold] - HORIZON_HOURS, (hours >= edges[fold]) & (hours < edges[fold + 1])
        if not test.any() or not 0.0 < y[train].sum() < train.sum():
            continue
        predicted[test] = Logistic.fit(x[train], y[train]).of(x[test])
        recency[test] = Logistic.fit(x[train][:, RECENCY], y[train]).of(x[test][:, RECENCY])
    seen = ~np.isnan(predicted)
    y, days, predicted, recency = y[seen], hours[seen] // BLOCK_HOURS, predicted[seen], recency[seen]
    if y.sum() < MIN_INCIDENTS:
        return None
    gains = _bits(predicted, y) - _bits(recency, y)
    ours, theirs = average_precision(predicted, y), average_precision(recency, y)
    drawn_gains, drawn_lifts = _drawn_again(gains, predicted, recency, y, days)
    shares = calibration_of(predicted, y)
    error = sum(abs(share.predicted - share.observed) * share.hours for share in shares) / len(y)
    return Judgement(
        hours=len(y),
        incidents=int(y.sum()),
        gain=_interval(float(gains.mean()), drawn_gains),
        precision=ours,
        recency_precision=theirs,
        lift=_interval(ours / theirs, drawn_lifts),
        calibration_error=error,
        calibration=shares,
    )


class Logistic:
    """A logistic regression with a ridge, features in standard deviations; the intercept is free.

    Cost: a few passes over the rows, each with one small system to solve.
    """

    def __init__(self, weights: Matrix, mean: Matrix, spread: Matrix) -> None:
        self._weights, self._mean, self._spread = weights, mean, spread

    @classmethod
    def fit(cls, x: Matrix, y: Matrix) -> "Logistic":
        """By Newton's method, halved where it would overshoot."""
        mean, spread = x.mean(axis=0), x.std(axis=0)
        spread = np.where(spread > 1e-9, spread, 1.0)
        z = np.column_stack([np.ones(len(y)), (x - mean) / spread])
        ridge = np.full(z.shape[1], RIDGE)
        ridge[0] = 0.0
        rate = min(max(float(y.mean()), 1e-9), 1.0 - 1e-9)
        weights = np.zeros(z.shape[1])
        weights[0] = log(rate / (1.0 - rate))
        loss = _penalised(z, y, weights, ridge)
        for _ in range(STEPS):
            chance = _sigmoid(z @ weights)
            gradient = z.T @ (chance - y) + ridge * weights
            curvature = (z * (chance * (1.0 - chance))[:, None]).T @ z + np.diag(ridge + 1e-9)
            step = np.linalg.solve(curvature, gradient)
            size = 1.0
            while size > 1e-4 and (after := _penalised(z, y, weights - size * step, ridge)) > loss:
                size /= 2.0
            if size <= 1e-4:
                break
            weights, gained, loss = weights - size * step, loss - after, after
            if gained < 1e-8 * max(1.0, abs(loss)):
                break
        return cls(weights, mean, spread)

    def of(self, x: Matrix) -> Matrix:
        """The probability of each row."""
        return _sigmoid(self._weights[0] + ((x - self._mean) / self._spread) @ self._weights[1:])

    def because(self, row: Matrix) -> tuple[str, ...]:
        """The features that raise the probability of a row most above that of a mean one, three at most."""
        parts = (row - self._mean) / self._spread * self._weights[1:]
        best = sorted(range(len(parts)), key=lambda place: -parts[place])[:3]
        return tuple(FEATURES[place] for place in best if parts[place] > 0.05)


def average_precision(scores: Matrix, y: Matrix) -> float:
    """Mean precision at the rank of each incident; rows with the same score share their ranks.

    >>> average_precision(np.array([0.9, 0.8, 0.1]), np.array([1.0, 0.0, 1.0]))
    0.8333333333333333
    """
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], np.cumsum(y[order])
    # Among equal scores the last rank counts for all of them: an order that was not predicted earns nothing.
    ends = np.append(np.nonzero(np.diff(ranked))[0], len(ranked) - 1)
    at_end = hits[ends]
    found = np.diff(np.concatenate([[0.0], at_end]))
    return float((found * at_end / (ends + 1.0)).sum() / y.sum())


def calibration_of(predicted: Matrix, y: Matrix) -> tuple[Share, ...]:
    """Predicted against observed over groups of rows with similar predictions, each with the same sum of predictions."""
    order = np.argsort(predicted, kind="stable")
    sums = np.cumsum(predicted[order])
    groups = np.minimum((sums / sums[-1] * BINS).astype(int), BINS - 1)
    found = []
    for number in range(BINS):
        rows = order[groups == number]
        if len(rows):
            share = Share(predicted=float(predicted[rows].mean()), observed=float(y[rows].mean()), hours=len(rows))
            found.append(share)
    return tuple(found)


def rows_of(
    points: Sequence[SeriesPoint],
    incidents: Sequence[Seen],
    changes: Iterable[tuple[str, int]],
    findings: Iterable[tuple[str, int]],
    *,
    since_ns: int,
    until_hour: int,
) -> Rows:
    """One row for each agent and hour up to `until_hour`: what is known at its end, and whether an incident came after."""
    by_agent: dict[str, dict[int, SeriesPoint]] = defaultdict(dict)
    fleet: dict[int, list[int]] = defaultdict(lambda: [0, 0])
    for point in points:
        hour = (point.at_ns - since_ns) // HOUR_NS
        by_agent[point.agent][hour] = point
        fleet[hour][0] += point.failed
        fleet[hour][1] += point.steps
    begun, changed, found = _by_agent(incidents), _times(changes), _times(findings)
    total = sum(len(hours) for hours in by_agent.values())
    rate = sum(len(each) for each in begun.values()) / max(1, total)
    agents: list[str] = []
    hours: list[int] = []
    x: list[tuple[float, ...]] = []
    y: list[float] = []
    for agent in sorted(by_agent):
        own = _Own(by_agent[agent], begun.get(agent, ()), changed.get(agent, []), found.get(agent, []), rate, since_ns)
        for hour, row, comes in own.rows(fleet, until_hour):
            agents.append(agent)
            hours.append(hour)
            x.append(row)
            y.append(comes)
    shape = (len(x), len(FEATURES))
    return Rows(tuple(agents), np.array(hours, dtype=np.int64), np.array(x, dtype=np.float64).reshape(shape), np.array(y))


class _Own:
    """One agent's hours, one after the other."""

    def __init__(
        self,
        points: Mapping[int, SeriesPoint],
        incidents: Sequence[Seen],
        changed: list[int],
        found: list[int],
        rate: float,
        since_ns: int,
    ) -> None:
        self._points = points
        self._incidents = incidents
        self._begun = [each.detected_ns for each in incidents]
        self._changed, self._found = changed, found
        self._rate, self._since_ns = rate, since_ns
        self._keep = 0.5 ** (1.0 / HALF_LIFE_HOURS)
        self._hours = 0
        self._ends_ns = 0
        self._next = 0
        self._late = {name: _Late() for name in ("failed", "judged", "cost", "time", "tokens")}

    def rows(self, fleet: Mapping[int, list[int]], until_hour: int) -> Iterator[tuple[int, tuple[float, ...], float]]:
        """Hour, features at its end, and whether an incident came in the hour after."""
        heard = sorted(self._points)
        for first, following in zip(heard, [*heard[1:], until_hour + 1], strict=True):
            for hour in range(first, min(following, first + AT_WORK_HOURS, until_hour + 1)):
                point = self._points.get(hour)
                self._take(point)
                end_ns = self._since_ns + (hour + 1) * HOUR_NS
                if self._is_in_incident(end_ns):
                    continue
                comes = float(bisect_right(self._begun, end_ns + HORIZON_HOURS * HOUR_NS) > bisect_right(self._begun, end_ns))
                yield hour, self._features(hour, end_ns, point, fleet), comes

    def _take(self, point: SeriesPoint | None) -> None:
        self._hours += 1
        late = self._late
        if point is None:
            return
        late["failed"].take(point.failed, point.steps, self._keep)
        late["judged"].take(point.scored - point.passed, point.scored, self._keep)
        late["cost"].take(point.cost_micro_usd / 1_000.0, 1.0, self._keep)
        if point.steps:
            late["time"].take(point.p95_ms, 1.0, self._keep)
            late["tokens"].take((point.input_tokens + point.output_tokens) / point.steps, 1.0, self._keep)

    def _is_in_incident(self, at_ns: int) -> bool:
        while self._next < len(self._incidents) and self._incidents[self._next].detected_ns <= at_ns:
            self._ends_ns = max(self._ends_ns, self._incidents[self._next].until_ns)
            self._next += 1
        return at_ns < self._ends_ns

    def _features(self, hour: int, end_ns: int, point: SeriesPoint | None, fleet: Mapping[int, list[int]]) -> tuple[float, ...]:
        had = bisect_right(self._begun, end_ns)
        since = min(NEVER_HOURS, (end_ns - self._begun[had - 1]) / HOUR_NS) if had else NEVER_HOURS
        own_rate = (had + self._rate * PRIOR_HOURS) / (self._hours + PRIOR_HOURS)
        failed, steps = (point.failed, point.steps) if point else (0, 0)
        all_failed, all_steps = fleet.get(hour, (0, 0))
        others = (all_failed - failed + 1.0) / (all_steps - steps + 20.0)
        usual = self._late["failed"].mean
        late = self._late
        return (
            -log1p(since),
            0.0 if had else 1.0,
            log(own_rate + 1e-6),
            late["failed"].excess,
            (failed + 20.0 * usual) / (steps + 20.0) - usual if steps else 0.0,
            late["judged"].excess,
            late["cost"].ratio,
            late["time"].ratio,
            late["tokens"].ratio,
            float(_count(self._changed, end_ns - RECENT_HOURS * HOUR_NS, end_ns) > 0),
            log1p(steps),
            log(others),
            log1p(_count(self._found, end_ns - 6 * HOUR_NS, end_ns)),
        )


class _Late:
    """A quantity lately against what it always was."""

    __slots__ = ("_all", "_all_of", "_new", "_new_of")

    def __init__(self) -> None:
        self._new = self._new_of = self._all = self._all_of = 0.0

    def take(self, amount: float, of: float, keep: float) -> None:
        self._new, self._new_of = self._new * keep + amount, self._new_of * keep + of
        self._all, self._all_of = self._all + amount, self._all_of + of

    @property
    def mean(self) -> float:
        return self._all / self._all_of if self._all_of else 0.0

    @property
    def excess(self) -> float:
        """How far a share lately is above its mean, drawn to it by 20 cases."""
        return (self._new + 20.0 * self.mean) / (self._new_of + 20.0) - self.mean

    @property
    def ratio(self) -> float:
        """The logarithm of how many times its mean an amount is lately."""
        if not self._new_of or self._all <= 0.0:
            return 0.0
        return log((self._new / self._new_of + 1e-3 * self.mean) / self.mean)


def _by_agent(incidents: Iterable[Seen]) -> dict[str, list[Seen]]:
    found: dict[str, list[Seen]] = defaultdict(list)
    for each in sorted(incidents, key=lambda seen: seen.detected_ns):
        found[each.agent].append(each)
    return found


def _times(pairs: Iterable[tuple[str, int]]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = defaultdict(list)
    for agent, at_ns in sorted(pairs, key=lambda pair: pair[1]):
        found[agent].append(at_ns)
    return found


def _count(times: Sequence[int], after_ns: int, until_ns: int) -> int:
    return bisect_right(times, until_ns) - bisect_right(times, after_ns)


def _sigmoid(x: Matrix) -> Matrix:
    result: Matrix = 1.0 / (1.0 + np.exp(-np.clip(x, -30.0, 30.0)))
    return result


def _penalised(z: Matrix, y: Matrix, weights: Matrix, ridge: Matrix) -> float:
    scores = z @ weights
    return float((np.logaddexp(0.0, scores) - y * scores).sum() + 0.5 * (ridge * weights * weights).sum())


def _bits(predicted: Matrix, y: Matrix) -> Matrix:
    """What each row's outcome was given, in bits: higher is better."""
    result: Matrix = np.log2(np.where(y > 0.5, predicted, 1.0 - predicted))
    return result


def _drawn_again(
    gains: Matrix, predicted: Matrix, recency: Matrix, y: Matrix, days: NDArray[np.int64]
) -> tuple[list[float], list[float]]:
    """Gain and lift over days that are drawn again, in a fixed sequence."""
    groups = [np.nonzero(days == day)[0] for day in np.unique(days)]
    chance = np.random.Generator(np.random.PCG64(1))
    found_gains, found_lifts = [], []
    for _ in range(RESAMPLES):
        rows = np.concatenate([groups[place] for place in chance.integers(0, len(groups), len(groups))])
        found_gains.append(float(gains[rows].mean()))
        if y[rows].sum() > 0:
            found_lifts.append(average_precision(predicted[rows], y[rows]) / average_precision(recency[rows], y[rows]))
    return found_gains, found_lifts


def _interval(value: float, drawn: Sequence[float]) -> Interval:
    ordered = sorted(drawn)
    return Interval(value, ordered[int(0.025 * len(ordered))], ordered[min(len(ordered) - 1, int(0.975 * len(ordered)))])
