"""Playbooks over HTTP, on a real server."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.server.conftest import Person
else:
    Person = Any


def test_the_playbooks_in_force_are_written_down_at_the_start(person: Person) -> None:
    """The set, its playbooks, and one line of history."""
    found = person.eventually("/api/v1/playbooks", lambda found: found["set"])
    history = person.get("/api/v1/playbooks/history")["items"]

    assert {"critical", "escalation", "pattern-cost-spiral"} <= {each["id"] for each in found["items"]}
    assert [each["set"] for each in history] == [found["set"]]
    assert "critical" in history[0]["changed"]


def test_what_was_declared_by_hand_has_steps_that_are_not_done_and_nothing_to_undo(person: Person) -> None:
    """Declaring stops nothing, and with nobody on call no page goes out; an undo is refused, and wants a reason."""
    incident = person.post("/api/v1/incidents", {"agent": "router", "title": "odd", "severity": "high"})["incident"]
    view = person.get(f"/api/v1/incidents/{incident}/playbook")
    assert {each["state"] for each in view["steps"]} <= {"skipped", "would be skipped"}

    refused = person.http.post(f"/api/v1/incidents/{incident}/undo", json={"reason": "a drill"})
    assert (refused.status_code, "nothing was done" in refused.text) == (409, True)
    assert person.http.post(f"/api/v1/incidents/{incident}/undo", json={}).status_code == 422
    assert person.http.post("/api/v1/incidents/inc_999999/undo", json={"reason": "x"}).status_code == 404
