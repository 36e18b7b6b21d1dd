"""What every detector must do, whoever wrote it: the conformance suite (public).

A new detector passes when `check_detector(lambda limit: MyDetector(…))` returns; an `AssertionError` carries the sentence that
does not hold.
"""

import gc
import sys
from collections.abc import Callable, Iterable, Sequence
from types import FunctionType, ModuleType
from typing import Any

import msgspec

from andoncord.detect.declared import Declared, Objective
from andoncord.detect.detector import MAX_GROUPS, Detector, Hit
from andoncord.detect.facts import Facts
from andoncord.kernel.time import SECOND_NS
from andoncord.telemetry.event import Event, EventKind
from andoncord_sdk.values import ExpressionError

Make = Callable[[int], Detector]
START_NS = 1_767_225_600 * SECOND_NS
DECLARED = Declared(
    agent="*",
    tools={"allowed": "read"},
    objective=Objective(quality=0.9, runs_per_week=100),
    budget_micro_usd=1_000,
)
"""Declares everything that detectors look at."""

GARBAGE_TEXTS = ("", "\x00", "{", '{"a":' * 64, "[" * 4_000, "\ud83d", "x" * 40_000, "\u202e\x1b[2J", '{"a": 1e999}', "null")
GARBAGE_TIMES = (0, 1, 2**63 - 1)
FEW_GROUPS = 100
"""Bound given to a detector whose memory is checked."""
WAVE = 4_000
MAX_GROWTH = 1.2
"""How much larger the state may be after twice as many groups as may be remembered."""


def check_detector(make: Make) -> None:
    """Check everything below.

    Args:
        make: gives a fresh detector each time, one that remembers at most as many groups as it is told.
    """
    check_replay(make, ordinary_events(400))
    check_garbage(make)
    check_kinds(make)
    check_no_io(make)
    check_bounded(make)
    check_late(make)


def check_replay(make: Make, events: Sequence[Event]) -> None:
    """Showing the same events again to a fresh detector gives the same findings."""
    first, second = run(make(MAX_GROUPS), events), run(make(MAX_GROUPS), events)
    assert first == second, "replaying the same events gave other findings"


def check_garbage(make: Make) -> None:
    """No content of an event makes a detector raise, and what it finds has a score between 0 and 1."""
    for hit in run(make(MAX_GROUPS), garbage_events()):
        assert 0.0 <= hit.score <= 1.0, f"score {hit.score} is outside 0…1"


def check_kinds(make: Make) -> None:
    """A detector names the kinds it wants, and is silent about all others."""
    detector = make(MAX_GROUPS)
    assert detector.kinds, "the detector wants no kind of event"
    others = [event for event in ordinary_events(200) if event.kind not in detector.kinds]
    assert not [hit for event in others for hit in _show(detector, event)], "found something in kinds it does not want"


def check_no_io(make: Make) -> None:
    """A detector opens no file, socket or process."""
    with _Watched() as watched:
        run(make(MAX_GROUPS), ordinary_events(200))
    assert not watched.seen, f"the detector did I/O: {watched.seen[:3]}"


def check_bounded(make: Make) -> None:
    """However many agents, runs and spans appear, a detector's memory stops growing."""
    detector = make(FEW_GROUPS)
    sizes = []
    for wave in range(2):
        for number in range(wave * WAVE, (wave + 1) * WAVE):
            _show(detector, _strange(number, detector.kinds))
        sizes.append(reachable(detector))
    assert sizes[1] <= sizes[0] * MAX_GROWTH, f"the state grew from {sizes[0]} to {sizes[1]} objects"


def check_late(make: Make) -> None:
    """Events that arrive late, as from several processes, neither break a detector nor make it end what did not begin."""
    placed = [(place + (9 if place % 5 == 0 else 0), event) for place, event in enumerate(ordinary_events(400))]
    for hit in run(make(MAX_GROUPS), [event for _, event in sorted(placed, key=lambda pair: pair[0])]):
        assert hit.onset_ns <= max(hit.at_ns, hit.event.at_ns), f"found at {hit.at_ns} what began at {hit.onset_ns}"


def bytes_per_agent(make: Make, *, agents: int = 200, runs: int = 60) -> int:
    """Bytes of a detector's state for each agent, once it has seen `runs` runs of each.

    Of detectors that remember runs and not agents this is more than an agent costs in a fleet: they remember so many runs, and
    then forget the oldest, however many agents there are.
    """
    detector = make(MAX_GROUPS)
    before = _bytes(detector)
    for number in range(runs):
        for agent in range(agents):
            for event in _a_run(agent, number):
                if event.kind in detector.kinds:
                    _show(detector, event)
    return max(0, _bytes(detector) - before) // agents


def run(detector: Detector, events: Iterable[Event]) -> list[Hit]:
    """Show events, with a tick after each, and a last one a day later."""
    hits: list[Hit] = []
    newest_ns = START_NS
    for event in events:
        if event.kind in detector.kinds:
            hits += _show(detector, event)
        newest_ns = max(newest_ns, event.at_ns) if event.at_ns < 2**62 else newest_ns
        hits += detector.tick(newest_ns)
    hits += detector.tick(newest_ns + 86_400 * SECOND_NS)
    hits += detector.tick(newest_ns + 86_401 * SECOND_NS)
    return hits


def _show(detector: Detector, event: Event) -> list[Hit]:
    try:
        return list(detector.observe(event, Facts(event, DECLARED)))
    except ExpressionError:
        # A condition that does not fit the event: the bank notes it and goes on.
        return []


