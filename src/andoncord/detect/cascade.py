"""Errors that spread from agent to agent: the reproduction number of a cascade, with its exact interval (DET-16)."""

from collections import deque
from collections.abc import Callable, Iterable
from math import exp, lgamma, log
from typing import Any

from andoncord.detect.detector import MAX_GROUPS, Groups, Hit, Trigger, few
from andoncord.detect.facts import Facts, Key
from andoncord.kernel.time import HOUR_NS, SECOND_NS
from andoncord.telemetry.event import Event

WINDOW_NS = HOUR_NS
"""How long an error counts. Chosen."""
CHANCE_NS = 60 * SECOND_NS
"""After which an error has had its chance to make others: before, its children are not all there. Chosen."""
MAX_CASES = 1_024
"""Errors counted of one group; with more, the oldest go."""
MAX_LINEAGES = 2_000
MAX_AGENTS = 64
"""Agents followed in one lineage."""
LEVEL = 0.005
"""One-sided level of the interval: as a new error is a new look, smaller than the usual 0.025. Chosen."""
GENERATIONS = 3
NEARLY = 0.8
"""An unbroken line of so many generations is told from this number on. Source, with the line above: the simulations behind the
design, in which the interval held in 95 to 97 of 100 cases and was never above one at a true number of 0.9 or less."""


class _Case:
    """The first error of an agent in one lineage."""

    __slots__ = ("agent", "at_ns", "cause", "children", "generation", "span_id")

    def __init__(self, event: Event, parent: "_Case | None") -> None:
        self.agent, self.at_ns, self.span_id = event.agent, event.at_ns, event.span_id
        self.cause = (event.name, event.error_type)
        self.children = 0
        self.generation: int = parent.generation + 1 if parent else 0


class _Lineage:
    __slots__ = ("cases",)

    def __init__(self) -> None:
        self.cases: dict[str, _Case] = {}


class _Group:
    __slots__ = ("cases", "is_raised", "raised_ns")

    def __init__(self) -> None:
        self.cases: deque[tuple[int, Key, str]] = deque(maxlen=MAX_CASES)
        """When, in which lineage, of which agent: a case is kept once, where its children find it."""
        self.is_raised = False
        self.raised_ns = 0


