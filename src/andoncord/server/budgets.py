"""Budgets that guards share: their settings, and the office that gives out slices and remembers them."""

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from andoncord.kernel.errors import CallerError
from andoncord.kernel.money import micro_usd
from andoncord.policy.allotment import Allotments, Ask, Cap, Level, Period
from andoncord.server.ports import BudgetStore, ServerClock
from andoncord_sdk.allowance import MAX_AMOUNT, allowance_mac

Amount = Annotated[int, msgspec.Meta(ge=0, le=MAX_AMOUNT)]
EVERYBODY = ("*",)


class CapSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The most that may be spent in each period, UTC. At least one of the three limits something."""

    per: Period
    usd: Annotated[float, msgspec.Meta(ge=0)] | None = None
    """US dollars that model calls cost."""
    tokens: Amount | None = None
    """Tokens that model calls read and write."""
    calls: Amount | None = None
    """Calls of models and tools."""


class TeamCapSettings(CapSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A cap for several agents together."""

    agents: tuple[str, ...] = ()
    """Globs over their names. Empty: the agents declared with this team."""


class BudgetSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What agents may spend together. What a single run may spend is said where its guard is made."""

    fleet: CapSettings | None = None
    """All agents together."""
    teams: dict[str, TeamCapSettings] = {}
    agents: dict[str, CapSettings] = {}
    """Every instance of one agent together. The key is its name, or a glob over names: then each has a budget of its own. Of
    several that cover an agent, its name counts before globs, and the first of these."""

    def caps(self, members: Mapping[str, str]) -> tuple[Cap, ...]:
        """Every cap.

        Args:
            members: the team of each declared agent.

        Raises:
            CallerError: a cap limits nothing, or nobody.
        """
        caps = [_cap("fleet", "fleet", EVERYBODY, self.fleet)] if self.fleet else []
        for team, settings in self.teams.items():
            agents = settings.agents or tuple(agent for agent, of in members.items() if of == team)
            if not agents:
                remedy = f"name its agents here, or declare them with `team: {team}`"
                raise CallerError("covers no agent", place=f"budgets.teams.{team}", remedy=remedy)
            caps.append(_cap("team", team, agents, settings))
        exact_first = sorted(self.agents.items(), key=lambda each: any(character in each[0] for character in "*?["))
        caps += [_cap("agent", name, (name,), settings) for name, settings in exact_first]
        return tuple(caps)


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What a guard reports with the renewal of its lease."""

    spent: tuple[Amount, Amount, Amount]
    ceiling: tuple[Amount, Amount, Amount]
    need: tuple[Amount, Amount, Amount] = (0, 0, 0)
    is_leaving: bool = False


class BudgetOffice:
    """Gives out slices. What it gives is on disk before the guard hears of it; answers that wait for the disk share a write.

    For one event loop.
    """

    def __init__(self, caps: tuple[Cap, ...], *, store: BudgetStore, clock: ServerClock) -> None:
        self._store = store
        self._clock = clock
        self._allotments = Allotments(caps, saved=store.load(), now=clock.now())
        self._turn = asyncio.Lock()
        self._saves: set[asyncio.Task[None]] = set()
        """Under way. A write cannot be called back: each goes on to its end, also when nobody waits for its answer any more."""
        self._given = 0
        """Answers worked out so far."""
        self._safe = 0
        """Up to which of them everything is on disk."""

    def covers(self, agent: str) -> bool:
        """Whether the agent shares a budget."""
        return self._allotments.is_capped(agent)

    async def give(self, asked: Asked, *, agent: str, instance: str, guard: str, key: bytes, nonce: str) -> dict[str, Any]:
        """The answer to a report, with its proof."""
        ask = Ask(spent=asked.spent, ceiling=asked.ceiling, need=asked.need, is_leaving=asked.is_leaving)
        given = self._allotments.ask(agent, instance, ask, now=self._clock.now())
        if self._allotments.is_capped(agent):
            await self._save()
        text = msgspec.json.encode(given).decode()
        return {"text": text, "mac": allowance_mac(key, guard=guard, nonce=nonce, text=text)}

    async def _save(self) -> None:
        """Wait until everything that was worked out up to now is on disk."""
        self._given += 1
        save = asyncio.create_task(self._save_up_to(self._given))
        self._saves.add(save)
        save.add_done_callback(self._saves.discard)
        await asyncio.shield(save)

    async def _save_up_to(self, mine: int) -> None:
        async with self._turn:
            if self._safe >= mine:
                return
            up_to = self._given
            try:
                if changes := self._allotments.changes():
                    await asyncio.to_thread(self._store.save, changes)
            except BaseException:
                self._allotments.not_saved()
                raise
            self._allotments.saved()
            self._safe = up_to

    def view(self) -> list[dict[str, object]]:
        """Every account."""
        return self._allotments.view(now=self._clock.now())


def _cap(level: Level, name: str, agents: tuple[str, ...], settings: CapSettings) -> Cap:
    if settings.usd is None and settings.tokens is None and settings.calls is None:
        raise CallerError(f"the budget of {level} {name} limits nothing", place="budgets", remedy="give usd, tokens or calls")
    limits = (None if settings.usd is None else micro_usd(settings.usd), settings.tokens, settings.calls)
    return Cap(level=level, name=name, agents=agents, per=settings.per, limits=limits)
