"""A fleet in which nothing changes, with a daily cycle and agents that differ, through every rule that has a budget."""

import math
import random
from collections.abc import Iterator

from andoncord.detect.bank import Bank
from andoncord.detect.declared import Declared, Objective
from andoncord.detect.ledger import KeptBudget
from andoncord.detect.pack import default_rules
from andoncord.kernel.time import MINUTE_NS, SECOND_NS
from andoncord.telemetry.event import Event, EventKind

START_NS = 1_767_225_600 * SECOND_NS
HALF_HOURS_A_WEEK = 336
PER_WEEK = 10.0
"""False alarms a week: more than anybody wants, so that there are some to count."""
WITH_OBJECTIVE = {"a-*": Declared(agent="a-*", objective=Objective(quality=0.85))}
WORDS = (
    "the",
    "refund",
    "of",
    "order",
    "parcel",
    "with",
    "customer",
    "invoice",
    "is",
    "address",
    "delivery",
    "and",
    "bank",
    "return",
    "for",
    "colour",
    "lamp",
)
BUDGETED = frozenset({"stream", "quality_drop", "decision_mix", "input_mix"})


def fleet(agents: int, weeks: int, seed: int) -> KeptBudget:
    """What a bank says of its budget after so many weeks of so many agents, half of them of one role with an objective."""
    chance = random.Random(seed)
    rules = [rule for rule in default_rules() if _word(rule.correlate) in BUDGETED]
    bank = Bank(rules, WITH_OBJECTIVE, false_alarms_per_week=PER_WEEK)
    levels = [math.exp(chance.gauss(0.0, 0.5)) for _ in range(agents)]
    for half_hour in range(weeks * HALF_HOURS_A_WEEK):
        season = 1.0 + 0.3 * math.sin(2.0 * math.pi * half_hour / 48)
        for agent, level in enumerate(levels):
            if chance.random() < 0.5:
                at_ns = START_NS + half_hour * 30 * MINUTE_NS + agent * SECOND_NS
                name = f"a-{agent}" if agent % 2 else f"alone-{'abcdefghij'[agent % 10]}{agent}x"
                for event in sorted(_run(name, at_ns, level * season, season, chance), key=lambda event: event.at_ns):
                    bank.observe(event)
    assert not bank.faults, bank.faults
    return bank.budget()


def _run(agent: str, at_ns: int, level: float, season: float, chance: random.Random) -> Iterator[Event]:
    def event(kind: EventKind, second: int, name: str = "", *, ok: bool = True, **fields: object) -> Event:
        when_ns = at_ns + second * SECOND_NS
        base = {"kind": kind, "agent": agent, "run_id": f"{agent}-{at_ns}", "span_id": f"{at_ns}-{second}", "name": name}
        return Event(**base, start_ns=when_ns, end_ns=when_ns, received_ns=when_ns, trusted=True, ok=ok, **fields)  # type: ignore[arg-type]

    cost = int(10_000 * level * math.exp(chance.gauss(0.0, 0.4)))
    words = " ".join(chance.choices(WORDS, range(len(WORDS), 0, -1), k=chance.randint(6, 30)))
    yield event(EventKind.MODEL_COMPLETED, 0, cost_micro_usd=cost, input_text=words)
    for step in range(max(1, int(chance.gauss(5.0, 1.5)))):
        kind = EventKind.TOOL_FAILED if chance.random() < 0.05 else EventKind.TOOL_COMPLETED
        yield event(kind, 1 + step, chance.choices("abcdef", (6, 5, 4, 3, 2, 1))[0])
    passed = chance.random() > 0.12
    yield event(EventKind.QUALITY_SCORED, 20, "helpful", score=chance.betavariate(8, 2), passed=passed)
    yield event(EventKind.RUN_ENDED, int(25 + 10 * season * math.exp(chance.gauss(0.0, 0.3))), ok=chance.random() > 0.04)
    if chance.random() < 0.02:
        yield event(EventKind.QUALITY_SCORED, 90, "human_correction", passed=False)


def _word(correlate: object) -> str:
    return str(getattr(correlate, "name", "stream" if type(correlate).__name__ == "StreamSpec" else ""))
