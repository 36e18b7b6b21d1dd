"""When an incident began: an estimate, with the interval in which it may have been (INC-9)."""

from collections.abc import Sequence

import msgspec

from andoncord.detect.finding import Finding


class Onset(msgspec.Struct, frozen=True, kw_only=True):
    """Nanoseconds UTC; 0 where it is not known."""

    at_ns: int
    earliest_ns: int
    latest_ns: int
    basis: str
    """How the estimate came about."""


OBSERVED = "the first event of the evidence; it did not begin later, and what was not recorded may have come before"
ESTIMATED = "the likeliest change in what was measured; what is outside the interval is more than twenty times less likely"
DECLARED = "opened by a person; nothing was measured"


def onset(findings: Sequence[Finding], *, opened_ns: int) -> Onset:
    """The beginning of what the findings speak of: that of the earliest one, by its own evidence.

    A finding by evidence from many runs brings the interval of its change-point; one by what was seen brings a moment. The
    interval of the incident is that of the finding with the earliest estimate, and never ends after the first thing that was
    plainly seen.

    >>> from andoncord.kernel.vocabulary import Category, Pattern, Severity
    >>> finding = Finding(
    ...     id="f",
    ...     rule="r",
    ...     agent="a",
    ...     severity=Severity.HIGH,
    ...     category=Category.DECISION_FAILURE,
    ...     pattern=Pattern.QUALITY_DROP,
    ...     score=0.9,
    ...     summary="",
    ...     at_ns=90,
    ...     onset_ns=50,
    ...     facts={"onset_from_ns": 40, "onset_until_ns": 60},
    ... )
    >>> found = onset([finding], opened_ns=90)
    >>> found.earliest_ns, found.at_ns, found.latest_ns
    (40, 50, 60)
    """
    known = [finding for finding in findings if finding.onset_ns]
    if not known:
        return Onset(at_ns=opened_ns, earliest_ns=0, latest_ns=opened_ns, basis=DECLARED)
    first = min(known, key=lambda finding: finding.onset_ns)
    seen = [finding.onset_ns for finding in known if not _interval(finding)]
    between = _interval(first)
    if between is None:
        return Onset(at_ns=first.onset_ns, earliest_ns=first.onset_ns, latest_ns=first.onset_ns, basis=OBSERVED)
    earliest_ns, latest_ns = min(between[0], first.onset_ns), max(between[1], first.onset_ns)
    latest_ns = max(first.onset_ns, min([latest_ns, *seen]))
    return Onset(at_ns=first.onset_ns, earliest_ns=earliest_ns, latest_ns=latest_ns, basis=ESTIMATED)


def _interval(finding: Finding) -> tuple[int, int] | None:
    earliest, latest = finding.facts.get("onset_from_ns"), finding.facts.get("onset_until_ns")
    return (earliest, latest) if isinstance(earliest, int) and isinstance(latest, int) and earliest else None
