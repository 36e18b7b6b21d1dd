"""Histories of fleets that never were: hours of work, changes, findings and incidents, with and without warning."""

import math
import random
from typing import NamedTuple

from andoncord.detect.ports import SeriesPoint
from andoncord.kernel.time import HOUR_NS
from andoncord.learn.risk import Seen

START_NS = 1_767_225_600_000_000_000


class History(NamedTuple):
    """What a prediction is made from."""

    points: list[SeriesPoint]
    incidents: list[Seen]
    changes: list[tuple[str, int]]
    findings: list[tuple[str, int]]
    since_ns: int
    now_ns: int


def history(*, agents: int, days: int, seed: int, warning: float, rate: float = 0.006) -> History:
    """A fleet's history.

    Each agent has a rate of its own, incidents come in clusters (an agent that had one has more within a day), and with
    `warning` above 0 changes and a health that wanders make failures, costs and incidents likelier some hours before. With 0
    only rates and clusters are left: nothing that recency would not know.
    """
    chance = random.Random(seed)
    made = History([], [], [], [], START_NS, START_NS + days * 24 * HOUR_NS)
    for number in range(agents):
        agent = f"agent-{number}"
        own, health, since_change, since_incident, until_ns = math.exp(chance.gauss(0.0, 0.5)), 0.0, 1_000, 1_000, 0
        for hour in range(days * 24):
            at_ns = START_NS + hour * HOUR_NS
            if chance.random() < 1 / 96:
                made.changes.append((agent, at_ns + HOUR_NS // 2))
                since_change = 0
            health = 0.9 * health + chance.gauss(0.0, 0.35)
            bad = warning * (health + (1.2 if since_change < 8 else 0.0))
            steps = max(0, int(chance.gauss(60, 15)))
            failed = sum(chance.random() < 1 / (1 + math.exp(3.2 - 0.8 * bad)) for _ in range(steps))
            scored = max(0, int(chance.gauss(10, 3)))
            passed = sum(chance.random() < 1 / (1 + math.exp(-2.2 + 0.6 * bad)) for _ in range(scored))
            made.points.append(
                SeriesPoint(
                    agent=agent,
                    at_ns=at_ns,
                    events=3 * steps,
                    steps=steps,
                    failed=failed,
                    input_tokens=int(900 * steps * math.exp(0.15 * bad + chance.gauss(0, 0.1))),
                    output_tokens=60 * steps,
                    cost_micro_usd=int(2_000 * steps * math.exp(0.2 * bad + chance.gauss(0, 0.15))),
                    p50_ms=400.0,
                    p95_ms=1_500.0 * math.exp(0.2 * bad + chance.gauss(0, 0.2)),
                    scored=scored,
                    passed=passed,
                )
            )
            if chance.random() < 0.01 * math.exp(0.5 * bad):
                made.findings.append((agent, at_ns + HOUR_NS // 3))
            end_ns = at_ns + HOUR_NS
            hazard = rate * own * math.exp(1.1 * bad) * (4.0 if since_incident < 24 else 1.0)
            if end_ns >= until_ns and chance.random() < min(0.5, hazard):
                detected_ns = end_ns + chance.randrange(HOUR_NS)
                until_ns = detected_ns + int(chance.uniform(0.5, 3.0) * HOUR_NS)
                made.incidents.append(Seen(agent=agent, detected_ns=detected_ns, until_ns=until_ns))
                made.findings.append((agent, detected_ns))
                since_incident = 0
            since_change, since_incident = since_change + 1, since_incident + 1
    return made
