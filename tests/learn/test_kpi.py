"""The figures."""

import msgspec

from andoncord.kernel.time import SECOND_NS
from andoncord.kernel.vocabulary import Category, Disposition, Severity, SevLevel
from andoncord.learn.case import Case
from andoncord.learn.kpi import kpis


def case(name: str, *, verdict: str = "VERIFIED", failed: str = "", disposition: Disposition = Disposition.REAL) -> Case:
    return Case(
        incident=name,
        title="",
        severity=Severity.HIGH,
        sev=SevLevel.SEV2,
        category=Category.DECISION_FAILURE,
        pattern=None,
        agents=("worker",),
        onset_ns=10 * SECOND_NS,
        detected_ns=14 * SECOND_NS,
        contained_ns=15 * SECOND_NS,
        resolved_ns=44 * SECOND_NS,
        disposition=disposition,
        verdicts=({"verdict": "UNVERIFIED"}, {"verdict": verdict}),
        orders=({"rung": "pause"},),
        recovery={"steps": [{"name": "probe", "state": "done"}], "failed": failed},
    )


def test_times_count_from_onset_to_detection_to_containment_to_resolution() -> None:
    """Each figure names the incidents behind it."""
    figures = kpis([case("a"), case("b")])

    assert (figures.mttd.value, figures.mttc.value, figures.mttr.value) == (4.0, 1.0, 30.0)
    assert figures.mttd.incidents == ("a", "b")
    assert figures.mttd.met


def test_unverified_is_not_contained() -> None:
    """The last verdict counts, and only VERIFIED."""
    figures = kpis([case("a"), case("b", verdict="UNVERIFIED")])

    assert figures.containment.value == 0.5
    assert not figures.containment.met


def test_a_recovery_that_failed_once_is_no_success() -> None:
    """Recovery counts what came back without a failed attempt."""
    assert kpis([case("a"), case("b", failed="probes failed")]).recovery.value == 0.5


def test_false_positives_count_as_false_stops_and_nowhere_else() -> None:
    """A stopped agent that did nothing wrong is the price; drills and duplicates are no incidents."""
    figures = kpis(
        [
            case("a", disposition=Disposition.FALSE_POSITIVE),
            case("b", disposition=Disposition.TEST),
            case("c", disposition=Disposition.DUPLICATE),
        ]
    )

    assert figures.false_stops.value == 1
    assert figures.false_stops.incidents == ("a",)
    assert figures.mttd.n == 0


def test_nothing_measured_is_not_zero() -> None:
    """Without incidents there is no figure."""
    figures = kpis([])

    assert figures.mttd.value is None
    assert figures.containment.value is None
    assert figures.containment.met is None


def test_a_resolved_case_without_an_incident_survives_json() -> None:
    """Cases are records."""
    assert msgspec.json.decode(msgspec.json.encode(case("a")), type=Case) == case("a")
