"""The incident record. It is rebuilt from the journal, never stored by itself."""

from typing import Any

import msgspec

from andoncord.detect.finding import Finding
from andoncord.incident.changes import Change
from andoncord.incident.inflight import InFlightCall
from andoncord.incident.stage import Reached
from andoncord.kernel.vocabulary import Category, Disposition, IncidentState, Pattern, Severity, SevLevel, Verdict


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """What a person wrote down."""

    at_ns: int
    by: str
    text: str


class VerdictGiven(msgspec.Struct, frozen=True, kw_only=True):
    """A judgement of a containment: `missing` says what stands between it and VERIFIED."""

    at_ns: int
    verdict: Verdict
    agent: str
    intent: str
    """The verification it came from."""
    missing: tuple[str, ...] = ()
    evidence: tuple[str, ...] = ()
    in_flight: tuple[InFlightCall, ...] = ()
    """Calls that were under way at the fence."""
    stages: tuple[Reached, ...] = ()
    """The states of the proof that were reached, and when; empty in what an older version wrote."""


class Incident(msgspec.Struct, frozen=True, kw_only=True):
    """Everything known about one incident. Times in nanoseconds UTC, 0 where it has not happened."""

    id: str
    title: str
    state: IncidentState
    severity: Severity
    sev: SevLevel
    category: Category
    pattern: Pattern
    agents: tuple[str, ...]
    environment: str
    opened_ns: int
    onset_ns: int
    detected_ns: int
    contained_ns: int = 0
    resolved_ns: int = 0
    reviewed_ns: int = 0
    round: int = 1
    """Counts up when a recovery fails and containment starts again."""
    may_act: bool = False
    """A trusted finding in mode act, or a person, allows the playbook to run by itself."""
    playbook: str = ""
    steps: tuple[dict[str, Any], ...] = ()
    """The playbook's steps, frozen when it was chosen."""
    recovery_by: str = "person"
    """Who may start the recovery: `person` or `automatic`."""
    recovery_role: str = "respond"
    """The scope that a person needs to approve the recovery."""
    book: str = ""
    """The set of playbooks in force when it opened; empty where none was written down."""
    judged: dict[str, str] = {}
    """Steps with a condition or a limit: why they are skipped, empty where they are done."""
    forks: dict[str, int] = {}
    """Steps that are done anew: how often."""
    retried: str = ""
    """Whether it was tried again with other parameters: empty, `refused`, `tried` or `failed`."""
    undo: dict[str, Any] | None = None
    """The last undo: `intents`, `by`, `reason`, `all`, `impossible`, `undone`, `finished`."""
    findings: tuple[Finding, ...] = ()
    grouped: dict[str, int] = {}
    """Findings that said nothing new and were only counted, by rule."""
    last_finding_ns: int = 0
    reasons: tuple[str, ...] = ()
    impact: dict[str, Any] = {}
    verdicts: tuple[VerdictGiven, ...] = ()
    investigation: dict[str, Any] | None = None
    plan: dict[str, Any] | None = None
    plan_round: int = 0
    """The round that the plan was made in; an older plan is made anew before it is run."""
    recovery_approved_by: str = ""
    recovery_failed: str = ""
    review: dict[str, Any] | None = None
    answers: dict[str, str] = {}
    proposal_applied: str = ""
    """The policy id that was activated from the review's proposal."""
    disposition: Disposition = Disposition.REAL
    notes: tuple[Note, ...] = ()
    declared_by: str = ""
    crew: dict[str, str] = {}
    """Role → who has it."""
    starred: dict[str, str] = {}
    """Moments of the timeline that somebody marked → who did."""
    merged: tuple[str, ...] = ()
    """Incidents that became part of it."""
    merged_into: str = ""
    split_from: str = ""
    changes: tuple[Change, ...] = ()
    """Who changed what about it, and why; oldest first."""
    acknowledged_by: str = ""
    """Who said last that they look after it; empty where nobody did."""
    acknowledged_ns: int = 0

    @property
    def is_open(self) -> bool:
        """Not yet resolved."""
        return self.state.rank < IncidentState.RESOLVED.rank

    @property
    def containment(self) -> Verdict | None:
        """The worst of the latest verdicts of its agents; None before the first."""
        latest = {given.agent: given.verdict for given in self.verdicts}
        for verdict in (Verdict.FAILED, Verdict.UNVERIFIED, Verdict.VERIFIED):
            if verdict in latest.values():
                return verdict
        return None

    def is_contained(self, also: str = "") -> bool:
        """Whether every agent's latest verdict is VERIFIED, counting `also` as verified."""
        latest = {given.agent: given.verdict for given in self.verdicts}
        return all(agent == also or latest.get(agent) is Verdict.VERIFIED for agent in self.agents)
