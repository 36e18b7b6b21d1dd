"""What an investigation hands over: rankings with their evidence, never verdicts (INV-1, INV-4, INV-5)."""

from typing import Literal

import msgspec

from andoncord.kernel.vocabulary import CauseType, Pattern

Claim = Literal["cause", "consistent with"]
"""`cause` only where versions overlapped in time or a rollback showed it; otherwise timing alone speaks."""


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the timeline."""

    at_ns: int
    kind: str
    """An event kind, or `finding`."""
    text: str
    """For people. Words of agents stand in quotation marks, made visible and cut."""
    agent: str = ""
    span_id: str = ""
    key: bool = False
    """One of the moments that tell the story."""


class Suspect(msgspec.Struct, frozen=True, kw_only=True):
    """An agent and a step that may be responsible, with its share of the suspicion."""

    agent: str
    span_id: str
    score: float
    """0 to 1; the scores of all candidate steps of a case sum to 1. Not a calibrated probability."""
    why: str


class Avoid(msgspec.Struct, frozen=True, kw_only=True):
    """The call that, refused, would have prevented the case: what a policy is made of. Empty fields do not narrow it."""

    agent: str
    tool: str = ""
    arguments: str = ""
    """As the emitter wrote them: only a call with the same ones."""
    version: str = ""
    """Only in runs on this version of the agent's configuration."""
    cost_micro_usd: int = 0
    """Only in runs that have spent more."""
    because: str = ""


class Cause(msgspec.Struct, frozen=True, kw_only=True):
    """A possible root cause."""

    type: CauseType
    score: float
    """0 to 1, for ranking; uncalibrated."""
    claim: Claim
    summary: str
    evidence: tuple[str, ...] = ()
    """Span ids, most telling first."""
    reasons: tuple[str, ...] = ()
    """Evidence for, in words."""
    against: tuple[str, ...] = ()
    """Evidence against, and what is missing."""
    avoid: Avoid | None = None


class ChangeSeen(msgspec.Struct, frozen=True, kw_only=True):
    """Something of an agent that changed, and how its outcomes compare on both sides of the change."""

    kind: str
    """prompt, config, tool, model or deployment."""
    agent: str
    before: str
    after: str
    at_ns: int
    span_id: str = ""
    announced: bool = True
    """False when no change event said so and what was seen gave it away (SIG-5: inferred)."""
    how: str = ""
    """What it was inferred from; empty where it was announced."""
    confidence: float = 1.0
    """How sure that anything changed at all; below 1 where it was inferred. By kind of evidence, not calibrated."""
    passed_before: int = 0
    judged_before: int = 0
    passed_after: int = 0
    judged_after: int = 0
    p_value: float | None = None
    """One-sided Fisher exact: how often chance alone makes `after` look this much worse. None without outcomes on both
    sides."""
    overlap: bool = False
    """Outcomes of both versions interleave in time, or going back to the old version brought the old outcomes back."""
    failing_spans: tuple[str, ...] = ()


class Investigation(msgspec.Struct, frozen=True, kw_only=True):
    """Everything found out about a case so far."""

    timeline: tuple[Moment, ...] = ()
    responsible: tuple[Suspect, ...] = ()
    root_causes: tuple[Cause, ...] = ()
    changes: tuple[ChangeSeen, ...] = ()
    factors: tuple[str, ...] = ()
    pattern: Pattern | None = None
