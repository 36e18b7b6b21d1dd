"""The context of a run that grows faster than it did in the agent's runs before (DET-10)."""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from andoncord.detect.detector import MAX_GROUPS, Groups, Hit, Trigger, few
from andoncord.detect.facts import Facts, Key
from andoncord.telemetry.event import Event

RUNS = 50
"""Runs of the agent that a run is compared with."""
MIN_RUNS = 20
"""Runs below which nothing is said. Chosen."""
TIMES = 2.0
"""How many times the fastest of them. Chosen: the maximum of fifty is passed by chance in one run of fifty, twice it hardly."""
MAX_SPANS = 8
OPEN = 8
"""Newest runs of an agent that may still be going on."""
MIN_GROWTH = 8_000
"""Tokens a run must have grown by: what a small context window holds. Chosen."""


class _Run:
    __slots__ = ("calls", "first", "is_raised", "most", "spans", "start_ns")

    def __init__(self) -> None:
        self.calls = self.first = self.most = self.start_ns = 0
        self.is_raised = False
        self.spans: list[str] = []


class _Agent:
    __slots__ = ("rates",)

    def __init__(self) -> None:
        self.rates: deque[float] = deque(maxlen=RUNS)
        """Growth a call of the newest runs that are over, as far as one may tell: those that later runs came after."""


class ContextGrowth:
    """Raise when a run's context grows more than twice as fast, a call, as in any of the agent's last fifty runs; once.

    Growth is the largest context since the first call less the first one, over the calls between. A run counts as over when
    eight more of its agent have begun.

    Cost: O(runs compared with) per model call that sets a new maximum.
    """

    def __init__(self, trigger: Trigger, *, key: Callable[[Event], Key], max_groups: int = MAX_GROUPS) -> None:
        self.kinds = trigger.kinds
        self.triggers = (trigger,)
        self._trigger, self._key = trigger, key
        self._runs = Groups(_Run, limit=max_groups)
        self._agents = Groups(_Agent, limit=max_groups)
        self._begun: Groups[deque[Key]] = Groups(deque, limit=max_groups)

    @property
    def memory(self) -> tuple[Groups[Any], ...]:
        """What it has learned."""
        return (self._runs, self._agents, self._begun)

    def observe(self, event: Event, facts: Facts) -> Iterable[Hit]:
        tokens = event.input_tokens
        if tokens <= 0 or not event.run_id or not self._trigger.matches(event, facts):
            return ()
        key = self._key(event)
        run = self._runs.get(key) or self._begin(event, key, (event.agent, event.trusted))
        run.calls += 1
        if len(run.spans) < MAX_SPANS:
            run.spans.append(event.span_id)
        if tokens <= run.most:
            return ()
        run.most = tokens
        grown, steps = tokens - run.first, run.calls - 1
        if run.is_raised or steps < 1 or grown < MIN_GROWTH:
            return ()
        rates = self._agents.at((event.agent, event.trusted)).rates
        if len(rates) < MIN_RUNS:
            return ()
        rate, fastest = grown / steps, max(rates)
        if rate <= TIMES * fastest:
            return ()
        run.is_raised = True
        return (self._hit(event, key, run, rate, fastest),)

    def tick(self, now_ns: int) -> Iterable[Hit]:
        return ()

    def _begin(self, event: Event, key: Key, of_agent: Key) -> _Run:
        """A new run; the oldest of the agent's open ones is taken for over and learned from, unless it was raised."""
        run = self._runs.at(key)
        run.first = run.most = event.input_tokens
        run.start_ns = event.start_ns or event.at_ns
        begun = self._begun.at(of_agent)
        begun.append(key)
        if len(begun) > OPEN:
            over = self._runs.get(begun.popleft())
            if over is not None and over.calls > 1 and not over.is_raised:
                self._agents.at(of_agent).rates.append((over.most - over.first) / (over.calls - 1))
        return run

    @staticmethod
    def _hit(event: Event, key: Key, run: _Run, rate: float, fastest: float) -> Hit:
        times = f"{rate / fastest:.1f}" if fastest > 0 else "many"
        return Hit(
            event=event,
            key=key,
            at_ns=event.at_ns,
            onset_ns=run.start_ns,
            evidence=few([*run.spans, event.span_id]),
            score=0.8,
            words={"first": str(run.first), "now": str(run.most), "calls": str(run.calls), "times": times},
            facts={"tokens_a_call": round(rate, 1), "fastest_before": round(fastest, 1), "calls": run.calls},
        )
