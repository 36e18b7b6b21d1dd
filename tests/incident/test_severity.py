"""Severity on both scales."""

from andoncord.incident.severity import judge
from andoncord.kernel.money import micro_usd
from andoncord.kernel.vocabulary import Pattern, Severity, SevLevel
from andoncord.testing.story import finding


def test_one_catastrophe_is_not_averaged_away() -> None:
    """Severity is the maximum over dimensions, not a mean."""
    calm = [finding(f"f{number}", severity=Severity.LOW) for number in range(20)]
    assert judge([*calm, finding("worst", severity=Severity.CRITICAL)]).severity is Severity.CRITICAL


def test_money_raises_severity() -> None:
    """More than 1 000 USD at risk is critical whatever the rule says."""
    judged = judge([finding(severity=Severity.LOW, facts={"at_risk_micro_usd": micro_usd(1_001)})])
    assert judged.severity is Severity.CRITICAL


def test_a_step_that_the_guard_refused_is_sev3() -> None:
    """Caught at once, nothing got through: learn from it."""
    assert judge([finding(enforced=True)]).sev is SevLevel.SEV3
    assert judge([finding(enforced=False)]).sev is SevLevel.SEV2


def test_exposed_data_is_sev1_even_in_a_test_environment() -> None:
    """Sensitive data that got out are out."""
    judged = judge([finding(pattern=Pattern.DATA_EXFILTRATION, environment="test", severity=Severity.MEDIUM)])
    assert (judged.sev, judged.severity) == (SevLevel.SEV1, Severity.CRITICAL)


def test_critical_in_a_test_environment_is_not_sev1() -> None:
    """Production is what SEV-1 is about; an unnamed environment counts as production."""
    assert judge([finding(severity=Severity.CRITICAL, environment="ci")]).sev is SevLevel.SEV2
    assert judge([finding(severity=Severity.CRITICAL, environment="")]).sev is SevLevel.SEV1


def test_the_more_telling_pattern_names_the_incident() -> None:
    """Of two critical findings, the injected action says more than the unauthorized call it led to."""
    unauthorized = finding("f1", severity=Severity.CRITICAL, pattern=Pattern.UNAUTHORIZED_ACTION)
    injected = finding("f2", severity=Severity.CRITICAL, pattern=Pattern.INJECTED_ACTION)
    assert judge([unauthorized, injected]).pattern is Pattern.INJECTED_ACTION
