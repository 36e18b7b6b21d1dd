"""What playbooks may look at: an incident as plain values, under the names that conditions use."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def facts(
    *,
    severity: str,
    sev: str,
    category: str,
    pattern: str,
    agents: Sequence[str],
    environment: str,
    impact: Mapping[str, Any],
    attempt: int = 1,
    verdict: str = "",
) -> dict[str, Any]:
    """An incident as conditions see it.

    Args:
        impact: as `incident.impact.Impact` in plain values; empty where nothing was estimated.
        attempt: counts the times that it had to be contained.
        verdict: of the containment; empty before the first.
    """
    return {
        "severity": str(severity),
        "sev": str(sev),
        "category": str(category),
        "pattern": str(pattern),
        "agents": list(agents),
        "environment": environment,
        "impact": list(impact.get("kinds", ())),
        "cost_micro_usd": int(impact.get("cost_micro_usd", 0)),
        "at_risk_micro_usd": int(impact.get("at_risk_micro_usd", 0)),
        "attempt": attempt,
        "verdict": str(verdict),
    }


WORST_FIRST = ("failed", "unverified", "no", "partial", "skipped", "yes", "verified", "done")
"""Everything that can come of a step."""
FACTS = tuple(facts(severity="", sev="", category="", pattern="", agents=(), environment="", impact={}))
"""The names of all facts."""


def example(given: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of an example, in which most is left out.

    >>> example({"severity": "low"})["attempt"]
    1
    """
    plain = facts(
        severity="high",
        sev="SEV-3",
        category="decision_failure",
        pattern="policy_violation",
        agents=("agent",),
        environment="",
        impact={},
        verdict="VERIFIED",
    )
    return {**plain, **given}


def worst(outcomes: Iterable[str]) -> str:
    """The worst of several outcomes: `failed` before `partial` before `done`; empty when there is none.

    >>> worst(["done", "partial"]), worst([])
    ('partial', '')
    """
    found = set(outcomes)
    return next((word for word in WORST_FIRST if word in found), "")
