"""Foreign text that gives orders, and calls that carry them out, without a guard and without a declared scope (DET-23).

Foreign is what tools returned and what stands beside the task in the first prompt: documents, memories. Data flow decides: a
value of a call counts only when it stands in an order in foreign text, nowhere in what the agent was told, and nowhere in the
rest of what it read, where it would be ordinary data.
"""

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from andoncord.detect.detector import MAX_GROUPS, Groups, Hit, Trigger, few
from andoncord.detect.facts import Facts, Key, stable_digest
from andoncord.detect.orders import FEATURES, MAX_TEXT, MIN_TEXT, features, may_order, orders_in, plain, sentence_at
from andoncord.telemetry.event import Event, EventKind
from andoncord.telemetry.lineage import only_reads

MAX_RUNS = 1_000
"""Runs whose reading is remembered."""
MAX_READ = 24
"""Foreign texts remembered per run."""
MAX_TOLD = 64
HEAD = 64
MAX_VALUES = 24
MAX_OCCURRENCES = 16
"""Places of a value looked at per text."""
MIN_NAME = 4
"""Letters of a tool's name below which finding it in a text says nothing."""
MAX_VALUE = 200
"""Longer arguments are content, not values."""
CARRIED_SCORE = 0.85
NAMED_SCORE = 0.8
WEAK_SCORE = 0.6
"""Where only a number or a short word came from the order. All chosen."""

_CALLS = frozenset({EventKind.TOOL_COMPLETED, EventKind.TOOL_FAILED})
_TOLD = frozenset({EventKind.MODEL_COMPLETED, EventKind.MODEL_FAILED, EventKind.RUN_STARTED, EventKind.AGENT_INVOKED})
_WORDS = re.compile(r"[a-z]+|[A-Z][a-z]*|[0-9]+")
_NUMBER = re.compile(r"(?<![\w.-])\d+(?:\.\d+)?(?![\w])")

_decode = msgspec.json.Decoder().decode


class _Text:
    """One foreign text of a run."""

    __slots__ = ("_low", "can_order", "is_ordered", "raw", "span_id", "start_ns", "tool")

    def __init__(self, raw: str, span_id: str, start_ns: int, tool: str, is_ordered: bool) -> None:
        self.raw = raw
        self._low: str | None = None
        self.span_id, self.start_ns, self.tool = span_id, start_ns, tool
        self.is_ordered = is_ordered
        """It was read because a foreign text said so: all of it is taken for orders."""
        self.can_order = is_ordered or (len(raw) >= MIN_TEXT and may_order(raw))

    @property
    def low(self) -> str:
        """The text as it is compared; made when first asked for, since most texts never are."""
        if self._low is None:
            self._low = plain(self.raw)
        return self._low


class _Run:
    __slots__ = ("foreign", "is_raised", "may_order", "own", "own_plain", "prompts")

    def __init__(self) -> None:
        self.own: dict[tuple[int, str], str] = {}
        """What the agent was told, told apart by length and head: instructions come with every model call."""
        self.own_plain: dict[tuple[int, str], str] = {}
        self.foreign: deque[_Text] = deque(maxlen=MAX_READ)
        self.prompts = 0
        self.is_raised = self.may_order = False

    def told(self) -> Iterator[str]:
        for key, text in self.own.items():
            low = self.own_plain.get(key)
            if low is None:
                low = self.own_plain[key] = plain(text)
            yield low


class _Reading:
    """What both detectors have in common: which text of a run is foreign."""

    def __init__(self, trigger: Trigger, *, key: Callable[[Event], Key], max_groups: int = MAX_GROUPS) -> None:
        self.kinds = _CALLS | _TOLD
        self._trigger, self._key = trigger, key
        self._runs = Groups(_Run, limit=min(MAX_RUNS, max_groups))

    def tick(self, now_ns: int) -> Iterable[Hit]:
        return ()


class InjectionExposure(_Reading):
    """Raise when foreign text gives orders: once per run. Reading is no incident.

    Cost: O(text) per tool result.
    """

    def observe(self, event: Event, facts: Facts) -> Iterable[Hit]:
        if event.kind in _CALLS:
            text = event.result
            if len(text) < MIN_TEXT or not may_order(text):
                return ()
            run = self._runs.at(self._key(event))
        elif not event.input_text:
            return ()
        else:
            run = self._runs.at(self._key(event))
            text = _beside_task(event, run)
            run.prompts += 1
        if run.is_raised or not text or not (found := orders_in(text)):
            return ()
        run.is_raised = True
        return (
            Hit(
                event=event,
                key=self._key(event),
                at_ns=event.at_ns,
                onset_ns=event.start_ns,
                evidence=few([event.span_id]),
                score=0.5,
                words={"tool": event.name or "the prompt", "order": found[0][:120]},
            ),
        )


