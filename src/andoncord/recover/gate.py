"""The quality gate: is a recovered agent good enough, judged on enough samples and on no more than needed (RCV-6)?"""

from collections.abc import Sequence

import msgspec

from andoncord.kernel.errors import CallerError

BOLDNESS = 0.8
"""Share of the stake that a failure costs; below 1, so that one failure costs a factor of 5 and not everything. Chosen: at
target 0.8 an agent of true quality 0.95 is accepted within 60 samples in about 90 % of cases, one of quality 0.9 in about
44 %."""


class GateVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """What the gate says after the samples so far."""

    accepted: bool
    decided: bool
    """No further sample is wanted: accepted, or out of samples."""
    e_value: float
    """The highest evidence reached; accepted at 1 / (1 - confidence)."""
    passed: int
    n: int
    needed: int
    """The least number of further samples that could bring acceptance, all of them passing; 0 when decided."""
    why: str


class QualityGate(msgspec.Struct, frozen=True, kw_only=True):
    """Accept an agent when its pass rate is shown to exceed `target`, with at most `1 - confidence` chance of a wrong accept.

    A bet against "the pass rate is at most `target`": start with 1, multiply by `1 + bet * (x - target)` for each sample x (1
    passed, 0 failed). Under that hypothesis the product is a non-negative supermartingale, so it ever reaches
    1 / (1 - confidence) with probability at most 1 - confidence (Ville's inequality), however often one looks and wherever one
    stops. No independence is needed: only that each sample passes with probability at most `target` given those before it.

    Why not fewer samples: n passes in a row have probability target ** n under the hypothesis, so *any* valid test at 0.8 and
    95 % needs at least 14. This one needs 17, because it keeps a reserve for single failures (each costs about 9 more passes).

    >>> gate = QualityGate()
    >>> gate.least_samples, gate.judge([True] * 16).accepted, gate.judge([True] * 17).accepted
    (17, False, True)
    >>> gate.judge([True] * 10 + [False]).needed
    16

    Source: Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", JRSS-B 86 (2024).
    """

    target: float = 0.8
    confidence: float = 0.95
    max_samples: int = 60

    def __post_init__(self) -> None:
        for name, value in (("target", self.target), ("confidence", self.confidence)):
            if not 0 < value < 1:
                raise CallerError(f"{name} is {value}", place=f"gate.{name}", remedy="give a number between 0 and 1")
        if self.max_samples < self.least_samples:
            raise CallerError(
                f"max_samples is {self.max_samples}",
                place="gate.max_samples",
                remedy=f"at least {self.least_samples} samples are needed to show a pass rate above {self.target:g}",
            )

    @property
    def threshold(self) -> float:
        """The e-value at which the gate accepts."""
        return 1 / (1 - self.confidence)

    @property
    def least_samples(self) -> int:
        """How many straight passes accept."""
        return self._passes_from(1.0)

    def judge(self, passed: Sequence[bool]) -> GateVerdict:
        """Judge the samples in the order they came; samples after a decision do not change it."""
        e_value = 1.0
        count = 0
        for number, sample in enumerate(passed[: self.max_samples], start=1):
            count += sample
            e_value *= self._factor(sample)
            # Within rounding of the threshold counts as reached: 1/(1-0.95) is not exactly 20 in binary.
            if e_value >= self.threshold * (1 - 1e-9):
                why = f"{count} of {number} samples passed: above {self.target:g} at {self.confidence:.0%} confidence"
                return GateVerdict(accepted=True, decided=True, e_value=e_value, passed=count, n=number, needed=0, why=why)
            needed = self._passes_from(e_value)
            if number + needed > self.max_samples:
                why = (
                    f"{count} of {number} samples passed; even if all others passed, {self.max_samples} samples would not show "
                    f"a pass rate above {self.target:g}"
                )
                return GateVerdict(accepted=False, decided=True, e_value=e_value, passed=count, n=number, needed=0, why=why)
        needed = self._passes_from(e_value)
        why = (
            f"{count} of {len(passed)} samples passed; at least {needed} more must pass to show a pass rate above "
            f"{self.target:g} at {self.confidence:.0%} confidence"
        )
        return GateVerdict(accepted=False, decided=False, e_value=e_value, passed=count, n=len(passed), needed=needed, why=why)

    def _factor(self, sample: bool) -> float:
        return 1 + BOLDNESS / self.target * ((1.0 if sample else 0.0) - self.target)

    def _passes_from(self, e_value: float) -> int:
        """Straight passes from `e_value` to the threshold. Bounded: each pass multiplies by a factor above 1."""
        passes = 0
        while e_value < self.threshold * (1 - 1e-9):
            e_value *= self._factor(True)
            passes += 1
        return passes