def ordinary_events(count: int) -> tuple[Event, ...]:
    """A mixed stream of a few agents that do a bit of everything, the same on every call."""
    kinds = tuple(EventKind)
    return tuple(
        Event(
            kind=kinds[(number + number // len(kinds)) % len(kinds)],
            trace_id=f"trace-{number % 5}",
            span_id=f"span-{number}",
            run_id=f"run-{number % 5}",
            agent=f"agent-{number % 3}",
            instance=f"instance-{number % 3}",
            name="allowed" if number % 4 else "forbidden",
            task=f"task {number % 2}",
            start_ns=START_NS + number * SECOND_NS,
            end_ns=START_NS + number * SECOND_NS + 1,
            ok=bool(number % 3),
            error_type="" if number % 3 else "broken",
            arguments='{"order": 7}',
            result="forbidden" if number % 2 else "nothing new",
            input_tokens=number % 100,
            cost_micro_usd=number % 50,
            score=0.5,
            passed=bool(number % 2),
            trusted=bool(number % 2),
            attributes={"code": ("scope", "loop", "policy", "budget")[number % 4], "runs_active": number % 2, "in_flight": 1},
        )
        for number in range(count)
    )


def garbage_events() -> tuple[Event, ...]:
    """Every kind of event with nonsense in every field."""
    return tuple(
        msgspec.structs.replace(
            ordinary_events(1)[0],
            kind=kind,
            run_id=text[:64],
            name=text[:64],
            span_id=text[:64],
            arguments=text,
            result=text,
            instructions=text,
            input_text=text,
            task=text[:64],
            error_type=text[:64],
            start_ns=at_ns,
            end_ns=at_ns,
            received_ns=at_ns,
            cost_micro_usd=at_ns,
            input_tokens=at_ns,
            passed=None,
            attributes={"code": text[:64], "in_flight": text[:64], "runs_active": -1, "message": text[:64]},
        )
        for kind in EventKind
        for text in GARBAGE_TEXTS
        for at_ns in GARBAGE_TIMES
    )


def reachable(detector: object) -> int:
    """How many objects hang on a detector, code and types left out."""
    seen = {id(detector)}
    waiting = [detector]
    while waiting:
        for item in gc.get_referents(waiting.pop()):
            if id(item) not in seen and not isinstance(item, type | ModuleType | FunctionType):
                seen.add(id(item))
                waiting.append(item)
    return len(seen)


def _bytes(detector: object) -> int:
    """Bytes of everything that hangs on a detector, code and types left out."""
    seen = {id(detector)}
    waiting: list[object] = [detector]
    total = 0
    while waiting:
        item = waiting.pop()
        total += sys.getsizeof(item)
        for other in gc.get_referents(item):
            if id(other) not in seen and not isinstance(other, type | ModuleType | FunctionType):
                seen.add(id(other))
                waiting.append(other)
    return total


def _a_run(agent: int, number: int) -> Iterable[Event]:
    """A model call, two tool calls, a score and the end, twenty minutes after the run before."""
    kinds = (
        EventKind.MODEL_COMPLETED,
        EventKind.TOOL_COMPLETED,
        EventKind.TOOL_FAILED,
        EventKind.QUALITY_SCORED,
        EventKind.RUN_ENDED,
    )
    for step, kind in enumerate(kinds):
        at_ns = START_NS + number * 1_200 * SECOND_NS + step * SECOND_NS + agent
        yield msgspec.structs.replace(
            ordinary_events(1)[0],
            kind=kind,
            agent=f"agent-{agent}",
            run_id=f"run-{agent}-{number}",
            span_id=f"span-{agent}-{number}-{step}",
            trace_id=f"trace-{agent}-{number}",
            task=f"task {number}",
            name=f"tool-{(agent + number) % 5}",
            start_ns=at_ns,
            end_ns=at_ns,
            cost_micro_usd=1_000 + number,
            input_tokens=1_000 + number,
            arguments=f'{{"order": {number}}}',
            passed=number % 9 > 0,
        )


def _strange(number: int, kinds: frozenset[EventKind]) -> Event:
    wanted = sorted(kinds)
    return msgspec.structs.replace(
        ordinary_events(1)[0],
        kind=wanted[number % len(wanted)],
        agent=f"agent-{number}",
        instance=f"instance-{number}",
        run_id=f"run-{number}",
        session_id=f"session-{number}",
        task=f"task-{number}",
        span_id=f"span-{number}",
        name=f"tool-{number}",
        start_ns=START_NS + number,
        end_ns=START_NS + number,
        attributes={"code": ("scope", "loop", "policy", "budget")[number % 4], "runs_active": 1, "in_flight": 1},
    )


class _Watched:
    """Notes files, sockets and processes opened while it is entered. The hook itself stays installed, asleep."""

    _current: "_Watched | None" = None
    _installed = False
    _PREFIXES = ("open", "os.", "socket.", "subprocess.", "sqlite3.", "shutil.", "ctypes.")

    def __init__(self) -> None:
        self.seen: list[str] = []

    def __enter__(self) -> "_Watched":
        if not _Watched._installed:
            sys.addaudithook(_Watched._note)
            _Watched._installed = True
        _Watched._current = self
        return self

    def __exit__(self, *_: object) -> None:
        _Watched._current = None

    @staticmethod
    def _note(event: str, arguments: tuple[Any, ...]) -> None:
        watching = _Watched._current
        if watching is not None and event.startswith(_Watched._PREFIXES):
            watching.seen.append(event)
