"""Rules held against what people said of the incidents they opened."""

from andoncord.detect.finding import Finding
from andoncord.kernel.time import DAY_NS
from andoncord.kernel.vocabulary import Category, Disposition, Pattern, Severity, SevLevel
from andoncord.learn.case import Case
from andoncord.learn.rule_record import RuleRecords, rule_records

NOW_NS = 1_000 * DAY_NS


def case(
    number: int, rule: str, *, disposition: Disposition = Disposition.REAL, days: float = 1.0, closed: bool = True
) -> Case:
    at_ns = NOW_NS - int(days * DAY_NS)
    finding = Finding(
        id=str(number),
        rule=rule,
        agent="a",
        severity=Severity.HIGH,
        category=Category.DECISION_FAILURE,
        pattern=Pattern.QUALITY_DROP,
        score=1.0,
        summary="x",
        at_ns=at_ns,
        onset_ns=at_ns,
    )
    return Case(
        incident=str(number),
        title="x",
        severity=Severity.HIGH,
        sev=SevLevel.SEV2,
        category=Category.DECISION_FAILURE,
        pattern=None,
        agents=("a",),
        findings=(finding,),
        detected_ns=at_ns,
        resolved_ns=at_ns + 1 if closed else 0,
        disposition=disposition,
    )


def recorded(*cases: Case) -> RuleRecords:
    return rule_records(cases, statistical={"run-cost"}, budget_per_week=1.0, now_ns=NOW_NS)


def test_false_incidents_are_held_against_a_budget_and_the_worst_rule_is_named() -> None:
    """Six false ones in two weeks are too many; what is statistical, a duplicate, a test or older does not count."""
    false = Disposition.FALSE_POSITIVE
    found = recorded(
        *(case(number, "infinite-loop", disposition=false, days=14.0) for number in range(4)),
        *(case(10 + number, "infinite-loop") for number in range(6)),
        *(case(20 + number, "silence", disposition=false) for number in range(2)),
        *(case(30 + number, "run-cost", disposition=false) for number in range(9)),
        case(40, "silence", disposition=Disposition.DUPLICATE),
        case(41, "silence", disposition=Disposition.TEST),
        case(42, "silence", disposition=false, days=91.0),
    )

    assert (found.is_kept, found.false_per_week, found.weeks, found.worst) == (False, 3.0, 2.0, "infinite-loop")
    rules = {each.rule: each for each in found.rules}
    assert rules["infinite-loop"].precision == 0.6
    assert rules["infinite-loop"].low is not None
    assert 0.2 < rules["infinite-loop"].low < 0.6
    assert (rules["silence"].incidents, rules["silence"].false, rules["silence"].precision) == (2, 2, 0.0)
    assert (rules["run-cost"].is_statistical, rules["run-cost"].false_per_week) == (True, 4.5)


def test_what_nobody_has_judged_yet_is_neither_right_nor_wrong() -> None:
    """Open incidents are counted as opened, and their rule's precision is unknown."""
    found = recorded(case(1, "silence", closed=False))

    assert found.is_kept
    assert (found.rules[0].incidents, found.rules[0].judged, found.rules[0].precision) == (1, 0, None)
    assert recorded().rules == ()
