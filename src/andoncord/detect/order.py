"""How surprising the order of a run's steps is, by the orders seen before (DET-3)."""

from collections.abc import Sequence
from math import log

from andoncord.detect.detector import Groups

MIN_RUNS = 50
"""Runs before an order can surprise. Chosen."""
MAX_TRIPLES = 1_024
"""Successions of three remembered of each agent; with more, all counts are halved and the rare ones go."""
START, END = "^", "$"
WEIGHTS = (0.6, 0.3, 0.1)
"""Of what is known after two steps, after one, and of the step alone: interpolated n-grams (Jelinek, Mercer 1980)."""


class _Orders:
    __slots__ = ("pairs", "runs", "singles", "total", "triples")

    def __init__(self) -> None:
        self.runs = 0
        self.total = 0
        self.singles: dict[str, int] = {}
        self.pairs: dict[tuple[str, str], int] = {}
        self.triples: dict[tuple[str, str, str], int] = {}

    def learn(self, steps: Sequence[str]) -> None:
        before, last = START, START
        for step in (*steps, END):
            self.total += 1
            self.singles[step] = self.singles.get(step, 0) + 1
            self.pairs[last, step] = self.pairs.get((last, step), 0) + 1
            self.triples[before, last, step] = self.triples.get((before, last, step), 0) + 1
            before, last = last, step
        self.singles[START] = self.singles.get(START, 0) + 1
        self.pairs[START, START] = self.pairs.get((START, START), 0) + 1
        self.runs += 1
        if len(self.triples) > MAX_TRIPLES:
            self.singles = {step: count // 2 for step, count in self.singles.items() if count > 1}
            self.pairs = {pair: count // 2 for pair, count in self.pairs.items() if count > 1}
            self.triples = {triple: count // 2 for triple, count in self.triples.items() if count > 1}
            self.total //= 2

    def surprise(self, steps: Sequence[str]) -> float:
        before, last, total = START, START, 0.0
        kinds = len(self.singles) + 1
        for step in (*steps, END):
            alone = (self.singles.get(step, 0) + 1.0) / (self.total + kinds)
            after = self.pairs.get((last, step), 0) / max(1, self.singles.get(last, 0))
            after_two = self.triples.get((before, last, step), 0) / max(1, self.pairs.get((before, last), 0))
            total -= log(WEIGHTS[0] * min(1.0, after_two) + WEIGHTS[1] * min(1.0, after) + WEIGHTS[2] * alone)
            before, last = last, step
        return total / (len(steps) + 1)


class Orders:
    """The orders of steps of every agent.

    Loops of legal steps do not surprise; the loop detector is for those.

    Cost: O(steps) per run; at most about 0.3 MB per agent, commonly a few kB.

    >>> orders = Orders(limit=10)
    >>> surprises = [orders.take(("a", True), ["read", "test", "write"]) for _ in range(60)]
    >>> surprises[0], surprises[-1] < 0.1 < orders.take(("a", True), ["read", "write"])
    (None, True)
    """

    def __init__(self, *, limit: int) -> None:
        self.agents = Groups(_Orders, limit=limit)

    def take(self, key: tuple[str, bool], steps: Sequence[str]) -> float | None:
        """How surprising a run's steps are, in nats a step; None as long as too few runs are known. Then they are known too."""
        orders = self.agents.at(key)
        surprise = orders.surprise(steps) if orders.runs >= MIN_RUNS else None
        orders.learn(steps)
        return surprise
