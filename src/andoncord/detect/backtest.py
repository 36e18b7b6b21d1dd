"""What rules would have said about events of the past, had they been there."""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from andoncord.detect.bank import Bank
from andoncord.detect.declared import Declared
from andoncord.detect.rule import Rule
from andoncord.kernel.time import DAY_NS, rfc3339
from andoncord.telemetry.event import Event

MAX_FINDINGS = 10_000


class WouldFind(msgspec.Struct, frozen=True, kw_only=True):
    """One thing a rule would have found."""

    rule: str
    agent: str
    run_id: str
    severity: str
    at: str
    summary: str


class Backtest(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it."""

    events: int
    agents: int
    first: str
    """Time of the first event; empty without any."""
    last: str
    findings: tuple[WouldFind, ...]
    faults: dict[str, str] = {}
    is_cut: bool = False
    """There was more of the past than was looked at."""


def backtest(
    rules: Sequence[Rule],
    events: Iterable[Event],
    declared: Mapping[str, Declared] | None = None,
    *,
    is_cut: bool = False,
) -> Backtest:
    """Show events to rules in the order of their times, with the clock running, and report what they say."""
    bank = Bank(rules, declared)
    ordered = sorted(events, key=lambda event: event.at_ns)
    found = [finding for event in ordered for finding in (*bank.observe(event), *bank.tick(event.at_ns))]
    if ordered:
        found += bank.tick(ordered[-1].at_ns + DAY_NS)
    told = [
        WouldFind(
            rule=finding.rule,
            agent=finding.agent,
            run_id=finding.run_id,
            severity=finding.severity.value,
            at=rfc3339(finding.at_ns),
            summary=finding.summary,
        )
        for finding in found[:MAX_FINDINGS]
    ]
    return Backtest(
        events=len(ordered),
        agents=len({event.agent for event in ordered}),
        first=rfc3339(ordered[0].at_ns) if ordered else "",
        last=rfc3339(ordered[-1].at_ns) if ordered else "",
        findings=tuple(told),
        faults=dict(bank.faults),
        is_cut=is_cut or len(found) > MAX_FINDINGS,
    )
