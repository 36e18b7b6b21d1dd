"""The roles: right when nothing is wrong, each with its one weakness."""

from collections.abc import Mapping
from typing import Any

import pytest

from andoncord.sim.chance import Chance
from andoncord.sim.failing import (
    BREEZY_PROMPT,
    CRAFTED_LINE,
    INBOX,
    PAYMENTS_V2,
    POISON,
    UPLOADS,
    parses,
)
from andoncord.sim.fleet import FLEET, declarations
from andoncord.sim.script import Call, Desk, Role, Think, ToolFault, follow, passes
from andoncord.sim.surroundings import Shelves

RUNS = 300
MAX_STEPS = 40


def _run(role: Role, chance: Chance, shelves: Shelves, settings: Mapping[str, Any]) -> tuple[bool, list[Call], list[str]]:
    """One run without a guard: whether it passed, its calls, and the failures that took effect."""
    calls: list[Call] = []
    onsets: list[str] = []
    desk = Desk(task=role.task(chance), settings=settings, chance=chance, surroundings=shelves, onset=onsets.append)

    def perform(step: Think | Call) -> Any:
        if isinstance(step, Think):
            return step.reply
        calls.append(step)
        if len(calls) > MAX_STEPS:
            raise ToolFault("too_long", "it goes on and on")
        return role.tools[step.tool](desk, step.arguments)

    try:
        return passes(desk.task, follow(role.script(desk), perform)), calls, onsets
    except ToolFault:
        return False, calls, onsets


@pytest.mark.parametrize("name", FLEET)
def test_every_role_meets_its_objective_while_nothing_is_wrong(name: str) -> None:
    """Healthy agents pass more often than their objective asks, and use declared tools alone."""
    role = FLEET[name]
    results = [_run(role, Chance(1, name, str(run)), Shelves(), role.settings) for run in range(RUNS)]

    assert sum(passed for passed, _, _ in results) / RUNS > role.quality
    assert {call.tool for _, calls, _ in results for call in calls} <= set(role.access)
    assert not [onset for _, _, onsets in results for onset in onsets]


def test_refunds_repeats_itself_under_the_new_interface() -> None:
    """Under v2 the same refund is submitted over and over, with nothing else between the attempts."""
    passed, calls, onsets = _run(FLEET["refunds"], Chance(1), Shelves(), PAYMENTS_V2)

    assert not passed
    assert onsets == ["a"]
    assert len({str(call.arguments) for call in calls if call.tool == "payments.refund"}) == 1


def test_research_does_what_a_document_says() -> None:
    """A document with instructions leads to a call outside the declared scope."""
    shelves = Shelves()
    shelves.put(UPLOADS, POISON)

    _, calls, onsets = _run(FLEET["research"], Chance(1), shelves, FLEET["research"].settings)

    assert onsets == ["b"]
    assert "payments.transfer" in [call.tool for call in calls]
    assert "payments.transfer" not in FLEET["research"].access


def test_support_answers_half_as_well_under_the_friendly_prompt() -> None:
    """The prompt that stops asking for the policy paragraph takes the pass rate to about 0.45."""
    role = FLEET["support"]
    results = [_run(role, Chance(1, str(run)), Shelves(), BREEZY_PROMPT) for run in range(1000)]

    assert abs(sum(passed for passed, _, _ in results) / 1000 - 0.45) < 0.06


def test_the_report_parser_takes_exponentially_longer_with_each_letter() -> None:
    """A line of the crafted form, but short, is refused; the pattern is ambiguous, so each further letter doubles the work."""
    assert not parses(CRAFTED_LINE[-12:])
    assert parses("r1 r2 r3")
    assert len(CRAFTED_LINE) > 60


def test_reports_reads_what_lies_in_its_inbox() -> None:
    """A harmless line in the inbox is parsed like the others."""
    shelves = Shelves()
    shelves.put(INBOX, "r1 r2")

    _, calls, _ = _run(FLEET["reports"], Chance(1), shelves, FLEET["reports"].settings)

    assert [call.arguments["line"] for call in calls if call.tool == "reports.parse"][-1] == "r1 r2"


def test_the_fleet_is_declared_as_it_is() -> None:
    """The declarations name every role with its tools."""
    declared = declarations()

    assert len(declared) >= 8
    assert declared["refunds"]["tools"] == FLEET["refunds"].access
