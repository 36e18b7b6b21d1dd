"""Agents that stop working, by the hours in which they usually work."""

from andoncord.detect.bank import Bank
from andoncord.detect.finding import Finding
from andoncord.detect.pack import default_rules
from andoncord.kernel.time import HOUR_NS, SECOND_NS
from andoncord.telemetry.event import Event, EventKind

MONDAY_NS = 1_767_571_200 * SECOND_NS
RULE = tuple(rule for rule in default_rules() if rule.id == "stopped-working")


def office(bank: Bank, hours: range) -> list[Finding]:
    """Three runs an hour from nine to five on working days, and a tick every hour."""
    found: list[Finding] = []
    for hour in hours:
        at_ns = MONDAY_NS + hour * HOUR_NS
        found += bank.tick(at_ns)
        if hour // 24 % 7 < 5 and 9 <= hour % 24 < 17:
            for run in range(3):
                end_ns = at_ns + run * 20 * 60 * SECOND_NS
                found += bank.observe(
                    Event(
                        kind=EventKind.RUN_ENDED, agent="clerk", run_id=f"{hour}-{run}", span_id=f"{hour}-{run}", end_ns=end_ns
                    )
                )
    return found


def ticks(bank: Bank, hours: range) -> list[Finding]:
    return [finding for hour in hours for finding in bank.tick(MONDAY_NS + hour * HOUR_NS)]


def test_nights_and_weekends_are_no_silence_and_a_dead_monday_is() -> None:
    """Five weeks of office hours pass without a word; when a Monday stays empty it is said that day, once, also by a successor
    that was given what had been learned.
    """
    bank, week = Bank(RULE), 7 * 24
    assert not office(bank, range(5 * week))

    successor = Bank(RULE)
    assert not successor.recall({"stopped-working": bank.remember("stopped-working")})
    for each in (bank, successor):
        (found,) = ticks(each, range(5 * week, 5 * week + 4 * 24))

        assert found.agent == "clerk"
        assert found.at_ns < MONDAY_NS + (5 * week + 24) * HOUR_NS
        assert found.onset_ns < MONDAY_NS + 5 * week * HOUR_NS
    assert not bank.faults


def test_it_is_told_again_after_it_has_worked_again() -> None:
    """A second silence is a second finding, and the first is no measure for it."""
    bank, week = Bank(RULE), 7 * 24
    office(bank, range(3 * week))
    first = ticks(bank, range(3 * week, 3 * week + 24))
    again = office(bank, range(3 * week + 24, 4 * week)) + ticks(bank, range(4 * week, 4 * week + 24))

    assert (len(first), len(again)) == (1, 1)
