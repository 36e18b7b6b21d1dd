"""Playbooks as data."""

import pytest

from andoncord.kernel.errors import CallerError
from andoncord.respond.composing import compose
from andoncord.respond.playbook import load
from andoncord.respond.review import remarks

GOOD = "id: x\nwhen: {severity: high}\nsource: s\nsteps:\n  - fence: {rung: pause, at_most: 1s, undo: release}\n"
LATE = """  - {}
  - traffic: {{block: "payments.*", at_most: 1s, undo: lift}}
"""
QUESTION = 'ask: {question: "Block it?", name: block, for: 5m, at_most: 5s, undo: nothing to undo}'


def test_an_order_after_a_question_stands_in_its_turn_and_lint_sees_where_it_does_not_look_at_the_answer() -> None:
    """It is no part of the containment any more, so that nothing there waits for a person."""
    playbook = load(GOOD + LATE.format(QUESTION), place="x.yaml")
    assert [step.do for step in compose([playbook]).steps] == ["fence", "ask", "traffic"]
    assert [step.late for step in playbook.steps] == [False, False, True]
    assert "traffic-2 comes after the question block and does not look at its answer" in list(remarks(playbook))


def test_a_playbook_loads() -> None:
    """The least that is needed."""
    playbook = load(GOOD, place="x.yaml")
    assert playbook.steps[0].at_most_ms == 1_000
    assert compose([playbook]).recovery == "person"


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (GOOD.replace("fence", "fense"), "unknown step 'fense'"),
        (GOOD.replace("pause", "puase"), "needs a rung"),
        (GOOD.replace("1s", "soon"), "not a duration"),
        (GOOD.replace("high", "hihg"), "when.severity"),
        (GOOD.replace(", undo: release", ""), "undo is missing"),
        (GOOD + "recoverry: person\n", "unknown field 'recoverry'"),
        (GOOD + LATE.format("capture: {at_most: 2s, undo: nothing to undo}"), "traffic comes after capture"),
        (GOOD + LATE.format("recover: {by: person, at_most: 1h, undo: nothing to undo}"), "traffic comes after recover"),
        ("- just a list\n", "a playbook is a mapping"),
        ("id: [", "is not YAML"),
    ],
)
def test_a_broken_playbook_says_what_is_wrong_and_where(broken: str, says: str) -> None:
    """Errors carry the place."""
    with pytest.raises(CallerError, match=says) as caught:
        load(broken, place="x.yaml")
    assert "x.yaml" in str(caught.value)
