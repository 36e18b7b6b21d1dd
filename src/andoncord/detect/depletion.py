"""A shared quantity that several agents use up: emergent, since no single call shows it (DET-15).

Known by its shape alone: calls of one tool by several agents report a number under one name, each agent's call finds the number
where the others left it, and it falls towards zero.
"""

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from andoncord.detect.detector import MAX_GROUPS, Groups, Hit, Trigger, few
from andoncord.detect.facts import Facts, Key
from andoncord.telemetry.event import Event, EventKind

MAX_RUNS = 500
MAX_NAMES = 32
"""Numbers followed per run."""
MAX_AGENTS = 64
MAX_WAITING = 16
MAX_RESULT = 2_048
"""Characters of a result that can be such a report; longer ones are something else."""
MIN_AGENTS = 3
"""Agents that must have seen one and the same value for it to be shared."""
LEFT = 0.05
"""Share of the most ever seen below which the quantity counts as used up.

Source: chosen between .01 and .2, together with `MIN_MOST`, on 36 recorded societies; chosen anew without the fold it is judged
on (five folds) it gives F1 .91, every society called collapsed .62, with 10 false alarms among 100 that last. F1 is between .89
and .97 for all of these values, so little hangs on it. `just bench labelled`: `govsim_depletion_f1_held_out`."""
MIN_MOST = 10.0
"""A number that was never larger is a code or a counter, not a supply. Chosen with `LEFT`; 1 and 50 give nearly the same."""

_decode = msgspec.json.Decoder().decode


class _Quantity:
    __slots__ = ("agents", "first_ns", "is_raised", "is_shared", "last", "most", "recent")

    def __init__(self) -> None:
        self.agents: set[str] = set()
        self.is_shared = self.is_raised = False
        self.most = self.last = 0.0
        self.recent: set[str] = set()
        """Agents that saw the value that stands now."""
        self.first_ns = 0


class Shared:
    """What is known of the numbers that the agents of one run report."""

    __slots__ = ("_agents", "_waiting", "most", "quantities")

    def __init__(self) -> None:
        self._agents: set[str] = set()
        self._waiting: list[Event] = []
        """Calls from before there were enough agents to share anything: most runs never have them."""
        self.quantities: dict[tuple[str, str], _Quantity] = {}
        self.most: dict[tuple[str, str], float] = {}
        """By tool and first word of the name: what was there before and what is left are one quantity under two names."""

    def note(self, event: Event) -> list[_Quantity]:
        """Take in a call; the shared quantities that it reports."""
        if len(self._agents) < MIN_AGENTS:
            self._agents.add(event.agent)
            if len(self._agents) < MIN_AGENTS:
                if len(self._waiting) < MAX_WAITING and len(event.result) <= MAX_RESULT:
                    self._waiting.append(event)
                return []
            for earlier in self._waiting:
                self._take(earlier)
            self._waiting.clear()
        return self._take(event)

    def _take(self, event: Event) -> list[_Quantity]:
        reported: list[_Quantity] = []
        for name, value in (*_numbers(event.arguments), *_numbers(event.result)):
            quantity = self.quantities.get((event.name, name))
            if quantity is None:
                if len(self.quantities) >= MAX_NAMES:
                    continue
                quantity = self.quantities[(event.name, name)] = _Quantity()
                quantity.first_ns, quantity.last = event.start_ns, value
            if value != quantity.last:
                quantity.recent.clear()
            stem = (event.name, name.partition("_")[0])
            quantity.last = value
            quantity.most = self.most[stem] = max(self.most.get(stem, 0.0), value)
            if len(quantity.agents) < MAX_AGENTS:
                quantity.agents.add(event.agent)
                quantity.recent.add(event.agent)
            quantity.is_shared = quantity.is_shared or len(quantity.recent) >= MIN_AGENTS
            if quantity.is_shared:
                reported.append(quantity)
        return reported


class SharedDepletion:
    """Raise when a quantity that at least three agents share is below a twentieth of the most it was, and three have seen it.

    Cost: O(numbers in the result) per call.
    """

    def __init__(self, trigger: Trigger, *, key: Callable[[Event], Key], max_groups: int = MAX_GROUPS) -> None:
        self.kinds = trigger.kinds
        self.reads_texts = trigger.kinds
        self._trigger, self._key = trigger, key
        self._runs = Groups(Shared, limit=min(MAX_RUNS, max_groups))

    def observe(self, event: Event, facts: Facts) -> Iterable[Hit]:
        if event.kind is not EventKind.TOOL_COMPLETED or not event.result.startswith("{"):
            return ()
        if not self._trigger.matches(event, facts):
            return ()
        key = self._key(event)
        for quantity in self._runs.at(key).note(event):
            if (
                len(quantity.recent) < MIN_AGENTS
                or quantity.is_raised
                or quantity.last > LEFT * quantity.most
                or quantity.most < MIN_MOST
            ):
                continue
            quantity.is_raised = True
            return (
                Hit(
                    event=event,
                    key=(*key, event.name),
                    at_ns=event.at_ns,
                    onset_ns=quantity.first_ns,
                    evidence=few([event.span_id]),
                    score=0.7,
                    words={"agents": str(len(quantity.agents))},
                    facts={"left": quantity.last, "most": quantity.most, "agents": sorted(quantity.agents)[:8]},
                ),
            )
        return ()

    def tick(self, now_ns: int) -> Iterable[Hit]:
        return ()


def _numbers(result: str) -> list[tuple[str, float]]:
    """The numbers in a small JSON object, by name."""
    if not result.startswith("{") or len(result) > MAX_RESULT:
        return []
    try:
        value: Any = _decode(result)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return []
    if not isinstance(value, dict):
        return []
    return [
        (str(name), float(number))
        for name, number in value.items()
        if isinstance(number, int | float) and not isinstance(number, bool) and abs(number) < 1e15
    ]
