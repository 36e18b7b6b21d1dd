"""Loops in the record: the detector of the guard, run over what agents report (DET-6)."""

from collections import deque
from collections.abc import Callable, Iterable
from itertools import pairwise

from andoncord.detect.detector import MAX_GROUPS, Groups, Hit, Trigger, few
from andoncord.detect.facts import Facts, Key, key_of
from andoncord.kernel.time import SECOND_NS
from andoncord.telemetry.event import Event
from andoncord_sdk.loop import LoopDetector

MAX_RUNS = 1_000
"""Open runs watched for loops; a run's memory is the last dozen calls."""
MAX_CALLS = 64
"""Calls remembered as evidence of one loop."""


HEAD = 512
"""Characters of arguments and result looked at to say whether a call gave something new."""
MAX_OUTCOMES = 2_048
"""Outcomes remembered per run; with more, everything counts as new again."""

BACK_OFF = 1.5
"""Times by which each pause is longer than the one before when somebody backs off; twice is usual, less with jitter."""
BACK_OFF_NS = 15 * SECOND_NS
"""How long the last pause must be: a model's next step takes seconds. Chosen, as the line above and below."""
MAX_BACK_OFF = 6
"""Repetitions that backing off may take."""

_shared = key_of(("run_id",))


class _Run:
    __slots__ = ("calls", "is_raised", "loop")

    def __init__(self) -> None:
        self.loop: LoopDetector | None = None
        self.calls: deque[tuple[str, int]] = deque(maxlen=MAX_CALLS)
        self.is_raised = False


class _World:
    """What the agents of one run have brought about: how many calls gave something that none had given before."""

    __slots__ = ("by_agent", "seen", "total")

    def __init__(self) -> None:
        self.seen: set[int] = set()
        self.total = 0
        self.by_agent: dict[str, int] = {}

    def note(self, event: Event) -> None:
        result = event.result
        outcome = hash((event.agent, event.name, event.arguments[:HEAD], result[:HEAD], len(result)))
        if outcome in self.seen:
            return
        if len(self.seen) >= MAX_OUTCOMES:
            self.seen.clear()
        self.seen.add(outcome)
        self.total += 1
        self.by_agent[event.agent] = self.by_agent.get(event.agent, 0) + 1

    def version_for(self, agent: str) -> str:
        """Changes whenever another agent of the run brings about something new."""
        return str(self.total - self.by_agent.get(agent, 0))


class Repetition:
    """Raise when a run goes through the same calls with the same outcomes; once, until it makes progress.

    A call whose arguments and result were both not recorded is not looked at: content capture is off by default in most
    emitters, and four calls of one tool are not a loop. Where agents share a run, something new from another one is progress:
    whoever repeats a call round by round while the others act is not stuck. Nor is who waits ever longer between failures.
    """

    def __init__(self, trigger: Trigger, *, key: Callable[[Event], Key], max_groups: int = MAX_GROUPS) -> None:
        self.kinds = trigger.kinds
        self.triggers = (trigger,)
        self.reads_texts = trigger.kinds
        self._trigger, self._key = trigger, key
        self._runs = Groups(_Run, limit=min(MAX_RUNS, max_groups))
        self._worlds = Groups(_World, limit=min(MAX_RUNS, max_groups))

    def observe(self, event: Event, facts: Facts) -> Iterable[Hit]:
        if not (event.arguments or event.result) or not self._trigger.matches(event, facts):
            return ()
        key = self._key(event)
        run = self._runs.at(key)
        if run.loop is None:
            run.loop = LoopDetector(exempt=facts.declared.polls)
        run.calls.append((event.span_id, event.start_ns))
        world = self._worlds.at(_shared(event))
        world.note(event)
        state = world.version_for(event.agent)
        repeat = run.loop.observe(event.name, event.arguments, event.result or event.error_type, not event.ok, state=state)
        if repeat is None:
            run.is_raised = False
            return ()
        calls = list(run.calls)[-repeat.period * repeat.repeats :]
        if run.is_raised or (repeat.failed and _backs_off([start_ns for _, start_ns in calls])):
            return ()
        run.is_raised = True
        tools = list(dict.fromkeys(repeat.tools))
        hit = Hit(
            event=event,
            key=key,
            at_ns=event.at_ns,
            onset_ns=calls[0][1],
            evidence=few(span_id for span_id, _ in calls),
            words={"repeats": str(repeat.repeats), "tools": ", ".join(tools)},
            facts={"repeats": repeat.repeats, "period": repeat.period, "tools": tools, "failed": repeat.failed},
        )
        return (hit,)

    def tick(self, now_ns: int) -> Iterable[Hit]:
        return ()


def _backs_off(starts_ns: list[int]) -> bool:
    """Whether each pause is clearly longer than the one before, and the last one long.

    >>> _backs_off([0, 10 * SECOND_NS, 30 * SECOND_NS, 80 * SECOND_NS]), _backs_off([0, 2 * SECOND_NS, 7 * SECOND_NS])
    (True, False)
    """
    pauses = [later - earlier for earlier, later in pairwise(starts_ns)]
    return (
        2 <= len(pauses) < MAX_BACK_OFF
        and pauses[-1] >= BACK_OFF_NS
        and all(later >= BACK_OFF * earlier > 0 for earlier, later in pairwise(pauses))
    )
