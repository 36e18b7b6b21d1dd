"""Numbers of runs that leave their range: failures, cost, steps, latency, tool errors, scores, corrections (DET-2, 12, 13)."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from zlib import crc32

from andoncord.detect.company import Company
from andoncord.detect.detector import MAX_GROUPS, Groups, Hit, Trigger, few
from andoncord.detect.evidence import onset_facts
from andoncord.detect.facts import Facts, Key
from andoncord.detect.ledger import Ledger, believed_ns
from andoncord.detect.order import Orders
from andoncord.detect.profile import Profile
from andoncord.detect.roles import role_of
from andoncord.detect.runs import ENDS, Runs, RunTotals
from andoncord.detect.stream import AMOUNT, EVENT, SHARE, SURPRISE, Alarm, Scale, Side, Stream, lendable
from andoncord.kernel.money import usd_text
from andoncord.kernel.time import HOUR_NS
from andoncord.telemetry.event import Event, EventKind

MAX_ROLES = 1_000
CORRECTION = "human_correction"
"""Beginning of the names of evaluators that are heard of only when a person put right what a run did."""
MAX_RUNS_KNOWN = 64
"""Run ids remembered per stream of scores, so that one run is one observation."""

Reader = Callable[[RunTotals], float | None]
PER_RUN: dict[str, tuple[Scale, Reader]] = {
    "failure": (EVENT, lambda run: 0.0 if run.ok else 1.0),
    "cost": (AMOUNT, lambda run: float(run.cost_micro_usd) if run.cost_micro_usd > 0 else None),
    "steps": (AMOUNT, lambda run: float(run.steps) if run.steps else None),
    "latency": (AMOUNT, lambda run: run.seconds * 1_000.0 if run.seconds else None),
    "tool_errors": (SHARE, lambda run: run.tool_errors / run.tool_calls if run.tool_calls else None),
    "value": (AMOUNT, lambda run: run.value if run.value is not None and run.value >= 0.0 else None),
    "hourly_value": (AMOUNT, lambda run: run.value),
    "hourly_customers": (AMOUNT, lambda run: run.customers),
    "hourly_records": (AMOUNT, lambda run: run.records),
    "surprise": (SURPRISE, lambda run: None),
    "partners": (SURPRISE, lambda run: None),
    "message_failures": (SHARE, lambda run: run.message_failures / run.messages if run.messages else None),
    "timeouts": (SHARE, lambda run: run.timeouts / run.steps if run.steps else None),
}
"""What can be watched of every run: how it is looked at, and how it is read; None where a run does not say."""
HOURLY = frozenset({"hourly_value", "hourly_customers", "hourly_records"})
"""Those that are added up over an hour: see `andoncord.detect.impact`."""
PER_EVENT: dict[str, Scale] = {"score": SHARE, "correction": EVENT}
"""What arrives by itself, often after the run."""
SURE = 0.9
"""How sure such a finding is, while nothing is known of how often they are right. Chosen."""


class _Watched:
    """A stream, made when its first value comes."""

    __slots__ = ("changes", "known", "stream")

    def __init__(self) -> None:
        self.stream: Stream | None = None
        self.changes = 0
        self.known: OrderedDict[str, None] = OrderedDict()


class _Count:
    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


class _Role:
    __slots__ = ("name",)

    def __init__(self) -> None:
        self.name = ""


class _Pool:
    """What is normal for a role, over all its agents that are not raised."""

    __slots__ = ("past",)

    def __init__(self) -> None:
        self.past: Profile | None = None

    def learn(self, scale: Scale, value: float, at_ns: int) -> None:
        if self.past is None:
            self.past = Profile(per_unit=scale.per_unit, daily=scale.is_daily)
        hour = at_ns // HOUR_NS % 24
        if scale.is_event:
            self.past.learn_event(value, hour)
        else:
            self.past.learn(scale.of(value), hour)


class OutOfRange:
    """Raise when one number of an agent's runs has lastingly left what it was; once, until it is back or has become normal.

    Everything it says is paid from the fleet's budget of false alarms.

    Args:
        of: which number: a key of `PER_RUN`, or `score` (a fall of what an evaluator gives) or `correction` (people put right
            what runs did: scores of evaluators whose name begins with `human_correction`, that did not pass).
        side: which change matters.
        runs: adds up runs; shared by all detectors that need it.
        ledger: the budget.
        is_fed: runs that are over come by `judge`; otherwise they are asked for.

    Cost: O(1) per event; about 4 kB per agent and number.
    """

    def __init__(
        self,
        trigger: Trigger,
        *,
        key: Callable[[Event], Key],
        of: str,
        side: Side,
        runs: Runs,
        ledger: Ledger,
        is_fed: bool = False,
        max_groups: int = MAX_GROUPS,
    ) -> None:
        self._trigger, self._key, self._of, self._side = trigger, key, of, side
        self._runs, self._ledger = runs, ledger
        self._per_run = PER_RUN.get(of)
        self._scale = self._per_run[0] if self._per_run else PER_EVENT[of]
        self.counts_runs = self._per_run is not None or of == "correction"
        self._asks = self.counts_runs and not is_fed
        wanted = runs.kinds if self._asks else ENDS if self.counts_runs else frozenset()
        self.kinds = wanted | trigger.kinds | {EventKind.CHANGE_MADE}
        self._streams: Groups[_Watched] = Groups(_Watched, limit=max_groups)
        self._changes = Groups(_Count, limit=max_groups)
        self._orders = Orders(limit=max_groups)
        self._roles = Groups(_Role, limit=max_groups)
        self._company = Company(limit=max_groups)
        self._pools = Groups(_Pool, limit=min(MAX_ROLES, max_groups))

    @property
    def memory(self) -> tuple[Groups[Any], ...]:
        """What it has learned."""
        return (
            self._streams,
            self._changes,
            self._roles,
            self._pools,
            self._orders.agents,
            *self._company.groups,
        )

    def observe(self, event: Event, facts: Facts) -> Iterable[Hit]:
        kind = event.kind
        if kind is EventKind.CHANGE_MADE:
            self._changes.at((event.agent, event.trusted)).count += 1
            return ()
        hits: Iterable[Hit] = ()
        if self.counts_runs and kind in self._runs.kinds:
            over = self._runs.observe(event) if self._asks else ()
            hits = self.judge(over) if over else ()
            if kind in ENDS:
                self._roles.at((event.agent,)).name = role_of(event.agent, facts.declared)
        if self._per_run is None and kind in self._trigger.kinds and self._trigger.matches(event, facts):
            self._roles.at((event.agent,)).name = role_of(event.agent, facts.declared)
            hits = (*hits, *(self._corrected(event) if self._of == "correction" else self._scored(event, facts)))
        return hits

    def tick(self, now_ns: int) -> Iterable[Hit]:
        over = self._runs.tick(now_ns) if self._asks else ()
        return self.judge(over) if over else ()

    def judge(self, runs: Iterable[RunTotals]) -> tuple[Hit, ...]:
        """Look at runs that are over."""
        return tuple(self._of_runs(runs))

    def _of_runs(self, runs: Iterable[RunTotals]) -> Iterator[Hit]:
        for run in runs:
            if self._of == "partners":
                value = self._company.take(*self._of_agent(run.end), run.partners) if run.end is not None else None
            elif self._of == "surprise":
                end = run.end
                value = self._orders.take((end.agent, end.trusted), run.actions) if end is not None and run.actions else None
            else:
                value = self._per_run[1](run) if self._per_run else 0.0
            if run.end is not None and value is not None:
                yield from self._take(run.end, value, run.judged_at_ns)

    def _of_agent(self, end: Event) -> tuple[tuple[str, bool], tuple[str, bool]]:
        """Under which keys the habits of an agent and of its role are kept."""
        role = self._roles.get((end.agent,))
        return (end.agent, end.trusted), (role.name if role else end.agent, end.trusted)

    def _corrected(self, event: Event) -> Iterable[Hit]:
        is_correction = event.name.startswith(CORRECTION) and event.passed is False
        return self._take(event, 1.0, believed_ns(event)) if is_correction else ()

    def _scored(self, event: Event, facts: Facts) -> Iterable[Hit]:
        value = event.score
        if value is None and event.passed is not None and facts.declared.objective is None:
            value = float(event.passed)
        if value is None or not 0.0 <= value <= 1.0:
            return ()
        known = self._streams.at(self._key(event)).known
        run = event.run_id or event.span_id
        if run in known:
            return ()
        known[run] = None
        if len(known) > MAX_RUNS_KNOWN:
            known.popitem(last=False)
        return self._take(event, value, believed_ns(event))

    def _take(self, event: Event, value: float, at_ns: int) -> Iterable[Hit]:
        key = self._key(event)
        watched = self._streams.at(key)
        pool = self._pools.at((self._roles.at((event.agent,)).name or event.agent, *key[1:]))
        changes = self._changed(event)
        stream = watched.stream
        if stream is None:
            seed = crc32(repr((self._of, key)).encode("utf-8", "replace"))
            lent = pool.past.lend(seed) if pool.past is not None and lendable(pool.past) else None
            stream = watched.stream = Stream(self._scale, self._side, seed=seed, past=lent)
            watched.changes = changes
        if changes != watched.changes:
            watched.changes = changes
            if stream.is_raised:
                stream.forgive()
        name, trusted = (self._of, key), event.trusted
        role = pool.past if self._scale.is_event else None
        account = self._ledger.spend if stream.is_judged(at_ns, role) else self._ledger.join
        spend = account(name, at_ns, trusted=trusted)
        alarm = stream.update(value, at_ns=at_ns, span_id=event.span_id, spend=spend, role=role)
        if not stream.is_raised:
            pool.learn(self._scale, value, at_ns)
        if alarm is None:
            return ()
        self._ledger.note_alarm()
        return (self._hit(event, key, stream, alarm, at_ns),)

    def _changed(self, event: Event) -> int:
        """How often the agent has changed, as far as signals with this event's trust may say."""
        own = self._changes.get((event.agent, True))
        others = None if event.trusted else self._changes.get((event.agent, False))
        return (own.count if own else 0) + (others.count if others else 0)

    def _hit(self, event: Event, key: Key, stream: Stream, alarm: Alarm, at_ns: int) -> Hit:
        return Hit(
            event=event,
            key=(*key, self._of),
            at_ns=max(at_ns, event.at_ns),
            onset_ns=alarm.began_ns,
            evidence=few(stream.spans),
            score=SURE,
            words={
                "now": _told(self._of, alarm.now),
                "before": _told(self._of, alarm.before),
                "runs": str(alarm.of),
                "partners": self._company.told((event.agent, event.trusted)),
            },
            facts={
                "of": self._of,
                "now": round(alarm.now, 6),
                "before": round(alarm.before, 6),
                "runs_since": alarm.runs,
                "runs_before": stream.count,
                "evidence": round(alarm.evidence, 3),
                "by_block": alarm.by_block,
                **onset_facts(alarm.between_ns),
                "false_alarms_per_week": self._ledger.per_week,
            },
        )


def _told(of: str, value: float) -> str:
    """A number of a run for people."""
    if of == "cost":
        return usd_text(int(value))
    if of in ("surprise", "partners"):
        return f"{value:.2f} nats"
    if of == "latency":
        return f"{value / 1_000:.3g} s"
    if of in HOURLY:
        return f"{value:.0f} an hour"
    return f"{value:.0f}" if of in ("steps", "value") else f"{value:.2f}" if of == "score" else f"{value:.1%}"
