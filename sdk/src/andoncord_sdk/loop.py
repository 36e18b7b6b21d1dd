"""Loops: the same calls with the same outcomes again and again (DET-6). One detector for live runs and for old records."""

import json
import re
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

MAX_PERIOD = 12
"""Longest cycle looked for, in calls."""
STUCK_CALLS = 4
"""One call this often without progress is a loop: the first three may run (RSP-15)."""
STUCK_FAILURES = 3
"""One call that failed this often in the same way is a loop."""
STUCK_CYCLES = 3
"""A cycle of two calls or more, gone through this often without progress, is a loop."""
MAX_TEXT = 8192
"""Characters of arguments or result that are normalised; what lies between the two ends of longer text is compared as it is."""
MAX_BRACKETS = 256
"""Objects and lists in arguments or result that are read as JSON; a value with more is compared as text."""

# Fields that say who asks and when, not what for.
_EPHEMERAL = frozenset(
    {"request_id", "call_id", "tool_call_id", "trace_id", "span_id", "message_id", "correlation_id", "nonce"}
)
_EPHEMERAL |= {"requestId", "callId", "toolCallId", "traceId", "spanId", "messageId", "correlationId"}
_EPHEMERAL |= {"idempotency_key", "idempotencyKey", "timestamp", "ts", "now"}
# Fields in which a model talks about its call.
_SAID = frozenset({"thought", "thoughts", "thinking", "reasoning", "rationale", "explanation", "task_progress", "progress"})
_SAID |= {"attempt", "retry", "retry_count"}
# Fields that say how an answer was made.
_MEASURED = frozenset({"duration", "duration_ms", "duration_s", "elapsed", "elapsed_ms", "elapsed_s", "took", "took_ms"})
_MEASURED |= {"latency", "latency_ms", "pid"}

