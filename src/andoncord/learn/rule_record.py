"""How often each rule was right, by what people said of the incidents it opened (DET-21, KPI-2).

What statistical detectors may say for nothing is a number that is kept by design. Rules without statistics have no such
promise: what they say is either there or not, and only people know whether it mattered. So theirs is measured, and held against
a budget of its own.
"""

from collections import Counter
from collections.abc import Collection, Iterable
from math import sqrt

import msgspec

from andoncord.kernel.time import DAY_NS
from andoncord.kernel.vocabulary import Disposition
from andoncord.learn.case import Case

LOOK_BACK_NS = 90 * DAY_NS
WEEK_NS = 7 * DAY_NS
MIN_JUDGED = 5
"""Judged incidents of a rule below which it is not named as one to do something about. Chosen."""
Z = 1.96


class RuleRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One rule and the incidents that it opened."""

    rule: str
    is_statistical: bool
    """Its false alarms are part of the fleet's budget by design."""
    incidents: int
    judged: int
    """Closed, or said to be something else: people have had their say."""
    false: int
    precision: float | None
    """Share of the judged ones that were real; None without any."""
    low: float | None
    high: float | None
    """Its 95 % interval (Wilson)."""
    false_per_week: float


class RuleRecords(msgspec.Struct, frozen=True, kw_only=True):
    """Every rule that opened an incident, those with the most false ones first."""

    rules: tuple[RuleRecord, ...]
    weeks: float
    """Over how long; a week at least."""
    budget_per_week: float
    """False incidents that rules without statistics may open, all together."""
    false_per_week: float
    """What they did open."""
    is_kept: bool
    worst: str = ""
    """The rule to do something about, where it is not kept: of those judged often enough, the one with the most false ones."""


def rule_records(cases: Iterable[Case], *, statistical: Collection[str], budget_per_week: float, now_ns: int) -> RuleRecords:
    """What came of each rule in the last 90 days. Duplicates, tests and what people declared count nowhere.

    An incident is the rule's whose finding opened it: that is who woke somebody.
    """
    opened: Counter[str] = Counter()
    judged: Counter[str] = Counter()
    false: Counter[str] = Counter()
    first_ns = now_ns
    for case in cases:
        is_counted = case.findings and case.detected_ns >= now_ns - LOOK_BACK_NS
        if not is_counted or case.disposition in (Disposition.DUPLICATE, Disposition.TEST):
            continue
        rule = case.findings[0].rule
        first_ns = min(first_ns, case.detected_ns)
        opened[rule] += 1
        is_false = case.disposition is Disposition.FALSE_POSITIVE
        judged[rule] += bool(is_false or case.resolved_ns)
        false[rule] += is_false
    weeks = max(1.0, (now_ns - first_ns) / WEEK_NS)
    records = tuple(
        _record(rule, rule in statistical, opened[rule], judged[rule], false[rule], weeks)
        for rule in sorted(opened, key=lambda each: (-false[each], each))
    )
    fixed = [each for each in records if not each.is_statistical]
    per_week = sum(each.false for each in fixed) / weeks
    is_kept = per_week <= budget_per_week
    worst = next((each.rule for each in fixed if each.false and each.judged >= MIN_JUDGED), "")
    return RuleRecords(
        rules=records,
        weeks=round(weeks, 3),
        budget_per_week=budget_per_week,
        false_per_week=round(per_week, 4),
        is_kept=is_kept,
        worst="" if is_kept else worst,
    )


def _record(rule: str, is_statistical: bool, opened: int, judged: int, false: int, weeks: float) -> RuleRecord:
    low, high = wilson(judged - false, judged) if judged else (None, None)
    return RuleRecord(
        rule=rule,
        is_statistical=is_statistical,
        incidents=opened,
        judged=judged,
        false=false,
        precision=(judged - false) / judged if judged else None,
        low=low,
        high=high,
        false_per_week=round(false / weeks, 4),
    )


def wilson(count: int, of: int) -> tuple[float, float]:
    """The 95 % interval of a share.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", Journal of the American Statistical
    Association 22 (1927).

    >>> [round(bound, 2) for bound in wilson(9, 10)]
    [0.6, 0.98]
    """
    share, square = count / of, Z * Z
    middle = (share + square / (2 * of)) / (1 + square / of)
    reach = Z * sqrt(share * (1 - share) / of + square / (4 * of * of)) / (1 + square / of)
    return max(0.0, middle - reach), min(1.0, middle + reach)
