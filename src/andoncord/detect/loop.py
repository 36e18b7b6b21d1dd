"""Loops in the record: the detector of the guard, run over what agents report (DET-6)."""

from collections import deque
from collections.abc import Callable, Iterable

from andoncord.detect.detector import Groups, Hit, Trigger, few, with_trust
from andoncord.detect.facts import Facts, Key
from andoncord.telemetry.event import Event, EventKind
from andoncord_sdk.loop import LoopDetector

MAX_RUNS = 1_000
"""Open runs watched for loops; a run's memory is the last dozen calls."""
MAX_CALLS = 64
"""Calls remembered as evidence of one loop."""


class _Run:
    __slots__ = ("calls", "is_raised", "loop")

    def __init__(self) -> None:
        self.loop: LoopDetector | None = None
        self.calls: deque[tuple[str, int]] = deque(maxlen=MAX_CALLS)
        self.is_raised = False


class Repetition:
    """Raise when a run goes through the same calls with the same outcomes; once, until it makes progress.

    A call whose arguments and result were both not recorded is not looked at: content capture is off by default in most
    emitters, and four calls of one tool are not a loop.
    """

    def __init__(self, trigger: Trigger, *, key: Callable[[Event], Key]) -> None:
        self.kinds = trigger.kinds | {EventKind.RUN_ENDED}
        self._trigger, self._key = trigger, with_trust(key)
        self._runs = Groups(_Run, limit=MAX_RUNS)

    def observe(self, event: Event, facts: Facts) -> Iterable[Hit]:
        if event.kind is EventKind.RUN_ENDED:
            self._runs.drop(self._key(event))
            return ()
        if not (event.arguments or event.result) or not self._trigger.matches(event, facts):
            return ()
        key = self._key(event)
        run = self._runs.at(key)
        if run.loop is None:
            run.loop = LoopDetector(exempt=facts.declared.polls)
        run.calls.append((event.span_id, event.start_ns))
        repeat = run.loop.observe(event.name, event.arguments, event.result or event.error_type, not event.ok)
        if repeat is None:
            run.is_raised = False
            return ()
        if run.is_raised:
            return ()
        run.is_raised = True
        calls = list(run.calls)[-repeat.period * repeat.repeats :]
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
