"""What an agent decides, and whether the mix of it has diverged from what it was (DET-2, DET-4).

A decision is a tool that was called, a partner that was handed the work (a tool call in most frameworks), a call that the guard
refused. A run counts once, by the shares its decisions have: decisions of one run depend on each other, runs hardly do.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import sqrt
from typing import Any
from zlib import crc32

from andoncord.detect.detector import MAX_GROUPS, Groups, Hit, Trigger, few
from andoncord.detect.evidence import Wealth, onset_facts
from andoncord.detect.facts import Facts, Key
from andoncord.detect.ledger import Ledger
from andoncord.detect.profile import Draws
from andoncord.detect.roles import role_of
from andoncord.detect.runs import ENDS, Runs, RunTotals
from andoncord.kernel.vocabulary import Severity
from andoncord.telemetry.event import Event, EventKind

DIVERGED = 0.30
"""Total variation above which an alarm is raised: so much of the decisions would have to change to be the old mix. DET-2."""
FAR = 0.50
"""Above which it is high. DET-2."""
MIN_DECISIONS = 2_000
"""Decisions of the past before anything is judged, the agent's own or its role's: below, the measured false alarms exceed the
budget (12.8 in 10 000 decisions with 300 of them, 1.7 with 2 000, at one promised)."""
MIN_RUNS = 100
WINDOW_DECISIONS = 50
"""Newest decisions that the size is measured on at least, and three for each kind of decision: with fewer, chance alone reaches
0.30 (15 kinds, 20 decisions: half of the time; 15 kinds, 50 decisions: 1 in 100)."""
HELD = 50
"""Newest runs, that the size is measured on, and that are not yet part of the past."""
WAIT = 100
"""Runs for which the evidence waits for the size."""
BACK = 0.15
"""Total variation below which it is over: half of what raised it. Chosen."""
RELEARN = 200
"""Runs after which the new mix is the normal one."""
MEMORIES = (0.9, 0.97, 0.99)
"""Forgetting per run of what the new mix may be."""
MAX_KINDS = 64
"""Kinds of decisions told apart; the rest are one."""
MAX_CLASSES = 16
"""Of what each run has one of: three times as many fit into the newest runs."""
GATHERED = 256
"""Kinds told apart until it is known which are common."""
GATHERING_RUNS = 100
"""Runs after which it is."""
KEPT = 4_000
"""Runs after which the old ones begin to weigh less: all are halved."""
OTHER = "…"
BOOTSTRAPS = 60
FADED = 1e-4
"""A share that has become smaller is forgotten."""

Shares = Mapping[str, float]


class Past:
    """The mix of decisions that is normal: mean shares over runs."""

    __slots__ = ("decisions", "limit", "runs", "shares", "squares")

    def __init__(self, limit: int = MAX_KINDS) -> None:
        self.limit = limit
        self.shares: dict[str, float] = {}
        self.squares: dict[str, float] = {}
        self.runs = 0.0
        self.decisions = 0.0

    def learn(self, shares: Shares, decisions: int) -> None:
        """Take a run in."""
        for name, share in shares.items():
            kind = self.kind(name)
            self.shares[kind] = self.shares.get(kind, 0.0) + share
            self.squares[kind] = self.squares.get(kind, 0.0) + share * share
        self.runs += 1
        self.decisions += decisions
        if self.runs == GATHERING_RUNS:
            self._keep_common()
        if self.runs >= KEPT:
            self.shares = {name: total / 2 for name, total in self.shares.items()}
            self.squares = {name: total / 2 for name, total in self.squares.items()}
            self.runs, self.decisions = self.runs / 2, self.decisions / 2

    def kind(self, name: str) -> str:
        """What a decision counts as: itself, or one of the rest."""
        if name in self.shares:
            return name
        return name if len(self.shares) < (self.limit if self.runs >= GATHERING_RUNS else GATHERED) else OTHER

    def _keep_common(self) -> None:
        """Tell apart only the commonest kinds from now on."""
        rare = sorted(self.shares, key=self.shares.__getitem__, reverse=True)[self.limit :]
        if rare:
            # What the rest varies by is not known; at most it comes in all of a run or in none of it.
            other = sum(self.shares.pop(name) for name in rare)
            # New tables: those that held many stay as large as they were.
            self.shares = {**self.shares, OTHER: self.shares.get(OTHER, 0.0) + other}
            self.squares = {name: self.squares.get(name, 0.0) for name in self.shares}
            self.squares[OTHER] += other

    @property
    def is_enough(self) -> bool:
        """Whether it may be judged by."""
        return self.decisions >= MIN_DECISIONS and self.runs >= MIN_RUNS

    def of(self, name: str) -> float:
        """The mean share of a decision."""
        return self.shares.get(self.kind(name), 0.0) / max(1.0, self.runs)

    def at_most(self, name: str) -> float:
        """The mean share plus what chance may have taken from it: two standard errors, and never less than one in all runs."""
        kind = self.kind(name)
        mean = self.shares.get(kind, 0.0) / self.runs
        variance = max(0.0, self.squares.get(kind, 0.0) / self.runs - mean * mean)
        return mean + 2.0 * sqrt(variance / self.runs) + 1.0 / self.runs


class _Agent:
    """One agent's mix, past and present."""

    __slots__ = ("held", "is_far", "past", "raised", "recent", "spans", "waited", "wealth")

    def __init__(self) -> None:
        self.past = Past()
        self.held: deque[tuple[str, ...]] = deque()
        """The decisions of the newest runs."""
        self.recent: list[dict[str, float]] = [{} for _ in MEMORIES]
        self.wealth = Wealth(len(MEMORIES))
        self.spans: deque[str] = deque(maxlen=8)
        self.raised = self.waited = 0
        self.is_far = False


