"""The story of the demo: which four things go wrong, and how a telling of it is scored."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from andoncord.sim.failing import BREEZY_PROMPT, CRAFTED_LINE, INBOX, PAYMENTS_V2, POISON, UPLOADS

OPERATOR = "demo-operator"
QUIET_S = 5.0
"""The fleet works undisturbed this long before the first failure."""


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that goes wrong, and how the director brings it about."""

    letter: str
    agent: str
    after_s: float
    """How long after the quiet opening."""
    injected: str
    """What the director did, for the telling."""
    publishes: dict[str, Any] = {}
    """Settings published as a new version in the registry."""
    note: str = ""
    lays: tuple[str, str] | None = None
    """A shelf, and the line laid on it."""
    cleared: str = ""
    """What the operator does about the surroundings once the agent is held."""


FAILURES = (
    Failure(
        letter="a",
        agent="refunds",
        after_s=0.0,
        injected="the payments interface moves to v2, which answers “accepted” and never “settled”",
        publishes=PAYMENTS_V2,
        note="payments interface v2",
    ),
    Failure(
        letter="d",
        agent="reports",
        after_s=3.0,
        injected="a line arrives in the inbox on which the report parser never comes back",
        lays=(INBOX, CRAFTED_LINE),
        cleared="moved the line out of the inbox",
    ),
    Failure(
        letter="c",
        agent="support",
        after_s=4.5,
        injected="a friendlier prompt is rolled out, which no longer asks for the policy paragraph",
        publishes=BREEZY_PROMPT,
        note="friendlier tone",
    ),
    Failure(
        letter="b",
        agent="research",
        after_s=8.0,
        injected="a partner uploads a document that carries instructions",
        lays=(UPLOADS, POISON),
        cleared="took the document out of the uploads",
    ),
)
PROVEN = "b"
"""The failure whose review is carried through: its proposal is applied, and the cause is let in again."""


class Onset(msgspec.Struct, frozen=True, kw_only=True):
    """When a failure first took effect, by the agent's own record."""

    failure: str
    agent: str
    at_ns: int


class IncidentScore(msgspec.Struct, frozen=True, kw_only=True):
    """One incident as `andon demo --json` prints it."""

    id: str
    failure: str | None
    category: str
    pattern: str
    severity: str
    sev: str
    detected_in_s: float | None
    """From the onset by the agent's own record to the moment the incident's first finding was complete."""
    contained_in_s: float | None
    containment: str | None
    verdicts: list[dict[str, Any]]
    responsible: dict[str, str] | None
    root_causes: list[dict[str, Any]]
    recovered: bool
    review: str | None


class Outage(msgspec.Struct, frozen=True, kw_only=True):
    """What came of the death of the control plane."""

    last_write_s: float
    """When the last write of an agent that needs a lease was let through, counted from the kill."""
    allowed_s: float
    """The length of a lease, and half a second."""
    refused: int
    """Writes that were refused for want of a lease until the server was back."""
    back_s: float | None
    """From the new start until the agent wrote again; None when it did not."""
    held_through: bool
    """Whether an agent that was paused before wrote nothing through the crash and the restart."""
    released: bool

    @property
    def is_good(self) -> bool:
        """Writers stopped in time, what was held stayed held, and all went on."""
        in_time = self.last_write_s <= self.allowed_s and self.refused > 0
        return in_time and self.back_s is not None and self.held_through and self.released


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """The one document of `andon demo --headless --json`."""

    seed: int
    wall_s: float
    incidents: list[IncidentScore]
    false_incidents: int
    duplicates: int
    """Incidents that the operator closed as the same case again; they are not listed."""
    false_stops: int
    missed: list[str]
    """Letters of failures that were not detected, contained with proof, recovered and reviewed."""
    proposal_refused_again: bool
    """Whether the applied proposal of failure b's review refused the same document when it came again."""
    kpi: dict[str, Any]
    control_plane_death: Outage | None = None
    """The last scene; None where it was not played."""

    @property
    def is_good(self) -> bool:
        """Nothing was missed, nothing healthy was stopped, and the death of the control plane stopped whoever writes."""
        outage = self.control_plane_death
        return not self.missed and self.false_stops == 0 and (outage is None or outage.is_good)


def score_incident(view: Mapping[str, Any], *, failure: str | None, onset: Onset | None) -> IncidentScore:
    """Read one incident's JSON view."""
    review = view.get("review") or {}
    path = review.get("path") or None
    responsible: Sequence[Mapping[str, Any]] = view.get("responsible") or ()
    detected_ns = instant_ns(view.get("detected_at"))
    return IncidentScore(
        id=view["id"],
        failure=failure,
        category=view["category"],
        pattern=view["pattern"],
        severity=view["severity"],
        sev=view["sev"],
        detected_in_s=round((detected_ns - onset.at_ns) / 1e9, 3) if onset and detected_ns else None,
        contained_in_s=view.get("contained_in_s"),
        containment=view.get("containment"),
        verdicts=[{"at_s": given["at_s"], "verdict": given["verdict"]} for given in view.get("verdicts") or ()],
        responsible={"agent": responsible[0]["agent"], "span_id": responsible[0]["span_id"]} if responsible else None,
        root_causes=[
            {
                "type": cause["type"],
                "score": cause["score"],
                "claim": cause.get("claim", ""),
                "summary": cause.get("summary", ""),
            }
            for cause in view.get("root_causes") or ()
        ],
        recovered=view.get("resolved_at") is not None,
        review=path,
    )


def missed(scores: Iterable[IncidentScore]) -> list[str]:
    """The failures that did not end well, by letter."""
    ended_well = {
        score.failure
        for score in scores
        if score.containment == "VERIFIED" and score.recovered and score.review and Path(score.review).is_file()
    }
    return sorted(failure.letter for failure in FAILURES if failure.letter not in ended_well)


def instant_ns(text: str | None) -> int:
    """An RFC 3339 time in nanoseconds UTC; 0 for None.

    >>> instant_ns("2026-01-01T00:00:00.123Z")
    1767225600123000000
    """
    if not text:
        return 0
    moment = datetime.fromisoformat(text)
    return int(moment.timestamp()) * 1_000_000_000 + moment.microsecond * 1_000
