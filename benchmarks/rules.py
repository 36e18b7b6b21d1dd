"""How many events a second two hundred rules can judge, beside an interpreter of CEL that is asked for each."""

import gc
import time
from collections.abc import Callable, Sequence
from typing import Any

import celpy
from celpy.adapter import json_to_cel
from celpy.evaluation import CELEvalError

from andoncord.detect.bank import Bank
from andoncord.detect.declared import Declared
from andoncord.detect.pack import default_rules
from andoncord.detect.rule import Rule, load_rules
from andoncord.server.prepare import GC_THRESHOLD
from andoncord.telemetry.event import Event
from andoncord.telemetry.otlp import decode_traces_protobuf
from benchmarks.load import Load
from benchmarks.result import Result

RULES = 200
START_NS = 1_767_225_600_000_000_000
EVENTS = 40_000
CEL_EVENTS = 40
"""Events shown to the interpreter: it is asked 200 times for each."""
TOOLS = (
    "orders.lookup",
    "orders.refund",
    "mail.send",
    "crm.search",
    "kb.search",
    "calendar.book",
    "invoice.read",
    "stock.count",
)
DECLARED = {"*": Declared(agent="*", tools=dict.fromkeys(TOOLS, "write"))}

OWN = """
id: own-{number}
title: a rule of a user
on: {on}
where: "{where}"
correlate: {correlate}
severity: low
category: resource_exhaustion
pattern: token_burst
summary: "{{agent}}"
source: a benchmark
runbook: none
tests:
  - {{name: fires, given: [], expect: low}}
  - {{name: silent, given: [], expect: none}}
"""
COUNT = "{type: count, group_by: [agent], window: 1h, gte: 5}"
MATCH = "{type: match, group_by: [agent, run_id]}"
SUM = "{type: sum, group_by: [agent], field: tokens, window: 10m, gt: 9000000}"
RATIO = "{type: ratio, group_by: [agent], field: tokens, window: 10m, gt: 5}"
SHAPES = (
    ("tool.failed", "event.name == 'tool-{n}' && event.error_type == 'timeout'", COUNT),
    ("tool.completed", "event.name == 'tool-{n}' && args.amount > 100", MATCH),
    ("model.completed", "event.name == 'model-{n}'", SUM),
    ("tool.completed", "event.agent == 'agent-{n}' && event.name == 'mail.send'", COUNT),
    ("guard.denied", "attributes.code == 'code-{n}'", MATCH),
    ("model.completed", "event.environment == 'env-{n}' && event.output_tokens > 4000", RATIO),
    ("quality.scored", "event.name == 'judge-{n}' && event.score < 0.5", COUNT),
)
"""What users write: a kind, a name of their own, and something to count. None of the names is one that the events have."""


def run(*, events: int = EVENTS) -> Result:
    """Show a busy fleet's events to 200 rules: those that ship, and as many of a user's as are missing."""
    rules = many_rules()
    stream = fleet(events, has_content=False)
    telling = fleet(events // 2, has_content=True)
    shipped = default_rules()
    figures = {
        "events_per_cpu_s": rate(rules, stream),
        "events_per_cpu_s_shipped_rules": rate(shipped, stream),
        "events_per_cpu_s_with_content": rate(rules, telling),
        "rules": float(len(rules)),
        "rules_shipped": float(len(shipped)),
        "us_per_rule_that_does_not_match": 0.0,
    }
    added = len(rules) - len(shipped)
    cost = 1 / figures["events_per_cpu_s"] - 1 / figures["events_per_cpu_s_shipped_rules"]
    figures["us_per_rule_that_does_not_match"] = max(0.0, 1e6 * cost / added)
    baselines = {"events_per_cpu_s_cel_python": cel_rate(rules[-added:], telling[:CEL_EVENTS])}
    return Result(
        figures={key: round(value, 4) for key, value in figures.items()},
        baselines={key: round(value, 2) for key, value in baselines.items()},
        notes=(
            f"{len(stream)} events of {len({event.agent for event in stream})} agents: runs, model calls, tool calls. Without",
            "prompts, arguments and results, as emitters do by default; with content, calls are also checked for loops.",
            f"{len(shipped)} shipped rules, {added} of a user that match none of them. Best of three passes, one core.",
            f"cel-python evaluates the {added} conditions, compiled once, for {CEL_EVENTS} of the same events.",
        ),
    )


def many_rules() -> tuple[Rule, ...]:
    """The shipped rules, and made-up ones up to 200."""
    shipped = default_rules()
    texts = {}
    for number in range(RULES - len(shipped)):
        on, where, correlate = SHAPES[number % len(SHAPES)]
        texts[f"own-{number}.yaml"] = OWN.format(
            number=number, on=on, where=where.replace("{n}", str(number)), correlate=correlate
        )
    return (*shipped, *load_rules(texts))


def fleet(count: int, *, has_content: bool) -> list[Event]:
    """Events as a fleet sends them."""
    load, events, number = Load(has_content=has_content), list[Event](), 0
    while len(events) < count:
        events += decode_traces_protobuf(load.request(number, START_NS), received_ns=0).events
        number += 1
    return events[:count]


def rate(rules: Sequence[Rule], stream: Sequence[Event]) -> float:
    """Events per CPU second."""
    best = 0.0
    # As the ingest worker does: events live briefly, and looking for circles often is waste.
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD)
    for _ in range(3):
        bank = Bank(rules, DECLARED)
        began = time.process_time()
        for event in stream:
            bank.observe(event)
        best = max(best, len(stream) / (time.process_time() - began))
        assert not [fault for fault in bank.faults.values() if fault.startswith("switched off")], bank.faults
    return best


def cel_rate(rules: Sequence[Rule], stream: Sequence[Event]) -> float:
    """Events per CPU second of the conditions alone in cel-python."""
    environment = celpy.Environment()
    programs: list[Callable[[Any], Any]] = [
        environment.program(environment.compile(f"event.kind == '{rule.on}' && {rule.where}")).evaluate for rule in rules
    ]
    contexts = [as_cel(event) for event in stream]
    began = time.process_time()
    for context in contexts:
        for evaluate in programs:
            try:
                evaluate(context)
            except CELEvalError:
                pass
    return len(stream) / (time.process_time() - began)


def as_cel(event: Event) -> dict[str, Any]:
    """An event as cel-python wants it."""
    return {
        "event": json_to_cel(
            {
                "kind": event.kind.value,
                "name": event.name,
                "agent": event.agent,
                "environment": event.environment,
                "error_type": event.error_type,
                "output_tokens": event.output_tokens,
                "score": event.score,
            }
        ),
        "attributes": json_to_cel(dict(event.attributes)),
        "args": json_to_cel({"amount": 5}),
    }
