"""A week of a fleet: how many needless pages, which of the planted failures were found, and how soon."""

import heapq
import time
from collections import Counter
from collections.abc import Iterable, Iterator

from andoncord.detect.bank import Bank
from andoncord.detect.finding import Finding
from andoncord.detect.pack import default_rules
from andoncord.detect.rule import DetectorSpec, StreamSpec
from andoncord.incident.correlate import JOIN_WINDOW_NS
from andoncord.kernel.time import HOUR_NS, MINUTE_NS, SECOND_NS
from andoncord.kernel.vocabulary import Mode
from andoncord.telemetry.event import Event
from benchmarks.result import Result, quantile
from benchmarks.week import PLANTED_FROM, START_NS, Fleet, Plant, Writer, beats, benign
from benchmarks.week_plants import planted

BUDGETED = frozenset({"quality_drop", "decision_mix"})
BEATING = 20
"""Agents that send heartbeats."""


def run(*, agents: int = 200, days: int = 7, runs_per_day: int = 24, weeks: int = 1, budget: int = 1) -> Result:
    """Let a fleet work for a week, `weeks` times with other chances, and judge it with all packaged rules.

    The default is the whole fleet and the whole week with fewer runs of each agent than a busy one has.
    """
    rules = default_rules()
    statistical = {rule.id for rule in rules if isinstance(rule.correlate, StreamSpec) or _is_budgeted(rule.correlate)}
    delays: dict[str, list[float]] = {}
    by_rule: Counter[str] = Counter()
    missed: Counter[str] = Counter()
    pages = needless = events = 0
    shown_s = 0.0
    for seed in range(weeks):
        week = _Week(agents=agents, days=days, runs_per_hour=runs_per_day / 24, seed=seed)
        bank = Bank(rules, week.fleet.declared(), false_alarms_per_week=float(budget))
        began = time.process_time()
        findings = [finding for finding in week.judged_by(bank) if finding.mode is not Mode.SHADOW]
        shown_s += time.process_time() - began
        events += week.events
        assert not bank.faults, bank.faults
        found, rest = _sort(findings, week.plants)
        for plant in week.plants:
            if plant.name in found:
                delays.setdefault(plant.name, []).append(found[plant.name])
            else:
                missed[plant.name] += 1
        for rule in _pages(rest):
            by_rule[rule] += 1
            pages += rule in statistical
            needless += rule not in statistical
    names = [plant.name for plant in week.plants]
    return Result(
        figures={
            "pages": pages,
            "budget_pages": budget * weeks * days / 7,
            "pages_by_fixed_rules": needless,
            "missed": sum(missed.values()),
            "planted": len(names) * weeks,
            "benign_scripts": len(benign()),
            "events": events,
            "events_per_cpu_s": round(events / shown_s),
            **{f"delay_s_p50_{name}": round(quantile(delays[name], 0.5), 1) for name in names if name in delays},
        },
        baselines={},
        columns=("failure", "found", "missed", "delay"),
        rows=(
            *((name, len(delays.get(name, ())), missed[name], _told(delays.get(name))) for name in names),
            *((f"needless page: {rule}", count, "", "") for rule, count in by_rule.most_common()),
        ),
        notes=(
            f"{agents} agents, {days} days, {runs_per_day} runs of each a day, {weeks} week(s), seeds from 0; {events} events.",
            "pages: needless ones of rules that share the budget of false alarms, those of an agent in half an hour as one;",
            "pages_by_fixed_rules: of the others. Delay: from the first event of the failure to the finding, in event time.",
            f"{BEATING} agents send a heartbeat a minute. All benign scripts run every day from the first on.",
        ),
    )


