"""Any series of numbers, scored value by value with the evidence that judges agents' runs (DET-21)."""

from collections import deque
from typing import NamedTuple

from andoncord.detect.stream import Alarm, Scale, Side, Stream

MEASURED_AT = (20, 100, 500, 2_000)
"""Values after which the spread is measured anew: early, since nothing is judged before, then when it is known better."""
KEPT = 2_000
PER_SPREAD = 24.0
"""Bins per spread, so that 256 of them reach five spreads to either side; what is beyond counts as equally far. Chosen."""
PER_TEN_THOUSAND = 10_000
FALSE_ALARMS = 1.0
"""False alarms to expect per 10 000 values while nothing changes. Chosen: one a month of five-minute values."""


class Scored(NamedTuple):
    """What is said of one value."""

    score: float
    """0 to 1: the evidence that the series has left its past, as a share of what an alarm takes; while that lasts, how far away
    it still is."""
    alarm: Alarm | None
    """What is known when the evidence is complete; once for each change."""


class SeriesScorer:
    """Scores the values of one series in their order, by none but those before.

    Lasting changes of level are found, upwards and downwards, and groups of extreme values; a single outlier is among ten
    thousand values no evidence. The hour of the day, the echo of the value before and bursts are looked at as for runs.

    Args:
        false_alarms: to expect per 10 000 values while nothing changes; greater than 0.
        is_daily: whether the hour of the day may matter: the series spans days.

    Cost: O(1) per value but for a rank among 256 bins; about 40 kB in all.
    """

    def __init__(self, *, false_alarms: float = FALSE_ALARMS, is_daily: bool = False) -> None:
        assert false_alarms > 0.0, "a budget of nothing alarms never"
        self._spend = false_alarms / PER_TEN_THOUSAND
        self._is_daily = is_daily
        self._newest: deque[tuple[float, int]] = deque(maxlen=KEPT)
        """Values of one level: since the newest alarm, or since it was over."""
        self._stream: Stream | None = None
        self._measured = 0
        """Values by which the scale was chosen."""
        self._was_raised = False

    def update(self, value: float, *, at_ns: int) -> Scored:
        """Take one finite value."""
        stream = self._stream
        alarm = stream.update(value, at_ns=at_ns, span_id="", spend=self._spend) if stream else None
        is_raised = stream is not None and stream.is_raised
        if is_raised != self._was_raised:
            self._newest.clear()
            self._was_raised = is_raised
        if not is_raised:
            self._newest.append((value, at_ns))
            if len(self._newest) in MEASURED_AT and len(self._newest) > self._measured:
                self._measure()
        if alarm is not None:
            return Scored(1.0, alarm)
        return Scored(min(1.0, self._stream.evidence) if self._stream else 0.0, None)

    def _measure(self) -> None:
        """Look at the newest values again on a scale that fits them; evidence begins anew."""
        ordered = sorted(value for value, _ in self._newest)
        quarter = len(ordered) // 4
        middle = ordered[len(ordered) // 2]
        # Where most values are the same, a hundredth of them is a difference.
        spread = ordered[-1 - quarter] - ordered[quarter] or abs(middle) / 100.0 or 1.0
        self._measured = len(ordered)
        self._stream = Stream(Scale(per_unit=PER_SPREAD / spread, is_daily=self._is_daily), Side.BOTH, seed=1)
        for value, at_ns in self._newest:
            self._stream.update(value, at_ns=at_ns, span_id="", spend=0.0)
