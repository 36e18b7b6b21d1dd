"""Which detectors want which events: found once per kind and agent, so that a rule that cannot match costs nothing."""

from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Any

from andoncord.detect.declared import Declared
from andoncord.detect.detector import Detector, Trigger
from andoncord.detect.facts import About
from andoncord.detect.known import mentions
from andoncord.detect.rule import Rule
from andoncord.telemetry.event import Event, EventKind

Watcher = tuple[Rule, Detector]
MAX_AGENTS = 10_000
"""Agents about which is remembered who watches them."""
_AGENT_NAMES = frozenset({("event", "agent"), ("agent", "name")})
_FIRST = (("event", "name"), ("event", "agent"), ("event", "error_type"))
"""What to tell events apart by, if rules leave a choice."""
_NOTHING: tuple[Watcher, ...] = ()


class Table:
    """Detectors by the text that one field must have."""

    __slots__ = ("by_text", "every", "read")

    def __init__(self, holder: str, field: str, by_text: dict[str, tuple[Watcher, ...]]) -> None:
        self.read: Callable[[Event], Any]
        self.read = attrgetter(field) if holder == "event" else lambda event: event.attributes.get(field)
        self.by_text = by_text
        self.every = tuple({id(watcher): watcher for watchers in by_text.values() for watcher in watchers}.values())
        """Asked when the field is no text: they say what is wrong with that."""

    def find(self, event: Event) -> tuple[Watcher, ...]:
        """The detectors that want this event."""
        text = self.read(event)
        return self.by_text.get(text, _NOTHING) if type(text) is str else self.every


class Watch:
    """The detectors for one kind of event of one agent."""

    __slots__ = ("always", "tables")

    def __init__(self, watchers: Iterable[Watcher], kind: EventKind, about: About) -> None:
        always: list[Watcher] = []
        tables: dict[tuple[str, str], dict[str, list[Watcher]]] = {}
        for watcher in watchers:
            wanting = _wanting(watcher[1], kind, about)
            if wanting is None:
                always.append(watcher)
                continue
            place = _common(wanting) if wanting else None
            if wanting and place is None:
                always.append(watcher)
            for trigger in wanting:
                for holder, field, text in trigger.needs:
                    if (holder, field) == place:
                        found = tables.setdefault(place, {}).setdefault(text, [])
                        if not any(other is watcher for other in found):
                            found.append(watcher)
        self.always = tuple(always)
        self.tables = tuple(
            Table(*place, {text: tuple(watchers) for text, watchers in by_text.items()}) for place, by_text in tables.items()
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


def _common(triggers: Sequence[Trigger]) -> tuple[str, str] | None:
    """A field whose text decides for all of these triggers."""
    common = set.intersection(*({(holder, field) for holder, field, _ in trigger.needs} for trigger in triggers))
    return next((place for place in _FIRST if place in common), None) or min(common, default=None)
