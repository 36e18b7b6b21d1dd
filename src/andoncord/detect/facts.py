"""What a rule can ask about an event: names for conditions, keys for grouping, numbers for sums."""

import re
from collections.abc import Callable, Iterator, Mapping
from operator import attrgetter
from typing import Any

import msgspec

from andoncord.detect.declared import Declared
from andoncord.detect.known import decide
from andoncord.kernel.canon import short_digest
from andoncord.kernel.time import MILLISECOND_NS
from andoncord.telemetry.event import Event, EventKind

NAMES = ("event", "agent", "args", "attributes")
"""What a condition may start from."""
_VARYING = re.compile(r"\b(?:0x[0-9a-f]+|[0-9a-f-]{12,}|[0-9]{5,}|[0-9]+\.[0-9]+\s?m?s)\b")
"""Addresses, digests, long numbers and durations."""
MAX_ABOUT = 4_096
"""Agents whose fields are remembered for conditions."""
MAX_ARGUMENTS = 16_384
"""Characters of arguments that are read as JSON for a condition."""

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder(order="sorted").encode

Key = tuple[Any, ...]
"""A group: texts, and last whether its events are trusted."""


class Facts(Mapping[str, Any]):
    """The environment of a condition; each part is made when first asked for.

    `event` has the fields of the event and `duration_ms`; `agent` has name, environment, tools, budget_micro_usd and declared;
    `args` are the arguments of a tool call; `attributes` are the event's.
    """

    __slots__ = ("_made", "about", "declared", "event")

    def __init__(self, event: Event, declared: Declared, about: "About | None" = None) -> None:
        self.event = event
        self.declared = declared
        self.about = about or About(declared, None)
        self._made: dict[str, Any] | None = None

    def __getitem__(self, name: str) -> Any:
        known = self._made
        if known is None:
            known = self._made = {}
        made = known.get(name)
        if made is None:
            made = known[name] = _MAKERS[name](self)
        return made

    def __iter__(self) -> Iterator[str]:
        return iter(NAMES)

    def __len__(self) -> int:
        return len(NAMES)

    def __contains__(self, name: object) -> bool:
        return name in NAMES


class About:
    """What holds for all events of an agent, or of all agents that share a declaration."""

    __slots__ = ("_by_name", "_decided", "_fields", "_known", "declared", "watches")

    def __init__(self, declared: Declared, agent: str | None) -> None:
        self.declared = declared
        self.watches: dict[EventKind, Any] = {}
        """Who wants which kinds of events; kept by `detect.watch`."""
        self._decided: dict[EventKind, dict[Any, bool | None]] = {}
        self._by_name: dict[tuple[Any, EventKind, str], bool | None] = {}
        self._fields: dict[tuple[str, str], dict[str, Any]] = {}
        self._known: dict[str, dict[str, Any]] = {"agent": {"tools": declared.tools}}
        if agent is not None:
            self._known["agent"]["name"] = agent

    def decide(self, trigger: Any, kind: EventKind) -> bool | None:
        """Whether a trigger holds for every event of a kind, or for none; None where it depends."""
        decided = self._decided.get(kind)
        if decided is None:
            decided = self._decided[kind] = {}
        if trigger in decided:
            return decided[trigger]
        answer = decided[trigger] = None if trigger.tree is None else decide(trigger.tree, self._known_of(kind))
        return answer

    def decide_named(self, trigger: Any, event: Event) -> bool | None:
        """The same, for every event of a kind and a name."""
        key = (trigger, event.kind, event.name)
        decided = self._by_name
        if key in decided:
            return decided[key]
        if len(decided) >= MAX_ABOUT:
            decided.clear()
        known = self._known_of(event.kind)
        known["event"]["name"] = event.name
        answer = decided[key] = decide(trigger.tree, known)
        return answer

    def _known_of(self, kind: EventKind) -> dict[str, dict[str, Any]]:
        known = {**self._known, "event": {"kind": kind.value}}
        if "name" in self._known["agent"]:
            known["event"]["agent"] = self._known["agent"]["name"]
        return known

    def fields(self, event: Event) -> dict[str, Any]:
        """What conditions call `agent`."""
        key = (event.agent, event.environment)
        fields = self._fields.get(key)
        if fields is None:
            if len(self._fields) >= MAX_ABOUT:
                self._fields.clear()
            declared = self.declared
            fields = self._fields[key] = {
                "name": event.agent,
                "environment": event.environment or declared.environment,
                "tools": declared.tools,
                "budget_micro_usd": declared.budget_micro_usd,
                "silent_after_s": declared.silent_after_s,
                "step_timeout_s": declared.step_timeout_s,
            }
        return fields


