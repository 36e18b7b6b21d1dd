"""How much memory all detectors take for a large fleet, once they have learned what there is to learn."""

import gc
import multiprocessing
import resource
import time
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

from andoncord.detect.bank import Bank
from andoncord.detect.build import build
from andoncord.detect.declared import Declared, Objective
from andoncord.detect.detector import Detector
from andoncord.detect.pack import recorded_rules
from andoncord.detect.rule import Rule
from andoncord.kernel.time import MINUTE_NS, SECOND_NS
from andoncord.telemetry.event import Event, EventKind
from andoncord.testing import detectors
from benchmarks.result import Result

START_NS = 1_767_225_600 * SECOND_NS
RUNS = 30
"""Runs of each agent: more than a stream holds back before it learns. With 60 the decisions held back are all there too."""
TOOLS = ("look", "read", "write", "send", "ask", "book", "count", "check")
DECLARED = {"agent-*": Declared(agent="agent-*", tools=dict.fromkeys(TOOLS, "read"), objective=Objective(quality=0.9))}


def run(*, agents: int = 10_000, runs: int = RUNS) -> Result:
    """Show `runs` runs of every agent to all rules, those for recorded runs too, in a process of their own."""
    alone = single(runs)
    receiving, sending = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(target=_measure, args=(sending, agents, runs))
    process.start()
    sending.close()
    try:
        empty_mb, rss_mb, peak_mb, events, cpu_s, streams = receiving.recv()
    finally:
        process.join()
    grown = (rss_mb - empty_mb) * 2**20
    return Result(
        figures={
            "rss_mb": round(rss_mb, 1),
            "rss_mb_peak": round(peak_mb, 1),
            "bytes_per_agent": round(grown / agents),
            "bytes_per_stream": round(grown / max(1, streams)),
            "events_per_cpu_s": round(events / cpu_s),
        },
        baselines={"rss_mb_without_agents": round(empty_mb, 1)},
        columns=("figure", "value"),
        rows=(
            ("rss_mb", round(rss_mb, 1)),
            ("bytes_per_agent", round(grown / agents)),
            ("rss_mb_without_agents", round(empty_mb, 1)),
            *((f"bytes_per_agent {rule.id}", float(each)) for rule, each in alone),
        ),
        notes=(
            f"{agents} agents, {len(recorded_rules())} rules, {runs} runs of each agent, five events each: {events} events;",
            f"{streams} streams with a budget. Memory is that of the process that detects, interpreter and modules included.",
            "Single rules: those that learn; what they share is counted in each. The others remember so many runs, not agents.",
        ),
    )


def single(runs: int) -> list[tuple[Rule, int]]:
    """Bytes an agent costs each rule that learns, the dearest first."""
    learning = [rule for rule in recorded_rules() if hasattr(build(rule), "memory")]
    found = [(rule, detectors.bytes_per_agent(partial(_build, rule), agents=20, runs=runs)) for rule in learning]
    return sorted(found, key=lambda pair: -pair[1])


def _build(rule: Rule, limit: int) -> Detector:
    return build(rule, max_groups=limit)


def _measure(sending: Connection, agents: int, runs: int) -> None:
    bank = Bank(recorded_rules(), DECLARED)
    empty_mb = _rss_mb()
    began, shown = time.process_time(), 0
    for number in range(runs):
        at_ns = START_NS + number * 20 * MINUTE_NS
        for place in range(agents):
            for event in _run(f"agent-{place}", number, place, at_ns):
                bank.observe(event)
                shown += 1
        bank.tick(at_ns + 15 * MINUTE_NS)
    cpu_s = time.process_time() - began
    gc.collect()
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    assert not bank.faults, bank.faults
    sending.send((empty_mb, _rss_mb(), peak_mb, shown, cpu_s, bank.budget().streams))
    sending.close()


def _run(agent: str, number: int, place: int, at_ns: int) -> tuple[Event, ...]:
    """One run: a model call, two tool calls, a score, an end. Values vary by agent and run, the same on every call."""
    run_id, vary = f"{agent}-{number}", (place * 7 + number * 13) % 40
    first, second = TOOLS[vary % 8], TOOLS[(vary // 8 + number) % 8]

    def event(kind: EventKind, second: int, name: str = "", **fields: object) -> Event:
        when_ns = at_ns + second * SECOND_NS + place
        base = {
            "kind": kind,
            "agent": agent,
            "run_id": run_id,
            "trace_id": run_id,
            "span_id": f"{run_id}-{second}",
            "name": name,
        }
        return Event(**base, start_ns=when_ns, end_ns=when_ns + vary * 10_000_000, trusted=True, **fields)  # type: ignore[arg-type]

    arguments = f'{{"order": {number}}}'
    return (
        event(EventKind.MODEL_COMPLETED, 0, "m", cost_micro_usd=10_000 + vary * 100, input_tokens=900, output_tokens=50 + vary),
        event(EventKind.TOOL_COMPLETED, 1, first, arguments=arguments, result=f"found {vary}"),
        event(EventKind.TOOL_COMPLETED, 2, second, arguments=arguments, result=f"done {number}"),
        event(EventKind.QUALITY_SCORED, 3, "helpful", score=0.8 + vary / 400, passed=vary > 2),
        event(EventKind.RUN_ENDED, 4),
    )


def _rss_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20
