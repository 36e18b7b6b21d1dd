"""Circuit breakers against a model of what they are said to do."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from andoncord_sdk.breaker import NS, Breaker, Breakers, BreakerSettings, Changed, Ticket

CHOSEN = BreakerSettings(failure_ratio=0.5, window_s=10, calls_min=4, slow_s=2, slow_ratio=0.75, open_s=5, trials=2)


@dataclass
class Model:
    """What the table in the module's docstring says, in whole seconds and without a thought for speed."""

    state: str = "closed"
    since: int = 0
    era: int = 0
    seen: list[tuple[int, bool, bool]] = field(default_factory=list)
    out: int = 0
    well: int = 0

    def to(self, state: str, now: int) -> None:
        self.state, self.since, self.era = state, now, self.era + 1
        self.seen, self.out, self.well = [], 0, 0

    def admit(self, now: int) -> int | None:
        if self.state == "open" and now - self.since >= 5:
            self.to("half_open", now)
        if self.state == "half_open" and self.out + self.well == 2 and now - self.since >= 5:
            self.to("half_open", now)
        if self.state == "open" or (self.state == "half_open" and self.out + self.well == 2):
            return None
        self.out += self.state == "half_open"
        return self.era

    def ended(self, era: int, now: int, failed: bool, slow: bool) -> None:
        if era != self.era:
            return
        if self.state == "half_open":
            self.out -= 1
            self.well += 1
            if failed or slow:
                self.to("open", now)
            elif self.well == 2:
                self.to("closed", now)
            return
        self.seen = [each for each in [*self.seen, (now, failed, slow)] if now - each[0] < 10]
        failures, slows = sum(each[1] for each in self.seen), sum(each[2] for each in self.seen)
        if len(self.seen) >= 4 and (failures / len(self.seen) >= 0.5 or slows / len(self.seen) >= 0.75):
            self.to("open", now)

    def abandon(self, era: int) -> None:
        self.out -= era == self.era and self.state == "half_open"


ACTS = st.lists(
    st.tuples(st.sampled_from(["admit", "end", "abandon"]), st.integers(0, 4), st.booleans(), st.booleans(), st.integers(0, 9)),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(ACTS)
def test_a_breaker_does_what_its_table_says(acts: list[tuple[str, int, bool, bool, int]]) -> None:
    """Whatever comes in whatever order: the same calls are let through as by the model, and the states agree."""
    breaker, model, now = Breaker("b", CHOSEN), Model(), 0
    open_calls: list[tuple[Ticket, int]] = []
    for act, later, failed, slow, pick in acts:
        now += later
        if act == "admit":
            ticket, era = breaker.admit(now * NS), model.admit(now)
            assert (ticket is None) == (era is None)
            if ticket is not None and era is not None:
                open_calls.append((ticket, era))
        elif open_calls:
            ticket, era = open_calls.pop(pick % len(open_calls))
            if act == "end":
                breaker.ended(ticket, now * NS, failed=failed, took_ns=(3 if slow else 1) * NS)
                model.ended(era, now, failed, slow)
            else:
                breaker.abandon(ticket)
                model.abandon(era)
        assert breaker.state == model.state


def test_every_change_is_told_with_its_reason() -> None:
    """Opening, trying and closing again are each told once, and why."""
    told: list[Changed] = []
    breaker = Breaker("payments", BreakerSettings(calls_min=2, open_s=1, trials=1), told.append)
    for _ in range(2):
        breaker.ended(_admitted(breaker, 0), 0, failed=True, took_ns=0)
    breaker.ended(_admitted(breaker, NS), NS, failed=False, took_ns=0)

    assert [(each.before, each.after) for each in told] == [
        ("closed", "open"),
        ("open", "half_open"),
        ("half_open", "closed"),
    ]
    assert told[0].why == "2 of 2 calls failed within 60 s"


def test_the_agents_breaker_counts_every_call() -> None:
    """A call passes the agent's breaker and the one of its own name; the longest glob gives the settings."""
    breakers = Breakers(
        {"agent": BreakerSettings(), "pay*": BreakerSettings(trials=1), "pay.refund": BreakerSettings(trials=7)}
    )

    assert [breaker.name for breaker in breakers.of("search")] == ["agent"]
    assert [breaker.settings.trials for breaker in breakers.of("pay.refund")] == [3, 7]
    assert breakers.of("pay.refund")[1] is breakers.of("pay.refund")[1] is not breakers.of("pay.out")[1]


@pytest.mark.parametrize(
    "wrong", [{"failure_ratio": 0}, {"slow_ratio": 1.5}, {"window_s": 0}, {"calls_min": 0}, {"slow_s": -1}]
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    """Each with the name of what is wrong."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        BreakerSettings(**wrong)  # type: ignore[arg-type]


def _admitted(breaker: Breaker, now_ns: int) -> Ticket:
    ticket = breaker.admit(now_ns)
    assert ticket is not None
    return ticket
