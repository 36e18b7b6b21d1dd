"""The ladder: what each order in force means for one call. Several orders can be in force at once; the strictest decides.

| rung | what it does to the calls in its scope |
|---|---|
| monitor | nothing; heartbeats come more often |
| throttle | they go on at a part of their usual rate: a call waits for its turn |
| restrict | only tools that are declared to read, or that the order names, are called |
| quarantine | messages to and from others wait, in order; everything else goes on |
| pause | they wait |
| kill | they are refused, and where the scope is a run or the agent, that is over |
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from fnmatch import translate
from typing import Any

ORDERS_MAX = 64
"""Orders that can be in force for one agent at once."""
ALLOWED_MAX = 256
"""Tools that one order can name."""
TEXT_MAX = 1_024
REMEMBERED_MAX = 1_024
"""Names of tools for which the orders that concern them are kept at hand."""
FEWEST_PER_S, NS = 1e-6, 1_000_000_000
USUAL_UNKNOWN_PER_S = 1.0
"""Taken for the usual rate where too few calls were seen to know it: chosen, decision 0011."""
USUAL_CALLS_MIN = 5
USUAL_WINDOW_NS = 600 * NS


class Rung(IntEnum):
    """The containment ladder, mildest first."""

    NONE = 0
    MONITOR = 1
    THROTTLE = 2
    RESTRICT = 3
    QUARANTINE = 4
    PAUSE = 5
    KILL = 6

    @classmethod
    def parse(cls, word: object) -> "Rung":
        """The rung a word names.

        >>> Rung.parse("pause") is Rung.PAUSE
        True
        """
        if isinstance(word, str) and word.upper() in cls.__members__:
            return cls[word.upper()]
        raise ValueError(f"unknown rung {word!r}, expected one of {', '.join(rung.word for rung in cls)}")

    @property
    def word(self) -> str:
        return self.name.lower()


BREAKER_ORDERS = ("", "open", "closed")
INSTEAD = ("", "hand-over", "hold")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One order in force, as far as it concerns this agent.

    Attributes:
        id: names the order.
        tool: a glob over the names of tools and models; `*` for every call.
        run: the only run it is about, or "".
        rate: for throttle: the share of the usual rate that goes on.
        allow: for restrict: globs over the tools that may be called; empty for those declared to read.
        breaker: holds the breaker of the calls open, or closed; "" leaves it alone.
        instead: what becomes of the calls: a person does them, or side effects are held; "" for nothing of that.
    """

    rung: Rung
    id: str = ""
    tool: str = "*"
    run: str = ""
    rate: float = 1.0
    allow: tuple[str, ...] = ()
    reason: str = ""
    by: str = ""
    breaker: str = ""
    instead: str = ""

    def concerns(self, tool: str) -> bool:
        """Whether it is about calls of a tool, in every run."""
        return not self.run and matcher(self.tool)(tool)

    @property
    def is_whole(self) -> bool:
        """Whether it is about every call of the agent."""
        return self.tool == "*" and not self.run

    @property
    def why(self) -> str:
        return self.reason or "no reason given"

    @classmethod
    def parse(cls, content: Any) -> "Measure":
        """One order as it comes over the wire.

        Raises:
            ValueError: it is not one that this version can follow.

        >>> Measure.parse({"id": "o1", "rung": "kill", "scope": {"tool": "payments.*"}, "reason": "fraud"}).tool
        'payments.*'
        """
        if not isinstance(content, Mapping):
            raise ValueError(f"an order is an object, got {content!r}")
        scope = content.get("scope") or {}
        allow = content.get("allow") or ()
        rate, breaker = content.get("rate", 1.0), content.get("breaker") or ""
        if not isinstance(scope, Mapping) or not isinstance(allow, list | tuple) or len(allow) > ALLOWED_MAX:
            raise ValueError("its scope is an object, and it names the tools that it allows in a list")
        instead = content.get("instead") or ""
        if instead not in INSTEAD:
            raise ValueError(f'instead is "hand-over" or "hold", got {instead!r}')
        if breaker not in BREAKER_ORDERS:
            raise ValueError(f'breaker is "open" or "closed", got {breaker!r}')
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not FEWEST_PER_S <= rate <= 1:
            raise ValueError(f"rate is a share of the usual rate, got {rate!r}")
        return cls(
            rung=Rung.parse(content["rung"]),
            id=_text(content.get("id")),
            tool=_text(scope.get("tool")) or "*",
            run=_text(scope.get("run")),
            rate=float(rate),
            allow=tuple(_text(each) for each in allow),
            reason=_text(content.get("reason")),
            by=_text(content.get("by")),
            breaker=breaker,
            instead=instead,
        )


