"""How fast an agent uses up its error budget, in several windows at once: shown beside the e-detector (DET-13)."""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from andoncord.detect.detector import MAX_GROUPS, Groups, Hit, Trigger, few
from andoncord.detect.facts import Facts, Key
from andoncord.detect.sampling import weight_of
from andoncord.kernel.time import HOUR_NS, MINUTE_NS
from andoncord.telemetry.event import Event

BUCKET_NS = 5 * MINUTE_NS
MIN_RUNS = 20
"""Scored runs in the long window below which nothing is said: one failure among few is a high rate. Chosen."""
MAX_RUNS_KNOWN = 64
MAX_SPANS = 8


class Window(NamedTuple):
    """Both windows must burn faster than `times` the rate that just uses up the budget."""

    long: int
    """Buckets of five minutes."""
    short: int
    times: float


WINDOWS = (
    Window(long=HOUR_NS // BUCKET_NS, short=1, times=14.4),
    Window(long=6 * HOUR_NS // BUCKET_NS, short=6, times=6.0),
    Window(long=72 * HOUR_NS // BUCKET_NS, short=72, times=1.0),
)
"""2 % of a month's budget in an hour, 5 % in six, 10 % in three days; the short window is a twelfth of the long one.
Source: Google, "The Site Reliability Workbook" (2018), chapter 5, table 5-8."""


class _Stream:
    __slots__ = ("buckets", "is_raised", "known", "spans")

    def __init__(self) -> None:
        self.buckets: OrderedDict[int, list[float]] = OrderedDict()
        """Bucket → weight of scored runs, of failed runs, and how many runs."""
        self.known: OrderedDict[str, None] = OrderedDict()
        self.spans: list[str] = []
        self.is_raised = False

    def note(self, bucket: int, *, failed: bool, weight: float) -> None:
        counts = self.buckets.get(bucket)
        if counts is None:
            counts = self.buckets[bucket] = [0.0, 0.0, 0.0]
            while len(self.buckets) > WINDOWS[-1].long:
                self.buckets.popitem(last=False)
        counts[0] += weight
        counts[1] += weight * failed
        counts[2] += 1.0

    def rate(self, bucket: int, buckets: int) -> tuple[float, int]:
        """Failed share of the newest buckets, and how many runs."""
        found = [self.buckets[number] for number in range(bucket - buckets + 1, bucket + 1) if number in self.buckets]
        weight, runs = sum(each[0] for each in found), int(sum(each[2] for each in found))
        return (sum(each[1] for each in found) / weight if weight else 0.0), runs


class BurnRate:
    """Raise when failed runs use up the error budget of the declared objective too fast, in a long and a short window; once.

    With an objective below 93.06 % the fastest window can never fire, as 14.4 times the allowed failures is more than all runs;
    below 83.3 % the second cannot either. What cannot fire is left out, and the finding says so. Its false alarms are no part
    of the fleet's budget: an agent that keeps to its objective by a fifth, at two runs an hour, is said to burn 3.75 times in
    two weeks. The e-detector of `quality-drop` pages; this one is for display, and for agents with hundreds of runs an hour.

    Cost: O(1) per run that passed, O(buckets of three days) per run that failed; about 15 kB per agent at most.
    """

    def __init__(self, trigger: Trigger, *, key: Callable[[Event], Key], max_groups: int = MAX_GROUPS) -> None:
        self.kinds = trigger.kinds
        self._trigger, self._key = trigger, key
        self._streams = Groups(_Stream, limit=max_groups)

    @property
    def memory(self) -> tuple[Groups[Any], ...]:
        """What it has learned."""
        return (self._streams,)

    def observe(self, event: Event, facts: Facts) -> Iterable[Hit]:
        objective = facts.declared.objective
        if objective is None or event.passed is None or not self._trigger.matches(event, facts):
            return ()
        key = self._key(event)
        stream = self._streams.at(key)
        run = event.run_id or event.span_id
        if run in stream.known:
            return ()
        stream.known[run] = None
        if len(stream.known) > MAX_RUNS_KNOWN:
            stream.known.popitem(last=False)
        bucket = event.at_ns // BUCKET_NS
        stream.note(bucket, failed=not event.passed, weight=weight_of(event))
        allowed = 1.0 - objective.quality
        if event.passed:
            if stream.is_raised and stream.rate(bucket, WINDOWS[0].long)[0] <= allowed:
                stream.is_raised = False
            return ()
        stream.spans = [*stream.spans[1 - MAX_SPANS :], event.span_id]
        if stream.is_raised:
            return ()
        for window in WINDOWS:
            if window.times * allowed >= 1.0:
                continue
            (long, runs), (short, _) = stream.rate(bucket, window.long), stream.rate(bucket, window.short)
            if runs >= MIN_RUNS and long > window.times * allowed and short > window.times * allowed:
                stream.is_raised = True
                return (self._hit(event, key, stream, window, long / allowed, runs, allowed),)
        return ()

    def tick(self, now_ns: int) -> Iterable[Hit]:
        return ()

    @staticmethod
    def _hit(event: Event, key: Key, stream: _Stream, window: Window, burn: float, runs: int, allowed: float) -> Hit:
        hours = window.long * BUCKET_NS / HOUR_NS
        blind = [f"{each.times:g}x" for each in WINDOWS if each.times * allowed >= 1.0]
        return Hit(
            event=event,
            key=key,
            at_ns=event.at_ns,
            onset_ns=max(0, event.at_ns - window.long * BUCKET_NS),
            evidence=few(stream.spans),
            score=0.6,
            words={"burn": f"{burn:.1f}", "hours": f"{hours:g}", "runs": str(runs), "objective": f"{1.0 - allowed:.0%}"},
            facts={
                "burn": round(burn, 3),
                "threshold": window.times,
                "window_hours": hours,
                "runs": runs,
                "cannot_fire": blind,
            },
        )
