"""Budgets that several guards share: caps of an agent, a team or the fleet, given out to guards in slices.

A guard spends only what it was given and reports what it spent, always as a sum since its start, so that a report that comes
twice counts once. What is given out counts as taken until it is reported spent or given back. A guard that is not heard of for
`LIFE_NS` may not spend any more either; what it held then and did not report counts as spent, since nobody knows better, until
it returns and tells or the period ends.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Literal

import msgspec

from andoncord.kernel.errors import CallerError
from andoncord.kernel.money import usd_text
from andoncord.kernel.time import DAY_NS, HOUR_NS, SECOND_NS, Instant

Period = Literal["hour", "day", "week", "month"]
Level = Literal["agent", "team", "fleet"]
Triple = tuple[int, int, int]
"""Micro-USD, tokens and calls."""
Ceiling = tuple[int | None, int | None, int | None]
"""The same, where None is not limited."""

LIFE_NS = 60 * SECOND_NS
"""How long a slice may be used after it was asked for. Longer than the 30 s for which reading goes on without a server."""
MARGIN_NS = 5 * SECOND_NS
"""Added before a slice counts as lapsed, for clocks of different speed."""
SWEEP_NS = SECOND_NS
MIN_SHARE = 200
"""A guard that has not spent yet is given this part of a cap; chosen so that a crash costs half a percent of it."""
AHEAD = 4
"""A slice covers this many times what was spent since the last report: four renewals."""
STARVING_NS = 5 * SECOND_NS
"""After a guard got less than it needs, the others give back half of what they have not used, for so long."""
FORGET_NS = DAY_NS
"""A guard that was not heard of for so long does not come back. If it does, what it spent counts again: the safe side."""
MAX_SLICES = 20_000
SEP = "\x1f"
"""Divides the parts of a key; no name contains it."""
UNITS = ("micro_usd", "tokens", "calls")
THURSDAY = 3
"""1970-01-01 was one; weeks begin on Monday."""


class Cap(msgspec.Struct, frozen=True, kw_only=True):
    """The most that may be spent in one period, in UTC, by everybody it covers together."""

    level: Level
    name: str
    """Of the team; the agent's name or glob; "fleet"."""
    agents: tuple[str, ...]
    """Globs over the agents that it covers."""
    per: Period
    limits: Ceiling


Caps = Sequence[tuple[str, Cap]]
"""Caps, each with the key of its account."""


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """What a guard reports and wants."""

    spent: Triple
    """Since its start."""
    ceiling: Triple
    """Up to where it may spend, as it knows; what lies above `spent` is its slice."""
    need: Triple = (0, 0, 0)
    """How much above `spent` it must be able to go on to make the call that waits."""
    is_leaving: bool = False
    """It ends: nothing is to be given, and what it does not hold any more is free."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a guard is given."""

    ceiling: Ceiling
    life_ms: int
    why: str = ""
    """The cap that kept it from getting what it needs."""
    is_final: bool = False
    """Not even everything that other guards hold unused would cover the need."""


class Account(msgspec.Struct, kw_only=True):
    """What was spent under one cap in the current period."""

    start_ns: int = 0
    spent: list[int] = msgspec.field(default_factory=lambda: [0, 0, 0])
    assumed: list[int] = msgspec.field(default_factory=lambda: [0, 0, 0])
    """The part of `spent` that nobody reported: slices of guards that vanished."""


class Slice(msgspec.Struct, kw_only=True):
    """What one guard was given."""

    agent: str
    instance: str
    spent: list[int] = msgspec.field(default_factory=lambda: [0, 0, 0])
    ceiling: list[int] = msgspec.field(default_factory=lambda: [0, 0, 0])
    lapsed_ns: int = 0
    """When it was taken for spent; 0 while it is in use."""
    until_ns: int = 0

    def held(self, unit: int) -> int:
        """What it may still spend."""
        return 0 if self.lapsed_ns else max(0, self.ceiling[unit] - self.spent[unit])


