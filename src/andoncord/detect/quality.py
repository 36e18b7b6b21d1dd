"""Output quality against its objective: too many failed runs, judged with a stated rate of false alarms (DET-13, DET-21)."""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from andoncord.detect.declared import Objective
from andoncord.detect.detector import MAX_GROUPS, Groups, Hit, Trigger, few
from andoncord.detect.evidence import Wealth, mean_factors, mean_stakes, onset_facts
from andoncord.detect.facts import Facts, Key
from andoncord.detect.judge_error import Labels, allowed_failures
from andoncord.detect.ledger import Ledger, believed_ns
from andoncord.detect.sampling import weight_of
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
REVIEW = "human_review"
"""What people say of a run, as the name of an evaluator; `human_review:NAME` speaks of what NAME said alone."""
MAX_EVALUATORS = 16
"""Evaluators of one agent that labels of people are held against."""
MAX_JUDGED = 4_000.0
"""Weight of verdicts after which older ones begin to weigh less: all are halved."""
LABELS_STEP = 10
"""Labels after which it is looked at anew what the judge's errors allow: each look may begin the evidence anew. Chosen."""
MIN_STEP = 0.005
"""Change of what is allowed below which the evidence goes on as it is. Chosen."""


class FailureRate:
    """E-detector of Shiryaev–Roberts form: has the chance of failure risen above `allowed`?

    Bets on failure with several stakes, starting anew at every run. While the chance of failure is no higher than allowed given
    all runs before, alarms are expected no more often than was spent. Where failures have come in bursts, which that promise
    does not cover, the failed share of 25 runs is judged instead of each run.

    Where some runs were likelier to be looked at than others, a run's bets are as small as it was likely: over all runs, looked
    at or not, the promise is the same.

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
        self._block: list[float] = []
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

    def allow(self, allowed: float) -> None:
        """Hold runs against another rate from now on."""
        self.allowed = allowed
        self._stakes = mean_stakes(allowed)
        self.reset()

    @property
    def began_between_ns(self) -> tuple[int, int]:
        """The earliest and the latest beginning of it that is not much less likely."""
        return (self._by_block if self.is_by_block else self._by_run).began_between_ns

    def update(self, *, failed: bool, spend: float | None = None, at_ns: int = 0, weight: float = 1.0) -> bool:
        """Take one run. True when the evidence is enough.

        Args:
            failed: whether it did.
            spend: what it may add to the expected number of false alarms.
            at_ns: when it began.
            weight: how likely the least likely run was to be looked at, as a share of how likely this one was.
        """
        spend = self.alpha if spend is None else spend
        excess = weight * ((1.0 if failed else 0.0) - self.allowed)
        factors = mean_factors(excess, self._stakes)
        alarmed = self._by_run.update(factors, spend=spend, at_ns=at_ns) >= 1.0 and not self.is_by_block
        self._bursts.learn(failed)
        self._block.append(excess)
        self._saved += spend
        if len(self._block) == BLOCK:
            factors = mean_factors(sum(self._block) / BLOCK, self._stakes)
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
    __slots__ = ("changes", "judged", "known", "labels", "objective", "outcomes", "raised", "rate", "recent")

    def __init__(self) -> None:
        self.rate: FailureRate | None = None
        self.objective: Objective | None = None
        self.known: dict[str, bool | None] = {}
        """Run → what was said of it; None once a person has said it too."""
        self.judged = [0.0, 0.0]
        """Weights of the runs that failed and of those that passed."""
        self.labels = Labels()
        self.recent: deque[tuple[int, str, bool]] = deque(maxlen=MAX_RUNS_KNOWN)
        """Time, span id, and whether it passed."""
        self.outcomes: deque[bool] = deque(maxlen=CLEAR_RUNS)
        self.raised = False
        self.changes = 0


class QualityDrop:
    """Raise when an agent's runs fail more often than its declared objective allows; once, until it meets the objective again.

    One observation per run and evaluator, also where it comes days later; runs without a verdict are left out. After a change
    of the agent it may raise again. Once people have labelled runs that an evaluator judged (`human_review`), it is held
    against what it may fail given its errors, and not against the objective as if it had none.
    """

    def __init__(self, trigger: Trigger, *, key: Callable[[Event], Key], ledger: Ledger, max_groups: int = MAX_GROUPS) -> None:
        self._ledger = ledger
        self.kinds = trigger.kinds | {EventKind.CHANGE_MADE}
        self._trigger, self._key = trigger, key
        self._changes = Groups(_Changes, limit=max_groups)
        self._streams: Groups[_Stream] = Groups(_Stream, limit=max_groups)
        self._evaluators: Groups[list[str]] = Groups(list, limit=max_groups)

    @property
    def memory(self) -> tuple[Groups[Any], ...]:
        """What it has learned."""
        return (self._changes, self._streams, self._evaluators)

    def observe(self, event: Event, facts: Facts) -> Iterable[Hit]:
        if event.kind is EventKind.CHANGE_MADE:
            self._changes.at((event.agent, event.trusted)).count += 1
            return ()
        objective = facts.declared.objective
        if objective is None or event.passed is None:
            return ()
        if event.name.startswith(REVIEW):
            self._label(event, passed=event.passed)
            return ()
        if not self._trigger.matches(event, facts):
            return ()
        key = self._key(event)
        evaluators = self._evaluators.at((event.agent, event.trusted))
        if event.name not in evaluators and len(evaluators) < MAX_EVALUATORS:
            evaluators.append(event.name)
        stream = self._streams.at(key)
        if stream.rate is None or stream.objective != objective:
            stream.objective = objective
            own = objective.false_alarms_per_week
            alpha = own / objective.runs_per_week if own is not None else 0.0
            stream.rate = FailureRate(allowed=1.0 - objective.quality, alpha=alpha)
            self._hold_against(stream, stream.rate, objective)
        run = event.run_id or event.span_id
        if run:
            if run in stream.known:
                return ()
            stream.known[run] = event.passed
            if len(stream.known) > MAX_RUNS_KNOWN:
                del stream.known[next(iter(stream.known))]
        return self._judge(event, key, stream, stream.rate, passed=event.passed)

    def tick(self, now_ns: int) -> Iterable[Hit]:
        return ()

    def _label(self, event: Event, *, passed: bool) -> None:
        """Hold what a person said of a run against what evaluators said of it."""
        _, _, of = event.name.partition(":")
        for name in list(self._evaluators.get((event.agent, event.trusted)) or ()):
            stream = self._streams.get(self._key(msgspec.structs.replace(event, name=name)))
            said = stream.known.get(event.run_id) if stream is not None else None
            if stream is None or said is None or of not in ("", name):
                continue
            stream.known[event.run_id] = None
            stream.labels = stream.labels.with_one(judged=said, true=passed)
            if (stream.labels.of_passed + stream.labels.of_failed) % LABELS_STEP == 0 and stream.rate and stream.objective:
                self._hold_against(stream, stream.rate, stream.objective)

    @staticmethod
    def _hold_against(stream: _Stream, rate: FailureRate, objective: Objective) -> None:
        """Set how many runs the evaluator may fail."""
        failed, passed = stream.judged
        allowed = 1.0 - objective.quality
        share = passed / (failed + passed) if failed + passed else objective.quality
        known = allowed_failures(allowed, share, stream.labels)
        wanted = allowed if known is None else known
        if abs(wanted - rate.allowed) >= MIN_STEP:
            rate.allow(wanted)

    def _judge(self, event: Event, key: Key, stream: _Stream, rate: FailureRate, *, passed: bool) -> Iterable[Hit]:
        changes = self._changes_of(event)
        if stream.raised and changes != stream.changes:
            stream.raised = False
            rate.reset()
        stream.changes = changes
        stream.recent.append((event.at_ns, event.span_id, passed))
        stream.outcomes.append(passed)
        weight = weight_of(event)
        stream.judged[passed] += weight
        if sum(stream.judged) >= MAX_JUDGED:
            stream.judged = [stream.judged[0] / 2, stream.judged[1] / 2]
        spend = self._spend(event, key, rate, stream)
        alarmed = rate.update(failed=not passed, spend=spend, at_ns=event.start_ns or event.at_ns, weight=weight)
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
        objective = stream.objective.quality if stream.objective else 1.0 - rate.allowed
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
                "may_fail": round(rate.allowed, 6),
                "labels": stream.labels.of_passed + stream.labels.of_failed,
                "pass_rate_since": round(pass_rate, 6),
                "runs_since": len(since),
                **onset_facts(rate.began_between_ns),
                "failed_since": failed,
                "e_value": round(rate.evidence / unit, 3),
                "threshold": round(1.0 / unit, 3),
                "by_block": rate.is_by_block,
                "runs_judged": rate.seen,
            },
        )