class _EventFields(Mapping[str, Any]):
    """The fields of an event, read when asked for: most conditions look at one or two of thirty."""

    __slots__ = ("_event",)

    def __init__(self, event: Event) -> None:
        self._event = event

    def __getitem__(self, name: str) -> Any:
        event = self._event
        if name == "duration_ms":
            return max(0, event.end_ns - event.start_ns) // MILLISECOND_NS
        if name not in _EVENT_NAMES:
            raise KeyError(name)
        value = getattr(event, name)
        return value.value if name == "kind" else value

    def __iter__(self) -> Iterator[str]:
        return iter(_EVENT_NAMES)

    def __len__(self) -> int:
        return len(_EVENT_NAMES)


_EVENT_NAMES = frozenset((*Event.__struct_fields__, "duration_ms"))


def _arguments(facts: Facts) -> dict[str, Any]:
    text = facts.event.arguments
    if not text.startswith("{") or len(text) > MAX_ARGUMENTS:
        return {}
    try:
        value = _decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


_MAKERS: dict[str, Callable[[Facts], Any]] = {
    "event": lambda facts: _EventFields(facts.event),
    "agent": lambda facts: facts.about.fields(facts.event),
    "args": _arguments,
    "attributes": lambda facts: facts.event.attributes,
}


def stable_digest(*parts: str) -> str:
    """A short digest of texts, halves of characters in them replaced."""
    return short_digest(*(part.encode("utf-8", "replace").decode() for part in parts))


def same_call(event: Event) -> str:
    """A digest that is equal for calls of one tool with the same arguments, whatever their key order and white space.

    >>> from andoncord.telemetry.event import EventKind
    >>> one, two = (
    ...     Event(kind=EventKind.TOOL_FAILED, name="t", arguments=text) for text in ('{"a":1,"b":2}', '{"b": 2, "a": 1}')
    ... )
    >>> same_call(one) == same_call(two)
    True
    """
    text = event.arguments
    if text.startswith("{") and len(text) <= MAX_ARGUMENTS:
        try:
            return stable_digest(event.name, _encode(_decode(text)).decode())
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
            pass
    return stable_digest(event.name, " ".join(text.split()))


def outcome(event: Event) -> str:
    """A digest of how a call ended: its result without what differs between two runs of the same, else its error."""
    if not event.result:
        return event.error_type
    return stable_digest(_VARYING.sub("…", " ".join(event.result[:MAX_ARGUMENTS].split())))


def attempt(event: Event) -> str:
    """What several runs can be attempts at: the declared task, else the conversation, else the run alone."""
    return event.task or event.session_id or event.run_id


_DERIVED: dict[str, Callable[[Event], str]] = {"call": same_call, "outcome": outcome, "attempt": attempt}
_TEXTS = (
    "agent",
    "instance",
    "run_id",
    "session_id",
    "trace_id",
    "span_id",
    "task",
    "name",
    "system",
    "environment",
    "error_type",
    "result",
)
_NUMBERS = ("input_tokens", "output_tokens", "cost_micro_usd", "score")
GROUP_FIELDS = (*_TEXTS, *_DERIVED)
"""What a rule may group by, besides `attributes.<name>`."""
NUMBER_FIELDS = (*_NUMBERS, "tokens")
"""What a rule may add up, besides `attributes.<name>`."""


def key_of(fields: tuple[str, ...]) -> Callable[[Event], Key]:
    """A function from event to group: the values of `fields`, then whether the event is trusted.

    Trust is part of every group, so that nobody without a token feeds, clears or hides what trusted signals say (SIG-2).

    Raises:
        KeyError: a field does not exist.

    >>> from andoncord.telemetry.event import EventKind
    >>> key_of(("agent", "run_id"))(Event(kind=EventKind.OTHER, agent="a", run_id="r", trusted=True))
    ('a', 'r', True)
    """
    if fields and all(field in _TEXTS for field in fields):
        return attrgetter(*fields, "trusted")
    readers: list[Callable[[Event], Any]] = [*map(_reader, fields), attrgetter("trusted")]
    return lambda event: tuple([read(event) for read in readers])


def _reader(field: str) -> Callable[[Event], str]:
    if field in _DERIVED:
        return _DERIVED[field]
    if field in _TEXTS:
        return attrgetter(field)
    prefix, dot, name = field.partition(".")
    if prefix == "attributes" and dot:
        return lambda event: str(event.attributes.get(name, ""))
    raise KeyError(field)


def number_of(field: str) -> Callable[[Event], float]:
    """A function from event to number, 0 where there is none. Raises KeyError for a field that does not exist."""
    if field == "tokens":
        return lambda event: event.input_tokens + event.output_tokens
    if field in _NUMBERS:
        read = attrgetter(field)
        return lambda event: read(event) or 0
    prefix, dot, name = field.partition(".")
    if prefix != "attributes" or not dot:
        raise KeyError(field)

    def attribute(event: Event) -> float:
        value = event.attributes.get(name, 0)
        return value if isinstance(value, int | float) and not isinstance(value, bool) else 0

    return attribute