class Cascade:
    """Raise when errors make more errors than they are: the lower bound of their reproduction number is above one; or when one
    error has gone through three agents more and the number within its trace is 0.8 or more. Once, until an hour has passed.

    A case is the first error of an agent in a trace. Its parent is the newest error of another agent in that trace; the same
    failure of the same tool is a common cause and no parent. Only errors of at least a minute ago count as parents, with all
    their children.

    Cost: O(agents of the trace) per failed event, O(1 024) where a case has a parent; nothing for events that are well. At most
    2 000 traces of 64 agents, 0.3 kB a case.
    Source: Garwood, "Fiducial limits for the Poisson distribution", Biometrika 28 (1936).
    """

    def __init__(self, trigger: Trigger, *, key: Callable[[Event], Key], max_groups: int = MAX_GROUPS) -> None:
        self.kinds = trigger.kinds
        self.triggers = (trigger,)
        self._trigger, self._key = trigger, key
        self._lineages = Groups(_Lineage, limit=min(MAX_LINEAGES, max_groups))
        self._groups = Groups(_Group, limit=min(100, max_groups))

    @property
    def memory(self) -> tuple[Groups[Any], ...]:
        """What it has learned."""
        return (self._lineages, self._groups)

    def observe(self, event: Event, facts: Facts) -> Iterable[Hit]:
        lineage_id = event.trace_id or event.session_id
        if event.ok or not (event.agent and lineage_id) or not self._trigger.matches(event, facts):
            return ()
        place: Key = (lineage_id, event.trusted)
        lineage = self._lineages.at(place).cases
        if event.agent in lineage or len(lineage) >= MAX_AGENTS:
            return ()
        case, key = _join(lineage, event), self._key(event)
        group = self._groups.at(key)
        group.cases.append((case.at_ns, place, case.agent))
        while group.cases and group.cases[0][0] < event.at_ns - WINDOW_NS:
            group.cases.popleft()
        if group.is_raised and event.at_ns - group.raised_ns > WINDOW_NS:
            group.is_raised = False
        if group.is_raised or not case.generation:
            return ()
        hit = self._judge(event, key, group, case, lineage)
        if hit is None:
            return ()
        group.is_raised, group.raised_ns = True, event.at_ns
        return (hit,)

    def tick(self, now_ns: int) -> Iterable[Hit]:
        return ()

    def _known(self, group: _Group) -> Iterable[_Case]:
        """The cases of a group whose lineage is still remembered."""
        for _, place, agent in group.cases:
            lineage = self._lineages.get(place)
            case = lineage.cases.get(agent) if lineage else None
            if case is not None:
                yield case

    def _judge(self, event: Event, key: Key, group: _Group, case: _Case, lineage: dict[str, _Case]) -> Hit | None:
        ripe = [each for each in self._known(group) if each.at_ns <= event.at_ns - CHANCE_NS]
        parents, children = len(ripe), sum(each.children for each in ripe)
        lower = lowest(children, LEVEL) / parents if children > parents else 0.0
        spread = list(lineage.values())
        here = sum(each.children for each in spread) / len(spread)
        if lower <= 1.0 and not (case.generation >= GENERATIONS and here >= NEARLY):
            return None
        number = children / parents if lower > 1.0 else here
        return Hit(
            event=event,
            key=(*key, "cascade"),
            at_ns=event.at_ns,
            onset_ns=min([each.at_ns for each in spread] + ([ripe[0].at_ns] if lower > 1.0 else [event.at_ns])),
            evidence=few(each.span_id for each in spread),
            score=0.9 if lower > 1.0 else 0.7,
            words={"number": f"{number:.1f}", "generations": str(case.generation), "agents": str(len(spread))},
            facts={
                "reproduction": round(number, 3),
                "at_least": round(lower, 3),
                "at_most": round(highest(children, LEVEL) / parents, 3) if parents else 0.0,
                "errors": len(group.cases),
                "generations": case.generation,
                "agents": [each.agent for each in spread][:8],
                "first_agent": min(spread, key=lambda each: each.at_ns).agent,
            },
        )


def _join(lineage: dict[str, _Case], event: Event) -> _Case:
    """A new case, under the newest error of another agent that it may have come from."""
    cause = (event.name, event.error_type)
    earlier = [each for each in lineage.values() if each.at_ns <= event.at_ns and each.cause != cause]
    parent = max(earlier, key=lambda each: each.at_ns, default=None)
    case = lineage[event.agent] = _Case(event, parent)
    if parent is not None:
        parent.children += 1
    return case


def lowest(count: int, level: float) -> float:
    """The smallest mean under which at least `count` Poisson events are no less likely than `level`.

    >>> round(lowest(10, 0.025), 2), lowest(0, 0.025)
    (4.8, 0.0)
    """
    return _solve(lambda mean: 1.0 - _at_most(count - 1, mean) < level, 0.0, float(count)) if count else 0.0


def highest(count: int, level: float) -> float:
    """The largest mean under which at most `count` Poisson events are no less likely than `level`.

    >>> round(highest(10, 0.025), 2), round(highest(0, 0.025), 2)
    (18.39, 3.69)
    """
    return _solve(lambda mean: _at_most(count, mean) > level, float(count), 2.0 * count + 20.0)


def _solve(is_below: Callable[[float], bool], low: float, high: float) -> float:
    for _ in range(50):
        middle = (low + high) / 2.0
        low, high = (middle, high) if is_below(middle) else (low, middle)
    return (low + high) / 2.0


def _at_most(count: int, mean: float) -> float:
    """The probability of at most `count` events."""
    if mean <= 0.0:
        return 1.0
    return min(1.0, sum(exp(k * log(mean) - mean - lgamma(k + 1)) for k in range(count + 1)))
