"""Foreign instructions that were acted on: the refused call was named by something the agent had read (DET-23).

Data flow, not wording: no phrase is looked for. Reading foreign text is exposure; only the attempt to act makes a finding.
"""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from andoncord.detect.detector import MAX_GROUPS, Groups, Hit, Trigger, few
from andoncord.detect.facts import Facts, Key
from andoncord.telemetry.event import Event, EventKind

MAX_RUNS = 1_000
"""Runs whose reading is remembered."""
MAX_READ = 24
"""Tool results remembered per run."""
MAX_TEXT = 16_384
"""Characters looked at of each text."""
HEAD = 64
"""Characters by which two texts of one length are told apart: instructions come with every model call, and are kept once."""
MIN_NAME = 6
"""Letters of a tool's name, separators left out, below which finding it in a text says nothing."""
MIN_VALUE = 5
"""Characters of an argument's value below which finding it in a text says nothing."""
NAMED_SCORE = 0.9
CARRIED_SCORE = 0.6
"""Where only values came from the text: reading a record and acting on its id looks the same. Both chosen."""

_decode = msgspec.json.Decoder().decode
_READS = frozenset({EventKind.TOOL_COMPLETED, EventKind.TOOL_FAILED})
_TOLD = frozenset({EventKind.MODEL_COMPLETED, EventKind.MODEL_FAILED, EventKind.RUN_STARTED, EventKind.AGENT_INVOKED})


class _Run:
    __slots__ = ("foreign", "own")

    def __init__(self) -> None:
        self.own: dict[tuple[int, str], str] = {}
        """What the agent was told by those who may: its instructions, its task, and input from before anything was read."""
        self.foreign: deque[tuple[str, int, str, str]] = deque(maxlen=MAX_READ)
        """Span id, time, tool and text of what it read."""


class InjectedAction:
    """Raise when a call outside the agent's scope carries out what an earlier tool result of the same run named.

    The tool's name must stand in what was read and not in what the agent was told to do; or, for calls to tools the agent
    does not have at all, a value of its arguments must.

    Cost: O(1) per event; O(texts of the run) for a call out of scope.
    """

    def __init__(self, trigger: Trigger, *, key: Callable[[Event], Key], max_groups: int = MAX_GROUPS) -> None:
        self.kinds = trigger.kinds | _READS | _TOLD | {EventKind.RUN_ENDED}
        self._trigger, self._key = trigger, key
        self._runs = Groups(_Run, limit=min(MAX_RUNS, max_groups))

    def observe(self, event: Event, facts: Facts) -> Iterable[Hit]:
        key = self._key(event)
        if event.kind is EventKind.RUN_ENDED:
            self._runs.drop(key)
            return ()
        hits: Iterable[Hit] = ()
        if event.kind in self._trigger.kinds and self._trigger.matches(event, facts):
            run = self._runs.get(key)
            if run is not None and run.foreign:
                hits = self._trace_back(event, key, run)
        if event.kind in _READS:
            if event.result:
                self._runs.at(key).foreign.append((event.span_id, event.start_ns, event.name, event.result[:MAX_TEXT]))
        elif event.kind in _TOLD:
            self._listen(event, key)
        return hits

    def tick(self, now_ns: int) -> Iterable[Hit]:
        return ()

    def _listen(self, event: Event, key: Key) -> None:
        run = self._runs.at(key)
        told = [event.instructions, event.task]
        if not run.foreign:
            # Later inputs may repeat what was read: frameworks without tool messages paste results into the prompt.
            told.append(event.input_text)
        for text in told:
            if text and len(run.own) < MAX_READ:
                run.own.setdefault((len(text), text[:HEAD]), text)

    def _trace_back(self, event: Event, key: Key, run: _Run) -> Iterable[Hit]:
        own = [text[:MAX_TEXT].lower() for text in (*run.own.values(), event.task)]
        own_letters = [_letters(text) for text in own]
        name = _letters(event.name)
        values = [] if event.attributes.get("code") == "policy" else _values(event.arguments)
        values = [value for value in values if not any(value in text for text in own)]
        is_telling = len(name) >= MIN_NAME and not any(name in letters for letters in own_letters)
        for span_id, start_ns, tool, text in run.foreign:
            lowered = text.lower()
            is_named = is_telling and name in _letters(lowered)
            carried = [value for value in values if value in lowered]
            if is_named or carried:
                hit = Hit(
                    event=event,
                    key=key,
                    at_ns=event.at_ns,
                    onset_ns=start_ns,
                    evidence=few([span_id, event.span_id]),
                    score=NAMED_SCORE if is_named else CARRIED_SCORE,
                    words={"tool": tool},
                    facts={
                        "read_with": tool,
                        "read_span_id": span_id,
                        "named": is_named,
                        "carried": [value[:80] for value in carried],
                    },
                )
                return (hit,)
        return ()


def _letters(text: str) -> str:
    """`text` without case and separators: `transfer funds`, `transfer_funds` and `transferFunds` are one name."""
    return "".join(filter(str.isalnum, text)).lower()


def _values(arguments: str) -> list[str]:
    """The telling values in a call's arguments, in lower case."""
    try:
        decoded: Any = _decode(arguments) if arguments else None
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        decoded = arguments
    found: list[str] = []
    waiting = [decoded]
    while waiting and len(found) < MAX_READ:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
        elif value is not None and not isinstance(value, bool) and MIN_VALUE <= len(str(value)) <= MAX_TEXT:
            found.append(str(value).lower())
    return found
