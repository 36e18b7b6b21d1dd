"""One event after another, and events that should have come and did not."""

import heapq
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from andoncord.detect.detector import MAX_GROUPS, Groups, Hit, Trigger, few
from andoncord.detect.facts import Facts, Key
from andoncord.kernel.time import DAY_NS, SECOND_NS
from andoncord.telemetry.event import Event


class Each:
    """Raise at the first event of its group that matches.

    Cost: O(1) per event.
    """

    def __init__(self, trigger: Trigger, *, key: Callable[[Event], Key], max_groups: int = MAX_GROUPS) -> None:
        self.kinds = trigger.kinds
        self.triggers = (trigger,)
        self._trigger, self._key = trigger, key
        self._raised = Groups(lambda: [False], limit=max_groups)

    def observe(self, event: Event, facts: Facts) -> Iterable[Hit]:
        if not self._trigger.matches(event, facts):
            return ()
        key = self._key(event)
        raised = self._raised.at(key)
        if raised[0]:
            return ()
        raised[0] = True
        onset_ns = event.start_ns or event.at_ns
        return (Hit(event=event, key=key, at_ns=event.at_ns, onset_ns=onset_ns, evidence=few([event.span_id])),)

    def tick(self, now_ns: int) -> Iterable[Hit]:
        return ()


Chain = tuple[Event, ...]


class Sequence:
    """Raise when events matching the steps come in this order within `maxspan_ns`; other events may come between.

    Of several beginnings the newest counts. Cost: O(steps) time and memory per group.
    """

    def __init__(
        self, steps: tuple[Trigger, ...], *, key: Callable[[Event], Key], maxspan_ns: int, max_groups: int = MAX_GROUPS
    ) -> None:
        self.kinds = frozenset().union(*(step.kinds for step in steps))
        self.triggers = steps
        self._steps, self._key, self._maxspan_ns = steps, key, maxspan_ns
        self._chains: Groups[list[Chain]] = Groups(lambda: [()] * len(steps), limit=max_groups)

    def observe(self, event: Event, facts: Facts) -> Iterable[Hit]:
        found: Chain = ()
        chains: list[Chain] | None = None
        key: Key = ()
        for number in range(len(self._steps) - 1, -1, -1):
            if not self._steps[number].matches(event, facts):
                continue
            if chains is None:
                key = self._key(event)
                chains = self._chains.at(key)
            before = chains[number - 1] if number else ()
            if number and (not before or not 0 <= event.at_ns - before[0].at_ns <= self._maxspan_ns):
                continue
            chain = (*before, event)
            if number:
                chains[number - 1] = ()
            if number == len(self._steps) - 1:
                found = chain
            else:
                chains[number] = chain
        if not found:
            return ()
        hit = Hit(
            event=event,
            key=key,
            at_ns=event.at_ns,
            onset_ns=found[0].start_ns or found[0].at_ns,
            evidence=few(step.span_id for step in found),
            words={"first": found[0].name},
        )
        return (hit,)

    def tick(self, now_ns: int) -> Iterable[Hit]:
        return ()


@dataclass(frozen=True, slots=True)
class Cancel:
    """Events that end the waiting of every group that shares these fields with them."""

    trigger: Trigger
    key: Callable[[Event], Key]


@dataclass(frozen=True, slots=True)
class Alive:
    """Signs of life of whoever is waited for. Who has given some and stopped is not late but gone, which other rules say."""

    trigger: Trigger
    key: Callable[[Event], Key]
    within_ns: int


class _Seen:
    __slots__ = ("at_ns",)

    def __init__(self) -> None:
        self.at_ns = 0


class _Waiting:
    __slots__ = ("deadline_ns", "event", "within_ns")

    def __init__(self, event: Event, within_ns: int) -> None:
        self.event = event
        self.within_ns = within_ns
        self.deadline_ns = (event.received_ns or event.at_ns) + within_ns


