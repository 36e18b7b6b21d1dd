"""How bad an incident is, on both scales of INC-3, from its findings alone.

The score is the *maximum* over anchored dimensions, each on 0–10: a mean would hide one catastrophe behind calm readings.

| points | rule | money at risk or spent | agents reached | effect |
|---|---|---|---|---|
| 2 | low | | 1 | refused by the guard |
| 4 | medium | over $10 | | |
| 7 | high | over $100 | 3 or more | |
| 9 | critical | over $1 000 | | data exposed or corrupted |

From 9 points an incident is critical, from 7 high, from 4 medium, below that low. The anchors were chosen, not fitted: no
confirmed severities exist to calibrate against yet.

SEV levels: *SEV-1* when it is critical outside a test environment, or data were exposed or corrupted (example: an agent acts
on instructions that it read in a document); *SEV-2* when it is high and something passed the checks of the moment (example:
answers that were wrong and had already been given); *SEV-3* when the guard refused the offending step, or little is at stake
(example: a loop that was cut at its fourth call).
"""

from collections.abc import Sequence

import msgspec

from andoncord.detect.finding import Finding
from andoncord.kernel.money import micro_usd
from andoncord.kernel.vocabulary import Category, Pattern, Severity, SevLevel

RULE_POINTS = {Severity.LOW: 2, Severity.MEDIUM: 4, Severity.HIGH: 7, Severity.CRITICAL: 9}
MONEY_POINTS = ((micro_usd(1_000), 9), (micro_usd(100), 7), (micro_usd(10), 4))
SPREAD_AGENTS = 3
SPREAD_POINTS = 7
EXPOSING_PATTERNS = frozenset({Pattern.DATA_EXFILTRATION, Pattern.HARMFUL_OUTPUT, Pattern.STATE_CORRUPTION})
EXPOSING_POINTS = 9
TEST_ENVIRONMENTS = frozenset({"test", "testing", "dev", "development", "staging", "ci"})

# A more telling name wins over a general one when both findings are equally severe.
SPECIFICITY = {
    Pattern.INJECTED_ACTION: 3,
    Pattern.DATA_EXFILTRATION: 3,
    Pattern.FORBIDDEN_EDIT: 2,
    Pattern.INFINITE_LOOP: 2,
    Pattern.COST_SPIRAL: 1,
    Pattern.POLICY_VIOLATION: 1,
    Pattern.UNAUTHORIZED_ACTION: 1,
}


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """Severity on both scales, category and pattern, with the reasons."""

    severity: Severity
    sev: SevLevel
    category: Category
    pattern: Pattern
    points: dict[str, int]
    """Points per dimension, 0–10."""
    reasons: tuple[str, ...]


def judge(findings: Sequence[Finding]) -> Judgement:
    """Judge an incident by all of its findings.

    Args:
        findings: at least one.
    """
    assert findings, "an incident has at least one finding"
    worst = max(findings, key=_telling)
    points, reasons = _score(findings)
    severity = severity_of(max(points.values()))
    return Judgement(
        severity=severity,
        sev=_sev(severity, findings),
        category=worst.category,
        pattern=worst.pattern,
        points=points,
        reasons=tuple(reasons),
    )


def severity_of(points: int) -> Severity:
    """The severity that a score of 0–10 stands for.

    >>> [severity_of(points).value for points in (10, 8, 4, 1)]
    ['critical', 'high', 'medium', 'low']
    """
    if points >= RULE_POINTS[Severity.CRITICAL]:
        return Severity.CRITICAL
    if points >= RULE_POINTS[Severity.HIGH]:
        return Severity.HIGH
    return Severity.MEDIUM if points >= RULE_POINTS[Severity.MEDIUM] else Severity.LOW


def _telling(finding: Finding) -> tuple[int, int, int]:
    """Order by severity, then by how much the pattern says, then the earliest."""
    return finding.severity.rank, SPECIFICITY.get(finding.pattern, 0), -finding.at_ns


def _score(findings: Sequence[Finding]) -> tuple[dict[str, int], list[str]]:
    worst = max(findings, key=lambda finding: finding.severity.rank)
    points = {"rule": RULE_POINTS[worst.severity]}
    reasons = [f"rule {worst.rule} is {worst.severity.value}"]

    money = max((int(finding.facts.get("at_risk_micro_usd", 0)) for finding in findings), default=0)
    for floor, value in MONEY_POINTS:
        if money > floor:
            points["money"] = value
            reasons.append(f"more than ${floor // 1_000_000:,} at risk")
            break

    agents = {finding.agent for finding in findings if finding.agent}
    if len(agents) >= SPREAD_AGENTS:
        points["spread"] = SPREAD_POINTS
        reasons.append(f"{len(agents)} agents are involved")

    if any(finding.pattern in EXPOSING_PATTERNS and not finding.enforced for finding in findings):
        points["effect"] = EXPOSING_POINTS
        reasons.append("data were exposed or corrupted")
    return points, reasons


def _sev(severity: Severity, findings: Sequence[Finding]) -> SevLevel:
    exposed = any(finding.pattern in EXPOSING_PATTERNS and not finding.enforced for finding in findings)
    in_test = all(finding.environment in TEST_ENVIRONMENTS for finding in findings)
    if exposed or (severity is Severity.CRITICAL and not in_test):
        return SevLevel.SEV1
    slipped_through = any(not finding.enforced for finding in findings)
    return SevLevel.SEV2 if severity.rank >= Severity.HIGH.rank and slipped_through else SevLevel.SEV3
