"""What changed, and whether outcomes changed with it (INV-4).

Outcomes are one per run: its quality score, or else whether it ended well. Two versions are compared by Fisher's exact
test, which needs no assumption about sample sizes. A difference alone says "consistent with"; it becomes a cause only
where both versions worked at the same time, or where going back brought the old outcomes back: then time itself is no
longer the difference between them.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence
from math import comb

import msgspec

from andoncord.investigate.casefile import ChangeSeen
from andoncord.investigate.inferred import NAMED, inferred
from andoncord.investigate.steps import MODEL_KINDS, in_order
from andoncord.kernel.time import DAY_NS
from andoncord.telemetry.event import Event, EventKind

LOOK_BACK_NS = DAY_NS
"""How long before the first finding a change may lie (INV-1)."""
MAX_OUTCOMES = 2_000
"""Per agent, the latest ones; the exact test grows with them."""
MIN_OVERLAP = 3
"""Outcomes of each version inside their common time, from which it counts as overlap. Chosen."""
MIN_STEADY = 5
"""Sightings of an old value before a new one counts as a change nobody announced. Chosen."""
SIGNIFICANT = 0.05
_VERSION_KINDS = {
    "prompt_version": "prompt",
    "config_version": "config",
    "tool_version": "tool",
    "model_version": "model",
    "agent_version": "deployment",
}


class RunOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """How one run came out."""

    at_ns: int
    agent: str
    run_id: str
    passed: bool
    span_id: str
    versions: dict[str, str]
    """Version per kind, as the run's own events name it."""


def worse_by_chance(passed_before: int, judged_before: int, passed_after: int, judged_after: int) -> float:
    """One-sided Fisher exact test: the chance of at least so many failures after, if nothing had changed.

    >>> round(worse_by_chance(19, 20, 9, 20), 5)
    0.00062
    >>> worse_by_chance(10, 10, 10, 10)
    1.0
    """
    failed_after = judged_after - passed_after
    failed = failed_after + judged_before - passed_before
    total = judged_before + judged_after
    ways = sum(
        comb(failed, count) * comb(total - failed, judged_after - count)
        for count in range(failed_after, min(failed, judged_after) + 1)
    )
    return ways / comb(total, judged_after)


def outcomes_of(events: Iterable[Event]) -> dict[str, list[RunOutcome]]:
    """Outcomes per agent, oldest first, without probes: those are ours, not the users'. A score beats how a run ended.

    An outcome has the time of its run: a score that comes days later speaks of the versions that were at work then.
    """
    versions: dict[str, dict[str, str]] = defaultdict(dict)
    chosen: dict[tuple[str, str], RunOutcome] = {}
    over: dict[tuple[str, str], int] = {}
    for event in in_order(events):
        run = event.run_id or event.trace_id
        for attribute, kind in _VERSION_KINDS.items():
            if event.attributes.get(attribute):
                versions[run][kind] = str(event.attributes[attribute])
        if event.kind in MODEL_KINDS and event.name:
            versions[run].setdefault("model", event.name)
        if event.attributes.get("probe") or not run:
            continue
        if event.kind in (EventKind.RUN_ENDED, EventKind.AGENT_INVOKED):
            over.setdefault((event.agent, run), event.at_ns)
        scored = event.kind is EventKind.QUALITY_SCORED and event.passed is not None
        if not scored and event.kind is not EventKind.RUN_ENDED:
            continue
        if event.kind is EventKind.RUN_ENDED and (event.agent, run) in chosen:
            continue
        chosen[event.agent, run] = RunOutcome(
            at_ns=over.get((event.agent, run), event.at_ns),
            agent=event.agent,
            run_id=run,
            passed=bool(event.passed) if scored else event.ok,
            span_id=event.span_id,
            versions=versions[run],
        )
    by_agent: dict[str, list[RunOutcome]] = defaultdict(list)
    for outcome in sorted(chosen.values(), key=lambda each: each.at_ns):
        by_agent[outcome.agent].append(outcome)
    return {agent: outcomes[-MAX_OUTCOMES:] for agent, outcomes in by_agent.items()}


def changes(events: Sequence[Event], *, agents: Iterable[str], first_ns: int, now_ns: int) -> tuple[ChangeSeen, ...]:
    """The changes of `agents` from `LOOK_BACK_NS` before the first finding to now, oldest first, with the outcomes on
    both sides.

    Args:
        first_ns: when the first finding was complete; a change after it explains nothing and is left out.
    """
    outcomes = outcomes_of(events)
    seen: list[ChangeSeen] = []
    for agent in dict.fromkeys(agents):
        raw = [*_announced(events, agent), *_unannounced(events, agent), *inferred(in_order(events), agent)]
        raw.sort(key=lambda change: (change.at_ns, not change.announced))
        announced = {change.after for change in raw if change.announced}
        kept: list[ChangeSeen] = []
        for change in raw:
            in_time = first_ns - LOOK_BACK_NS <= change.at_ns <= min(first_ns, now_ns)
            # A version that an announced change brought is not a second, silent change, even where a run that was under way
            # names it before the announcement.
            known = change.after in announced or any(
                other.after == change.after and other.kind == change.kind for other in kept
            )
            if in_time and not (known and not change.announced):
                kept.append(change)
        times = [change.at_ns for change in raw if change.announced]
        seen.extend(_compared(change, outcomes.get(agent, []), times) for change in kept)
    return tuple(sorted(seen, key=lambda change: change.at_ns))


