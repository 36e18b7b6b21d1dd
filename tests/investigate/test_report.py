"""The report on one trace."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from andoncord.detect.finding import Finding
from andoncord.investigate.report import analyze_trace, risk
from andoncord.kernel.vocabulary import Category, Mode, Pattern, Severity
from andoncord.telemetry.event import Event, EventKind

STEP = Event(kind=EventKind.TOOL_COMPLETED, trace_id="t", span_id="s", agent="worker", start_ns=1, end_ns=2)


def finding(
    severity: Severity = Severity.HIGH,
    score: float = 1.0,
    *,
    pattern: Pattern = Pattern.INFINITE_LOOP,
    mode: Mode = Mode.ACT,
    summary: str = "it loops",
) -> Finding:
    return Finding(
        id="f",
        rule="loop",
        agent="worker",
        severity=severity,
        category=Category.RESOURCE_EXHAUSTION,
        pattern=pattern,
        score=score,
        summary=summary,
        at_ns=2,
        onset_ns=1,
        mode=mode,
        trace_id="t",
        span_id="s",
    )


def test_the_shape_is_the_documented_one() -> None:
    """Exactly these keys, in this order."""
    report = msgspec.json.decode(msgspec.json.encode(analyze_trace([STEP], [finding()]).report))

    assert list(report) == [
        "trace_id",
        "incident",
        "risk",
        "severity",
        "category",
        "findings",
        "responsible",
        "root_causes",
    ]
    assert list(report["findings"][0]) == ["rule", "span_id", "agent", "severity", "category", "pattern", "score", "summary"]
    assert list(report["responsible"][0]) == ["agent", "span_id", "score"]
    assert list(report["root_causes"][0]) == ["type", "score", "evidence"]


def test_without_an_incident_severity_and_category_are_null() -> None:
    """A quiet trace still names its suspects."""
    report = analyze_trace([STEP], []).report

    assert (report.incident, report.severity, report.category) == (False, None, None)
    assert report.responsible


def test_exposure_and_shadow_are_no_incident() -> None:
    """Reading foreign instructions is noted; a rule in shadow says nothing."""
    exposed = analyze_trace([STEP], [finding(pattern=Pattern.INJECTION_EXPOSURE)]).report
    shadowed = analyze_trace([STEP], [finding(mode=Mode.SHADOW)]).report

    assert not exposed.incident
    assert len(exposed.findings) == 1
    assert not shadowed.incident
    assert shadowed.findings == ()


@given(st.lists(st.tuples(st.sampled_from(Severity), st.floats(0, 1)), max_size=6), st.sampled_from(Severity), st.floats(0, 1))
def test_one_more_finding_never_lowers_the_risk(known: list[tuple[Severity, float]], severity: Severity, score: float) -> None:
    """Risk is monotone in findings and stays between 0 and 1."""
    findings = [finding(*each) for each in known]
    less = risk([STEP], findings)
    more = risk([STEP], [*findings, finding(severity, score)])

    assert 0 <= less <= more <= 1


def test_hostile_text_in_a_summary_is_inert() -> None:
    """What an agent said cannot steer the terminal that shows it."""
    report = analyze_trace([STEP], [finding(summary="\x1b]0;owned\x07\u202e")]).report

    assert report.findings[0].summary.isprintable()
