"""Output quality against its objective: too many failed runs, judged with a stated rate of false alarms (DET-13, DET-21)."""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from andoncord.detect.declared import Objective
from andoncord.detect.detector import MAX_GROUPS, Groups, Hit, Trigger, few
from andoncord.detect.evidence import Wealth, mean_factors, mean_stakes
from andoncord.detect.facts import Facts, Key
from andoncord.detect.ledger import Ledger, believed_ns
from andoncord.detect.stream import BLOCK, Bursts
from andoncord.telemetry.event import Event, EventKind

CLEAR_RUNS = 20
"""Scored runs looked at to say that a raised agent meets its objective again. Chosen."""
MAX_RUNS_KNOWN = 256
"""Run ids remembered per stream, so that one run is one observation."""
SURE = 0.9
"""How sure an alarm is at least, while nothing is known of how often they are right. Chosen."""
MAX_FAILED = 16
"""Failed runs kept as evidence."""


class FailureRate:
    """E-detector of Shiryaev–Roberts form: has the chance of failure risen above `allowed`?

    Bets on failure with several stakes, starting anew at every run. While the chance of failure is no higher than allowed given
    all runs before, alarms are expected no more often than was spent. Where failures have come in bursts, which that promise
    does not cover, the failed share of 25 runs is judged instead of each run.

    Args:
        allowed: highest failure rate within the objective, between 0 and 1.
        alpha: what a run spends unless it says otherwise: one false alarm in 1/alpha runs at most, on average.

    Cost: O(1) time and memory per run.
    Source: Shin, Ramdas, Rinaldo, "E-detectors: a nonparametric framework for sequential change detection", NEJSDS 2 (2024).

    >>> rate = FailureRate(allowed=0.1, alpha=0.001)
    >>> [rate.update(failed=True) for _ in range(4)]
    [False, False, False, True]
    >>> rate.since
    4
    """

    __slots__ = ("_block", "_bursts", "_by_block", "_by_run", "_saved", "_stakes", "allowed", "alpha", "is_by_block")

    def __init__(self, *, allowed: float, alpha: float = 0.0) -> None:
        self.allowed = allowed
        self.alpha = alpha
        self._stakes = mean_stakes(allowed)
        self._bursts = Bursts()
        self.reset()

    def reset(self) -> None:
        """Forget the evidence, not how failures are spread."""
        self._by_run, self._by_block = Wealth(len(self._stakes)), Wealth(len(self._stakes))
        self._block: list[bool] = []
        self._saved = 0.0
        self.is_by_block = self._bursts.seen

    @property
    def seen(self) -> int:
        """Runs judged since the last reset."""
        return self._by_run.seen

    @property
    def evidence(self) -> float:
        """What the bets have won, as a share of what an alarm takes."""
        return (self._by_block if self.is_by_block else self._by_run).evidence

    @property
    def since(self) -> int:
        """How many of the newest runs belong to the likeliest stretch above the allowed rate."""
        return self._by_block.since * BLOCK + len(self._block) if self.is_by_block else self._by_run.since

    @property
    def began_ns(self) -> int:
        """When that stretch began."""
        return (self._by_block if self.is_by_block else self._by_run).began_ns

    def update(self, *, failed: bool, spend: float | None = None, at_ns: int = 0) -> bool:
        """Take one run. True when the evidence is enough."""
        spend = self.alpha if spend is None else spend
        factors = mean_factors((1.0 if failed else 0.0) - self.allowed, self._stakes)
        alarmed = self._by_run.update(factors, spend=spend, at_ns=at_ns) >= 1.0 and not self.is_by_block
        self._bursts.learn(failed)
        self._block.append(failed)
        self._saved += spend
        if len(self._block) == BLOCK:
            share = sum(self._block) / BLOCK
            factors = mean_factors(share - self.allowed, self._stakes)
            won = self._by_block.update(factors, spend=self._saved, at_ns=at_ns)
            alarmed = alarmed or (self.is_by_block and won >= 1.0)
            self._block, self._saved = [], 0.0
            self.is_by_block = self._bursts.seen
        return alarmed