class Absence:
    """Raise when nothing that was due came within a time.

    An event of `trigger` starts the waiting, or starts it anew; one of `until` in the same group ends it, as does a `Cancel`.
    An end that arrives before its beginning counts too. While live, time is the server's time of receipt; inside a recording
    it is the emitter's. A tick that itself comes later than the allowed time is let pass once: being blind is not evidence of
    silence.

    Cost: O(log groups) per event.
    """

    def __init__(
        self,
        trigger: Trigger,
        *,
        key: Callable[[Event], Key],
        within_ns: Callable[[Facts], int | None],
        until: Trigger | None,
        cancels: tuple[Cancel, ...],
        alive: Alive | None = None,
        max_groups: int = MAX_GROUPS,
    ) -> None:
        self._alive = alive
        self._seen = Groups(_Seen, limit=max_groups)
        self._max_groups = max_groups
        others = [*(cancel.trigger for cancel in cancels), *([until] if until else []), *([alive.trigger] if alive else [])]
        self.kinds = trigger.kinds.union(*(other.kinds for other in others))
        self.triggers = (trigger, *others)
        self._trigger, self._key, self._within_ns, self._until = trigger, key, within_ns, until
        self._cancels = tuple(Cancel(cancel.trigger, cancel.key) for cancel in cancels)
        self._waiting: OrderedDict[Key, _Waiting] = OrderedDict()
        self._due: list[tuple[int, Key]] = []
        self._is_due: set[Key] = set()
        self._ended: OrderedDict[Key, None] = OrderedDict()
        self._by_cancel: tuple[dict[Key, set[Key]], ...] = tuple({} for _ in cancels)
        self._last_tick_ns = 0
        self._was_blind = False
        self._shortest_ns = DAY_NS

    def observe(self, event: Event, facts: Facts) -> Iterable[Hit]:
        until = self._until
        if until is not None and event.kind in until.kinds and (until.condition is None or until.matches(event, facts)):
            key = self._key(event)
            if not self._waiting or self._drop(key) is None:
                ended = self._ended
                ended[key] = None
                if len(ended) > self._max_groups:
                    ended.popitem(last=False)
            return ()
        for cancel, index in zip(self._cancels, self._by_cancel, strict=True):
            if cancel.trigger.matches(event, facts):
                for key in tuple(index.get(cancel.key(event), ())):
                    if self._waiting[key].event.at_ns <= event.at_ns:
                        self._drop(key)
        alive = self._alive
        if alive is not None and alive.trigger.matches(event, facts):
            self._seen.at(alive.key(event)).at_ns = event.received_ns or event.at_ns
        return self._begin(event, facts) if self._trigger.matches(event, facts) else ()

    def tick(self, now_ns: int) -> Iterable[Hit]:
        gap_ns = now_ns - self._last_tick_ns if self._last_tick_ns else 0
        self._last_tick_ns = now_ns
        self._was_blind = gap_ns > self._shortest_ns and not self._was_blind
        if self._was_blind:
            return ()
        hits: list[Hit] = []
        while self._due and self._due[0][0] <= now_ns:
            _, key = heapq.heappop(self._due)
            self._is_due.discard(key)
            waiting = self._waiting.get(key)
            if waiting is None:
                continue
            if waiting.deadline_ns > now_ns:
                self._put_due(key, waiting.deadline_ns)
                continue
            self._drop(key)
            if self._is_alive(waiting):
                hits.append(self._hit(waiting, key, waiting.deadline_ns))
        return hits

    def _begin(self, event: Event, facts: Facts) -> Iterable[Hit]:
        within_ns = self._within_ns(facts)
        key = self._key(event)
        self._shortest_ns = min(self._shortest_ns, within_ns or DAY_NS)
        if within_ns is None or key in self._ended:
            self._ended.pop(key, None)
            return ()
        before = self._waiting.get(key)
        hits: tuple[Hit, ...] = ()
        if before is not None:
            if event.at_ns < before.event.at_ns:
                return ()
            if event.at_ns - before.event.at_ns > before.within_ns:
                hits = (self._hit(before, key, before.event.at_ns + before.within_ns),)
            self._drop(key)
        waiting = self._waiting[key] = _Waiting(event, within_ns)
        for cancel, index in zip(self._cancels, self._by_cancel, strict=True):
            index.setdefault(cancel.key(event), set()).add(key)
        self._put_due(key, waiting.deadline_ns)
        if len(self._waiting) > self._max_groups:
            self._drop(next(iter(self._waiting)))
        return hits

    def _is_alive(self, waiting: _Waiting) -> bool:
        """Whether whoever was waited for still gave signs of life at the end, or never gave any."""
        if self._alive is None:
            return True
        seen = self._seen.get(self._alive.key(waiting.event))
        return seen is None or seen.at_ns >= waiting.deadline_ns - self._alive.within_ns

    def _put_due(self, key: Key, deadline_ns: int) -> None:
        if key not in self._is_due:
            self._is_due.add(key)
            heapq.heappush(self._due, (deadline_ns, key))
            if len(self._due) > 2 * self._max_groups:
                # What has ended leaves its date behind until that is due; without ticks it would stay for ever.
                self._due = [(waiting.deadline_ns, held) for held, waiting in self._waiting.items()]
                heapq.heapify(self._due)
                self._is_due = set(self._waiting)

    def _drop(self, key: Key) -> _Waiting | None:
        waiting = self._waiting.pop(key, None)
        if waiting is not None:
            for cancel, index in zip(self._cancels, self._by_cancel, strict=True):
                cancel_key = cancel.key(waiting.event)
                keys = index.get(cancel_key, set())
                keys.discard(key)
                if not keys:
                    index.pop(cancel_key, None)
        return waiting

    def _hit(self, waiting: _Waiting, key: Key, at_ns: int) -> Hit:
        event = waiting.event
        seconds = waiting.within_ns / SECOND_NS
        return Hit(
            event=event,
            key=key,
            at_ns=at_ns,
            onset_ns=event.at_ns,
            evidence=few([event.span_id]),
            words={"within": f"{seconds:g} s"},
            facts={"within_s": seconds, "last_ns": event.at_ns},
        )
