"""The figures of incident response, each with its definition, target and the incidents behind it (KPI-1)."""

from collections.abc import Callable, Sequence

import msgspec

from andoncord.kernel.time import HOUR_NS, MINUTE_NS, seconds_between
from andoncord.kernel.vocabulary import Disposition, Verdict
from andoncord.learn.case import Case

MTTD_TARGET_S = 15 * MINUTE_NS / 1e9
MTTR_TARGET_S = 4 * HOUR_NS / 1e9
CONTAINMENT_TARGET = 0.95
RECOVERY_TARGET = 0.90


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One figure. `value` is None when no incident counts towards it: nothing measured is not zero."""

    value: float | None
    unit: str
    """`s`, `ratio` or `count`."""
    n: int
    incidents: tuple[str, ...]
    definition: str
    target: float | None = None
    met: bool | None = None
    """Whether the target is met; None without a target or a value."""


class Kpis(msgspec.Struct, frozen=True, kw_only=True):
    """All figures over one set of cases."""

    mttd: Figure
    mttc: Figure
    mttr: Figure
    containment: Figure
    recovery: Figure
    false_stops: Figure


def kpis(cases: Sequence[Case]) -> Kpis:
    """The figures over `cases`. Drills and duplicates count nowhere; false positives only as false stops.

    * *MTTD*: mean time from onset (an estimate from the evidence) to detection, of real incidents with both.
    * *MTTC*: mean time from detection to containment, of real incidents that were contained.
    * *MTTR*: mean time from detection to resolution, of real incidents that are resolved.
    * *Containment*: share of real incidents with an order above monitoring whose containment is VERIFIED. UNVERIFIED is not.
    * *Recovery*: share of real incidents with an attempted recovery that came back without a failed attempt.
    * *False stops*: incidents that turned out to be false positives and in which an agent was restricted, paused or killed.
    """
    real = [case for case in cases if case.disposition is Disposition.REAL]
    stopped = [case for case in real if case.stopped]
    attempted = [case for case in real if case.recovery and _attempted(case.recovery)]
    false = [case for case in cases if case.disposition is Disposition.FALSE_POSITIVE and case.stopped]
    return Kpis(
        mttd=_mean(
            [case for case in real if case.onset_ns and case.detected_ns],
            lambda case: max(0.0, seconds_between(case.onset_ns, case.detected_ns)),
            MTTD_TARGET_S,
            "mean time from onset to detection",
        ),
        mttc=_mean(
            [case for case in real if case.contained_ns and case.detected_ns],
            lambda case: max(0.0, seconds_between(case.detected_ns, case.contained_ns)),
            None,
            "mean time from detection to containment",
        ),
        mttr=_mean(
            [case for case in real if case.resolved_ns and case.detected_ns],
            lambda case: max(0.0, seconds_between(case.detected_ns, case.resolved_ns)),
            MTTR_TARGET_S,
            "mean time from detection to resolution",
        ),
        containment=_share(
            stopped,
            lambda case: case.containment is Verdict.VERIFIED,
            CONTAINMENT_TARGET,
            "share of contained incidents whose containment was verified",
        ),
        recovery=_share(
            attempted,
            lambda case: bool(case.recovery) and bool(case.resolved_ns) and not (case.recovery or {}).get("failed"),
            RECOVERY_TARGET,
            "share of attempted recoveries that succeeded without a failed attempt",
        ),
        false_stops=Figure(
            value=float(len(false)),
            unit="count",
            n=len(cases),
            incidents=tuple(case.incident for case in false),
            definition="false positives in which an agent was restricted, paused or killed",
            target=0.0,
            met=not false,
        ),
    )


def _attempted(recovery: dict[str, object]) -> bool:
    steps = recovery.get("steps")
    began = isinstance(steps, list | tuple) and any(step.get("state", "todo") != "todo" for step in steps)
    return began or bool(recovery.get("failed"))


def _mean(cases: Sequence[Case], of: Callable[[Case], float], target_s: float | None, definition: str) -> Figure:
    value = sum(of(case) for case in cases) / len(cases) if cases else None
    return Figure(
        value=value,
        unit="s",
        n=len(cases),
        incidents=tuple(case.incident for case in cases),
        definition=definition,
        target=target_s,
        met=None if value is None or target_s is None else value < target_s,
    )


def _share(cases: Sequence[Case], of: Callable[[Case], bool], target: float, definition: str) -> Figure:
    value = sum(of(case) for case in cases) / len(cases) if cases else None
    return Figure(
        value=value,
        unit="ratio",
        n=len(cases),
        incidents=tuple(case.incident for case in cases),
        definition=definition,
        target=target,
        met=None if value is None else value > target,
    )
