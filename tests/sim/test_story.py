"""How a telling is scored."""

from pathlib import Path
from typing import Any

from andoncord.sim.fleet import FLEET
from andoncord.sim.story import FAILURES, Onset, Score, missed, score_incident


def _view(**changes: Any) -> dict[str, Any]:
    view: dict[str, Any] = {
        "id": "inc_000001",
        "category": "resource_exhaustion",
        "pattern": "infinite_loop",
        "severity": "high",
        "sev": "SEV-3",
        "detected_at": "2026-01-05T09:00:01.250Z",
        "contained_in_s": 0.2,
        "containment": "VERIFIED",
        "verdicts": [{"at": "2026-01-05T09:00:03.000Z", "at_s": 1.75, "verdict": "VERIFIED", "missing": [], "evidence": []}],
        "responsible": [{"agent": "refunds", "span_id": "s1", "score": 0.9, "why": "it repeated"}],
        "root_causes": [],
        "resolved_at": "2026-01-05T09:00:05.000Z",
        "review": None,
    }
    return {**view, **changes}


def test_detection_counts_from_the_agents_own_record() -> None:
    """`detected_in_s` is measured from the onset that the agent noted, not from what detection thinks the onset was."""
    onset = Onset(failure="a", agent="refunds", at_ns=1_767_603_600_000_000_000)

    score = score_incident(_view(), failure="a", onset=onset)

    assert score.detected_in_s == 1.25


def test_a_failure_without_a_review_on_disk_is_missed(tmp_path: Path) -> None:
    """All four have to end well: VERIFIED, recovered, and with a review that exists."""
    review = tmp_path / "review.md"
    review.write_text("# Review")
    well = score_incident(_view(review={"path": str(review)}), failure="a", onset=None)
    without = score_incident(_view(review={"path": str(tmp_path / "none.md")}), failure="b", onset=None)

    assert missed([well, without]) == ["b", "c", "d"]


def test_a_stopped_healthy_agent_spoils_the_score() -> None:
    """The demo fails when it stopped something healthy, even when nothing was missed."""
    score = Score(
        seed=7,
        wall_s=1.0,
        incidents=[],
        false_incidents=0,
        duplicates=0,
        false_stops=1,
        missed=[],
        proposal_refused_again=True,
        kpi={},
    )

    assert not score.is_good


def test_each_failure_has_an_agent_of_its_own() -> None:
    """So that an incident can be told apart by its agent."""
    agents = [failure.agent for failure in FAILURES]

    assert len(set(agents)) == len(agents) == 4
    assert set(agents) < set(FLEET)
