"""What an agent moves in an hour: money, customers, records (DET-5)."""

from collections.abc import Iterable, Iterator
from typing import Any

from andoncord.detect.detector import MAX_GROUPS, Groups, Hit
from andoncord.detect.ranges import OutOfRange
from andoncord.detect.runs import RunTotals
from andoncord.kernel.time import HOUR_NS

MAX_AMOUNT = 1e15
"""What is larger is no amount."""


class _Hour:
    __slots__ = ("hour", "is_whole", "total")

    def __init__(self) -> None:
        self.hour = -1
        self.total = 0.0
        self.is_whole = False
        """It was watched from its beginning: the first hour of an agent is not."""


class HourlyImpact(OutOfRange):
    """Raise when what an agent's runs move in an hour has lastingly left what it was: more runs, or more in each of them.

    An hour holds the runs that were over in it, late spans included. It is judged when the first run of a later one is over:
    hours without any run are for the detectors of silence, hours whose runs moved nothing count as 0. An agent that has never
    said what it moves is not looked at, and sums below zero are not judged.

    Cost: O(1) per run; about 4 kB per agent and number.
    """

    def __init__(self, *args: Any, max_groups: int = MAX_GROUPS, **kwargs: Any) -> None:
        super().__init__(*args, max_groups=max_groups, **kwargs)
        self._hours = Groups(_Hour, limit=max_groups)

    @property
    def memory(self) -> tuple[Groups[Any], ...]:
        """What it has learned."""
        return (*super().memory, self._hours)

    def _of_runs(self, runs: Iterable[RunTotals]) -> Iterator[Hit]:
        for run in runs:
            end = run.end
            amount = self._per_run[1](run) if self._per_run else None
            if end is None or (amount is not None and abs(amount) > MAX_AMOUNT):
                continue
            key = self._key(end)
            if amount is None and self._hours.get(key) is None:
                continue
            open_hour, hour = self._hours.at(key), run.judged_at_ns // HOUR_NS
            if hour > open_hour.hour:
                is_first, total, was_whole = open_hour.hour < 0, open_hour.total, open_hour.is_whole
                open_hour.hour, open_hour.total, open_hour.is_whole = hour, 0.0, not is_first
                if was_whole and total >= 0.0:
                    yield from self._take(end, total, run.judged_at_ns)
            open_hour.total += amount or 0.0
