"""Merging, splitting, assigning and marking, with nothing lost and nobody let go."""

import pytest

from andoncord.engine.facts import PersonAsked
from andoncord.engine.queries import view
from andoncord.kernel.errors import CallerError, ConflictError
from andoncord.kernel.vocabulary import Disposition, IncidentState, Severity
from andoncord.testing.story import Story, finding


@pytest.fixture
def story() -> Story:
    """Two incidents, each with a held agent of its own that waits for a person."""
    told = Story()
    told.find(finding("f1", severity=Severity.CRITICAL))
    told.find(finding("f2", agent="search", trace_id="t2", severity=Severity.CRITICAL))
    told.run()
    assert [each.state.rank >= IncidentState.CONTAINED.rank for each in told.state.incidents.values()] == [True, True]
    return told


def test_a_merge_loses_nothing_and_lets_nobody_go(story: Story) -> None:
    """Findings, agents and verdicts are together; the other is closed as duplicate; both agents stay held, by the one left."""
    held = {agent: control.rung for agent, control in story.state.controls.items()}
    story.ask("merge", incident="inc_000001", **{"from": "inc_000002"}, reason="one cause")
    story.run()
    into, other = story.state.incidents["inc_000001"], story.state.incidents["inc_000002"]

    assert ({each.id for each in into.findings}, into.agents) == ({"f1", "f2"}, ("refunds", "search"))
    assert {given.agent for given in into.verdicts} == {"refunds", "search"}
    assert (other.disposition, other.state, other.merged_into) == (Disposition.DUPLICATE, IncidentState.RESOLVED, into.id)
    assert {agent: control.rung for agent, control in story.state.controls.items()} == held
    assert {control.incident for control in story.state.controls.values()} == {into.id}
    assert [each["why"] for each in view(story.state, into.id, now=0)["changes"]][-1] == "one cause"
    assert story.replayed() == story.state


def test_what_comes_later_joins_the_incident_that_is_left(story: Story) -> None:
    """A finding about an agent of the merged one is not news."""
    story.ask("merge", incident="inc_000001", **{"from": "inc_000002"}, reason="one cause")
    story.find(finding("f3", agent="search", trace_id="t2"))

    assert "f3" in {each.id for each in story.state.incidents["inc_000001"].findings}
    assert len(story.state.incidents) == 2


def test_a_split_undoes_a_merge_and_holds_on(story: Story) -> None:
    """Findings move, none is lost or doubled; the agent that leaves stays held, by the new incident, and is verified."""
    story.ask("merge", incident="inc_000001", **{"from": "inc_000002"}, reason="one cause")
    story.run()
    story.ask("split", incident="inc_000001", agent="search", reason="two causes after all")
    story.run()
    source, new = story.state.incidents["inc_000001"], story.state.incidents["inc_000003"]

    assert ([each.id for each in source.findings], source.agents) == (["f1"], ("refunds",))
    assert ([each.id for each in new.findings], new.agents, new.split_from) == (["f2"], ("search",), source.id)
    assert new.severity is Severity.CRITICAL
    assert (story.state.rung_of("search"), story.state.controls["search"].incident) == ("kill", new.id)
    assert new.containment is not None
    assert story.replayed() == story.state


def test_merging_the_worse_into_the_better_is_refused(story: Story) -> None:
    """Else what is done about the worse one would end."""
    story.find(finding("f3", agent="mail", trace_id="t3", severity=Severity.LOW))

    with pytest.raises(ConflictError, match="merge inc_000003 into inc_000001"):
        story.ask("merge", incident="inc_000003", **{"from": "inc_000001"}, reason="one cause")


@pytest.mark.parametrize(
    ("command", "parameters"),
    [
        ("merge", {"from": "inc_000001", "reason": "r"}),
        ("merge", {"from": "inc_000009", "reason": "r"}),
        ("merge", {"from": "inc_000002"}),
        ("split", {"findings": ["f1"], "reason": "r"}),
        ("split", {"findings": ["f9"], "reason": "r"}),
        ("split", {"findings": "f1", "reason": "r"}),
        ("split", {"reason": "r"}),
        ("assign", {"role": "boss", "person": "ada"}),
        ("star", {"moment": "nothing"}),
    ],
)
def test_what_cannot_be_meant_changes_nothing(story: Story, command: str, parameters: dict[str, object]) -> None:
    """Each is refused with a reason, and the journal stays as it is."""
    before = story.state.seq
    wish = PersonAsked(command=command, by="person:ada", incident="inc_000001", agent="", parameters=parameters, key="")

    with pytest.raises(CallerError):
        story.submit(wish)
    assert story.state.seq == before


def test_roles_and_marks_say_who(story: Story) -> None:
    """A role has one person and can be given on; a marked moment is a key moment until it is unmarked."""
    story.ask("assign", role="commander", person="ada")
    story.ask("assign", role="commander", person="grace", reason="handed over")
    story.ask("note", text="we wait")
    shown = view(story.state, "inc_000001", now=0)
    note = next(each for each in shown["timeline"] if each["kind"] == "note")
    story.ask("star", moment=note["id"])
    marked = next(each for each in view(story.state, "inc_000001", now=0)["timeline"] if each["id"] == note["id"])
    story.ask("star", moment=note["id"], star=False)

    assert {each["role"]: each["person"] for each in shown["crew"]}["commander"] == "grace"
    assert [each["what"] for each in shown["changes"]][-2:] == ["commander: ada", "commander: grace"]
    assert (note["key"], marked["key"], marked["starred_by"] is not None) == (False, True, True)
    assert story.state.incidents["inc_000001"].starred == {}