class Measures:
    """Every order in force that has a say about calls, ready to be asked.

    Cost: one look-up for a tool that was asked about before; the orders are gone through once for each tool.

    >>> measures = Measures([Measure(rung=Rung.RESTRICT), Measure(rung=Rung.KILL, tool="pay.*")])
    >>> [measure.rung.word for measure in measures.of("pay.refund", "run-1")], len(measures.of("search", "run-1"))
    (['kill', 'restrict'], 1)
    """

    def __init__(self, measures: Sequence[Measure]) -> None:
        self.all = tuple(sorted(measures, key=lambda measure: -measure.rung))
        self._matches = [matcher(measure.tool) for measure in self.all]
        self._of: dict[tuple[str, str], tuple[Measure, ...]] = {}
        self.divert = any(measure.instead for measure in self.all)
        """Whether one of them says that a person gets calls."""
        self._is_about_runs = any(measure.run for measure in self.all)

    def of(self, name: str, run_id: str) -> tuple[Measure, ...]:
        """The orders that concern a call, the strictest first."""
        key = (name, run_id if self._is_about_runs else "")
        found = self._of.get(key)
        if found is None:
            found = tuple(
                measure
                for measure, matches in zip(self.all, self._matches, strict=True)
                if measure.run in ("", run_id) and matches(name)
            )
            if len(self._of) >= REMEMBERED_MAX:
                self._of.clear()
            self._of[key] = found
        return found


@dataclass(slots=True)
class Throttle:
    """A token bucket that holds one token: calls take their turns at a fixed rate. Not for several threads.

    The time comes in with every call, so the same calls at the same times get the same turns.

    >>> throttle = Throttle(per_s=0.5)
    >>> [throttle.take(second * NS) / NS for second in (10, 10, 11, 30)]
    [10.0, 12.0, 14.0, 30.0]
    """

    per_s: float
    is_usual_known: bool = True
    _next_ns: int = 0

    def next_ns(self, now_ns: int) -> int:
        """When a call that asks now would have its turn."""
        return max(now_ns, self._next_ns)

    def take(self, now_ns: int) -> int:
        """Take the next turn; when it is."""
        turn_ns = self.next_ns(now_ns)
        self._next_ns = turn_ns + int(NS / self.per_s)
        return turn_ns


def throttle_for(measure: Measure, recent: Collection[tuple[str, str, str, int]], now_ns: int) -> Throttle:
    """The bucket for an order: its share of the rate at which the calls in its scope came before it.

    Args:
        recent: tool, run, span and start of the latest calls, wall-clock nanoseconds.
        now_ns: wall-clock time.

    >>> calls = [("pay", "r", "s", second * NS) for second in range(10)]
    >>> throttle_for(Measure(rung=Rung.THROTTLE, rate=0.1), calls, 10 * NS).per_s
    0.1
    """
    matches = matcher(measure.tool)
    starts = [
        start
        for name, run, _, start in list(recent)
        if now_ns - start < USUAL_WINDOW_NS and measure.run in ("", run) and matches(name)
    ]
    is_known = len(starts) >= USUAL_CALLS_MIN and now_ns > min(starts)
    usual_per_s = len(starts) * NS / (now_ns - min(starts)) if is_known else USUAL_UNKNOWN_PER_S
    return Throttle(per_s=max(FEWEST_PER_S, usual_per_s * measure.rate), is_usual_known=is_known)


def matcher(pattern: str) -> Callable[[str], bool]:
    """Whether a name matches a glob, case told apart.

    >>> matcher("pay.*")("pay.refund"), matcher("pay")("payments")
    (True, False)
    """
    if pattern == "*":
        return lambda text: True
    if not any(character in pattern for character in "*?["):
        return pattern.__eq__
    match = re.compile(translate(pattern)).match
    return lambda text: match(text) is not None


def _text(value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > TEXT_MAX * 4:
        raise ValueError(f"expected text, got {str(value)[:80]!r}")
    return value
