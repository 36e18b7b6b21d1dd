"""Shared budgets: what is given out is never more than the cap, whatever gets lost."""

import json
import random
import threading
from typing import Any

import pytest

from andoncord.kernel.time import HOUR_NS, SECOND_NS, Instant
from andoncord.policy.allotment import LIFE_NS, MARGIN_NS, Allotments, Answer, Ask, Cap, Ceiling, Level
from andoncord_sdk.allowance import Allowance

START = Instant(1_767_225_600 * SECOND_NS)


def cap(limits: Ceiling, level: Level = "team", name: str = "support", agents: tuple[str, ...] = ("*",)) -> Cap:
    return Cap(level=level, name=name, agents=agents, per="day", limits=limits)


def ask(spent: int, ceiling: int, need: int = 0) -> Ask:
    return Ask(spent=(spent, 0, 0), ceiling=(ceiling, 0, 0), need=(need, 0, 0))


class Fleet:
    """Guards and a server with a clock of their own; messages and the server's memory can be lost."""

    def __init__(self, caps: list[Cap], guards: int) -> None:
        self.caps = caps
        self.now = START
        self.disk: dict[str, bytes] = {}
        self.server = Allotments(caps, now=self.now)
        self.guards = [Allowance(wanted=threading.Event, clock_ns=lambda: self.now) for _ in range(guards)]
        for guard in self.guards:
            guard.covered()

    def renew(self, number: int, *, is_lost: bool = False, need: int = 0) -> Answer:
        report: dict[str, Any] = self.guards[number].report()
        asked = Ask(
            spent=tuple(report["spent"]),
            ceiling=tuple(report["ceiling"]),
            need=(need, 0, 0) if need else tuple(report["need"]),
            is_leaving=report["is_leaving"],
        )
        given = self.server.ask("agent", f"i{number}", asked, now=self.now)
        for key, body in self.server.changes().items():
            if body is None:
                self.disk.pop(key, None)
            else:
                self.disk[key] = body
        self.server.saved()
        if not is_lost:
            self.guards[number].take(
                json.dumps({"ceiling": given.ceiling, "life_ms": given.life_ms, "why": given.why, "is_final": given.is_final})
            )
        return given

    def restart(self) -> None:
        self.server = Allotments(self.caps, saved=self.disk, now=self.now)

    def spend(self, number: int, cost: int) -> bool:
        guard = self.guards[number]
        guard.expire()
        held = guard.budget.reserve(cost)
        if held is None:
            return False
        held.settle(cost)
        return True

    @property
    def spent(self) -> int:
        return sum(guard.budget.spent_micro_usd for guard in self.guards)


@pytest.mark.parametrize("seed", range(40))
def test_guards_together_never_spend_more_than_the_cap(seed: int) -> None:
    """Lost answers, restarts of the server, silences and partitions: the cap holds, and what was reported is remembered."""
    chance = random.Random(seed)
    fleet = Fleet([cap((1_000, None, None)), cap((5_000, None, None), "fleet", "fleet")], 4)
    renewing = [True] * 4
    for _ in range(400):
        number, step = chance.randrange(4), chance.choices(["renew", "spend", "wait", "cut", "restart"], [6, 8, 2, 0.5, 0.3])[0]
        if step == "renew" and renewing[number]:
            fleet.renew(number, need=chance.choice([0, 0, 5, 60]), is_lost=chance.random() < 0.1)
        elif step == "spend":
            fleet.spend(number, chance.choice([1, 5, 20, 60]))
        elif step == "wait":
            fleet.now = Instant(fleet.now + chance.choice([1, 1, 3, 20]) * SECOND_NS)
        elif step == "cut":
            renewing[number] = not renewing[number]
        elif step == "restart":
            fleet.restart()
        assert fleet.spent <= 1_000
    fleet.now = Instant(fleet.now + LIFE_NS + 2 * MARGIN_NS)
    for number in range(4):
        fleet.renew(number)
    (team, _) = fleet.server.view(now=fleet.now)
    assert fleet.spent > 500
    assert team["micro_usd"]["spent"] == fleet.spent  # type: ignore[index]
    assert team["micro_usd"]["unreported"] == 0  # type: ignore[index]