class DecisionMix:
    """Raise when the mix of an agent's decisions has diverged: enough evidence for a change, and a change of enough size.

    The evidence is a categorical e-detector paid from the fleet's budget: a run's factor is the mean, over its decisions, of
    how much likelier the newest runs make them than the past, held against an upper bound of the past. The size is the total
    variation between the newest runs and the past, less what chance adds to it (bootstrap over runs). Medium above 0.30, said
    again as high above 0.50; over when it has fallen below 0.15, or after 200 runs.

    Cost: O(kinds of decisions) per run; about 10 kB per agent.
    Source: Shin, Ramdas, Rinaldo (2024) for the evidence; Efron, "The jackknife, the bootstrap" (1982) for the correction.
    """

    _mixes: tuple[tuple[str, ...], ...] = ((),)
    """What stands before the agent in the key of each mix."""
    _severities = (Severity.MEDIUM, Severity.HIGH)
    _remembers_early = True
    """What the newest runs are like is kept in mind while nothing is judged yet."""
    _look_every = 1
    """Runs between two looks at the size, once there is evidence: it is what costs."""

    def __init__(
        self,
        trigger: Trigger,
        *,
        key: Callable[[Event], Key],
        runs: Runs,
        ledger: Ledger,
        is_fed: bool = False,
        max_groups: int = MAX_GROUPS,
    ) -> None:
        self._trigger, self._key, self._runs, self._ledger, self._asks = trigger, key, runs, ledger, not is_fed
        self.counts_runs = True
        self.kinds = (runs.kinds if self._asks else ENDS) | {EventKind.CHANGE_MADE}
        self._agents = Groups(_Agent, limit=max_groups)
        self._roles: Groups[Past] = Groups(Past, limit=min(1_000, max_groups))
        self._names: Groups[list[str]] = Groups(list, limit=max_groups)

    @property
    def memory(self) -> tuple[Groups[Any], ...]:
        """What it has learned."""
        return (self._agents, self._roles, self._names)

    def observe(self, event: Event, facts: Facts) -> Iterable[Hit]:
        if event.kind is EventKind.CHANGE_MADE:
            for of in self._mixes:
                agent = self._agents.get((*of, event.agent, event.trusted))
                if agent is not None and agent.raised:
                    _begin_anew(agent)
            return ()
        over = self._runs.observe(event) if self._asks else ()
        hits = self.judge(over) if over else ()
        if event.kind in ENDS:
            self._names.at((event.agent,))[:] = [role_of(event.agent, facts.declared)]
        return hits

    def tick(self, now_ns: int) -> Iterable[Hit]:
        over = self._runs.tick(now_ns) if self._asks else ()
        return self.judge(over) if over else ()

    def judge(self, runs: Iterable[RunTotals]) -> tuple[Hit, ...]:
        """Look at runs that are over."""
        return tuple(
            hit
            for run in runs
            if run.end is not None
            for of, seen in self._views(run)
            for hit in self._take(run.end, run, of, seen)
        )

    def _views(self, run: RunTotals) -> Iterable[tuple[str, Sequence[str]]]:
        """What is looked at of a run: a word for each mix, and its parts."""
        return (("decisions", run.actions),) if run.actions else ()

    def _is_enough(self, past: Past, of: str) -> bool:
        """Whether a past may be judged by."""
        return past.is_enough

    def _past(self, of: str) -> Past:
        """A past with nothing in it."""
        return Past()

    def _take(self, end: Event, run: RunTotals, of: str, seen: Sequence[str]) -> Iterable[Hit]:
        key = self._key(end)
        if of != "decisions":
            key = (of, *key)
        agent = self._agents.at(key)
        role = self._role(end.agent, of, trusted=key[-1])
        if not (agent.past.runs or agent.held):
            agent.past = self._past(of)
        past = agent.past if role is None or self._is_enough(agent.past, of) else role
        kinds = {name: past.kind(name) for name in set(seen)}
        shares = shares_of([kinds[name] for name in seen])
        is_enough = self._is_enough(past, of)
        account = self._ledger.spend if is_enough and not agent.raised else self._ledger.join
        spend = account((of, key), run.judged_at_ns, trusted=end.trusted)
        agent.spans.append(end.span_id)
        hit: Hit | None = None
        if agent.raised:
            hit = self._recover(agent, past, end, key, run, seen)
        elif is_enough:
            hit = self._weigh(agent, past, shares, spend, end, key, run, seen)
        self._remember(agent, role, shares if is_enough or self._remembers_early else {}, seen)
        return (hit,) if hit else ()

    def _role(self, agent: str, of: str, *, trusted: bool) -> Past | None:
        """What is normal for the agents of a role; None for an agent that is alone in its role."""
        named = self._names.get((agent,))
        if not named or named[0] == agent:
            return None
        role = self._roles.at((of, named[0], trusted))
        if not role.runs:
            role.limit = self._past(of).limit
        return role

    def _weigh(
        self,
        agent: _Agent,
        past: Past,
        shares: dict[str, float],
        spend: float,
        end: Event,
        key: Key,
        run: RunTotals,
        seen: Sequence[str],
    ) -> Hit | None:
        factors = [_factor(past, recent, shares) for recent in agent.recent]
        won = agent.wealth.update(factors, spend=spend, at_ns=run.started_ns)
        if won < 1.0:
            return None
        agent.waited += 1
        if agent.waited % self._look_every:
            return None
        size, low, decisions = self._size(agent, past, seen, key)
        if decisions < max(WINDOW_DECISIONS, 3 * len(past.shares)) or size <= DIVERGED:
            if agent.waited > WAIT:
                agent.wealth.reset()
                agent.waited = 0
            return None
        self._ledger.note_alarm()
        hit = self._hit(agent, past, size, low, decisions, end, key, run)
        agent.raised, agent.is_far = 1, size > FAR
        return hit

    def _recover(self, agent: _Agent, past: Past, end: Event, key: Key, run: RunTotals, seen: Sequence[str]) -> Hit | None:
        agent.raised += 1
        if agent.raised <= RELEARN and agent.raised % self._look_every:
            return None
        size, low, decisions = self._size(agent, past, seen, key)
        if agent.raised > RELEARN:
            agent.past = Past(agent.past.limit)
            for held in agent.held:
                agent.past.learn(shares_of(held), len(held))
            _begin_anew(agent)
        elif size < BACK and agent.raised > HELD:
            _begin_anew(agent)
        elif size > FAR and not agent.is_far:
            agent.is_far = True
            return self._hit(agent, past, size, low, decisions, end, key, run)
        return None

    @staticmethod
    def _remember(agent: _Agent, role: Past | None, shares: dict[str, float], actions: Sequence[str]) -> None:
        for place, keep in enumerate(MEMORIES):
            recent = {name: share * keep for name, share in agent.recent[place].items()}
            for name, share in shares.items():
                recent[name] = recent.get(name, 0.0) + (1.0 - keep) * share
            if recent and min(recent.values()) < FADED:
                recent = {name: share for name, share in recent.items() if share >= FADED}
            agent.recent[place] = recent
        agent.held.append(tuple(actions))
        if len(agent.held) > HELD:
            oldest = agent.held.popleft()
            if not agent.raised:
                past = shares_of(oldest)
                agent.past.learn(past, len(oldest))
                if role is not None:
                    role.learn(past, len(oldest))

    @staticmethod
    def _size(agent: _Agent, past: Past, actions: Sequence[str], key: Key) -> tuple[float, float, int]:
        """Total variation of the newest runs from the past without what chance adds, its lower bound, of how many decisions."""
        since = max(1, min(agent.wealth.since, HELD))
        newest = [*(agent.held if agent.raised else list(agent.held)[-since:]), actions]
        seed = crc32(repr(key).encode("utf-8", "replace"))
        size, low = divergence([shares_of([past.kind(name) for name in each]) for each in newest], past, Draws(seed))
        return size, low, sum(map(len, newest))

    def _hit(
        self, agent: _Agent, past: Past, size: float, low: float, decisions: int, end: Event, key: Key, run: RunTotals
    ) -> Hit:
        held = list(agent.held)[-max(1, min(agent.wealth.since, HELD)) :]
        newest = mean_shares([shares_of([past.kind(name) for name in each]) for each in held])
        moved = sorted({*past.shares, *newest}, key=lambda name: -abs(newest.get(name, 0.0) - past.of(name)))[:3]
        told = ", ".join(f"{name} {past.of(name):.0%} → {newest.get(name, 0.0):.0%}" for name in moved)
        return Hit(
            event=end,
            key=(*key, "far" if size > FAR else "diverged"),
            at_ns=run.judged_at_ns,
            onset_ns=agent.wealth.began_ns or run.started_ns,
            evidence=few(agent.spans),
            score=0.9,
            severity=self._severities[size > FAR],
            words={"size": f"{size:.0%}", "moved": told, "of": str(key[0])},
            facts={
                "divergence": round(size, 4),
                **onset_facts(agent.wealth.began_between_ns),
                "divergence_at_least": round(low, 4),
                "is_confirmed": low > DIVERGED,
                "decisions": decisions,
                "runs_since": agent.wealth.since,
                "runs_before": int(past.runs),
                "moved": {name: [round(past.of(name), 4), round(newest.get(name, 0.0), 4)] for name in moved},
            },
        )


