"""Cost spirals: each retry dearer than the last (DET-12)."""

from collections import OrderedDict
from collections.abc import Callable, Iterable

from andoncord.detect.detector import MAX_GROUPS, Groups, Hit, Trigger, few
from andoncord.detect.facts import Facts, Key, attempt, same_call
from andoncord.kernel.money import usd_text
from andoncord.telemetry.event import Event, EventKind

DEARER = 1.1
"""A retry is dearer when it costs this many times the one before. Chosen: a growing context alone adds a few per cent."""
ATTEMPTS = 3
"""Attempts, each dearer than the last, that make a spiral. Chosen."""
MAX_CALLS = 64
"""Failing calls followed within one run."""

_ENDS = frozenset({EventKind.RUN_ENDED, EventKind.AGENT_INVOKED})
_SPENDS = frozenset({EventKind.MODEL_COMPLETED, EventKind.MODEL_FAILED})
_FAILS = frozenset({EventKind.TOOL_COMPLETED, EventKind.TOOL_FAILED})


class _Attempts:
    """Costs of the attempts at one thing, as long as each is dearer than the last."""

    __slots__ = ("costs", "is_raised", "onset_ns", "spans", "spent_before")

    def __init__(self) -> None:
        self.costs: list[int] = []
        self.spans: list[str] = []
        self.onset_ns = 0
        self.is_raised = False
        self.spent_before = 0

    def add(self, cost: int, span_id: str, start_ns: int) -> bool:
        """Note a failed attempt; whether the spiral has just become one."""
        if not self.costs or cost < self.costs[-1] * DEARER:
            self.costs, self.spans, self.onset_ns, self.is_raised = [], [], start_ns, False
        self.costs = [*self.costs[-ATTEMPTS:], cost]
        self.spans = [*self.spans[-ATTEMPTS:], span_id]
        if self.is_raised or len(self.costs) < ATTEMPTS or not self.costs[0]:
            return False
        self.is_raised = True
        return True


class _Run:
    __slots__ = ("calls", "is_over", "spent")

    def __init__(self) -> None:
        self.spent = 0
        self.is_over = False
        self.calls: OrderedDict[str, _Attempts] = OrderedDict()


class CostSpiral:
    """Raise when failed attempts at one thing each cost more than the last.

    Attempts are runs of one task (or conversation), or repetitions of one failing call inside a run with the model calls
    between them. Success ends the count.
    """

    def __init__(self, trigger: Trigger, *, key: Callable[[Event], Key], max_groups: int = MAX_GROUPS) -> None:
        self.kinds = _ENDS | _SPENDS | _FAILS
        self._key = key
        self._runs = Groups(_Run, limit=max_groups)
        self._tasks = Groups(_Attempts, limit=max_groups)

    def observe(self, event: Event, facts: Facts) -> Iterable[Hit]:
        if event.kind in _SPENDS:
            if event.cost_micro_usd:
                self._runs.at(self._key(event)).spent += event.cost_micro_usd
            return ()
        if not len(self._runs):
            return ()
        key = self._key(event)
        run = self._runs.get(key)
        if run is None or not run.spent:
            return ()
        return self._run_over(event, key, run) if event.kind in _ENDS else self._called(event, key, run)

    def tick(self, now_ns: int) -> Iterable[Hit]:
        return ()

    def _run_over(self, event: Event, key: Key, run: _Run) -> Iterable[Hit]:
        # The end of a run is reported as a log record and as its root span; the first of them counts.
        if run.is_over or (event.kind is EventKind.AGENT_INVOKED and event.parent_span_id):
            return ()
        run.is_over = True
        task = (event.agent, attempt(event), key[-1])
        if event.ok:
            self._tasks.drop(task)
            return ()
        attempts = self._tasks.at(task)
        is_new = attempts.add(run.spent, event.span_id, event.start_ns)
        return self._hits(event, key, attempts, "runs") if is_new else ()

    def _called(self, event: Event, key: Key, run: _Run) -> Iterable[Hit]:
        if event.ok and not run.calls:
            return ()
        call = same_call(event)
        if event.ok:
            run.calls.pop(call, None)
            return ()
        attempts = run.calls.get(call)
        if attempts is None:
            attempts = run.calls[call] = _Attempts()
            attempts.spent_before = run.spent
            if len(run.calls) > MAX_CALLS:
                run.calls.popitem(last=False)
            return ()
        run.calls.move_to_end(call)
        cost, attempts.spent_before = run.spent - attempts.spent_before, run.spent
        return self._hits(event, key, attempts, "retries") if attempts.add(cost, event.span_id, event.start_ns) else ()

    @staticmethod
    def _hits(event: Event, key: Key, attempts: _Attempts, of: str) -> Iterable[Hit]:
        costs = attempts.costs[-ATTEMPTS:]
        hit = Hit(
            event=event,
            key=key,
            at_ns=event.at_ns,
            onset_ns=attempts.onset_ns,
            evidence=few(attempts.spans),
            words={"attempts": of, "costs": ", ".join(map(usd_text, costs))},
            facts={"costs_micro_usd": costs, "at_risk_micro_usd": sum(costs)},
        )
        return (hit,)