def test_a_cap_can_be_used_up_although_others_hold_slices() -> None:
    """Guards that do not need what they hold give it back to one that does."""
    fleet = Fleet([cap((1_000, None, None))], 3)
    for number in (0, 1):
        fleet.renew(number, need=100)
    assert not fleet.spend(2, 700)

    for _ in range(12):
        answers = [fleet.renew(number, need=700 if number == 2 else 0) for number in range(3)]
        if fleet.spend(2, 700):
            break

    assert fleet.spent == 700
    assert not any(answer.is_final for answer in answers)


def test_a_need_that_nothing_can_cover_is_final_and_says_which_cap() -> None:
    """The guard need not wait for what cannot come."""
    fleet = Fleet([cap((1_000, None, None), name="payments"), cap((None, 50, None), "fleet", "fleet")], 1)
    fleet.renew(0, need=900)
    assert fleet.spend(0, 900)

    answer = fleet.renew(0, need=200)

    assert answer.is_final
    assert answer.why.startswith("the budget of team payments of $0.0010 per day: $0.0009 spent")


def test_what_a_vanished_guard_held_counts_as_spent_until_it_tells() -> None:
    """Nobody knows what it did with it; when it comes back and says, the rest is free again."""
    allotments = Allotments([cap((1_000, None, None))], now=START)
    given = allotments.ask("a", "i", ask(0, 0, 200), now=START)
    assert given.ceiling[0] is not None
    assert given.ceiling[0] >= 200

    later = Instant(START + LIFE_NS + 2 * MARGIN_NS)
    amounts = allotments.view(now=later)[0]["micro_usd"]
    assert amounts == {"limit": 1_000, "spent": given.ceiling[0], "held": 0, "unreported": given.ceiling[0]}

    allotments.ask("a", "i", ask(50, 50), now=later)
    amounts = allotments.view(now=later)[0]["micro_usd"]
    assert isinstance(amounts, dict)
    assert (amounts["spent"], amounts["unreported"]) == (50, 0)


def test_a_guard_that_ends_gives_everything_back() -> None:
    """What it spent stays, the rest is free at once, and nothing of it is remembered."""
    fleet = Fleet([cap((1_000, None, None))], 1)
    fleet.renew(0, need=200)
    assert fleet.spend(0, 150)

    fleet.guards[0].give_back()
    fleet.renew(0)

    assert fleet.server.view(now=fleet.now)[0]["micro_usd"] == {"limit": 1_000, "spent": 150, "held": 0, "unreported": 0}
    assert list(fleet.disk) == ["team\x1fsupport"]


def test_a_new_period_begins_at_nothing() -> None:
    """The day's spending is over with the day."""
    allotments = Allotments([cap((1_000, None, None))], now=START)
    allotments.ask("a", "i", ask(0, 0, 1_000), now=START)
    assert allotments.ask("a", "i", ask(1_000, 1_000, 10), now=START).is_final

    assert not allotments.ask("a", "i", ask(1_000, 1_000, 10), now=Instant(START + 24 * HOUR_NS)).is_final


@pytest.mark.parametrize(("agent", "limit"), [("refunds", 10), ("refund-7", 20), ("other", None)])
def test_an_agents_own_cap_comes_before_that_of_a_glob(agent: str, limit: int | None) -> None:
    """Each agent has an account of its own, under the first cap that covers it."""
    caps = [cap((None, None, 10), "agent", "refunds", ("refunds",)), cap((None, None, 20), "agent", "refund*", ("refund*",))]
    allotments = Allotments(caps, now=START)

    given = allotments.ask(agent, "i", Ask(spent=(0, 0, 0), ceiling=(0, 0, 0), need=(0, 0, 99)), now=START)

    assert given.ceiling[2] == limit
