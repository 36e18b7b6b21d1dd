"""Whether agents are given other work than they used to be: the mix of lengths, languages, topics and classes (DET-13)."""

from collections.abc import Iterable, Sequence

from andoncord.detect.detector import Hit
from andoncord.detect.mix import MAX_CLASSES, DecisionMix, Past
from andoncord.detect.runs import RunTotals
from andoncord.kernel.vocabulary import Severity
from andoncord.telemetry.event import Event

MIN_RUNS = 300
"""Runs of the past before anything is judged, the agent's own or its role's. Measured by the benchmark `input-drift`."""
MAX_TOPICS = 40
"""Words told apart: the tables of so many are half as large as those of a few more."""
OF_ONE = ("input length", "input language", "input class")
TOPIC = "input topic"


class InputMix(DecisionMix):
    """Raise when the mix of an agent's inputs has changed: the evidence and the size are those of the decisions' mix.

    Each feature has a mix and a stream of the alarm budget of its own, so that a change of the language alone is as large as it
    is. That inputs are others is no failure of the agent: low above 0.30, medium above 0.50. While one feature is raised,
    others that follow say nothing new, unless they are the first to be far.

    Cost: O(words of an input) per run; about 15 kB per agent.
    Source: as for `DecisionMix`.
    """

    _severities = (Severity.LOW, Severity.MEDIUM)
    _look_every = 5
    _remembers_early = False
    _mixes = tuple((of,) for of in (*OF_ONE, TOPIC))

    def _take(self, end: Event, run: RunTotals, of: str, seen: Sequence[str]) -> Iterable[Hit]:
        hits = super()._take(end, run, of, seen)
        key = self._key(end)
        others = [self._agents.get((other, *key)) for other in (*OF_ONE, TOPIC) if other != of]
        raised = [agent.is_far for agent in others if agent is not None and agent.raised]
        return [hit for hit in hits if not raised or (hit.severity is self._severities[True] and not any(raised))]

    def _views(self, run: RunTotals) -> Iterable[tuple[str, Sequence[str]]]:
        if run.inputs is not None:
            for of, word in zip(OF_ONE, (run.inputs.length, run.inputs.language, run.inputs.given), strict=True):
                if word:
                    yield of, (word,)
            if run.inputs.topic:
                yield TOPIC, run.inputs.topic

    def _is_enough(self, past: Past, of: str) -> bool:
        return past.runs >= MIN_RUNS

    def _past(self, of: str) -> Past:
        return Past(MAX_TOPICS if of == TOPIC else MAX_CLASSES)
