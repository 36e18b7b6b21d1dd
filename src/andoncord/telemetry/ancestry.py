"""Parents that come last: which traces to look at again, and what of the stored events to correct then.

A step that does not name its agent is stored under the name of its service. Its parent, which does, ends and hence arrives
later, often in another request. What is remembered here is bounded: of each recent trace whether it has steps that guessed and
steps that name their agent, nothing of what they say. A step that began before what is remembered leads to a look into the
store.
"""

from collections.abc import Iterable, Sequence

import msgspec

from andoncord.kernel.time import SECOND_NS
from andoncord.telemetry.batch import SPAN_KINDS
from andoncord.telemetry.event import Event, EventKind
from andoncord.telemetry.stitch import INFERRED, stitch

MAX_TRACES = 50_000
"""Traces of one generation; two are remembered, about 20 MB."""
MAX_MODELS = 50_000
"""Span ids of model calls of one generation, and of what is above them."""
MAX_PENDING = 20_000
"""Traces that wait to be looked at; beyond it the one that waited longest goes, and is counted."""
LOOK_AFTER_NS = SECOND_NS
"""A trace is looked at so long after there was a reason to: what follows within that time needs no look of its own."""
LOOK_AFTER_PER_EVENT_NS = SECOND_NS // 2_000
"""Longer for long traces, so that the work of all looks grows with the length of a trace and not with its square."""

_GUESSED, _NAMED, _ONE_MORE = 1, 2, 4
_BITS = _GUESSED | _NAMED
_SPANS = frozenset(kind.value for kind in SPAN_KINDS)
_MODELS = frozenset({EventKind.MODEL_COMPLETED.value, EventKind.MODEL_FAILED.value})


class Correction(msgspec.Struct, frozen=True, kw_only=True):
    """A stored event, and what it should have been."""

    place: int
    """In the store; what it should have been gets a place of its own."""
    before: Event
    after: Event


class _Generations:
    """The newest keys, at least `size` of them and at most twice as many."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._young: set[str] = set()
        self._old: set[str] = set()

    def add(self, keys: Iterable[str]) -> None:
        self._young.update(keys)
        if len(self._young) >= self._size:
            self._young, self._old = set(), self._young

    def among(self, keys: Iterable[str]) -> set[str]:
        """Those of some keys that are known."""
        return {key for key in keys if key in self._young or key in self._old}


class Ancestry:
    """Says which traces have steps that a later request may explain.

    Args:
        known_since_ns: everything received since then is shown to `observe`; what was before is not remembered.

    >>> ancestry = Ancestry()
    >>> child = Event(kind=EventKind.TOOL_COMPLETED, trace_id="t", span_id="b", agent="shop", attributes={INFERRED: True})
    >>> parent = Event(kind=EventKind.AGENT_INVOKED, trace_id="t", span_id="a", agent="refunds")
    >>> ancestry.observe([child], now=0)
    >>> ancestry.observe([parent], now=0)
    >>> ancestry.due(LOOK_AFTER_NS // 2, limit=9), ancestry.due(2 * LOOK_AFTER_NS, limit=9)
    ([], ['t'])
    """

    def __init__(self, *, known_since_ns: int = 0) -> None:
        self.known_since_ns = known_since_ns
        self._turned_ns = known_since_ns
        """When the young generation of traces began."""
        self._young: dict[str, int] = {}
        self._old: dict[str, int] = {}
        """What is known of traces, in two generations: whether some steps guessed and some named, and how many there were."""
        self._models = _Generations(MAX_MODELS)
        self._above_models = _Generations(MAX_MODELS)
        self._pending: dict[str, int] = {}
        self.forgot = 0
        """Traces that were not looked at, because too many waited."""

    def observe(self, events: Iterable[Event], *, now: int) -> None:
        """Take in the events of one request that are new. Cost: 0.5 µs for each."""
        known_since_ns = self.known_since_ns
        here: dict[str, int] = {}
        early: set[str] = set()
        models: list[Event] = []
        for event in events:
            trace = event.trace_id
            if not trace:
                continue
            kind = event.kind._value_
            if INFERRED in event.attributes:
                bit = _GUESSED
            elif kind in _SPANS:
                bit = _NAMED
            else:
                # A record hangs on a span and has nothing below it.
                continue
            here[trace] = (here.get(trace, 0) | bit) + _ONE_MORE
            if (event.input_tokens or event.output_tokens) and kind in _MODELS:
                models.append(event)
            if event.start_ns < known_since_ns or (event.end_ns > event.received_ns and _began_ns(event) < known_since_ns):
                early.add(trace)
        for trace, seen in here.items():
            self._learn(trace, seen, now, is_early=trace in early)
        if models:
            self._learn_models(models, now)

    def due(self, now: int, *, limit: int) -> list[str]:
        """The traces to look at now; they wait no longer."""
        found: list[str] = []
        for trace, due_ns in self._pending.items():
            if len(found) >= limit:
                break
            if due_ns <= now:
                found.append(trace)
        for trace in found:
            del self._pending[trace]
        return found

    def _learn(self, trace: str, seen: int, now: int, *, is_early: bool) -> None:
        before = self._young.get(trace) or self._old.get(trace)
        known = before or 0
        self._young[trace] = (known + (seen & ~_BITS)) | (seen & _BITS)
        if len(self._young) >= MAX_TRACES:
            self._young, self._old = {}, self._young
            self.known_since_ns, self._turned_ns = self._turned_ns, now
        is_late = (known & _NAMED and seen & _GUESSED) or (known & _GUESSED and seen & _NAMED)
        if is_late or (before is None and is_early):
            self._wait(trace, now, (known + seen) // _ONE_MORE)

    def _learn_models(self, calls: Sequence[Event], now: int) -> None:
        """Look at traces whose model calls came in other requests than the calls inside of them: both were counted."""
        spans = [call.span_id for call in calls]
        above = [call.parent_span_id for call in calls if call.parent_span_id]
        if twice := self._models.among(above) | self._above_models.among(spans):
            for call in calls:
                if call.span_id in twice or call.parent_span_id in twice:
                    self._wait(call.trace_id, now, 1)
        self._models.add(spans)
        self._above_models.add(above)

    def _wait(self, trace: str, now: int, events: int) -> None:
        if trace in self._pending:
            return
        if len(self._pending) >= MAX_PENDING:
            del self._pending[next(iter(self._pending))]
            self.forgot += 1
        self._pending[trace] = now + LOOK_AFTER_NS + events * LOOK_AFTER_PER_EVENT_NS


def corrections(stored: Sequence[tuple[int, Event]]) -> list[Correction]:
    """What is to be corrected of some traces, of which these are the events with their places.

    Nobody without a token moves what somebody with one has sent: such an event stays where it is.
    """
    stitched = stitch([event for _, event in stored])
    return [
        Correction(place=place, before=before, after=after)
        for (place, before), after in zip(stored, stitched, strict=True)
        if after is not before and after.trusted == before.trusted and after != before
    ]


def _began_ns(event: Event) -> int:
    """When a span began, by our clock where its emitter's is ahead."""
    took_ns = event.end_ns - event.start_ns if event.end_ns else 0
    return event.received_ns - took_ns if event.received_ns else event.start_ns