_VARYING = re.compile(
    r"""[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}                          # a uuid
      | \d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?                    # a date and time
      | \b\d{1,2}:\d\d:\d\d(?:[.,]\d+)?\b                                                          # a time of day
      | \b1[4-9]\d{8}(?:\d{3}){0,3}(?:\.\d+)?\b                                                    # seconds … ns since 1970
      | \b(?:0x[0-9a-f]+|(?=[a-f]*\d)(?=\d*[a-f])[0-9a-f]{8,64})\b                                  # an address, a digest
      | \bpid\W{0,3}\d+                                                                              # a process
      | \b\d+(?:\.\d+)?\s?(?:ms|us|µs|ns|milliseconds?|microseconds?)\b                             # a measured time
      | \b\d+\.\d+\s?(?:s|secs?|seconds?)\b
      | \b(?:in|took|elapsed|after)[\s:=]{1,3}\d+(?:\.\d+)?\s?(?:s|secs?|seconds?|m|mins?|minutes?)\b""",
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeat:
    """A run of calls that changed nothing."""

    tools: tuple[str, ...]
    """One cycle, earliest call first."""
    repeats: int
    """How many times it has completed."""
    failed: bool
    """Every call of the cycle failed."""

    @property
    def period(self) -> int:
        """Calls in one cycle."""
        return len(self.tools)


class LoopDetector:
    """Say when a run only repeats itself: *progress-aware periodicity*.

    A call is compared with the calls 1 to `MAX_PERIOD` before it. Two calls are the same when tool, arguments, result,
    failure and `state` are: so a poll whose answer changes, pages, batches and edit-and-test rounds with new errors are
    progress. Cosmetic differences are not: key order, white space, request ids and spoken thoughts in the arguments; times,
    durations, uuids, digests and process ids in the result. In the arguments of calls that *fail* alike those are ignored
    too; in calls that succeed they may be what the call is about (the next record, the next hour), and count.

    Args:
        exempt: tools that poll or wait by declaration. Their calls are never a loop, and one that gives what it gave before
            is not looked at; one that gives something new is progress.

    Cost: 12 comparisons per call, most of them of two names; values are normalised only where a repetition is possible.
    Source: the criteria of stuck detectors in the field, made period-independent; thresholds are requirement RSP-1.

    >>> detector = LoopDetector()
    >>> seen = [detector.observe("search", '{"q": "refund"}', "nothing found") for _ in range(4)]
    >>> [repeat and repeat.repeats for repeat in seen]
    [None, None, None, 4]
    >>> detector.would_repeat("search", '{"q":"refund"}').repeats
    4
    >>> detector.would_repeat("search", '{"q":"order"}') is None
    True
    """

    __slots__ = ("_asked", "_exempt", "_last_answers", "_recent", "_runs")

    def __init__(self, *, exempt: Collection[str] = ()) -> None:
        self._exempt = frozenset(exempt)
        self._recent: deque[_Call] = deque(maxlen=MAX_PERIOD)
        """Newest first."""
        self._runs = [0] * MAX_PERIOD
        """At index k - 1: how many calls in a row were the same as the one k before."""
        self._last_answers: dict[str, _Call] = {}
        """What each exempt tool gave last."""
        self._asked: _Call | None = None
        """The call asked about and not yet observed: its arguments need to be normalised only once."""

    def plainly_differs(self, tool: str, arguments: Any, *, state: str = "") -> bool:
        """Whether it shows at a glance that `would_repeat` gives None: another tool, or a plain argument with another value.

        Args:
            arguments: as they are, not as text; it would cost ten times as much to write them down and read them again.
        """
        if not self._recent:
            return True
        last = self._recent[0]
        if last.tool != tool or last.state != state:
            return True
        # Of what fails more is ignored, and of long text not all is looked at: that takes the whole comparison.
        if last.failed or type(arguments) is not dict or len(last.raw_arguments) > MAX_TEXT:
            return False
        before = last.arguments
        if type(before) is not dict:
            return False
        for name, value in arguments.items():
            if type(name) is str and name not in _LEFT_OUT and type(value) in _PLAIN:
                other = before.get(name, _UNKNOWN)
                if value is not other and _differ(value, other):
                    return _longest(arguments, MAX_NODES) <= MAX_TEXT
        return False

    def would_repeat(self, tool: str, arguments: Any, *, state: str = "") -> Repeat | None:
        """How often this very call has just completed without changing anything; None when the last call was another one.

        The guard asks before it executes: at 2 the coming call is the third (nudge), at 3 the fourth (deny).
        """
        if not self._recent or tool in self._exempt:
            return None
        last = self._recent[0]
        if last.tool != tool or last.state != state:
            return None
        self._asked = asked = _Call(tool, arguments, None, last.failed, state)
        if not last.has_arguments(asked):
            return None
        return Repeat(tools=(tool,), repeats=1 + self._runs[0], failed=last.failed)

    def observe(self, tool: str, arguments: Any, result: Any, failed: bool = False, *, state: str = "") -> Repeat | None:
        """Take note of a completed call; the loop it completes, if it does.

        Args:
            tool: its name.
            arguments: as JSON text, or any JSON value.
            result: what it gave, or the error.
            failed: it failed.
            state: version of the world it acts on, where the caller has one (a commit, a tick): another version is progress.
        """
        call = _Call(tool, arguments, result, failed, state)
        if self._asked is not None:
            call.reuse_arguments(self._asked)
            self._asked = None
        is_exempt = tool in self._exempt
        if is_exempt:
            earlier = self._last_answers.get(tool)
            self._last_answers[tool] = call
            if earlier is not None and earlier.is_same(call):
                return None
        runs, exact = self._runs, call.exact
        found = None
        for index, earlier in enumerate(self._recent):
            if earlier.tool == tool and (earlier.exact == exact or earlier.is_same(call)):
                runs[index] += 1
                if found is None and not is_exempt:
                    found = self._loop(call, index + 1)
            else:
                runs[index] = 0
        self._recent.appendleft(call)
        return found

    def _loop(self, call: "_Call", period: int) -> Repeat | None:
        repeats = 1 + self._runs[period - 1] // period
        if repeats < (STUCK_CYCLES if period > 1 or call.failed else STUCK_CALLS):
            return None
        cycle = [call, *list(self._recent)[: period - 1]]
        return Repeat(
            tools=tuple(step.tool for step in reversed(cycle)), repeats=repeats, failed=all(step.failed for step in cycle)
        )


assert STUCK_CYCLES == STUCK_FAILURES, "LoopDetector._loop uses one number for both"


class _Call:
    """One completed call; its comparable forms are made when first asked for."""

    __slots__ = ("_arguments", "_loose_arguments", "_result", "exact", "failed", "raw_arguments", "raw_result", "state", "tool")

    def __init__(self, tool: str, arguments: Any, result: Any, failed: bool, state: str) -> None:
        self.tool = tool
        self.raw_arguments = _bounded(arguments if isinstance(arguments, str) else _as_text(arguments))
        self.raw_result = _bounded(result if isinstance(result, str) else _as_text(result))
        self.failed = failed
        self.state = state
        self.exact = (tool, failed, state, self.raw_arguments, self.raw_result)
        self._arguments: Any = _UNKNOWN
        self._loose_arguments: Any = _UNKNOWN
        self._result: Any = _UNKNOWN

    def is_same(self, other: "_Call") -> bool:
        if self.failed is not other.failed or self.state != other.state:
            return False
        if not self.has_arguments(other):
            return False
        return self.raw_result == other.raw_result or self.result == other.result

    def has_arguments(self, other: "_Call") -> bool:
        if self.raw_arguments == other.raw_arguments:
            return True
        mine = self._arguments if self._arguments is not _UNKNOWN else self.arguments
        others = other._arguments if other._arguments is not _UNKNOWN else other.arguments
        if mine == others:
            return True
        return self.failed and other.failed and self.loose_arguments == other.loose_arguments

    def reuse_arguments(self, asked: "_Call") -> None:
        """Take over what was worked out for the same arguments when the call was asked about."""
        if asked.raw_arguments == self.raw_arguments:
            self._arguments = asked._arguments
            self._loose_arguments = asked._loose_arguments

    @property
    def arguments(self) -> Any:
        if self._arguments is _UNKNOWN:
            self._arguments = _normal(self.raw_arguments, _ARGUMENTS)
        return self._arguments

    @property
    def loose_arguments(self) -> str:
        if self._loose_arguments is _UNKNOWN:
            self._loose_arguments = _masked(self.arguments)
        return str(self._loose_arguments)

    @property
    def result(self) -> str:
        if self._result is _UNKNOWN:
            self._result = _masked(_normal(self.raw_result, _RESULT))
        return str(self._result)


_UNKNOWN = object()


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    try:
        return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    except (TypeError, ValueError, RecursionError):
        return str(type(value))


def _bounded(text: str) -> str:
    if len(text) <= MAX_TEXT:
        return text
    half = MAX_TEXT // 2
    middle = blake2b(text[half:-half].encode("utf-8", "surrogatepass"), digest_size=8).digest()
    # Written with digits and letters apart, so that no mask takes it for something that varies.
    return f"{text[:half]} {' '.join(map(str, middle))} {text[-half:]}"


def _decoder(dropped: frozenset[str]) -> json.JSONDecoder:
    def without_dropped(fields: dict[str, Any]) -> dict[str, Any]:
        if dropped.isdisjoint(fields):
            return fields
        return {key: value for key, value in fields.items() if key not in dropped}

    return json.JSONDecoder(object_hook=without_dropped)


_LEFT_OUT = _EPHEMERAL | _SAID
_PLAIN = frozenset((str, int, bool))
_WHOLE = 2**64
MAX_NODES = 64
"""Members of arguments that are looked at for a first impression of how long they are."""
_ARGUMENTS = _decoder(_LEFT_OUT)
_RESULT = _decoder(_EPHEMERAL | _MEASURED)


def _normal(text: str, decoder: json.JSONDecoder) -> Any:
    """A value that is equal for texts that differ only in white space, key order or dropped fields."""
    if text[:1] in ("{", "[") and text.count("{") + text.count("[") <= MAX_BRACKETS:
        try:
            # Without looking for white space around it, of which there is none as a rule.
            value, end = decoder.raw_decode(text)
            if end != len(text):
                value = decoder.decode(text)
        except (ValueError, RecursionError):
            return " ".join(text.split())
        # Runs of white space inside texts show in the source as two spaces or as an escape.
        return _collapsed(value) if "  " in text or "\\" in text else value
    return " ".join(text.split())


def _longest(value: Any, nodes: int) -> int:
    """Characters that a value takes as JSON at most; more than any text may have if that cannot be told quickly."""
    kind = type(value)
    if kind is str:
        # Without control characters, only quotes and backslashes are escaped. To look for them pays in long text.
        return 2 + len(value) * (2 if len(value) > MAX_TEXT // 8 and value.isprintable() else 6)
    if value is None or kind is bool or (kind is int and -_WHOLE < value < _WHOLE) or kind is float:
        return 32
    if (kind is not dict and kind is not list) or len(value) > nodes:
        return MAX_TEXT + 1
    longest = 2 + 4 * len(value)
    for member in value:
        longest += _longest(member, nodes // 4)
        if kind is dict:
            longest += _longest(value[member], nodes // 4)
        if longest > MAX_TEXT:
            break
    return longest


def _differ(value: str | int, other: Any) -> bool:
    """Whether a plain value is another one than a normalised one, for certain."""
    if isinstance(value, str) and isinstance(other, str):
        return value != other and " ".join(value.split()) != " ".join(other.split())
    return bool(value != other)


def _collapsed(value: Any) -> Any:
    if isinstance(value, str):
        return " ".join(value.split())
    if isinstance(value, dict):
        return {key: _collapsed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_collapsed(item) for item in value]
    return value


def _masked(value: Any) -> str:
    return _VARYING.sub("…", value if isinstance(value, str) else _as_text(value))
