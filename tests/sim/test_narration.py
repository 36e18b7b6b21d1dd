"""The story of one incident, from its JSON view."""

from typing import Any

from andoncord.sim.narration import lines
from andoncord.sim.story import Onset


def _view(**changes: Any) -> dict[str, Any]:
    view: dict[str, Any] = {
        "id": "inc_000001",
        "title": "reports is silent",
        "pattern": "silence",
        "category": "communication_breakdown",
        "severity": "high",
        "sev": "SEV-2",
        "detected_at": "2026-01-05T09:00:03.000Z",
        "contained_in_s": 5.0,
        "containment": "VERIFIED",
        "verdicts": [
            {"at": "2026-01-05T09:00:08.000Z", "at_s": 5.0, "verdict": "UNVERIFIED", "missing": ["an answer"], "evidence": []},
            {"at": "2026-01-05T09:00:08.400Z", "at_s": 5.4, "verdict": "VERIFIED", "missing": [], "evidence": ["tree empty"]},
        ],
        "receipts": [
            _receipt("i1", "order", "order pause to reports", "0/1 confirmed", "2026-01-05T09:00:04.000Z"),
            _receipt("i2", "terminate", "terminate reports", "process tree seen empty", "2026-01-05T09:00:08.200Z"),
            _receipt("i3", "order", "release reports", "1/1 confirmed", "2026-01-05T09:00:11.000Z"),
        ],
        "responsible": [],
        "root_causes": [],
        "resolved_at": None,
        "disposition": "real",
        "review": None,
    }
    return {**view, **changes}


def _receipt(intent: str, kind: str, wanted: str, text: str, at: str) -> dict[str, Any]:
    return {"intent": intent, "kind": kind, "wanted": wanted, "text": text, "at": at}


def test_the_story_is_told_in_the_order_of_what_happened() -> None:
    """Receipts and verdicts interleave by their time, not by where they stand in the view."""
    kinds = [line.kind for line in lines(_view(), onset=None, is_expected=True)]

    assert kinds == ["seen", "stop", "unproven", "stop", "proven", "recovery"]


def test_what_is_missing_is_told() -> None:
    """An UNVERIFIED containment says what stands between it and VERIFIED."""
    told = [line.text for line in lines(_view(), onset=None, is_expected=True)]

    assert "UNVERIFIED, missing: an answer" in told


def test_the_delay_counts_from_the_agents_record() -> None:
    """`silence 2.0 s after it began`: from the onset that the agent noted."""
    onset = Onset(failure="d", agent="reports", at_ns=1_767_603_601_000_000_000)

    (seen, *_) = lines(_view(), onset=onset, is_expected=True)

    assert "silence 2.0 s after it began" in seen.text


def test_an_incident_without_a_failure_behind_it_is_an_alarm() -> None:
    """False alarms are told as such."""
    (seen, *_) = lines(_view(), onset=None, is_expected=False)

    assert seen.kind == "alarm"


def test_text_of_agents_is_made_inert() -> None:
    """Control characters in a title do not reach the terminal."""
    (seen, *_) = lines(_view(title="\x1b[2Jgone"), onset=None, is_expected=True)

    assert "\x1b" not in seen.text
