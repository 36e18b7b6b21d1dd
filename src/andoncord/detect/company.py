"""How surprising the partners of a run are: edges of the agent graph that are new, and edges that fell silent (DET-4)."""

from collections.abc import Collection
from math import log

from andoncord.detect.detector import Groups

MIN_RUNS = 20
"""Runs of an agent before its partners can surprise. Chosen, as for the numbers of runs."""
LENT = 20.0
"""Runs that a role's agents stand for in the habits of each: what all others do is no surprise in a new one. Chosen."""
KEPT = 4_000
"""Runs after which the old ones begin to weigh less."""
MAX_PARTNERS = 200
"""Partners told apart of each agent or role; what is beyond is rare, and each is new again."""
MAX_TOLD = 4


class _Habits:
    __slots__ = ("counts", "newest", "runs")

    def __init__(self) -> None:
        self.runs = 0.0
        self.counts: dict[str, float] = {}
        self.newest: tuple[str, ...] = ()
        """What the newest runs had that is unusual: `+` before a partner that is new, `-` before one that is missing."""

    def learn(self, partners: Collection[str]) -> None:
        self.runs += 1.0
        for partner in partners:
            if partner in self.counts or len(self.counts) < MAX_PARTNERS:
                self.counts[partner] = self.counts.get(partner, 0.0) + 1.0
        if self.runs >= KEPT:
            self.runs /= 2.0
            self.counts = {partner: count / 2.0 for partner, count in self.counts.items() if count > 1.0}


class Company:
    """Whom each agent reaches in a run, and how often.

    A run's number is how unlikely its set of partners is, as if each came or stayed away by itself with the share of runs it
    had so far, the agent's own and, for a little, its role's. Rare partners surprise little where they come now and then.

    Cost: O(partners known) per run; a few hundred bytes per agent.

    >>> company = Company(limit=10)
    >>> usual = [company.take(("a", True), ("r", True), {"billing"}) for _ in range(60)]
    >>> usual[0], usual[-1] < 0.1 < 3.0 < company.take(("a", True), ("r", True), set())
    (None, True)
    >>> company.told(("a", True))
    'no longer billing'
    """

    def __init__(self, *, limit: int) -> None:
        self.agents = Groups(_Habits, limit=limit)
        self.roles = Groups(_Habits, limit=limit)

    @property
    def groups(self) -> tuple[Groups[_Habits], Groups[_Habits]]:
        """What it has learned."""
        return self.agents, self.roles

    def take(self, key: tuple[str, bool], role: tuple[str, bool], partners: Collection[str]) -> float | None:
        """How surprising a run's partners are, in nats; None as long as too few runs are known. Then they are known too."""
        own, others = self.agents.at(key), self.roles.at(role)
        surprise = None
        if own.runs >= MIN_RUNS:
            surprise = self._surprise(own, others, partners)
        own.learn(partners)
        others.learn(partners)
        return surprise

    def told(self, key: tuple[str, bool]) -> str:
        """What was unusual about the newest run that had anything unusual, in words."""
        habits = self.agents.get(key)
        if habits is None:
            return ""
        words = {"+": "now ", "-": "no longer "}
        return ", ".join(f"{words[each[0]]}{each[1:]}" for each in habits.newest)

    @staticmethod
    def _surprise(own: _Habits, others: _Habits, partners: Collection[str]) -> float:
        lent = min(LENT, others.runs)
        total, parts = 0.0, []
        for partner in {*own.counts, *partners}:
            elsewhere = others.counts.get(partner, 0.0) / max(1.0, others.runs)
            share = (own.counts.get(partner, 0.0) + lent * elsewhere + 0.5) / (own.runs + lent + 1.0)
            was_there = partner in partners
            nats = -log(share if was_there else 1.0 - share)
            total += nats
            parts.append((nats, f"+{partner}" if was_there else f"-{partner}"))
        unusual = sorted(part for part in parts if part[0] > 1.0)
        if unusual:
            own.newest = tuple(name for _, name in unusual[-MAX_TOLD:])
        return total
