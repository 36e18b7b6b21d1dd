"""Work that looks wrong and is not, as the benchmark `detect-week` lets every fleet do it: all packaged rules stay silent."""

import pytest

from andoncord.detect.bank import Bank
from andoncord.detect.pack import default_rules
from andoncord.kernel.time import MINUTE_NS
from andoncord.kernel.vocabulary import Mode
from benchmarks.week import START_NS, Fleet, Script, Writer, benign
from benchmarks.week_plants import SCRIPTS

DECLARED = Fleet(agents=10, runs_per_hour=1.0, seed=0).declared()
ALONE = sorted(set(SCRIPTS) - {"token_burst", "context_growth"})
"""What is found without a past."""


def rules_that_speak(script: Script) -> set[str]:
    writer, bank = Writer("refund-3", "run-1", START_NS), Bank(default_rules(), DECLARED)
    script(writer)
    found = [finding for event in writer.events for finding in bank.observe(event)]
    found += bank.tick(writer.at_ns + 10 * MINUTE_NS)
    assert not bank.faults
    return {finding.rule for finding in found if finding.mode is not Mode.SHADOW}


def test_there_are_enough_of_them() -> None:
    """At least twenty, among them polling, paging, batch edits and retries with back-off."""
    assert len(benign()) >= 20


@pytest.mark.parametrize("name", sorted(benign()))
def test_benign_work_stays_silent(name: str) -> None:
    """No rule that pages says anything."""
    assert rules_that_speak(benign()[name]) == set()


@pytest.mark.parametrize("name", ALONE)
def test_what_is_planted_is_found(name: str) -> None:
    """The failures of the benchmark that need no past are found by one of the rules they are meant for."""
    script, rules = SCRIPTS[name]

    assert rules_that_speak(script) & set(rules)
