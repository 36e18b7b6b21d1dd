"""What an incident cost, from its findings."""

from andoncord.incident.impact import estimate
from andoncord.testing.story import finding


def test_a_call_that_two_rules_name_was_refused_once() -> None:
    """Findings are counted by the call they speak of; two calls are two."""
    twice = [finding("f1", enforced=True), finding("f2", enforced=True, rule="another")]
    assert "1 offending call refused" in estimate(twice).text
    assert "2 offending calls refused" in estimate([*twice, finding("f3", enforced=True, span_id="s2")]).text