class _Changes:
    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


class _Stream:
    __slots__ = ("changes", "known", "objective", "outcomes", "raised", "rate", "recent")

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

    def __init__(self, trigger: Trigger, *, key: Callable[[Event], Key], ledger: Ledger, max_groups: int = MAX_GROUPS) -> None:
        self._ledger = ledger
        self.kinds = trigger.kinds | {EventKind.CHANGE_MADE}
        self._trigger, self._key = trigger, key
        self._changes = Groups(_Changes, limit=max_groups)
        self._streams: Groups[_Stream] = Groups(_Stream, limit=max_groups)

    @property
    def memory(self) -> tuple[Groups[Any], ...]:
        """What it has learned."""
        return (self._changes, self._streams)

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
            own = objective.false_alarms_per_week
            alpha = own / objective.runs_per_week if own is not None else 0.0
            stream.rate = FailureRate(allowed=1.0 - objective.quality, alpha=alpha)
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
        alarmed = rate.update(
            failed=not passed, spend=self._spend(event, key, rate, stream), at_ns=event.start_ns or event.at_ns
        )
        if stream.raised:
            met = sum(stream.outcomes) / len(stream.outcomes) >= 1.0 - rate.allowed
            if len(stream.outcomes) == CLEAR_RUNS and met:
                stream.raised = False
                rate.reset()
            return ()
        if not alarmed:
            return ()
        self._ledger.note_alarm()
        hit = self._hit(event, key, stream, rate)
        stream.raised = True
        stream.outcomes.clear()
        rate.reset()
        return (hit,)

    def _spend(self, event: Event, key: Key, rate: FailureRate, stream: _Stream) -> float:
        """What this run may add to the expected false alarms: from the fleet's budget, unless the objective has its own."""
        if rate.alpha:
            self._ledger.own(0.0 if stream.raised else rate.alpha)
            return rate.alpha
        if stream.raised:
            self._ledger.join(("quality", key), believed_ns(event), trusted=event.trusted)
            return 0.0
        return self._ledger.spend(("quality", key), believed_ns(event), trusted=event.trusted)

    def _changes_of(self, event: Event) -> int:
        """How often the agent has changed, as far as signals with this event's trust may say."""
        own = self._changes.get((event.agent, True))
        others = None if event.trusted else self._changes.get((event.agent, False))
        return (own.count if own else 0) + (others.count if others else 0)

    @staticmethod
    def _hit(event: Event, key: Key, stream: _Stream, rate: FailureRate) -> Hit:
        since = list(stream.recent)[-rate.since :]
        failed = sum(1 for _, _, passed in since if not passed)
        # With a budget of its own the evidence is told as an e-value against one over the share of a run.
        unit = rate.alpha or 1.0
        pass_rate = 1.0 - failed / len(since)
        objective = 1.0 - rate.allowed
        return Hit(
            event=event,
            key=key,
            at_ns=event.at_ns,
            onset_ns=rate.began_ns or since[0][0],
            evidence=few([span_id for _, span_id, passed in since if not passed][-MAX_FAILED:]),
            score=max(SURE, 1.0 - unit / rate.evidence),
            words={"failed": str(failed), "runs": str(len(since)), "objective": f"{objective:.0%}", "rate": f"{pass_rate:.0%}"},
            facts={
                "evaluator": event.name,
                "objective": round(objective, 6),
                "pass_rate_since": round(pass_rate, 6),
                "runs_since": len(since),
                "failed_since": failed,
                "e_value": round(rate.evidence / unit, 3),
                "threshold": round(1.0 / unit, 3),
                "by_block": rate.is_by_block,
                "runs_judged": rate.seen,
            },
        )
