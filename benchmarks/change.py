"""Usual change detectors, written plainly for comparison; not part of Andoncord."""

import math
from collections import deque

LEARN = 500
"""Values from which a rival learns what is normal, where it does."""


class ThreeSigma:
    """An alarm for every value more than three deviations from the mean of the first 500."""

    def __init__(self) -> None:
        self.values: list[float] = []
        self.mean = self.deviation = 0.0

    def update(self, value: float) -> bool:
        """Take a value; whether it alarms."""
        if len(self.values) < LEARN:
            self.values.append(value)
            if len(self.values) == LEARN:
                self.mean = sum(self.values) / LEARN
                self.deviation = math.sqrt(sum((each - self.mean) ** 2 for each in self.values) / LEARN)
            return False
        return abs(value - self.mean) > 3 * self.deviation


class PageHinkley:
    """Page's cumulative sum of standardised values, both sides, with the defaults that river gives it.

    Source: Page, Biometrika 41 (1954); river 0.26, `delta=0.005, threshold=50, alpha=0.9999`.
    """

    def __init__(self) -> None:
        self.scale = ThreeSigma()
        self.restart()

    def restart(self) -> None:
        """After an alarm."""
        self.count = 0
        self.mean = self.up = self.down = self.low = self.high = 0.0

    def update(self, value: float) -> bool:
        """Take a value; whether it alarms."""
        self.scale.update(value)
        if not self.scale.deviation:
            return False
        standard = (value - self.scale.mean) / self.scale.deviation
        self.count += 1
        self.mean += (standard - self.mean) / self.count
        self.up = self.up * 0.9999 + standard - self.mean - 0.005
        self.down = self.down * 0.9999 + standard - self.mean + 0.005
        self.low, self.high = min(self.low, self.up), max(self.high, self.down)
        if max(self.up - self.low, self.high - self.down) <= 50.0:
            return False
        self.restart()
        return True


class Adwin:
    """Adaptive windowing: cuts the window where the means of its two parts differ more than chance allows.

    The window is kept whole and looked at every 32 values, at exponentially spaced cuts, as in the source's bucket rows.
    Source: Bifet, Gavaldà, SIAM International Conference on Data Mining (2007); `delta=0.002`, `clock=32` as in river.
    """

    def __init__(self) -> None:
        self.window: deque[float] = deque(maxlen=4_096)
        self.clock = 0

    def update(self, value: float) -> bool:
        """Take a value; whether it alarms."""
        self.window.append(value)
        self.clock += 1
        if self.clock % 32 or len(self.window) < 64:
            return False
        values = list(self.window)
        total, squares, size = sum(values), sum(each * each for each in values), len(values)
        variance = max(0.0, squares / size - (total / size) ** 2)
        newest, recent = 8, 0.0
        taken = 0
        while newest <= size - 8:
            recent += sum(values[size - newest : size - taken])
            taken = newest
            harmonic = 1.0 / (1.0 / newest + 1.0 / (size - newest))
            confidence = math.log(2.0 * math.log(size) / 0.002)
            bound = math.sqrt(2.0 / harmonic * variance * confidence) + 2.0 / 3.0 / harmonic * confidence
            if abs(recent / newest - (total - recent) / (size - newest)) > bound:
                self.window = deque(values[size - newest :], maxlen=4_096)
                return True
            newest = int(newest * 1.5)
        return False
