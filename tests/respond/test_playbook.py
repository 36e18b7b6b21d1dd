"""Playbooks as data."""

import pytest

from andoncord.kernel.errors import CallerError
from andoncord.respond.composing import compose
from andoncord.respond.playbook import load

GOOD = "id: x\nwhen: {severity: high}\nsource: s\nsteps:\n  - fence: {rung: pause, at_most: 1s, undo: release}\n"


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
        ("- just a list\n", "a playbook is a mapping"),
        ("id: [", "is not YAML"),
    ],
)
def test_a_broken_playbook_says_what_is_wrong_and_where(broken: str, says: str) -> None:
    """Errors carry the place."""
    with pytest.raises(CallerError, match=says) as caught:
        load(broken, place="x.yaml")
    assert "x.yaml" in str(caught.value)
