"""Which detectors want which events: found once per kind and agent, so that a rule that cannot match costs nothing."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Any

from andoncord.detect.declared import Declared
from andoncord.detect.detector import Detector, Trigger
from andoncord.detect.facts import About
from andoncord.detect.known import Need, mentions
from andoncord.detect.rule import Rule
from andoncord.telemetry.event import Event, EventKind

Watcher = tuple[Rule, Detector]
MAX_AGENTS = 10_000
"""Agents about which is remembered who watches them."""
_AGENT_NAMES = frozenset({("event", "agent"), ("agent", "name")})
_FIRST = {("event", "name"): 0, ("event", "agent"): 1, ("event", "error_type"): 2}
"""What to tell events apart by, if rules leave a choice: few fields make few tables."""


Table = tuple[Callable[[Event], Any], dict[str, tuple[Watcher, ...]], tuple[Watcher, ...]]
"""How one field of an event is read; the detectors that want each of its texts; and all of them, asked when it is no text, as
they say what is wrong with that."""


class Watch:
    """The detectors for one kind of event of one agent."""

    __slots__ = ("always", "tables")

    def __init__(self, watchers: Iterable[Watcher], kind: EventKind, about: About) -> None:
        wanting = [(watcher, _wanting(watcher[1], kind, about)) for watcher in watchers]
        crowded = Counter(need for _, triggers in wanting for trigger in triggers or () for need in set(trigger.needs))
        always: list[Watcher] = []
        tables: dict[tuple[str, str], dict[str, list[Watcher]]] = {}
        for watcher, triggers in wanting:
            if triggers is None:
                always.append(watcher)
                continue
            place = _place(triggers, crowded) if triggers else None
            if triggers and place is None:
                always.append(watcher)
            for trigger in triggers:
                for holder, field, text in trigger.needs:
                    if (holder, field) == place:
                        found = tables.setdefault(place, {}).setdefault(text, [])
                        if not any(other is watcher for other in found):
                            found.append(watcher)
        self.always = tuple(always)
        self.tables: tuple[Table, ...] = tuple(
            (_reader(*place), {text: tuple(found) for text, found in by_text.items()}, _all_of(by_text.values()))
            for place, by_text in tables.items()
        )


class Watching:
    """All detectors of a bank, by agent and kind of event.

    Args:
        watchers: rules and their detectors, in order.
    """

    def __init__(self, watchers: Sequence[Watcher]) -> None:
        self._by_kind = {kind: [each for each in watchers if kind in each[1].kinds] for kind in EventKind}
        self._is_by_name = any(
            trigger.tree is not None and mentions(trigger.tree, _AGENT_NAMES)
            for _, detector in watchers
            for trigger in getattr(detector, "triggers", ())
        )
        self.abouts: dict[str, About] = {}
        """By agent, as far as they were asked for."""
        self._by_declared: dict[int, About] = {}

    def about(self, agent: str, declared: Declared) -> About:
        """What holds for all events of an agent. Agents that share a declaration share it, unless a rule names agents."""
        about = self.abouts.get(agent)
        if about is None:
            about = About(declared, agent if self._is_by_name else None)
            if not self._is_by_name:
                about = self._by_declared.setdefault(id(declared), about)
            if len(self.abouts) >= MAX_AGENTS:
                self.abouts.clear()
            self.abouts[agent] = about
        return about

    def watch(self, event: Event, about: About) -> Watch:
        """The detectors for an event."""
        kind = event.kind
        watch = about.watches.get(kind)
        if watch is None:
            watch = about.watches[kind] = Watch(self._by_kind[kind], kind, about)
        found: Watch = watch
        return found


def _wanting(detector: Detector, kind: EventKind, about: About) -> list[Trigger] | None:
    """The triggers by which a detector may want such events; None where it wants all of them."""
    triggers: tuple[Trigger, ...] | None = getattr(detector, "triggers", None)
    if triggers is None:
        return None
    return [trigger for trigger in triggers if kind in trigger.kinds and about.decide(trigger, kind) is not False]


def _place(triggers: Sequence[Trigger], crowded: Counter[Need]) -> tuple[str, str] | None:
    """The field whose text decides for all of these triggers and for the fewest other rules."""
    common = set.intersection(*({(holder, field) for holder, field, _ in trigger.needs} for trigger in triggers))
    texts = [need for trigger in triggers for need in trigger.needs]
    return min(
        common,
        key=lambda place: (max(crowded[need] for need in texts if need[:2] == place), _FIRST.get(place, len(_FIRST)), place),
        default=None,
    )


def _reader(holder: str, field: str) -> Callable[[Event], Any]:
    return attrgetter(field) if holder == "event" else lambda event: event.attributes.get(field)


def _all_of(groups: Iterable[Iterable[Watcher]]) -> tuple[Watcher, ...]:
    return tuple({id(watcher): watcher for group in groups for watcher in group}.values())
