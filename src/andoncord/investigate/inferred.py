"""Changes that nobody announced, inferred from what was seen (SIG-5): never certain, and each says how it was inferred.

A provider replaces a model behind its name; a service answers in another shape. What gives it away: another fingerprint on
responses, fields of a tool's results that begin or cease, answers that are longer or slower from one run on.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from math import comb, exp, log, sqrt
from typing import Any

import msgspec

from andoncord.investigate.casefile import ChangeSeen
from andoncord.kernel.text import visible
from andoncord.telemetry.event import Event, EventKind

MIN_STEADY = 5
"""Sightings on either side of a change. Chosen, as for versions that runs name."""
BY_CHANCE = 1e-3
"""How likely chance alone may make as much of a difference, over everything that is looked at in one tool. Chosen."""
SHIFT_BY_CHANCE = 1e-4
"""The same for lengths and times, whose values depend on each other in ways that nothing here takes off. Chosen."""
MIN_RUNS = 20
"""Runs with a value on either side of a shift."""
MIN_SHIFT = log(1.25)
"""A shift of less is none that anybody would look for: a quarter. Chosen."""
NAMED, SILENT, ALONE = 0.95, 0.7, 0.5
"""How sure: runs name another version; the record shows another fingerprint or shape; only lengths or times moved. Source: the
caps of model updates that are logged and of silent ones in simulations of known causes; the last one chosen."""
MAX_DEPTH = 3
MAX_PATHS = 200
MAX_RESULT = 16_384
"""Characters of a result that are read as JSON."""
MAX_RESULTS = 400
"""Of one tool, the latest ones."""
MAX_TOLD = 4

_MODELS = (EventKind.MODEL_COMPLETED,)
_decode = msgspec.json.Decoder().decode


def inferred(events: Iterable[Event], agent: str) -> list[ChangeSeen]:
    """What about an agent's models and tools seems to have changed without a word, oldest first.

    Args:
        events: in the order of time.
        agent: whose; probes are left out, as they are no work of its own.

    Cost: O(events), and O(fields) of each result that is JSON.
    """
    own = [event for event in events if event.agent == agent and event.attributes.get("probe") is not True]
    found = [*_fingerprints(own, agent), *_shapes(own, agent), *_shifts(own, agent)]
    return sorted(found, key=lambda change: change.at_ns)


def _fingerprints(events: Sequence[Event], agent: str) -> Iterator[ChangeSeen]:
    """A fingerprint that takes the place of another for good; providers that rotate several go back and forth."""
    by_model: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        if event.kind in _MODELS and event.attributes.get("system_fingerprint"):
            by_model[event.name].append(event)
    for model, seen in by_model.items():
        prints = [str(event.attributes["system_fingerprint"]) for event in seen]
        last = len(prints) - 1
        for place in range(MIN_STEADY, last - MIN_STEADY + 2):
            before, after = prints[place - 1], prints[place]
            is_new, is_gone = after not in prints[:place], before not in prints[place:]
            steady = all(one == before for one in prints[place - MIN_STEADY : place])
            stays = all(one == after for one in prints[place : place + MIN_STEADY])
            if is_new and is_gone and steady and stays:
                yield _change(
                    "model",
                    agent,
                    f"{model} {before}",
                    f"{model} {after}",
                    seen[place],
                    how="response fingerprint",
                    sure=SILENT,
                )


def _shapes(events: Sequence[Event], agent: str) -> Iterator[ChangeSeen]:
    """Fields of a tool's results that were always there and ceased, or never were and are always there from one call on."""
    by_tool: dict[str, list[tuple[Event, frozenset[str]]]] = defaultdict(list)
    for event in events:
        if event.kind is EventKind.TOOL_COMPLETED and event.result:
            shape = _shape_of(event.result)
            if shape is not None:
                by_tool[event.name].append((event, shape))
    for tool, every in by_tool.items():
        seen = every[-MAX_RESULTS:]
        moved: dict[int, tuple[list[str], list[str]]] = defaultdict(lambda: ([], []))
        paths = sorted(frozenset().union(*(shape for _, shape in seen)))
        for path in paths[:MAX_PATHS]:
            has = [path in shape for _, shape in seen]
            place, began = _step_of(has)
            if place is not None and 2.0 * len(paths) * _chance_of(has, place) < BY_CHANCE:
                moved[place][not began].append(path)
        for place, (new, gone) in sorted(moved.items()):
            before, after = f"{tool} with {_told(gone)}", f"{tool} with {_told(new)}"
            yield _change("tool", agent, before, after, seen[place][0], how="shape of its results", sure=SILENT)


def _step_of(has: Sequence[bool]) -> tuple[int | None, bool]:
    """Where something begins or ceases for good, and which; None where it does neither."""
    for began in (True, False):
        # It begins at its first sighting, and ceases after its last.
        places = [place for place, here in enumerate(has) if here]
        if not places:
            return None, began
        place = places[0] if began else places[-1] + 1
        if MIN_STEADY <= place <= len(has) - MIN_STEADY:
            return place, began
    return None, True


