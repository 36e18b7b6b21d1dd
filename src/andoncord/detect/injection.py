"""Foreign instructions that were acted on: the refused call was named by something the agent had read (DET-23).

Data flow, not wording: no phrase is looked for. Reading foreign text is exposure; only the attempt to act makes a finding.
"""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from andoncord.detect.detector import MAX_GROUPS, Groups, Hit, Trigger, few
from andoncord.detect.facts import Facts, Key, stable_digest
from andoncord.telemetry.event import Event, EventKind

MAX_RUNS = 1_000
"""Runs whose reading is remembered."""
MAX_READ = 24
"""Tool results remembered per run."""
MAX_TEXT = 16_384
"""Characters looked at of each text."""
MAX_REACHED = 8
"""Unexplained calls out of scope remembered per run."""
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


_Reading = tuple[str, int, str, str]
"""Span id, time, tool and text."""


class _Run:
    __slots__ = ("foreign", "own", "reached")

    def __init__(self) -> None:
        self.own: dict[tuple[int, str], str] = {}
        """What the agent was told by those who may: its instructions, its task, and input from before anything was read."""
        self.foreign: deque[_Reading] = deque(maxlen=MAX_READ)
        """What it read."""
        self.reached: deque[Event] = deque(maxlen=MAX_REACHED)
        """Calls out of scope that nothing read so far explains."""


class InjectedAction:
    """Raise when a call outside the agent's scope carries out what an earlier tool result of the same run named.

    The tool's name must stand in what was read and not in what the agent was told to do; or, for calls to tools the agent
    does not have at all, a value of its arguments must.

    Cost: O(1) per event; O(texts of the run) for a call out of scope.
    """

    def __init__(self, trigger: Trigger, *, key: Callable[[Event], Key], max_groups: int = MAX_GROUPS) -> None:
        self.kinds = trigger.kinds | _READS | _TOLD
        self.reads_texts = self.kinds
        self.acts_on = (trigger,)
        self._trigger, self._key = trigger, key
        self._runs = Groups(_Run, limit=min(MAX_RUNS, max_groups))

    def observe(self, event: Event, facts: Facts) -> Iterable[Hit]:
        is_reaching = self._trigger.matches(event, facts)
        if not (is_reaching or event.result or event.instructions or event.task or event.input_text):
            return ()
        key = self._key(event)
        run = self._runs.at(key)
        hits: list[Hit] = []
        if is_reaching:
            run.reached.append(event)
            hits += self._explain(event, key, run, run.foreign)
        if event.kind in _READS and event.result:
            reading = (event.span_id, event.start_ns, event.name, event.result[:MAX_TEXT])
            run.foreign.append(reading)
            # Log records often overtake spans: the refusal may be known before what was read.
            for call in tuple(run.reached):
                if call.span_id != event.span_id and call.at_ns >= event.at_ns:
                    hits += self._explain(call, key, run, (reading,))
        elif event.kind in _TOLD:
            self._listen(event, run)
        return hits

    def tick(self, now_ns: int) -> Iterable[Hit]:
        return ()

    def _listen(self, event: Event, run: _Run) -> None:
        told = [event.instructions, event.task]
        if not run.foreign:
            # Later inputs may repeat what was read: frameworks without tool messages paste results into the prompt.
            told.append(event.input_text)
        for text in told:
            if text and len(run.own) < MAX_READ:
                run.own.setdefault((len(text), text[:HEAD]), text)

    def _explain(self, event: Event, key: Key, run: _Run, readings: Iterable[_Reading]) -> Iterable[Hit]:
        """Look for the call in what was read before it; one that has been explained is no longer asked about."""
        own = [text[:MAX_TEXT].lower() for text in (*run.own.values(), event.task)]
        own_letters = [_letters(text) for text in own]
        name = _letters(event.name)
        values = [] if event.attributes.get("code") == "policy" else _values(event.arguments)
        values = [value for value in values if not any(value in text for text in own)]
        is_telling = len(name) >= MIN_NAME and not any(name in letters for letters in own_letters)
        for span_id, start_ns, tool, text in readings:
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
                        "text": stable_digest(text),
                    },
                )
                run.reached.remove(event)
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
