"""What an incident cost so far and whom it may have reached, with what the figures rest on (INC-4, INC-5)."""

from collections.abc import Sequence

import msgspec

from andoncord.detect.finding import Finding
from andoncord.incident.forecast import Forecast, forecast
from andoncord.kernel.money import usd_text
from andoncord.kernel.vocabulary import Pattern

FINANCIAL_MICRO_USD = 100_000_000
"""Money spent or at risk, from which on the impact is financial: 100 US dollars. Chosen."""
REGULATED_PATTERNS = frozenset({Pattern.DATA_EXFILTRATION, Pattern.HARMFUL_OUTPUT})
"""Patterns that may have to be reported: data that left, or harmful content that was given out."""
OPERATIONAL_PATTERNS = frozenset({Pattern.SILENCE, Pattern.DECISION_CASCADE, Pattern.EMERGENT_BEHAVIOR})
"""Patterns in which the work itself stands still or goes wrong as a whole."""


class Impact(msgspec.Struct, frozen=True, kw_only=True):
    """A lower bound from the record; what was not recorded is listed in `assumptions`, not guessed."""

    text: str
    cost_micro_usd: int
    at_risk_micro_usd: int
    runs: tuple[str, ...]
    agents: tuple[str, ...]
    tools: tuple[str, ...]
    assumptions: tuple[str, ...]
    kinds: tuple[str, ...] = ()
    """Of `financial`, `customers`, `regulatory` and `operational`, those that the record shows (RSP-8)."""
    next_hour: Forecast | None = None
    """What another hour of it would cost; None while too little is known."""


def estimate(findings: Sequence[Finding]) -> Impact:
    """Add up what the findings carry. Runs and agents are counted once, money once a run (the largest figure seen)."""
    cost_by_run: dict[str, int] = {}
    risk_by_run: dict[str, int] = {}
    for finding in findings:
        run = finding.run_id or finding.trace_id or finding.id
        cost_by_run[run] = max(cost_by_run.get(run, 0), int(finding.facts.get("cost_micro_usd", 0)))
        risk_by_run[run] = max(risk_by_run.get(run, 0), int(finding.facts.get("at_risk_micro_usd", 0)))
    runs = tuple(sorted({finding.run_id for finding in findings if finding.run_id}))
    agents = tuple(sorted({finding.agent for finding in findings if finding.agent}))
    tools = tuple(sorted({str(finding.facts["tool"]) for finding in findings if finding.facts.get("tool")}))
    cost = sum(cost_by_run.values())
    # Several rules may speak of one call: it was refused once.
    refused = len(
        {(finding.trace_id, finding.span_id) if finding.span_id else finding.id for finding in findings if finding.enforced}
    )
    times = [finding.at_ns for finding in findings]
    amounts = [max(cost_by_run[run], risk_by_run[run]) for run in cost_by_run]
    ahead = forecast(amounts, span_ns=max(times, default=0) - min(times, default=0))
    parts = [f"{len(runs)} run{'s' if len(runs) != 1 else ''} of {', '.join(agents) or 'an unknown agent'}"]
    if cost:
        parts.append(f"{usd_text(cost)} spent in them")
    if refused:
        parts.append(f"{refused} offending call{'s' if refused != 1 else ''} refused before execution")
    if ahead:
        expected, worst = usd_text(ahead.expected_micro_usd), usd_text(ahead.cvar95_micro_usd)
        parts.append(f"another hour would cost {expected} on average, {worst} in the worst twentieth")
    return Impact(
        next_hour=ahead,
        text="; ".join(parts),
        cost_micro_usd=cost,
        at_risk_micro_usd=sum(risk_by_run.values()),
        runs=runs,
        agents=agents,
        tools=tools,
        kinds=_kinds(findings, money=cost + sum(risk_by_run.values())),
        assumptions=(
            "Counts only runs that a finding names: a lower bound.",
            "Cost is what the agents reported; calls without a reported cost count as nothing.",
            "Customers and regulatory effects are not in the telemetry and are not estimated.",
        ),
    )


def _kinds(findings: Sequence[Finding], *, money: int) -> tuple[str, ...]:
    patterns = {finding.pattern for finding in findings}
    shown = {
        "financial": money >= FINANCIAL_MICRO_USD,
        "customers": any(int(finding.facts.get("customers", 0)) > 0 for finding in findings),
        "regulatory": bool(patterns & REGULATED_PATTERNS),
        "operational": bool(patterns & OPERATIONAL_PATTERNS),
    }
    return tuple(kind for kind, holds in shown.items() if holds)
