"""A finding: one detector's statement that something is wrong, with its evidence. Not an alert, not yet an incident."""

from typing import Any

import msgspec

from andoncord.kernel.vocabulary import Category, Mode, Pattern, Severity


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What a rule or detector found. The id is made from what was found, so the same finding twice is one finding."""

    id: str
    rule: str
    agent: str
    severity: Severity
    category: Category
    pattern: Pattern
    score: float
    """How sure, 0 to 1."""
    summary: str
    """One sentence. May quote agent text, which is hostile."""
    at_ns: int
    """When the evidence became complete, in event time."""
    onset_ns: int
    """When it began, as far as the evidence shows."""
    mode: Mode = Mode.ACT
    trusted: bool = False
    """Every event it rests on came with a token bound to the agent."""
    enforced: bool = False
    """The guard had already refused the offending call."""
    trace_id: str = ""
    run_id: str = ""
    span_id: str = ""
    instance: str = ""
    environment: str = ""
    evidence: tuple[str, ...] = ()
    """Span ids, earliest first."""
    facts: dict[str, Any] = {}
    source: str = ""