def _chance_of(has: Sequence[bool], place: int) -> float:
    """How likely all that have it would stand on one side, so many or fewer, if their order were chance."""
    side = len(has) - place if has[place] else place
    return comb(side, sum(has)) / comb(len(has), sum(has))


def _shifts(events: Sequence[Event], agent: str) -> Iterator[ChangeSeen]:
    """Answers that are longer or slower from one run on, or the opposite. One value a run: its calls depend on each other."""
    by_model: dict[str, dict[str, list[Event]]] = defaultdict(lambda: defaultdict(list))
    for event in events:
        if event.kind in _MODELS and event.output_tokens > 0:
            by_model[event.name][event.run_id or event.span_id].append(event)
    for model, runs in by_model.items():
        order = sorted(runs.values(), key=lambda calls: calls[0].at_ns)
        for what, values in (
            ("tokens of an answer", [_mean(log(call.output_tokens) for call in calls) for calls in order]),
            ("ms of a token", [_mean(log(_pace(call)) for call in calls) for calls in order]),
        ):
            place, chance = shift_of(values)
            if place is None or chance >= SHIFT_BY_CHANCE:
                continue
            before, after = _median(values[:place]), _median(values[place:])
            if abs(after - before) >= MIN_SHIFT:
                was, now = f"{model}: {exp(before):.3g} {what}", f"{model}: {exp(after):.3g} {what}"
                yield _change("model", agent, was, now, order[place][0], how="length and time of its answers", sure=ALONE)


def shift_of(values: Sequence[float]) -> tuple[int | None, float]:
    """Where the level of a series most likely changed, and how likely chance alone shows as much; None in a short series.

    The largest excursion of the sum of centred ranks, held against a Brownian bridge.

    Source: Pettitt, "A non-parametric approach to the change-point problem", Applied Statistics 28 (1979).

    >>> shift_of([0.0] * 30 + [5.0] * 30)[0]
    30
    >>> shift_of([1.0, 2.0])[0]
    """
    count = len(values)
    if count < 2 * MIN_RUNS:
        return None, 1.0
    ranks = _ranks(values)
    total, best, place = 0.0, 0.0, 0
    for number, rank in enumerate(ranks, 1):
        total += rank - (count + 1) / 2.0
        if abs(total) > best and MIN_RUNS <= number <= count - MIN_RUNS:
            best, place = abs(total), number
    if not place:
        return None, 1.0
    height = best / sqrt(count * (count + 1) * (count - 1) / 12.0) * sqrt((count - 1) / count)
    return place, min(1.0, 2.0 * exp(-2.0 * height * height))


def _shape_of(result: str) -> frozenset[str] | None:
    """The paths of a result that is JSON, with the kind of what stands there; None where it is not."""
    if len(result) > MAX_RESULT or not result.lstrip().startswith(("{", "[")):
        return None
    try:
        value = _decode(result.encode("utf-8", "replace"))
    except (msgspec.DecodeError, RecursionError):
        return None
    return frozenset(_paths(value, "", 0))


def _paths(value: Any, path: str, depth: int) -> Iterator[str]:
    if depth >= MAX_DEPTH:
        return
    if isinstance(value, dict):
        for name, inner in list(value.items())[:MAX_PATHS]:
            here = f"{path}.{name}" if path else str(name)
            # Nothing is of any kind: it may be left empty.
            if inner is not None:
                yield f"{here} ({_kind(inner)})"
            yield from _paths(inner, here, depth + 1)
    elif isinstance(value, list) and value:
        yield from _paths(value[0], f"{path}[]", depth + 1)


def _kind(value: Any) -> str:
    for kind, word in ((bool, "yes or no"), (int | float, "number"), (str, "text"), (list, "list")):
        if isinstance(value, kind):
            return word
    return "object"


def _told(paths: Sequence[str]) -> str:
    if not paths:
        return "nothing more"
    more = f" and {len(paths) - MAX_TOLD} more" if len(paths) > MAX_TOLD else ""
    return visible(", ".join(sorted(paths)[:MAX_TOLD]), 120) + more


def _change(kind: str, agent: str, before: str, after: str, event: Event, *, how: str, sure: float) -> ChangeSeen:
    return ChangeSeen(
        kind=kind,
        agent=agent,
        before=before,
        after=after,
        at_ns=event.start_ns or event.at_ns,
        span_id=event.span_id,
        announced=False,
        how=how,
        confidence=sure,
    )


def _pace(call: Event) -> float:
    """Milliseconds a token of the answer took."""
    return max(1.0, (call.end_ns - call.start_ns) / 1e6) / call.output_tokens


def _mean(values: Iterable[float]) -> float:
    every = list(values)
    return sum(every) / len(every)


def _median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]


def _ranks(values: Sequence[float]) -> list[float]:
    """Ranks from 1; equal values share the mean of theirs."""
    order = sorted(range(len(values)), key=values.__getitem__)
    ranks = [0.0] * len(values)
    start = 0
    while start < len(order):
        end = start
        while end + 1 < len(order) and values[order[end + 1]] == values[order[start]]:
            end += 1
        for place in order[start : end + 1]:
            ranks[place] = (start + end) / 2.0 + 1.0
        start = end + 1
    return ranks
