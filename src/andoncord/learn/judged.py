"""How good the answers of agents are, as far as evaluators and people have said so (DET-13, PRV-5)."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import NamedTuple

import msgspec

from andoncord.detect.judge_error import Corrected, Labels, corrected
from andoncord.detect.quality import REVIEW
from andoncord.detect.sampling import effective, weight_of
from andoncord.telemetry.event import Event, EventKind

PEOPLE = "human_"
"""Beginning of the names under which people speak: what they say is a label, and no sample of the runs. Nor are tasks with
known answers."""


class JudgedQuality(msgspec.Struct, frozen=True, kw_only=True):
    """What one evaluator says of one agent, and what is likely true."""

    agent: str
    evaluator: str
    trusted: bool
    """Sent with a token that is bound to the agent."""
    runs: int
    """Runs with a verdict; each counts once, however late it was judged."""
    worth: float
    """How many equally likely draws they are worth."""
    without_verdict: int
    """Times it was asked and gave none."""
    objective: float | None
    corrected: Corrected
    state: str
    """`met`, `missed`: the whole interval is on that side of the objective. `unknown` otherwise; `no objective` without one."""


class _Said(NamedTuple):
    at_ns: int
    passed: bool
    weight: float


def judged_quality(events: Iterable[Event], objective_of: Callable[[str], float | None]) -> tuple[JudgedQuality, ...]:
    """What scores say, for each agent and evaluator.

    Of several verdicts on one run the newest counts. Without enough labels of people nothing is corrected, and then it says so:
    the judge's own rate is given, and no interval.
    """
    said: dict[tuple[str, str, bool], dict[str, _Said]] = defaultdict(dict)
    people: dict[tuple[str, str, bool], dict[str, bool]] = defaultdict(dict)
    blind: dict[tuple[str, str, bool], int] = defaultdict(int)
    for event in sorted(events, key=lambda each: each.at_ns):
        if event.kind is not EventKind.QUALITY_SCORED or event.attributes.get("probe") is True:
            continue
        run = event.run_id or event.span_id
        if event.name.startswith(REVIEW):
            if event.passed is not None and run:
                people[event.agent, event.name.partition(":")[2], event.trusted][run] = event.passed
            continue
        if event.name.startswith(PEOPLE) or "canary" in event.attributes:
            continue
        key = (event.agent, event.name, event.trusted)
        if "evaluator_failure" in event.attributes:
            blind[key] += 1
        elif event.passed is not None:
            said[key][run or f"#{len(said[key])}"] = _Said(event.at_ns, event.passed, weight_of(event))
    found = []
    for key in sorted({*said, *blind}):
        agent, evaluator, trusted = key
        labels = {**people.get((agent, "", trusted), {}), **people.get((agent, evaluator, trusted), {})}
        found.append(_judged(key, said.get(key, {}), labels, blind.get(key, 0), objective_of(agent)))
    return tuple(found)


def _judged(
    key: tuple[str, str, bool], said: dict[str, _Said], people: dict[str, bool], blind: int, objective: float | None
) -> JudgedQuality:
    weights = [each.weight for each in said.values()]
    passed = sum(each.weight for each in said.values() if each.passed)
    labels = Labels()
    for run, true in people.items():
        if run in said:
            labels = labels.with_one(judged=said[run].passed, true=true)
    worth = effective(weights)
    rate = corrected(passed / sum(weights) if weights else None, worth, labels)
    return JudgedQuality(
        agent=key[0],
        evaluator=key[1],
        trusted=key[2],
        runs=len(said),
        worth=round(worth, 1),
        without_verdict=blind,
        objective=objective,
        corrected=rate,
        state=_state(rate, objective),
    )


def _state(rate: Corrected, objective: float | None) -> str:
    if objective is None:
        return "no objective"
    if rate.low is None or rate.high is None:
        return "unknown"
    return "met" if rate.low >= objective else "missed" if rate.high < objective else "unknown"
