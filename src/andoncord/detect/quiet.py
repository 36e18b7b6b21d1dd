"""Agents that have stopped working, by how often they usually do: for those that send no heartbeat (DET-14)."""

from array import array
from collections.abc import Callable, Iterable
from typing import Any

from andoncord.detect.detector import MAX_GROUPS, Groups, Hit, Trigger, few
from andoncord.detect.facts import Facts, Key
from andoncord.detect.ledger import WEEK_NS, believed_ns
from andoncord.kernel.time import DAY_NS, HOUR_NS, MINUTE_NS
from andoncord.telemetry.event import Event, EventKind

HOURS = 168
"""Hours of the week, each with a rate of its own: nights and weekends are no silence."""
WARM_UP_NS = 14 * DAY_NS
"""Before, nothing is judged: a week to learn the hours, and one to learn how long its pauses are."""
MIN_RUNS = 100
TIMES = 2.0
"""How many times the longest pause so far, counted in runs that were to be expected meanwhile. Chosen."""
MIN_MISSED = 8.0
"""Runs that must be missing at least: of independent ones, so many are missing by chance in one pause of 3 000."""
MAX_WEEKS = 8
"""After which old weeks weigh half."""


class _Agent:
    __slots__ = ("counts", "due_ns", "first_ns", "is_raised", "longest", "newest_ns", "runs", "sign")

    def __init__(self) -> None:
        self.counts = array("d", bytes(8 * HOURS))
        self.first_ns = self.newest_ns = self.due_ns = self.runs = 0
        self.longest = 0.0
        """Runs that were to be expected in the longest pause."""
        self.is_raised = False
        self.sign = ("", "", "", "")
        """Agent, run, span and environment of the newest run."""

    def rate(self, hour: int) -> float:
        """Runs in that hour of the week; an hour in which there never was one counts as a tenth of a run in all weeks."""
        return max(0.1, self.counts[hour]) / max(1.0, (self.newest_ns - self.first_ns) / WEEK_NS)

    def expected(self, since_ns: int, until_ns: int) -> float:
        """Runs that were to be expected between two moments; at most a week is looked at."""
        total, at_ns = 0.0, max(since_ns, until_ns - WEEK_NS)
        while at_ns < until_ns:
            end_ns = min(until_ns, (at_ns // HOUR_NS + 1) * HOUR_NS)
            total += self.rate(at_ns // HOUR_NS % HOURS) * (end_ns - at_ns) / HOUR_NS
            at_ns = end_ns
        return total

    def until(self, missed: float) -> int:
        """When so many runs will be missing; 0 if not within a week."""
        left, at_ns = missed, self.newest_ns
        for _ in range(HOURS + 1):
            end_ns = (at_ns // HOUR_NS + 1) * HOUR_NS
            here = self.rate(at_ns // HOUR_NS % HOURS) * (end_ns - at_ns) / HOUR_NS
            if here >= left:
                return at_ns + int((end_ns - at_ns) * left / here)
            left, at_ns = left - here, end_ns
        return 0


class Quiet:
    """Raise when an agent's runs stay away for twice as long as they ever did, counted in runs that were to be expected; once,
    until it works again.

    Nothing is said of an agent in its first two weeks: whether it is silent is unknown then.

    Cost: O(hours of a pause) per run, at most 168; O(agents) once a minute. 1.6 kB per agent.
    """

    def __init__(self, trigger: Trigger, *, key: Callable[[Event], Key], max_groups: int = MAX_GROUPS) -> None:
        self.kinds = trigger.kinds
        self.triggers = (trigger,)
        self._trigger, self._key = trigger, key
        self._agents = Groups(_Agent, limit=max_groups)
        self._looked_ns = 0

    @property
    def memory(self) -> tuple[Groups[Any], ...]:
        """What it has learned."""
        return (self._agents,)

    def observe(self, event: Event, facts: Facts) -> Iterable[Hit]:
        if not event.agent or not self._trigger.matches(event, facts):
            return ()
        at_ns = believed_ns(event)
        agent = self._agents.at(self._key(event))
        agent.first_ns = agent.first_ns or at_ns
        agent.counts[at_ns // HOUR_NS % HOURS] += 1.0
        agent.runs += 1
        if at_ns <= agent.newest_ns:
            return ()
        # A pause that was raised is no measure for the next one.
        if agent.newest_ns and not agent.is_raised and at_ns - agent.first_ns >= WEEK_NS:
            agent.longest = max(agent.longest, agent.expected(agent.newest_ns, at_ns))
        agent.newest_ns, agent.is_raised = at_ns, False
        agent.sign = (event.agent, event.run_id, event.span_id, event.environment)
        if at_ns - agent.first_ns > MAX_WEEKS * WEEK_NS:
            agent.counts = array("d", [each / 2 for each in agent.counts])
            agent.first_ns = at_ns - MAX_WEEKS * WEEK_NS // 2
        is_known = agent.runs >= MIN_RUNS and at_ns - agent.first_ns >= WARM_UP_NS
        agent.due_ns = agent.until(max(MIN_MISSED, TIMES * agent.longest)) if is_known else 0
        return ()

    def tick(self, now_ns: int) -> Iterable[Hit]:
        if now_ns - self._looked_ns < MINUTE_NS:
            return ()
        self._looked_ns = now_ns
        hits = []
        for key, agent in self._agents.items():
            if 0 < agent.due_ns <= now_ns and not agent.is_raised:
                agent.is_raised = True
                hits.append(self._hit(key, agent))
        return hits

    @staticmethod
    def _hit(key: Key, agent: _Agent) -> Hit:
        name, run_id, span_id, environment = agent.sign
        missed = agent.expected(agent.newest_ns, agent.due_ns)
        newest = Event(
            kind=EventKind.RUN_ENDED,
            agent=name,
            run_id=run_id,
            span_id=span_id,
            environment=environment,
            start_ns=agent.newest_ns,
            end_ns=agent.newest_ns,
            trusted=bool(key[-1]),
        )
        return Hit(
            event=newest,
            key=key,
            at_ns=agent.due_ns,
            onset_ns=agent.newest_ns,
            evidence=few([span_id]),
            score=0.8,
            words={"missed": f"{missed:.0f}", "hours": f"{(agent.due_ns - agent.newest_ns) / HOUR_NS:.1f}"},
            facts={"missed_runs": round(missed, 1), "longest_pause_runs": round(agent.longest, 1), "runs": agent.runs},
        )
