"""A finished case as learning sees it: the record of one incident, without the machinery that made it."""

from typing import Any

import msgspec

from andoncord.detect.finding import Finding
from andoncord.investigate.casefile import Investigation
from andoncord.kernel.vocabulary import Category, Disposition, Pattern, Severity, SevLevel, Verdict


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One incident from onset to resolution. Times in nanoseconds UTC, 0 where it has not happened."""

    incident: str
    title: str
    severity: Severity
    sev: SevLevel
    category: Category
    pattern: Pattern | None
    agents: tuple[str, ...]
    environment: str = ""
    onset_ns: int = 0
    detected_ns: int = 0
    contained_ns: int = 0
    resolved_ns: int = 0
    disposition: Disposition = Disposition.REAL
    findings: tuple[Finding, ...] = ()
    investigation: Investigation | None = None
    verdicts: tuple[dict[str, Any], ...] = ()
    """`verdict`, `missing`, `evidence`, `at_ns`; oldest first."""
    orders: tuple[dict[str, Any], ...] = ()
    """`agent`, `rung`, `by`, `reason`, `asked`, `confirmed`, `unconfirmed`, `at_ns`; oldest first."""
    impact: dict[str, Any] = {}
    """`text`, `cost_micro_usd`, `runs`, `agents`, `tools`, `assumptions`."""
    recovery: dict[str, Any] | None = None
    """`strategy`, `why`, `steps` with `name` and `state`, and `failed` when an attempt did not succeed."""
    versions: dict[str, str] = {}
    """The configuration version that is active for each agent when the case is read, where known."""
    notes: tuple[dict[str, Any], ...] = ()
    """`at_ns`, `by`, `text`."""

    @property
    def containment(self) -> Verdict | None:
        """The latest verdict."""
        return Verdict(self.verdicts[-1]["verdict"]) if self.verdicts else None

    @property
    def stopped(self) -> bool:
        """Some order did more than watch."""
        return any(order.get("rung") in ("restrict", "pause", "kill") for order in self.orders)