class _Week:
    """One week: what happens, in the order in which it is over."""

    def __init__(self, *, agents: int, days: int, runs_per_hour: float, seed: int) -> None:
        self.fleet = Fleet(agents=agents, runs_per_hour=runs_per_hour, seed=seed)
        self.hours = days * 24
        until_ns = START_NS + self.hours * HOUR_NS
        self.plants = [plant for plant in planted(self.fleet.names, seed) if plant.at_ns < until_ns]
        self.events = 0

    def judged_by(self, bank: Bank) -> Iterator[Finding]:
        """Show everything to a bank, with a tick every minute."""
        tick_ns = START_NS + MINUTE_NS
        for event in self._ordered():
            while tick_ns <= event.at_ns:
                yield from bank.tick(tick_ns)
                tick_ns += MINUTE_NS
            self.events += 1
            yield from bank.observe(event)
        yield from bank.tick(START_NS + self.hours * HOUR_NS)

    def _ordered(self) -> Iterator[Event]:
        waiting: list[tuple[int, int, Event]] = []
        drifts = {plant.agent: plant for plant in self.plants if plant.habits or plant.silent}
        number = 0
        for hour in range(self.hours):
            until_ns = START_NS + (hour + 1) * HOUR_NS
            for event in self._of_hour(hour, drifts):
                number += 1
                heapq.heappush(waiting, (event.at_ns, number, event))
            while waiting and waiting[0][0] < until_ns:
                yield heapq.heappop(waiting)[2]

    def _of_hour(self, hour: int, drifts: dict[str, Plant]) -> Iterator[Event]:
        yield from self.fleet.hour(hour, drifts)
        yield from beats(self.fleet.names[:BEATING], hour, self.plants)
        scripts = sorted(benign().items())
        for place, (name, script) in enumerate(scripts):
            if place % 24 == hour % 24:
                # Those who are planted in are left alone, so that what is needless is known to be.
                agent = self.fleet.names[-1 - place]
                writer = Writer(agent, f"benign-{name}-{hour}", START_NS + hour * HOUR_NS + 7 * MINUTE_NS)
                script(writer)
                yield from writer.events
        for plant in self.plants:
            if plant.events and START_NS + hour * HOUR_NS <= plant.at_ns < START_NS + (hour + 1) * HOUR_NS:
                yield from plant.events


def _is_budgeted(correlate: object) -> bool:
    return isinstance(correlate, DetectorSpec) and correlate.name in BUDGETED


def _sort(findings: Iterable[Finding], plants: Iterable[Plant]) -> tuple[dict[str, float], list[Finding]]:
    """How soon each failure was found, and what speaks of none of them."""
    found: dict[str, float] = {}
    rest: list[Finding] = []
    plants = list(plants)
    for finding in findings:
        is_about = False
        for plant in plants:
            spans = {event.span_id for event in plant.events if event.span_id}
            agents = {plant.agent, *(event.agent for event in plant.events)}
            is_its = bool(spans.intersection(finding.evidence)) if plant.events else finding.agent == plant.agent
            if finding.agent in agents and finding.at_ns >= plant.at_ns and (is_its or finding.agent == plant.agent):
                is_about = True
                if finding.rule in plant.rules and plant.name not in found:
                    found[plant.name] = (finding.at_ns - plant.at_ns) / SECOND_NS
        if not is_about:
            rest.append(finding)
    return found, rest


def _pages(findings: Iterable[Finding]) -> Iterator[str]:
    """One for each agent and half hour, by the rule that came first."""
    last: dict[str, int] = {}
    for finding in findings:
        if finding.at_ns - last.get(finding.agent, -JOIN_WINDOW_NS - 1) > JOIN_WINDOW_NS:
            yield finding.rule
        last[finding.agent] = finding.at_ns


def _told(delays: list[float] | None) -> str:
    if not delays:
        return "missed"
    seconds = quantile(delays, 0.5)
    return f"{seconds / 3_600:.1f} h" if seconds >= 3_600 else f"{seconds:.0f} s"


assert PLANTED_FROM % HOUR_NS == 0, "the first failure begins with an hour"
