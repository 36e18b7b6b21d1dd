"""What kind of incident it is, and when it began."""

from typing import Any

from andoncord.detect.finding import Finding
from andoncord.incident.classify import labels
from andoncord.incident.onset import OBSERVED, onset
from andoncord.kernel.vocabulary import Category, Mode, Pattern, Severity


def finding(**said: Any) -> Finding:
    base: dict[str, Any] = {
        "id": "f",
        "rule": "r",
        "agent": "a",
        "severity": Severity.HIGH,
        "category": Category.DECISION_FAILURE,
        "pattern": Pattern.POLICY_VIOLATION,
        "score": 0.8,
        "summary": "",
        "at_ns": 100,
        "onset_ns": 50,
    }
    return Finding(**{**base, **said})


def test_several_categories_hold_and_one_comes_first() -> None:
    """A loop is a matter of resources as well; the first category is the one the incident is worked under."""
    found = labels([finding(pattern=Pattern.COST_SPIRAL)], primary=Category.DECISION_FAILURE)

    assert [(label.category, label.is_primary, label.holds) for label in found] == [
        (Category.DECISION_FAILURE, True, True),
        (Category.RESOURCE_EXHAUSTION, False, True),
    ]


def test_a_rule_that_repeats_itself_adds_no_evidence() -> None:
    """The same rule about the same agent counts once, another rule counts more, and a shadow rule counts little."""
    once = labels([finding()], primary=Category.DECISION_FAILURE)
    again = labels([finding(id=str(number)) for number in range(9)], primary=Category.DECISION_FAILURE)
    other = labels([finding(), finding(rule="s")], primary=Category.DECISION_FAILURE)
    shadow = labels([finding(mode=Mode.SHADOW)], primary=Category.STATE_CORRUPTION)

    assert once == again
    assert other[0].score > once[0].score
    assert not shadow[1].holds


def test_agents_of_one_trace_that_fail_are_evidence_of_a_cascade() -> None:
    """Three agents of a trace speak for something that spreads; three agents of three traces do not."""
    together = [finding(agent=name, trace_id="t") for name in "abc"]
    apart = [finding(agent=name, trace_id=name) for name in "abc"]

    assert Category.CASCADING_FAILURE in {label.category for label in labels(together, primary=Category.DECISION_FAILURE)}
    assert Category.CASCADING_FAILURE not in {label.category for label in labels(apart, primary=Category.DECISION_FAILURE)}


def test_the_beginning_is_that_of_the_earliest_evidence() -> None:
    """A change-point keeps its interval, but what was plainly seen ends it; without one the moment itself is the estimate."""
    drift = finding(onset_ns=50, facts={"onset_from_ns": 30, "onset_until_ns": 90})
    seen = finding(onset_ns=70)

    assert (onset([drift], opened_ns=1).earliest_ns, onset([drift], opened_ns=1).latest_ns) == (30, 90)
    assert onset([drift, seen], opened_ns=1).latest_ns == 70
    assert (onset([seen], opened_ns=1).earliest_ns, onset([seen], opened_ns=1).basis) == (70, OBSERVED)