class Allotments:
    """The accounts of every cap, and the slices given out. Not for several threads.

    Args:
        caps: an agent is under every team and fleet cap that covers it, and under the first cap of level `agent` that does.
        saved: what `changes` gave, the newest of each key.
    """

    def __init__(self, caps: Sequence[Cap], *, saved: Mapping[str, bytes] | None = None, now: Instant) -> None:
        self._caps = tuple(caps)
        self._accounts: dict[str, Account] = {}
        self._slices: dict[tuple[str, str], Slice] = {}
        self._covering: dict[str, tuple[tuple[str, Cap], ...]] = {}
        """By agent: the caps over it, each with the key of its account."""
        self._reserved: dict[str, list[int]] = {}
        """By account: what guards hold and have not reported spent."""
        self._starving: dict[str, int] = {}
        self._changed: dict[str, Account | Slice | None] = {}
        self._saving: dict[str, Account | Slice | None] = {}
        self._swept_ns = 0
        for key, body in (saved or {}).items():
            if key.startswith(f"slice{SEP}"):
                kept = msgspec.json.decode(body, type=Slice)
                # How long it has been unheard of is not known: it gets a whole life to be heard of again.
                kept.until_ns = now + LIFE_NS + MARGIN_NS
                self._slices[kept.agent, kept.instance] = kept
            else:
                self._accounts[key] = msgspec.json.decode(body, type=Account)
        for kept in self._slices.values():
            self._count(kept, 1)

    def is_capped(self, agent: str) -> bool:
        """Whether any cap covers the agent."""
        return bool(self._of(agent))

    def ask(self, agent: str, instance: str, ask: Ask, *, now: Instant) -> Answer:
        """Take a report, and give what can be given; without a cap that covers the agent, everything.

        The answer may be sent only after `changes` has been saved: what is given and forgotten could be given twice.
        """
        caps = self._of(agent)
        if not caps:
            return Answer(ceiling=(None, None, None), life_ms=LIFE_NS // 1_000_000)
        self._sweep(now)
        known = self._slices.get((agent, instance))
        before = [] if known is None else list(known.ceiling)
        mine = self._report(agent, instance, ask, caps, now)
        if ask.is_leaving:
            self._leave(mine, now)
            return Answer(ceiling=ask.ceiling, life_ms=LIFE_NS // 1_000_000)
        ceiling: list[int | None] = [None, None, None]
        why, is_final = "", False
        for unit in range(len(UNITS)):
            limiting = [(name, cap) for name, cap in caps if cap.limits[unit] is not None]
            if not limiting:
                continue
            given, short = self._give(mine, unit, ask.need[unit], limiting, now)
            ceiling[unit] = ask.spent[unit] + given
            if short is not None:
                why = self._told(*short, unit)
                is_final = is_final or self._is_final(unit, ask.need[unit], limiting)
        self._count(mine, -1)
        # Until the guard says that it has given back, it may spend what it had.
        mine.ceiling = [max(had, new or 0) for had, new in zip(mine.ceiling, ceiling, strict=True)]
        self._count(mine, 1)
        mine.until_ns = now + LIFE_NS + MARGIN_NS
        if mine.ceiling != before:
            self._note(mine)
        return Answer(ceiling=(ceiling[0], ceiling[1], ceiling[2]), life_ms=LIFE_NS // 1_000_000, why=why, is_final=is_final)

    def changes(self) -> dict[str, bytes | None]:
        """What has to be saved since the last time, by key; None is to be deleted. `saved` or `not_saved` has to follow."""
        self._saving, self._changed = {**self._saving, **self._changed}, {}
        return {key: None if record is None else msgspec.json.encode(record) for key, record in self._saving.items()}

    def saved(self) -> None:
        """The changes are safe."""
        self._saving = {}

    def not_saved(self) -> None:
        """Perhaps they are not: they come again with the next ones."""
        self._changed = {**self._saving, **self._changed}
        self._saving = {}

    def view(self, *, now: Instant) -> list[dict[str, object]]:
        """Every account: its cap, what was spent, what is given out, what of it nobody reported."""
        self._sweep(now)
        shown: list[dict[str, object]] = []
        for cap in self._caps:
            for name in self._names(cap):
                key = _key(cap, name)
                account = self._account(key, cap, now)
                reserved = self._reserved.get(key, [0, 0, 0])
                shown.append(
                    {
                        "level": cap.level,
                        "name": name,
                        "per": cap.per,
                        "since_ns": account.start_ns,
                        **{
                            unit: {
                                "limit": cap.limits[index],
                                "spent": account.spent[index],
                                "held": reserved[index],
                                "unreported": account.assumed[index],
                            }
                            for index, unit in enumerate(UNITS)
                            if cap.limits[index] is not None
                        },
                    }
                )
        return shown

    # Inside.

    def _of(self, agent: str) -> tuple[tuple[str, Cap], ...]:
        covering = self._covering.get(agent)
        if covering is None:
            found = [cap for cap in self._caps if any(fnmatchcase(agent, glob) for glob in cap.agents)]
            own = next((cap for cap in found if cap.level == "agent"), None)
            covering = tuple(
                (_key(cap, agent if cap is own else cap.name), cap) for cap in found if cap is own or cap.level != "agent"
            )
            if len(self._covering) >= MAX_SLICES:
                self._covering.clear()
            self._covering[agent] = covering
        return covering

    def _names(self, cap: Cap) -> list[str]:
        """Who has an account under a cap; of a cap for agents, those that were heard of."""
        if cap.level != "agent":
            return [cap.name]
        agents = {agent for agent, _ in self._slices}
        agents |= {key.removeprefix(f"agent{SEP}") for key in self._accounts if key.startswith(f"agent{SEP}")}
        return sorted(agent for agent in agents if any(each is cap for _, each in self._of(agent))) or [cap.name]

    def _account(self, key: str, cap: Cap, now: Instant) -> Account:
        """The account of the period that `now` is in."""
        start = period_start(cap.per, now)
        account = self._accounts.get(key)
        if account is None or account.start_ns != start:
            account = self._accounts[key] = Account(start_ns=start)
        return account

    def _leave(self, mine: Slice, now: Instant) -> None:
        """A guard ends; what it still holds, for calls that have not ended, lapses in its time."""
        mine.until_ns = now + LIFE_NS + MARGIN_NS
        if any(mine.held(unit) for unit in range(len(UNITS))):
            self._note(mine)
            return
        del self._slices[mine.agent, mine.instance]
        self._changed[_slice_key(mine)] = None

    def _report(self, agent: str, instance: str, ask: Ask, caps: Caps, now: Instant) -> Slice:
        """Charge what was spent since the last report, and take back what the guard says it has not got."""
        mine = self._slices.get((agent, instance))
        if mine is None:
            if len(self._slices) >= MAX_SLICES:
                raise CallerError(f"{MAX_SLICES} guards hold a part of a budget already")
            mine = self._slices[agent, instance] = Slice(agent=agent, instance=instance)
        for unit in range(len(UNITS)):
            spent = max(0, ask.spent[unit] - mine.spent[unit])
            assumed = max(0, mine.ceiling[unit] - mine.spent[unit]) if mine.lapsed_ns else 0
            for key, cap in caps:
                account = self._account(key, cap, now)
                was_assumed_here = min(assumed, account.assumed[unit]) if mine.lapsed_ns >= account.start_ns else 0
                if spent or was_assumed_here:
                    account.spent[unit] += spent - was_assumed_here
                    account.assumed[unit] -= was_assumed_here
                    self._changed[key] = account
        if tuple(mine.spent) != ask.spent or mine.lapsed_ns:
            self._note(mine)
        self._count(mine, -1)
        # A sum can only grow. One that shrank is a fault of the guard, and is not believed.
        mine.spent = [max(before, said) for before, said in zip(mine.spent, ask.spent, strict=True)]
        mine.ceiling = [max(spent, said) for spent, said in zip(mine.spent, ask.ceiling, strict=True)]
        mine.lapsed_ns = 0
        self._count(mine, 1)
        return mine

    def _give(self, mine: Slice, unit: int, need: int, limiting: Caps, now: Instant) -> tuple[int, tuple[str, Cap] | None]:
        """How much of one unit the guard may hold, and the cap that kept it from what it needs."""
        held = mine.held(unit)
        free = {key: self._free(key, cap, unit, now) for key, cap in limiting}
        tightest, cap = min(limiting, key=lambda each: free[each[0]])
        most = max(0, held + free[tightest])
        limit = cap.limits[unit]
        assert limit is not None
        wanted = max(AHEAD * need, limit // MIN_SHARE, held)
        if any(self._starving.get(key, 0) > now for key, _ in limiting) and need == 0:
            wanted = held // 2
        given = min(most, max(wanted, need))
        if given >= need:
            return given, None
        self._starving[tightest] = now + STARVING_NS
        return given, (tightest, cap)

    def _free(self, key: str, cap: Cap, unit: int, now: Instant) -> int:
        limit = cap.limits[unit]
        assert limit is not None
        return limit - self._account(key, cap, now).spent[unit] - self._reserved.get(key, [0, 0, 0])[unit]

    def _is_final(self, unit: int, need: int, limiting: Caps) -> bool:
        for key, cap in limiting:
            limit = cap.limits[unit]
            assert limit is not None
            if limit - self._accounts[key].spent[unit] < need:
                return True
        return False

    def _told(self, key: str, cap: Cap, unit: int) -> str:
        """A cap that is used up, for the message of the refusal."""
        limit = cap.limits[unit]
        assert limit is not None
        spent, held = self._accounts[key].spent[unit], self._reserved.get(key, [0, 0, 0])[unit]
        name = key.rpartition(SEP)[2]
        whose = "the fleet's budget" if cap.level == "fleet" else f"the budget of {cap.level} {name}"
        return f"{whose} of {_shown(limit, unit)} per {cap.per}: {_shown(spent, unit)} spent, {_shown(held, unit)} given out"

    def _sweep(self, now: Instant) -> None:
        """Take for spent what guards held that are gone."""
        if now - self._swept_ns < SWEEP_NS:
            return
        self._swept_ns = now
        for each in [each for each in self._slices.values() if each.until_ns <= now]:
            if each.lapsed_ns:
                if now - each.lapsed_ns > FORGET_NS:
                    del self._slices[each.agent, each.instance]
                    self._changed[_slice_key(each)] = None
                continue
            caps = self._of(each.agent)
            for unit in range(len(UNITS)):
                held = each.held(unit)
                for key, cap in caps:
                    account = self._account(key, cap, now)
                    if held and cap.limits[unit] is not None:
                        account.spent[unit] += held
                        account.assumed[unit] += held
                        self._changed[key] = account
            self._count(each, -1)
            each.lapsed_ns = now
            self._note(each)

    def _count(self, each: Slice, sign: Literal[1, -1]) -> None:
        """Add what a slice holds to its accounts, or take it off."""
        for key, _ in self._of(each.agent):
            reserved = self._reserved.setdefault(key, [0, 0, 0])
            for unit in range(len(UNITS)):
                reserved[unit] += sign * each.held(unit)

    def _note(self, each: Slice) -> None:
        self._changed[_slice_key(each)] = each


def period_start(per: Period, now: Instant) -> int:
    """When the period that `now` is in began, UTC.

    >>> from andoncord.kernel.time import rfc3339
    >>> [rfc3339(period_start(per, Instant(1_767_225_600_000_000_000 + 30 * HOUR_NS)))[:16] for per in ("day", "week", "month")]
    ['2026-01-02T00:00', '2025-12-29T00:00', '2026-01-01T00:00']
    """
    if per == "hour":
        return now - now % HOUR_NS
    day = now - now % DAY_NS
    if per == "day":
        return day
    if per == "week":
        return day - (day // DAY_NS + THURSDAY) % 7 * DAY_NS
    return day - (datetime.fromtimestamp(day // SECOND_NS, UTC).day - 1) * DAY_NS


def _key(cap: Cap, name: str) -> str:
    return f"{cap.level}{SEP}{name}"


def _slice_key(each: Slice) -> str:
    return f"slice{SEP}{each.agent}{SEP}{each.instance}"


def _shown(amount: int, unit: int) -> str:
    return usd_text(amount) if unit == 0 else f"{amount} {UNITS[unit]}"
