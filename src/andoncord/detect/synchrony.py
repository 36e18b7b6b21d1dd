"""Agents that act in step: what they do to a quantity moves together more than chance and known causes explain (DET-15)."""

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from math import isfinite, sqrt
from typing import Any

from andoncord.detect.detector import MAX_GROUPS, Groups, Hit, Trigger, few
from andoncord.detect.evidence import Wealth
from andoncord.detect.facts import Facts, Key
from andoncord.detect.ledger import Ledger, believed_ns
from andoncord.detect.profile import Draws
from andoncord.telemetry.event import Event

Number = Callable[[Facts], float | None]
ROWS = 48
"""Moves judged together; each is judged once. Chosen: at a strength of 0.3 five agents were found in 86 of 100 with 200."""
MIN_AGENTS = 3
MAX_AGENTS = 32
"""Agents followed per group; who was quiet longest is left out."""
MIN_MOVES = ROWS // 4
"""Rows in which an agent must have moved to be judged."""
SHIFTS = 999
ENOUGH = 10
"""Shifts that do as well as the truth, after which no more are tried (Besag and Clifford): nearly always at once."""
MIN_CORRELATION = 0.2
"""Mean correlation below which evidence is not told: a real but harmless likeness. Chosen."""
_POWERS = (0.1, 0.3)
MAX_GROUPS_HERE = 100

Rows = Sequence[Sequence[float]]


class _Group:
    __slots__ = ("agents", "bucket", "causes", "is_raised", "rows", "spans", "start_ns", "tests", "wealth")

    def __init__(self) -> None:
        self.agents: OrderedDict[str, float] = OrderedDict()
        """Agent → its newest value."""
        self.causes: list[float] = []
        self.rows: list[tuple[dict[str, float], list[float]]] = []
        self.bucket = -1
        self.start_ns = self.tests = 0
        self.spans: deque[str] = deque(maxlen=16)
        self.wealth = Wealth(len(_POWERS))
        self.is_raised = False


class Synchrony:
    """Raise when the moves of at least three agents are alike beyond what the declared causes explain; once, until a stretch in
    which they are not.

    In each stretch of time in which anybody moved, the newest value of every agent is noted. Of 48 moves the differences
    are taken, what the declared causes explain of them is removed, and the sum over agents is compared with the sums after
    each agent's moves were shifted around the circle, 999 times: what is left must be in step, not merely alike. The share
    of shifts that do as well becomes evidence, which is paid from the fleet's budget of false alarms.

    Args:
        value: the quantity; None where an event says nothing about it.
        causes: what may move all of them: costs, demand. Undeclared common causes look like collusion.
        bucket_ns: length of a stretch.
        is_in_text: the quantity is read from the arguments of calls.

    Cost: O(1) per event, O(agents) per stretch; after 48 of them usually a millisecond, 0.2 s where they are in step.
    Source: Besag, Clifford, "Sequential Monte Carlo p-values", Biometrika 78 (1991); Vovk, Wang (2021) for the evidence.
    """

    def __init__(
        self,
        trigger: Trigger,
        *,
        key: Callable[[Event], Key],
        value: Number,
        causes: tuple[Number, ...],
        bucket_ns: int,
        ledger: Ledger,
        is_in_text: bool = False,
        max_groups: int = MAX_GROUPS,
    ) -> None:
        self.kinds = trigger.kinds
        self.triggers = (trigger,)
        self.reads_texts = trigger.kinds if is_in_text else frozenset()
        self._trigger, self._key, self._value, self._causes = trigger, key, value, causes
        self._bucket_ns, self._ledger = bucket_ns, ledger
        self._groups = Groups(_Group, limit=min(MAX_GROUPS_HERE, max_groups))

    @property
    def memory(self) -> tuple[Groups[Any], ...]:
        """What it has learned: moves are judged over hours, which is longer than events are shown again after a restart."""
        return (self._groups,)

    def observe(self, event: Event, facts: Facts) -> Iterable[Hit]:
        if not event.agent or not self._trigger.matches(event, facts):
            return ()
        value = self._value(facts)
        if value is None:
            return ()
        key, at_ns = self._key(event), believed_ns(event)
        group = self._groups.at(key)
        bucket = at_ns // self._bucket_ns
        hits: Iterable[Hit] = ()
        if bucket > group.bucket:
            if group.bucket >= 0:
                hits = self._close(event, key, group, at_ns)
            else:
                group.start_ns = at_ns
            group.bucket = bucket
        group.agents[event.agent] = value
        group.agents.move_to_end(event.agent)
        if len(group.agents) > MAX_AGENTS:
            group.agents.popitem(last=False)
        known = [read(facts) for read in self._causes]
        group.causes = [
            now if now is not None else (group.causes[place] if place < len(group.causes) else 0.0)
            for place, now in enumerate(known)
        ]
        group.spans.append(event.span_id)
        return hits

    def tick(self, now_ns: int) -> Iterable[Hit]:
        return ()

    def _close(self, event: Event, key: Key, group: _Group, at_ns: int) -> Iterable[Hit]:
        group.rows.append((dict(group.agents), list(group.causes)))
        if len(group.rows) <= ROWS:
            return ()
        rows, group.rows = group.rows, group.rows[-1:]
        began_ns, group.start_ns = group.start_ns, at_ns
        group.tests += 1
        names, moves = _moves(rows)
        if len(names) < MIN_AGENTS:
            return ()
        likeness, chance = in_step(moves, seed=group.tests)
        spend = self._ledger.spend(("synchrony", key), at_ns, trusted=event.trusted)
        factors = [power * chance ** (power - 1.0) for power in _POWERS]
        evidence = group.wealth.update(factors, spend=spend, at_ns=began_ns)
        if evidence < 1.0 or likeness < MIN_CORRELATION:
            group.is_raised = group.is_raised and likeness >= MIN_CORRELATION
            return ()
        since_ns = group.wealth.began_ns
        group.wealth.reset()
        if group.is_raised:
            return ()
        group.is_raised = True
        self._ledger.note_alarm()
        leading = sorted(names, key=lambda name: -_with_others(moves, names.index(name)))
        return (
            Hit(
                event=event,
                key=(*key, "synchrony"),
                at_ns=event.at_ns,
                onset_ns=min(since_ns, event.at_ns),
                evidence=few(group.spans),
                score=0.9,
                words={"agents": str(len(names)), "correlation": f"{likeness:.2f}"},
                facts={"agents": leading[:8], "correlation": round(likeness, 3), "p": round(chance, 4), "moves": ROWS},
            ),
        )


