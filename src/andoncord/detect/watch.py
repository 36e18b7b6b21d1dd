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
MAX_NAMES = 1_000
"""Names of events of one agent and kind for which is remembered who wants them."""
_AGENT_NAMES = frozenset({("event", "agent"), ("agent", "name")})
_NAME = ("event", "name")
_FIRST = {_NAME: 0, ("event", "agent"): 1, ("event", "error_type"): 2}
"""What to tell events apart by, if rules leave a choice: few fields make few tables."""


Table = tuple[Callable[[Event], Any], dict[str, tuple[Watcher, ...]], tuple[Watcher, ...]]
"""How one field of an event is read; the detectors that want each of its texts; and all of them, asked when it is no text, as
they say what is wrong with that."""


class Watch:
    """The detectors for one kind of event of one agent."""

    __slots__ = ("_about", "_by_name", "_kind", "_texted", "_textless", "always", "tables")

    def __init__(self, watchers: Iterable[Watcher], kind: EventKind, about: About) -> None:
        self._about, self._kind = about, kind
        self._texted: dict[str, tuple[Watcher, ...]] = {}
        self._textless: dict[str, tuple[Watcher, ...]] = {}
        watchers = [watcher for watcher in watchers if _is_concerned(watcher[1], about.declared)]
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
        self._by_name = {text: tuple(found) for text, found in tables.pop(_NAME, {}).items()}
        self.tables: tuple[Table, ...] = tuple(
            (_reader(*place), {text: tuple(found) for text, found in by_text.items()}, _all_of(by_text.values()))
            for place, by_text in tables.items()
        )

    def wanting(self, event: Event) -> tuple[Watcher, ...]:
        """The detectors that are not in `tables` and may want an event, by its name and by whether it carries any text."""
        has_text = event.arguments or event.result or event.input_text or event.output_text or event.instructions or event.task
        by_name = self._texted if has_text else self._textless
        found = by_name.get(event.name)
        if found is None:
            if len(by_name) >= MAX_NAMES:
                by_name.clear()
            asked = [each for each in self.always if self._may_want(each[1], event, bool(has_text))]
            found = by_name[event.name] = (*asked, *self._by_name.get(event.name, ()))
        return found

    def _may_want(self, detector: Detector, event: Event, has_text: bool) -> bool:
        if not has_text and self._kind in getattr(detector, "reads_texts", ()):
            return any(self._may_match(trigger, event) for trigger in getattr(detector, "acts_on", ()))
        triggers: tuple[Trigger, ...] | None = getattr(detector, "triggers", None)
        return triggers is None or any(self._may_match(trigger, event) for trigger in triggers)

    def _may_match(self, trigger: Trigger, event: Event) -> bool:
        if self._kind not in trigger.kinds:
            return False
        about = self._about
        certain = about.decide_named(trigger, event) if trigger.asks_name else about.decide(trigger, self._kind)
        return certain is not False


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


def _is_concerned(detector: Detector, declared: Declared) -> bool:
    """Whether a detector may ever look at agents that are declared like this."""
    return declared.scope is not None or not getattr(detector, "needs_scope", False)


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
