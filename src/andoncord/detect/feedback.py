"""Circles of agents that make ever more work for each other, found while they turn (DET-16)."""

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from typing import Any

from andoncord.detect.detector import MAX_GROUPS, Groups, Hit, Trigger, few
from andoncord.detect.facts import Facts, Key
from andoncord.detect.influence import MAX_MESSAGES, Circle, Message, Messages, Turn, circles
from andoncord.detect.ledger import believed_ns
from andoncord.kernel.time import HOUR_NS
from andoncord.telemetry.event import Event, EventKind
from andoncord.telemetry.partners import LINKED

WINDOW_NS = HOUR_NS
"""How long a message counts. Chosen, as for cascades."""
MIN_MESSAGES = 40
"""Messages before circles are looked for: fewer cannot have five answers at each step and a bound above one."""
MORE = 0.25
"""Share of new messages after which they are looked for again: a few looks for each doubling."""
MAX_RUNS = 2_000
MAX_GROUPS_HERE = 100
_ENDS = frozenset({EventKind.RUN_ENDED, EventKind.AGENT_INVOKED})


class _Group:
    __slots__ = ("looked", "messages", "raised", "runs", "since")

    def __init__(self) -> None:
        self.messages: deque[tuple[Any, ...]] = deque(maxlen=MAX_MESSAGES)
        self.runs: OrderedDict[tuple[str, str], tuple[str, int, int, bool]] = OrderedDict()
        """Agent and run → trace, first, last, whether it is over."""
        self.since = 0
        """Messages since the last look."""
        self.looked = 0
        self.raised: dict[tuple[str, ...], int] = {}


class FeedbackLoop:
    """Raise when agents influence themselves through each other and each round makes more messages than the one before.

    That is so when the lower bound of the circle's gain is above one. Once for each circle, until an hour has passed.

    Cost: O(1) per event; O(messages of the last hour) after each quarter of new ones, 30 ms for 2 000. At most 2 000 messages
    and runs of a group, 0.5 kB each.
    Source: see `andoncord.detect.influence`.
    """

    def __init__(self, trigger: Trigger, *, key: Callable[[Event], Key], max_groups: int = MAX_GROUPS) -> None:
        self.kinds = trigger.kinds
        self.triggers = (trigger,)
        self._trigger, self._key = trigger, key
        self._groups = Groups(_Group, limit=min(MAX_GROUPS_HERE, max_groups))
        self._max_runs = min(MAX_RUNS, max_groups)
        self._reading = tuple(
            Messages(max_agents=max_groups, max_data=max_groups, max_spans=min(20_000, 2 * max_groups)) for _ in range(2)
        )
        """Without and with a token: nobody without one makes up messages of those that have one."""

    @property
    def memory(self) -> tuple[Groups[Any], ...]:
        """What it has learned."""
        return (self._groups,)

    def observe(self, event: Event, facts: Facts) -> Iterable[Hit]:
        if not event.agent or not self._trigger.matches(event, facts):
            return ()
        kind = event.kind
        found = self._reading[event.trusted].observe(event) if kind in LINKED else ()
        if not found and not len(self._groups):
            return ()
        key = self._key(event)
        group = self._groups.at(key) if found else self._groups.get(key)
        # A run that began before there was any message answers none; of the others the beginning and the end are enough.
        if group is None or not (found or group.messages):
            return ()
        run = (event.agent, event.run_id or event.trace_id)
        if run[1] and (found or kind in _ENDS or run not in group.runs):
            self._note_run(group, run, event)
        if not found:
            return ()
        now_ns = believed_ns(event)
        for message in found:
            group.messages.append(tuple(message))
        group.since += len(found)
        while group.messages and group.messages[0][2] < now_ns - WINDOW_NS:
            group.messages.popleft()
        held = len(group.messages)
        if held < MIN_MESSAGES or group.since < MORE * held:
            return ()
        group.since = 0
        return self._look(event, key, group, now_ns)

    def tick(self, now_ns: int) -> Iterable[Hit]:
        return ()

    def _note_run(self, group: _Group, run: tuple[str, str], event: Event) -> None:
        now_ns = believed_ns(event)
        start_ns = min(event.start_ns or now_ns, now_ns)
        trace, first_ns, last_ns, is_over = group.runs.get(run, (event.trace_id, start_ns, now_ns, False))
        group.runs[run] = (trace, min(first_ns, start_ns), max(last_ns, now_ns), is_over or event.kind in _ENDS)
        if len(group.runs) > self._max_runs:
            group.runs.popitem(last=False)

    def _look(self, event: Event, key: Key, group: _Group, now_ns: int) -> Iterable[Hit]:
        messages = [Message(*each) for each in group.messages]
        turns = [Turn(agent, run_id, *seen) for (agent, run_id), seen in group.runs.items()]
        group.raised = {path: at_ns for path, at_ns in group.raised.items() if at_ns >= now_ns - WINDOW_NS}
        hits = []
        for circle in circles(messages, turns):
            # A circle within one that is known, or around it, is the same trouble.
            is_known = any({*circle.agents} & {*path} for path in group.raised)
            if circle.is_growing and not is_known:
                group.raised[circle.agents] = now_ns
                hits.append(_hit(event, key, circle))
        return hits


def _hit(event: Event, key: Key, circle: Circle) -> Hit:
    return Hit(
        event=event,
        key=(*key, *circle.agents),
        at_ns=event.at_ns,
        onset_ns=min(circle.first_ns, event.at_ns),
        evidence=few(circle.spans),
        score=0.9,
        words={"gain": f"{circle.gain:.1f}", "circle": " → ".join((*circle.agents, circle.agents[0]))},
        facts={
            "agents": list(circle.agents),
            "gain": circle.gain,
            "at_least": circle.at_least,
            "at_most": circle.at_most,
            "messages": circle.messages,
        },
    )