def _announced(events: Iterable[Event], agent: str) -> list[ChangeSeen]:
    return [
        ChangeSeen(
            kind=event.name or "config",
            agent=agent,
            before=str(event.attributes.get("from", "")),
            after=str(event.attributes.get("to", "")),
            at_ns=event.at_ns,
            span_id=event.span_id,
        )
        for event in events
        if event.kind is EventKind.CHANGE_MADE and event.agent == agent
    ]


def _unannounced(events: Iterable[Event], agent: str) -> list[ChangeSeen]:
    """Versions and models that turn up on runs after others were steady, without a word."""
    counts: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    found: list[ChangeSeen] = []
    for event in in_order(event for event in events if event.agent == agent and not event.attributes.get("probe")):
        values = [(kind, str(event.attributes.get(attribute, ""))) for attribute, kind in _VERSION_KINDS.items()]
        if event.kind in MODEL_KINDS:
            values.append(("model", event.name))
        for kind, value in values:
            if not value:
                continue
            # Tools have versions of their own.
            seen = counts[f"tool {event.name}" if kind == "tool" else kind]
            if value not in seen and seen:
                before = max(seen, key=lambda each: seen[each])
                if seen[before] >= MIN_STEADY:
                    found.append(
                        ChangeSeen(
                            kind=kind,
                            agent=agent,
                            before=before,
                            after=value,
                            at_ns=event.start_ns or event.at_ns,
                            span_id=event.span_id,
                            announced=False,
                            how="versions that runs name",
                            confidence=NAMED,
                        )
                    )
            seen[value] += 1
    return found


def _compared(change: ChangeSeen, outcomes: Sequence[RunOutcome], times: Sequence[int]) -> ChangeSeen:
    """`change` with the outcomes on both sides of it."""
    before, after = _sides(change, outcomes, times)
    passed_before, passed_after = (sum(outcome.passed for outcome in side) for side in (before, after))
    p_value = worse_by_chance(passed_before, len(before), passed_after, len(after)) if before and after else None
    return msgspec.structs.replace(
        change,
        passed_before=passed_before,
        judged_before=len(before),
        passed_after=passed_after,
        judged_after=len(after),
        p_value=p_value,
        overlap=_overlap(before, after) or _taken_back(before, after),
        failing_spans=tuple(outcome.span_id for outcome in after if not outcome.passed and outcome.span_id)[:5],
    )


def _sides(
    change: ChangeSeen, outcomes: Sequence[RunOutcome], times: Sequence[int]
) -> tuple[list[RunOutcome], list[RunOutcome]]:
    """Outcomes under the old and under the new version: by the versions that runs name where they do, else by time."""
    for kind in (change.kind, "config"):
        old = [outcome for outcome in outcomes if outcome.versions.get(kind) == change.before]
        new = [outcome for outcome in outcomes if outcome.versions.get(kind) == change.after]
        if change.before and change.after and old and new:
            return old, new
    previous = max((at for at in times if at < change.at_ns), default=0)
    following = min((at for at in times if at > change.at_ns), default=None)
    start = bisect_left(outcomes, previous, key=lambda outcome: outcome.at_ns)
    middle = bisect_left(outcomes, change.at_ns, key=lambda outcome: outcome.at_ns)
    end = len(outcomes) if following is None else bisect_left(outcomes, following, key=lambda outcome: outcome.at_ns)
    return list(outcomes[start:middle]), list(outcomes[middle:end])


def _overlap(before: Sequence[RunOutcome], after: Sequence[RunOutcome]) -> bool:
    """Both versions worked at the same time, on enough runs to compare."""
    if not before or not after:
        return False
    start = max(before[0].at_ns, after[0].at_ns)
    end = min(before[-1].at_ns, after[-1].at_ns)
    return all(sum(start <= outcome.at_ns <= end for outcome in side) >= MIN_OVERLAP for side in (before, after))


def _taken_back(before: Sequence[RunOutcome], after: Sequence[RunOutcome]) -> bool:
    """The old version came back after the new one, and its outcomes with it."""
    if not before or not after:
        return False
    again = [outcome for outcome in before if outcome.at_ns > after[-1].at_ns]
    if len(again) < MIN_OVERLAP:
        return False
    passed_again, passed_after = sum(outcome.passed for outcome in again), sum(outcome.passed for outcome in after)
    return worse_by_chance(passed_again, len(again), passed_after, len(after)) <= SIGNIFICANT
