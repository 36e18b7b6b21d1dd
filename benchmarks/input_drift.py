"""Changes of what agents are given: false alarms where nothing changes, delay where something does, beside fixed cuts."""

import random
from collections import Counter, deque
from collections.abc import Iterator
from math import log

from andoncord.detect.bank import Bank
from andoncord.detect.inputs import features_of
from andoncord.detect.pack import default_rules
from andoncord.kernel.time import MINUTE_NS, SECOND_NS
from andoncord.telemetry.event import Event, EventKind
from benchmarks.result import Result, quantile

START_NS = 1_767_225_600 * SECOND_NS
PER_WEEK = 200.0
"""False alarms a week: far more than anybody wants, so that there are some to count."""
FUNCTION = {
    "english": "please the of and is with your",
    "german": "bitte die von und ist mit der",
    "spanish": "el de y es con su por",
}
TOPICS = 12
PAST = 600
WINDOW = 50
RULES = tuple(rule for rule in default_rules() if rule.id == "input-drift")


class Inputs:
    """Texts of a mix: topics by Zipf, a tenth in other languages, lengths that vary."""

    def __init__(self, seed: int, *, streak: float = 0.0) -> None:
        """`streak` is the chance that an input is about what the one before was about, in its language."""
        self._chance = random.Random(seed)
        letters = "abcdefghijklmnoprstuvz"
        self._words = [["".join(self._chance.choices(letters, k=7)) for _ in range(15)] for _ in range(TOPICS + 4)]
        self._streak = streak
        self._last: tuple[int, str] | None = None

    def one(self, *, shift: str = "") -> str:
        chance = self._chance
        if self._last is None or chance.random() >= self._streak:
            topic = chance.choices(range(TOPICS), [1.0 / (rank + 1) for rank in range(TOPICS)])[0]
            language = chance.choices(list(FUNCTION), (0.9, 0.06, 0.04))[0]
            self._last = (topic, language)
        topic, language = self._last
        if shift == "topic" and chance.random() < 0.6:
            topic = TOPICS + chance.randrange(4)
        if shift == "language" and chance.random() < 0.4:
            language = "german"
        size = max(4, int(chance.lognormvariate(2.7, 0.5) * (4.0 if shift == "length" else 1.0)))
        glue = FUNCTION[language].split()
        return " ".join(
            chance.choice(self._words[topic]) if chance.random() < 0.5 else chance.choice(glue) for _ in range(size)
        )


def run(*, runs: int = 100_000, agents: int = 20, seed: int = 7, shifts: int = 8) -> Result:
    """Count alarms on inputs of which nothing changes, and the runs until a change is found."""
    figures: dict[str, float] = {}
    baselines: dict[str, float] = {}
    for kind, streak in (("iid", 0.0), ("streaks", 0.6)):
        bank = Bank(RULES, false_alarms_per_week=PER_WEEK)
        streams = [Inputs(seed + agent, streak=streak) for agent in range(agents)]
        for number in range(runs // agents):
            for agent, inputs in enumerate(streams):
                for event in events_of(f"agent-{'abcdefghijklmnopqrstuvwxyz'[agent % 26]}{agent}x", number, inputs.one()):
                    bank.observe(event)
        assert not bank.faults, bank.faults
        kept = bank.budget()
        figures[f"alarms_per_budget_{kind}"] = round(kept.observed / kept.expected, 3)
        figures[f"alarms_{kind}"] = kept.observed
        for name, alarms in _fixed_cuts(seed, streak, runs // 10).items():
            baselines[f"alarms_per_10k_{name}_{kind}"] = alarms
    figures["alarms_per_10k_iid"] = round(figures["alarms_iid"] * 10_000 / runs, 3)
    for shift in ("topic", "language", "length"):
        delays = [_delay(seed + number, shift) for number in range(shifts)]
        figures[f"found_{shift}"] = sum(delay is not None for delay in delays) / shifts
        figures[f"delay_runs_p50_{shift}"] = quantile([delay or 1_000 for delay in delays], 0.5)
    notes = (f"{runs} runs of {agents} agents a kind, {PER_WEEK:g} false alarms a week promised; {shifts} changes a kind",)
    return Result(figures=figures, baselines=baselines, notes=notes)


def events_of(agent: str, number: int, text: str) -> Iterator[Event]:
    """One run with one model call."""
    at_ns = START_NS + number * 10 * MINUTE_NS
    shared = {"agent": agent, "run_id": f"{agent}-{number}", "trusted": True}
    yield Event(
        **shared,  # type: ignore[arg-type]
        kind=EventKind.MODEL_COMPLETED,
        span_id=f"m{number}",
        name="small",
        input_text=text,
        start_ns=at_ns,
        end_ns=at_ns + SECOND_NS,
        received_ns=at_ns + SECOND_NS,
    )
    end_ns = at_ns + 2 * SECOND_NS
    yield Event(**shared, kind=EventKind.RUN_ENDED, span_id=f"e{number}", start_ns=end_ns, end_ns=end_ns, received_ns=end_ns)  # type: ignore[arg-type]


def _delay(seed: int, shift: str) -> int | None:
    """Runs until a change is found after `PAST` runs without one; None where it is not within 1 000."""
    bank, inputs = Bank(RULES, false_alarms_per_week=1.0), Inputs(seed)
    for number in range(PAST + 1_000):
        text = inputs.one(shift=shift if number >= PAST else "")
        for event in events_of("agent", number, text):
            if bank.observe(event) and number >= PAST:
                return number - PAST
    return None


def _fixed_cuts(seed: int, streak: float, runs: int) -> dict[str, float]:
    """Alarms in 10 000 runs of cuts in the topic mix of the newest 50 runs: total variation 0.30, PSI 0.2."""
    inputs = Inputs(seed, streak=streak)
    past: Counter[str] = Counter()
    for _ in range(PAST):
        past.update(features_of(next(iter(events_of("a", 0, inputs.one())))).topic)
    newest: deque[tuple[str, ...]] = deque(maxlen=WINDOW)
    alarms = {"raw_tv": 0, "psi": 0}
    total = sum(past.values())
    for number in range(runs):
        newest.append(features_of(next(iter(events_of("a", 0, inputs.one())))).topic)
        if number % WINDOW or len(newest) < WINDOW:
            continue
        now = Counter(word for words in newest for word in words)
        size = sum(now.values())
        shares = [(past[word] / total, now[word] / size) for word in {*past, *now}]
        alarms["raw_tv"] += 0.5 * sum(abs(before - after) for before, after in shares) > 0.30
        alarms["psi"] += _psi(shares) > 0.2
    return {name: round(count * 10_000 / runs, 2) for name, count in alarms.items()}


def _psi(shares: list[tuple[float, float]]) -> float:
    """The population stability index, with the customary floor under shares of 0."""
    return sum((after - before) * log(max(after, 1e-4) / max(before, 1e-4)) for before, after in shares)
