"""What every detector has in common: how it is fed, what it answers, and how it forgets."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from andoncord.detect.facts import Facts, Key
from andoncord.detect.known import Need, Tree
from andoncord.kernel.vocabulary import Severity
from andoncord.telemetry.event import Event, EventKind

MAX_GROUPS = 10_000
"""Groups a detector remembers; the one that was quiet longest is forgotten first."""
MAX_EVIDENCE = 32
"""Span ids kept as evidence of one finding: the first and the newest."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A detector's condition has come true, for one group."""

    event: Event
    """The event that completed the evidence, or the last one seen where the evidence is that nothing came."""
    key: Key
    at_ns: int
    onset_ns: int
    evidence: tuple[str, ...]
    score: float = 1.0
    severity: Severity | None = None
    """Where it depends on what was found; otherwise the rule's."""
    words: dict[str, str] = field(default_factory=dict)
    """Fills in the rule's summary."""
    facts: dict[str, Any] = field(default_factory=dict)


class Detector(Protocol):
    """Running state over a stream of events: no I/O, no clock. Replaying the stream rebuilds it."""

    kinds: frozenset[EventKind]
    """The only kinds it has to be shown. One that looks at nothing but what its triggers match also has `triggers`; one that
    learns for longer than events are replayed has `memory`, the groups that a snapshot keeps. One to which events of some kinds
    say nothing unless they carry a text (what was asked, told, answered) has `reads_texts`, those kinds, and in `acts_on` the
    triggers that do without; one that looks only at agents whose scope of files is declared has `needs_scope`."""

    def observe(self, event: Event, facts: Facts) -> Iterable[Hit]: ...

    def tick(self, now_ns: int) -> Iterable[Hit]:
        """Time has passed without an event."""
        ...


Condition = Callable[[Facts], bool]


@dataclass(frozen=True, slots=True, eq=False)
class Trigger:
    """Which events: some kinds, and a condition."""

    kinds: frozenset[EventKind]
    condition: Condition | None = None
    tree: Tree | None = None
    """The condition as it was parsed."""
    needs: tuple[Need, ...] = ()
    """Texts that fields must have for it to hold."""
    asks_name: bool = False
    """The condition looks at the name of the event, and may be certain once that is known."""

    def matches(self, event: Event, facts: Facts) -> bool:
        if event.kind not in self.kinds:
            return False
        if self.condition is None:
            return True
        about = facts.about
        certain = about.decide_named(self, event) if self.asks_name else about.decide(self, event.kind)
        return self.condition(facts) if certain is None else certain


S = TypeVar("S")


class Groups(Generic[S]):
    """State per group, at most `limit` of them; the least recently used is forgotten first.

    >>> groups = Groups(list, limit=2)
    >>> for key in (("a",), ("b",), ("a",), ("c",)):
    ...     groups.at(key).append(1)
    >>> [key for key, _ in groups.items()]
    [('a',), ('c',)]
    """

    def __init__(self, make: Callable[[], S], *, limit: int = MAX_GROUPS) -> None:
        self._make = make
        self._limit = limit
        self._held: OrderedDict[Key, S] = OrderedDict()

    def at(self, key: Key) -> S:
        held = self._held
        state = held.get(key)
        if state is None:
            state = held[key] = self._make()
            if len(held) > self._limit:
                held.popitem(last=False)
        else:
            held.move_to_end(key)
        return state

    def get(self, key: Key) -> S | None:
        return self._held.get(key)

    def drop(self, key: Key) -> S | None:
        return self._held.pop(key, None)

    def fill(self, items: Iterable[tuple[Key, S]]) -> None:
        """Hold these instead, the newest last, as many as there is room for."""
        self._held = OrderedDict(items)
        while len(self._held) > self._limit:
            self._held.popitem(last=False)

    def items(self) -> Iterator[tuple[Key, S]]:
        return iter(self._held.items())

    def __len__(self) -> int:
        return len(self._held)


def few(span_ids: Iterable[str]) -> tuple[str, ...]:
    """At most `MAX_EVIDENCE` span ids without repetitions: the first ones and the newest."""
    unique = list(dict.fromkeys(span_id for span_id in span_ids if span_id))
    half = MAX_EVIDENCE // 2
    return tuple(unique if len(unique) <= MAX_EVIDENCE else unique[:half] + unique[-half:])
