"""Counting and adding up over sliding windows of event time.

Events may come late and out of order: an event is put where its time says and every window it falls into is looked at again, as
long as it is not later than `LATENESS_NS` behind the newest of its group.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter

from andoncord.detect.detector import MAX_GROUPS, Groups, Hit, Trigger, few
from andoncord.detect.facts import Facts, Key
from andoncord.kernel.time import MINUTE_NS, SECOND_NS
from andoncord.telemetry.event import Event

LATENESS_NS = MINUTE_NS
"""How late an event may come and still count. Chosen: exporters batch for seconds and retry for up to a minute."""
MAX_ENTRIES = 512
"""Events kept per group; with more, the oldest go and a window may count too few, never too many."""

Entry = tuple[int, str, str | float]
"""Time, span id, and the value that is counted or added up."""
_time = itemgetter(0)


class _Window:
    __slots__ = ("entries", "is_raised")

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.is_raised = False


class InWindow:
    """Raise when what `measure` makes of a window reaches `at_least`; once, until a newer window falls below it.

    Args:
        trigger: which events count.
        key: the group of an event.
        value: what of an event is kept for `measure`.
        measure: from the entries of one window to a number.
        at_least: the number that raises; a function where it is declared per agent, None for "not declared, never".
        is_strict: raise above the number instead of at it.
        reset: events that clear what came before them in their group.

    Cost: O(entries in the window) per event.
    """

    def __init__(
        self,
        trigger: Trigger,
        *,
        key: Callable[[Event], Key],
        value: Callable[[Event], str | float],
        measure: Callable[[Sequence[Entry]], float],
        window_ns: int,
        at_least: Callable[[Facts], float | None],
        is_strict: bool = False,
        reset: Trigger | None = None,
        max_groups: int = MAX_GROUPS,
    ) -> None:
        self.kinds = trigger.kinds | (reset.kinds if reset else frozenset())
        self.triggers = (trigger, reset) if reset else (trigger,)
        self._trigger, self._reset = trigger, reset
        self._key, self._value, self._measure = key, value, measure
        self._window_ns, self._at_least, self._is_strict = window_ns, at_least, is_strict
        self._groups = Groups(_Window, limit=max_groups)

    def observe(self, event: Event, facts: Facts) -> Iterable[Hit]:
        reset = self._reset
        if reset is not None and event.kind in reset.kinds:
            if len(self._groups) and reset.matches(event, facts):
                self._clear(self._key(event), event.at_ns)
                return ()
            if event.kind not in self._trigger.kinds:
                return ()
        if not self._trigger.matches(event, facts):
            return ()
        limit = self._at_least(facts)
        return () if limit is None else self._count(event, limit)

    def tick(self, now_ns: int) -> Iterable[Hit]:
        return ()

    def _clear(self, key: Key, until_ns: int) -> None:
        window = self._groups.get(key)
        if window is not None:
            window.entries = [entry for entry in window.entries if entry[0] > until_ns]
            window.is_raised = False

    def _count(self, event: Event, limit: float) -> Iterable[Hit]:
        key = self._key(event)
        window = self._groups.at(key)
        entries, at_ns = window.entries, event.at_ns
        newest_ns = max(at_ns, entries[-1][0]) if entries else at_ns
        if at_ns < newest_ns - self._window_ns - LATENESS_NS:
            return ()
        position = bisect_right(entries, at_ns, key=_time)
        entries.insert(position, (at_ns, event.span_id, self._value(event)))
        oldest = bisect_left(entries, newest_ns - self._window_ns - LATENESS_NS, key=_time)
        oldest = max(oldest, len(entries) - MAX_ENTRIES)
        if oldest > 0:
            del entries[:oldest]
            position -= oldest
        return self._look(event, key, window, position, limit)

    def _look(self, event: Event, key: Key, window: _Window, position: int, limit: float) -> Iterable[Hit]:
        entries = window.entries
        for end in range(max(position, 0), len(entries)):
            first = bisect_left(entries, entries[end][0] - self._window_ns, key=_time)
            inside = entries[first : end + 1]
            measured = self._measure(inside)
            if measured > limit if self._is_strict else measured >= limit:
                if window.is_raised:
                    return ()
                window.is_raised = True
                return (self._hit(event, key, inside, measured, limit),)
        if position == len(entries) - 1:
            window.is_raised = False
        return ()

    def _hit(self, event: Event, key: Key, inside: Sequence[Entry], measured: float, limit: float) -> Hit:
        return Hit(
            event=event,
            key=key,
            at_ns=inside[-1][0],
            onset_ns=inside[0][0],
            evidence=few(span_id for _, span_id, _ in inside),
            words={"count": f"{measured:g}", "limit": f"{limit:g}"},
            facts={"count": measured, "limit": limit, "within_s": self._window_ns / SECOND_NS},
        )


class _Total:
    __slots__ = ("amount", "evidence", "is_raised", "onset_ns")

    def __init__(self) -> None:
        self.amount = 0.0
        self.evidence: list[str] = []
        self.onset_ns = 0
        self.is_raised = False


class InTotal:
    """Raise when a sum over everything a group ever did goes over its limit; once per group.

    Cost: O(1) time and memory per event.
    """

    def __init__(
        self,
        trigger: Trigger,
        *,
        key: Callable[[Event], Key],
        value: Callable[[Event], float],
        above: Callable[[Facts], float | None],
        is_money: bool,
        max_groups: int = MAX_GROUPS,
    ) -> None:
        self.kinds = trigger.kinds
        self.triggers = (trigger,)
        self._trigger, self._key, self._value, self._above, self._is_money = trigger, key, value, above, is_money
        self._groups = Groups(_Total, limit=max_groups)

    def observe(self, event: Event, facts: Facts) -> Iterable[Hit]:
        amount = self._value(event)
        if not amount or not self._trigger.matches(event, facts):
            return ()
        limit = self._above(facts)
        if limit is None:
            return ()
        key = self._key(event)
        total = self._groups.at(key)
        total.amount += amount
        total.onset_ns = total.onset_ns or event.start_ns
        if len(total.evidence) < MAX_ENTRIES:
            total.evidence.append(event.span_id)
        if total.is_raised or total.amount <= limit:
            return ()
        total.is_raised = True
        facts_found = {"total": total.amount, "limit": limit}
        if self._is_money:
            facts_found["at_risk_micro_usd"] = int(total.amount)
        hit = Hit(
            event=event,
            key=key,
            at_ns=event.at_ns,
            onset_ns=total.onset_ns,
            evidence=few([*total.evidence, event.span_id]),
            words={"total": f"{total.amount:g}", "limit": f"{limit:g}"},
            facts=facts_found,
        )
        return (hit,)

    def tick(self, now_ns: int) -> Iterable[Hit]:
        return ()


BUCKETS = 10
"""Parts of a window in which a ratio is kept."""
BASELINE_WINDOWS = 24
"""Windows that make the rolling baseline: those in which there was something. An agent that works now and then would else be
above it with each run: 239 times in a generated week of a hundred agents."""


class _Buckets:
    __slots__ = ("baseline", "current", "evidence", "excluded", "is_raised", "newest", "totals")

    def __init__(self) -> None:
        self.totals: dict[int, float] = {}
        self.excluded: set[int] = set()
        self.newest = -1
        self.baseline: float | None = None
        self.current = 0.0
        """Of the newest buckets: one window."""
        self.evidence: list[str] = []
        self.is_raised = False


class AgainstBaseline:
    """Raise when a window's sum is more than `above` times the group's own average of the windows before that were not empty.

    What was used while raised never enters the baseline. Nothing is judged before `warm_up` windows have been seen.

    Cost: O(1) per event, O(buckets) when a bucket begins.
    """

    def __init__(
        self,
        trigger: Trigger,
        *,
        key: Callable[[Event], Key],
        value: Callable[[Event], float],
        window_ns: int,
        above: float,
        warm_up: int,
        at_least: float,
        max_groups: int = MAX_GROUPS,
    ) -> None:
        self.kinds = trigger.kinds
        self.triggers = (trigger,)
        self._trigger, self._key, self._value = trigger, key, value
        self._bucket_ns, self._above, self._warm_up, self._at_least = max(1, window_ns // BUCKETS), above, warm_up, at_least
        self._groups = Groups(_Buckets, limit=max_groups)

    def observe(self, event: Event, facts: Facts) -> Iterable[Hit]:
        if not self._trigger.matches(event, facts):
            return ()
        key = self._key(event)
        group = self._groups.at(key)
        bucket = event.at_ns // self._bucket_ns
        if bucket > group.newest:
            self._begin(group, bucket)
        elif bucket <= group.newest - BUCKETS:
            return ()
        value = self._value(event)
        group.totals[bucket] = group.totals.get(bucket, 0.0) + value
        group.current += value
        if len(group.evidence) < MAX_ENTRIES:
            group.evidence.append(event.span_id)
        if group.baseline is None:
            return ()
        current = group.current
        is_over = current >= self._at_least and current > self._above * group.baseline
        if not is_over:
            group.is_raised = False
            return ()
        group.excluded.update(range(group.newest - BUCKETS + 1, group.newest + 1))
        if group.is_raised:
            return ()
        group.is_raised = True
        return (self._hit(event, key, group, current, group.baseline),)

    def tick(self, now_ns: int) -> Iterable[Hit]:
        return ()

    def _begin(self, group: _Buckets, bucket: int) -> None:
        group.newest = bucket
        worked = sorted({number // BUCKETS for number in group.totals})
        oldest = BUCKETS * worked[-BASELINE_WINDOWS - 1] if len(worked) > BASELINE_WINDOWS else 0
        group.totals = {number: total for number, total in group.totals.items() if number >= oldest}
        group.excluded = {number for number in group.excluded if number >= oldest}
        group.evidence = group.evidence[-MAX_ENTRIES // 2 :]
        group.current = sum(group.totals.get(number, 0.0) for number in range(bucket - BUCKETS + 1, bucket + 1))
        earlier = [number for number in group.totals if number <= bucket - BUCKETS and number not in group.excluded]
        windows = len({number // BUCKETS for number in earlier})
        group.baseline = sum(group.totals[number] for number in earlier) / windows if windows >= self._warm_up else None

    def _hit(self, event: Event, key: Key, group: _Buckets, current: float, baseline: float) -> Hit:
        times = current / baseline if baseline else float("inf")
        return Hit(
            event=event,
            key=key,
            at_ns=event.at_ns,
            onset_ns=max(0, (group.newest - BUCKETS + 1) * self._bucket_ns),
            evidence=few(group.evidence),
            words={"times": f"{times:.1f}", "total": f"{current:g}"},
            facts={"total": current, "baseline": baseline, "within_s": self._bucket_ns * BUCKETS / SECOND_NS},
        )