def shares_of(actions: Sequence[str]) -> dict[str, float]:
    """The share of each decision among those of a run."""
    share = 1.0 / len(actions)
    shares: dict[str, float] = {}
    for action in actions:
        shares[action] = shares.get(action, 0.0) + share
    return shares


def mean_shares(runs: Sequence[Shares]) -> dict[str, float]:
    """The mean of several runs' shares."""
    mean: dict[str, float] = {}
    for shares in runs:
        for name, share in shares.items():
            mean[name] = mean.get(name, 0.0) + share / len(runs)
    return mean


def divergence(runs: Sequence[Shares], past: Past, draws: Draws) -> tuple[float, float]:
    """Total variation between runs and the past, corrected for chance, and its lower 95 % bound (basic bootstrap over runs).

    >>> past = Past()
    >>> for _ in range(100):
    ...     past.learn({"a": 0.5, "b": 0.5}, 2)
    >>> [round(size, 3) for size in divergence([{"a": 1.0}] * 20, past, Draws(1))]
    [0.5, 0.5]
    """
    observed = _variation(mean_shares(runs), past)
    drawn = sorted(
        _variation(mean_shares([runs[int(draws.next() * len(runs))] for _ in runs]), past) for _ in range(BOOTSTRAPS)
    )
    corrected = max(0.0, 2.0 * observed - sum(drawn) / BOOTSTRAPS)
    low = max(0.0, 2.0 * observed - drawn[int(0.95 * BOOTSTRAPS)])
    return min(1.0, corrected), min(1.0, low)


def _variation(shares: Shares, past: Past) -> float:
    return 0.5 * sum(abs(shares.get(name, 0.0) - past.of(name)) for name in {*shares, *past.shares})


def _factor(past: Past, recent: Shares, shares: Shares) -> float:
    """Half a bet that the run is as the newest are: mean at most 1 as long as the past's bounds hold."""
    total = sum(recent.values())
    if total <= 0.0:
        return 1.0
    won = sum(share * recent.get(name, 0.0) / total / past.at_most(name) for name, share in shares.items())
    return 0.5 + 0.5 * won


def _begin_anew(agent: _Agent) -> None:
    agent.raised = agent.waited = 0
    agent.is_far = False
    agent.wealth.reset()