class ForeignOrder(_Reading):
    """Raise when a call that changes something carries out an order of a foreign text.

    Cost: O(values of the call x texts of the run) substring searches per call; nothing else is looked at.
    """

    def observe(self, event: Event, facts: Facts) -> Iterable[Hit]:
        key = self._key(event)
        run = self._runs.at(key)
        if event.kind in _TOLD:
            self._listen(event, run)
            return ()
        hits: list[Hit] = []
        is_ordered = False
        if run.may_order and self._trigger.matches(event, facts):
            found = _carried(event, run)
            if found is not None:
                is_ordered = True
                if not run.is_raised and not only_reads(event.name):
                    run.is_raised = True
                    hits.append(_hit(event, key, *found))
        if event.result:
            self._read(_Text(event.result, event.span_id, event.start_ns, event.name, is_ordered), run)
        return hits

    @staticmethod
    def _read(text: _Text, run: _Run) -> None:
        run.foreign.append(text)
        run.may_order = run.may_order or text.can_order

    def _listen(self, event: Event, run: _Run) -> None:
        beside = _beside_task(event, run)
        told = event.input_text[: len(event.input_text) - len(beside)]
        for text in (event.instructions, event.task, told):
            if text and len(run.own) < MAX_TOLD:
                run.own.setdefault((len(text), text[:HEAD]), text[:MAX_TEXT])
        if beside:
            self._read(_Text(beside, event.span_id, event.start_ns, "", False), run)
        if event.input_text:
            run.prompts += 1


def _beside_task(event: Event, run: _Run) -> str:
    """What stands after the first message of a run's first prompt."""
    first = event.attributes.get("first_input_chars")
    if run.prompts or not isinstance(first, int) or isinstance(first, bool) or first < 0:
        return ""
    return event.input_text[first:]


def _hit(event: Event, key: Key, text: _Text, score: float, carried: list[str]) -> Hit:
    return Hit(
        event=event,
        key=key,
        at_ns=event.at_ns,
        onset_ns=text.start_ns,
        evidence=few([text.span_id, event.span_id]),
        score=score,
        words={"tool": text.tool or "the prompt", "values": ", ".join(carried)[:120]},
        facts={
            "read_with": text.tool,
            "read_span_id": text.span_id,
            "carried": [value[:80] for value in carried],
            "text": stable_digest(text.raw),
        },
    )


def _carried(event: Event, run: _Run) -> tuple[_Text, float, list[str]] | None:
    """What of a call stems from an order in foreign text and from nothing else."""
    best: tuple[_Text, float, list[str]] | None = None
    values = list(_values(event.arguments))
    for value in values:
        text = _ordered(value, run)
        if text is not None:
            score = CARRIED_SCORE if _is_telling(value) else WEAK_SCORE
            if best is None:
                best = (text, score, [value])
            else:
                best[2].append(value)
                best = (best[0], max(best[1], score), best[2])
    name = event.name.lower()
    if len(name) >= MIN_NAME and not only_reads(event.name):
        text = _ordered(name, run)
        if text is not None and not any(word in own for own in run.told() for word in _stems(event.name)):
            return (text, max(NAMED_SCORE, best[1] if best else 0), [name, *(best[2] if best else ())])
    return best


def _ordered(value: str, run: _Run) -> _Text | None:
    """The foreign text with an order that holds `value`, when neither the agent's own texts nor its other reading hold it."""
    found: _Text | None = None
    for text in run.foreign:
        for start, end in _places(value, text.low, MAX_OCCURRENCES) if text.can_order else ():
            shown = FEATURES if text.is_ordered else features(sentence_at(text.low, start, end))
            if not shown:
                return None
            if shown >= FEATURES:
                found = found or text
    if found is None or any(_places(value, text.low, 1) for text in run.foreign if not text.can_order):
        return None
    return None if any(_places(value, own, 1) for own in run.told()) else found


def _places(value: str, text: str, limit: int) -> list[tuple[int, int]]:
    """Where `value` stands in `text` as a word of its own; numbers are compared by value."""
    places: list[tuple[int, int]] = []
    if _NUMBER.fullmatch(value):
        number = float(value)
        for match in _NUMBER.finditer(text):
            if float(match[0]) == number:
                places.append(match.span())
                if len(places) >= limit:
                    break
        return places
    start = text.find(value)
    while start >= 0 and len(places) < limit:
        end = start + len(value)
        if not (start and text[start - 1].isalnum()) and not (end < len(text) and text[end].isalnum()):
            places.append((start, end))
        start = text.find(value, end)
    return places


def _is_telling(value: str) -> bool:
    return len(value) >= 5 and not _NUMBER.fullmatch(value)


def _stems(name: str) -> list[str]:
    """The words of a tool's name, cut to what inflection leaves alone."""
    return [word.lower()[:5] for word in _WORDS.findall(name) if len(word) >= MIN_NAME]


def _values(arguments: str) -> Iterator[str]:
    """The values in a call's arguments that are short enough to be named in a sentence, in lower case."""
    if not arguments or len(arguments) > MAX_TEXT:
        return
    try:
        waiting: list[Any] = [_decode(arguments)]
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        waiting = [arguments]
    given = 0
    while waiting and given < MAX_VALUES:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value[:MAX_VALUES])
        elif isinstance(value, int | float) and not isinstance(value, bool):
            given += 1
            yield f"{value:.10g}" if isinstance(value, float) else str(value)[:MAX_VALUE]
        elif isinstance(value, str) and 2 <= len(value) <= MAX_VALUE:
            given += 1
            yield value.lower()