def in_step(moves: Rows, *, seed: int) -> tuple[float, float]:
    """The mean correlation of some agents' moves, and the share of circular shifts that give as much.

    Args:
        moves: one sequence of equal length for each agent, each with mean 0 and variance 1.
        seed: of the shifts; the same on replay.

    >>> alike = [[1.0, -1.0, 1.0, 1.0, -1.0, -1.0, 1.0, -1.0] for _ in range(3)]
    >>> round(in_step(alike, seed=1)[0], 2)
    1.0
    """
    length, agents, draws = len(moves[0]), len(moves), Draws(seed)
    truth = _power(moves)
    as_much = tried = 0
    while tried < SHIFTS and as_much < ENOUGH:
        shifted = []
        for each in moves:
            place = int(draws.next() * length)
            shifted.append([*each[place:], *each[:place]])
        tried += 1
        as_much += _power(shifted) >= truth
    chance = as_much / tried if as_much >= ENOUGH else (as_much + 1) / (tried + 1)
    return (truth / length - agents) / (agents * (agents - 1)), chance


def _power(moves: Rows) -> float:
    return sum(total * total for total in map(sum, zip(*moves, strict=True)))


def _with_others(moves: Rows, place: int) -> float:
    rest: list[float] = [sum(column) for column in zip(*moves, strict=True)]
    return sum(own * (total - own) for own, total in zip(moves[place], rest, strict=True))


def _moves(rows: Sequence[tuple[dict[str, float], list[float]]]) -> tuple[list[str], list[list[float]]]:
    """The standardised moves of those who were there all the time and moved, without what the causes explain."""
    causes = [
        _standard(_steps([row[1][place] for row in rows])) for place in range(len(rows[-1][1])) if _all_known(rows, place)
    ]
    names, moves = [], []
    for name in sorted(rows[0][0]):
        if not all(name in values for values, _ in rows):
            continue
        steps = _steps([values[name] for values, _ in rows])
        if sum(step != 0.0 for step in steps) < MIN_MOVES:
            continue
        left = _standard(steps)
        for cause in causes:
            share = sum(one * other for one, other in zip(left, cause, strict=True)) / len(left)
            left = _standard([one - share * other for one, other in zip(left, cause, strict=True)])
        if any(left):
            names.append(name)
            moves.append(left)
    return names, moves


def _all_known(rows: Sequence[tuple[dict[str, float], list[float]]], place: int) -> bool:
    return all(place < len(causes) for _, causes in rows)


def _steps(values: Sequence[float]) -> list[float]:
    return [later - earlier for earlier, later in pairwise(values)]


def _standard(values: Sequence[float]) -> list[float]:
    """With mean 0 and variance 1; all 0 where nothing varies."""
    mean = sum(values) / len(values)
    spread = sqrt(sum((value - mean) ** 2 for value in values) / len(values))
    if not spread > 1e-9 * max(1.0, abs(mean)) or not isfinite(spread):
        return [0.0] * len(values)
    return [(value - mean) / spread for value in values]
