"""Output quality against its objective: too many failed runs, judged with a stated rate of false alarms (DET-13, DET-21)."""

from collections import deque
from collections.abc import Callable, Iterable

from andoncord.detect.declared import Objective
from andoncord.detect.detector import MAX_GROUPS, Groups, Hit, Trigger, few
from andoncord.detect.facts import Facts, Key
from andoncord.telemetry.event import Event, EventKind

BETS = 6
"""Sizes of bets, halving from 0.9 of the largest possible: small drops need small bets, large drops large ones."""
CLEAR_RUNS = 20
"""Scored runs looked at to say that a raised agent meets its objective again. Chosen."""
MAX_RUNS_KNOWN = 256
"""Run ids remembered per stream, so that one run is one observation."""
MAX_FAILED = 16
"""Failed runs kept as evidence."""


class FailureRate:
    """E-detector of Shiryaev–Roberts form: has the chance of failure risen above `allowed`?

    Bets on failure with several stakes, starting anew at every run. While the chance of failure is no higher than allowed given
    all runs before, the summed winnings need 1/alpha runs or more on average to pass 1/alpha.

    Args:
        allowed: highest failure rate within the objective, between 0 and 1.
        alpha: one false alarm in 1/alpha runs at most, on average.

    Cost: O(1) time and memory per run.
    Source: Shin, Ramdas, Rinaldo, "E-detectors: a nonparametric framework for sequential change detection", NEJSDS 2 (2024).

    >>> rate = FailureRate(allowed=0.1, alpha=0.001)
    >>> [rate.update(failed=True) for _ in range(4)]
    [False, False, False, True]
    >>> rate.since
    4
    """

    def __init__(self, *, allowed: float, alpha: float) -> None:
        self.allowed = allowed
        self.threshold = 1.0 / alpha
        self._stakes = [0.9 * 2.0**-number / allowed for number in range(BETS)]
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._wealth = [0.0] * BETS
        self._best = [0.0] * BETS
        self._starts = [0] * BETS
        self.seen = 0

    @property
    def evidence(self) -> float:
        """The e-value: what the bets have won so far."""
        return sum(self._wealth)

    @property
    def since(self) -> int:
        """How many of the newest runs belong to the likeliest stretch above the allowed rate."""
        leader = max(range(BETS), key=lambda number: self._best[number])
        return self.seen - self._starts[leader]

    def update(self, *, failed: bool) -> bool:
        """Take one run. True when the evidence is enough."""
        excess = (1.0 if failed else 0.0) - self.allowed
        for number, stake in enumerate(self._stakes):
            factor = 1.0 + stake * excess
            self._wealth[number] = (self._wealth[number] + 1.0 / BETS) * factor
            # The likeliest start is where this stake's winnings began: a product that falls below 1 starts anew.
            product = max(self._best[number], 1.0) * factor
            if self._best[number] <= 1.0:
                self._starts[number] = self.seen
            self._best[number] = product
        self.seen += 1
        return self.evidence >= self.threshold


class _Changes:
    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


class _Stream:
    __slots__ = ("changes", "known", "objective", "outcomes", "raised", "rate", "recent", "versions")

    def __init__(self) -> None:
        self.rate: FailureRate | None = None
        self.objective: Objective | None = None
        self.known: deque[str] = deque(maxlen=MAX_RUNS_KNOWN)
        self.recent: deque[tuple[int, str, bool]] = deque(maxlen=MAX_RUNS_KNOWN)
        """Time, span id, and whether it passed."""
        self.outcomes: deque[bool] = deque(maxlen=CLEAR_RUNS)
        self.raised = False
        self.changes = 0


class QualityDrop:
    """Raise when an agent's runs fail more often than its declared objective allows; once, until it meets the objective again.

    One observation per run and evaluator; runs without a verdict are left out. After a change of the agent it may raise again.
    """

    def __init__(self, trigger: Trigger, *, key: Callable[[Event], Key], max_groups: int = MAX_GROUPS) -> None:
        self.kinds = trigger.kinds | {EventKind.CHANGE_MADE}
        self._trigger, self._key = trigger, key
        self._changes = Groups(_Changes, limit=max_groups)
        self._streams: Groups[_Stream] = Groups(_Stream, limit=max_groups)

    def observe(self, event: Event, facts: Facts) -> Iterable[Hit]:
        if event.kind is EventKind.CHANGE_MADE:
            self._changes.at((event.agent, event.trusted)).count += 1
            return ()
        objective = facts.declared.objective
        if objective is None or event.passed is None or not self._trigger.matches(event, facts):
            return ()
        key = self._key(event)
        stream = self._streams.at(key)
        if stream.rate is None or stream.objective != objective:
            stream.objective = objective
            stream.rate = FailureRate(
                allowed=1.0 - objective.quality, alpha=objective.false_alarms_per_week / objective.runs_per_week
            )
        run = event.run_id or event.span_id
        if run:
            if run in stream.known:
                return ()
            stream.known.append(run)
        return self._judge(event, key, stream, stream.rate, passed=event.passed)

    def tick(self, now_ns: int) -> Iterable[Hit]:
        return ()

    def _judge(self, event: Event, key: Key, stream: _Stream, rate: FailureRate, *, passed: bool) -> Iterable[Hit]:
        changes = self._changes_of(event)
        if stream.raised and changes != stream.changes:
            stream.raised = False
            rate.reset()
        stream.changes = changes
        stream.recent.append((event.at_ns, event.span_id, passed))
        stream.outcomes.append(passed)
        alarmed = rate.update(failed=not passed)
        if stream.raised:
            met = sum(stream.outcomes) / len(stream.outcomes) >= 1.0 - rate.allowed
            if len(stream.outcomes) == CLEAR_RUNS and met:
                stream.raised = False
                rate.reset()
            return ()
        if not alarmed:
            return ()
        hit = self._hit(event, key, stream, rate)
        stream.raised = True
        stream.outcomes.clear()
        rate.reset()
        return (hit,)

    def _changes_of(self, event: Event) -> int:
        """How often the agent has changed, as far as signals with this event's trust may say."""
        own = self._changes.get((event.agent, True))
        others = None if event.trusted else self._changes.get((event.agent, False))
        return (own.count if own else 0) + (others.count if others else 0)

    @staticmethod
    def _hit(event: Event, key: Key, stream: _Stream, rate: FailureRate) -> Hit:
        since = list(stream.recent)[-rate.since :]
        failed = sum(1 for _, _, passed in since if not passed)
        pass_rate = 1.0 - failed / len(since)
        objective = 1.0 - rate.allowed
        return Hit(
            event=event,
            key=key,
            at_ns=event.at_ns,
            onset_ns=since[0][0],
            evidence=few([span_id for _, span_id, passed in since if not passed][-MAX_FAILED:]),
            score=1.0 - 1.0 / rate.evidence,
            words={"failed": str(failed), "runs": str(len(since)), "objective": f"{objective:.0%}", "rate": f"{pass_rate:.0%}"},
            facts={
                "evaluator": event.name,
                "objective": round(objective, 6),
                "pass_rate_since": round(pass_rate, 6),
                "runs_since": len(since),
                "failed_since": failed,
                "e_value": round(rate.evidence, 3),
                "threshold": round(rate.threshold, 3),
                "runs_judged": rate.seen,
            },
        )
