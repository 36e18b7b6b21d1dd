"""What a judge's verdicts are worth, once people have labelled some of the runs that it judged (DET-13).

A judge that errs shifts the pass rate it reports, in a direction that nobody knows beforehand. Labels of people say how often
it is right when it says "passed" and how often when it says "failed"; both together turn its rate into the true one, with an
interval that is as wide as the judge is poor and the labels are few.
"""

from math import sqrt
from statistics import NormalDist

import msgspec

MIN_LABELS = 10
"""Labels among the runs of each verdict, below which nothing is said: the interval would be wider than a third. With 10 of each
it is 0.31 wide on average, with 20 it is 0.21; it holds the true rate in at least 93 of 100 cases for every rate and judge
tried, the judge's own in 26 (benchmark `judge`)."""
CONFIDENCE = 0.95
MAX_ALLOWED = 0.95
"""Share of runs that a judge may fail at most: above it, it could not raise an alarm about anything."""


class Labels(msgspec.Struct, frozen=True, kw_only=True):
    """Runs that a judge and a person have looked at, by what both said."""

    passed_right: int = 0
    """The judge passed it, and so did the person."""
    passed_wrong: int = 0
    failed_right: int = 0
    """The judge failed it, and so did the person."""
    failed_wrong: int = 0

    def with_one(self, *, judged: bool, true: bool) -> "Labels":
        """These and one more."""
        name = ("passed" if judged else "failed") + ("_right" if judged == true else "_wrong")
        return msgspec.structs.replace(self, **{name: getattr(self, name) + 1})

    @property
    def of_passed(self) -> int:
        """Labels among the runs that the judge passed."""
        return self.passed_right + self.passed_wrong

    @property
    def of_failed(self) -> int:
        """Labels among the runs that the judge failed."""
        return self.failed_right + self.failed_wrong


class Corrected(msgspec.Struct, frozen=True, kw_only=True):
    """A pass rate as far as it is known."""

    judged: float | None
    """What the judge says, over all runs; None where nothing was judged."""
    rate: float | None = None
    """What is true, most likely; None where it is refused."""
    low: float | None = None
    high: float | None = None
    """The 95 % interval: chance in the runs that were looked at, in the labels, and the judge's errors."""
    labels: int = 0
    refused: str = ""
    """Why no corrected rate is given."""


def corrected(judged: float | None, runs: float, labels: Labels, *, least: int = MIN_LABELS) -> Corrected:
    """The true pass rate behind a judge's.

    Prediction-powered inference for a verdict and a truth that are both yes or no: the share that was passed times how many of
    those are right, and the same for the failed ones. Which runs people label may depend on the verdict, and on nothing else
    about the run.

    Args:
        judged: the share of runs that the judge passed; weighted where some kinds of runs were looked at more often.
        runs: how many runs that share rests on; with weights, how many equally weighted ones are worth as much.
        labels: what people said of runs that the judge had judged.
        least: labels of each verdict below which no rate is given.

    Source: Angelopoulos et al., "Prediction-powered inference", Science 382 (2023), for a stratified label; Lang, Reiczigel,
    "Confidence limits for prevalence of disease adjusted for estimated sensitivity and specificity", Preventive Veterinary
    Medicine 113 (2014), for the counts added to each share before its variance is taken.

    >>> known = corrected(0.90, 1000, Labels(passed_right=180, passed_wrong=20, failed_right=60, failed_wrong=40))
    >>> round(known.rate, 2), round(known.low, 2), round(known.high, 2)
    (0.85, 0.81, 0.89)
    >>> corrected(0.90, 1000, Labels(passed_right=200)).refused
    'needs 10 labels of runs that it failed, has 0'
    """
    total = labels.of_passed + labels.of_failed
    if judged is None or runs <= 0:
        return Corrected(judged=None, labels=total, refused="nothing was judged")
    for word, share, count in (("passed", judged, labels.of_passed), ("failed", 1.0 - judged, labels.of_failed)):
        if share > 0 and count < least:
            return Corrected(judged=judged, labels=total, refused=f"needs {least} labels of runs that it {word}, has {count}")
    right, spared = _share(labels.passed_right, labels.of_passed), _share(labels.failed_wrong, labels.of_failed)
    rate = judged * right + (1.0 - judged) * spared
    # The variance is taken at shares that are never 0 or 1, the estimate is not.
    judged_in = (judged * runs + 1.0) / (runs + 2.0)
    right_in, spared_in = _inner(labels.passed_right, labels.of_passed), _inner(labels.failed_wrong, labels.of_failed)
    centre = judged_in * right_in + (1.0 - judged_in) * spared_in
    variance = (
        (right_in - spared_in) ** 2 * judged_in * (1.0 - judged_in) / (runs + 2.0)
        + judged_in**2 * right_in * (1.0 - right_in) / (labels.of_passed + 2.0)
        + (1.0 - judged_in) ** 2 * spared_in * (1.0 - spared_in) / (labels.of_failed + 2.0)
    )
    reach = _Z * sqrt(variance)
    return Corrected(
        judged=judged,
        rate=rate,
        low=max(0.0, min(rate, centre - reach)),
        high=min(1.0, max(rate, centre + reach)),
        labels=total,
    )


def allowed_failures(allowed: float, judged: float, labels: Labels) -> float | None:
    """How many runs a judge may fail while no more of them are bad than allowed; None where too few labels say so.

    Rogan and Gladen's relation the other way round, on the safe side: every bad run is caught, and of the good ones it fails as
    many as the labels do not rule out. An alarm about what it says is then one about the runs.

    Args:
        allowed: share of runs that may be bad.
        judged: the share of runs that the judge passed.

    Source: Rogan, Gladen, "Estimating prevalence from the results of a screening test", American Journal of Epidemiology 107
    (1978).

    >>> known = Labels(passed_right=95, passed_wrong=5, failed_right=20, failed_wrong=20)
    >>> round(allowed_failures(0.10, 0.85, known), 2)
    0.2
    >>> allowed_failures(0.10, 0.85, Labels(failed_wrong=3))
    """
    if labels.of_passed < MIN_LABELS or labels.of_failed < MIN_LABELS:
        return None
    failed_good = (1.0 - judged) * _bound(labels.failed_wrong, labels.of_failed, +1)
    passed_good = judged * _bound(labels.passed_right, labels.of_passed, -1)
    good = failed_good + passed_good
    return min(MAX_ALLOWED, allowed + (1.0 - allowed) * (failed_good / good if good > 0.0 else 1.0))


_Z = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2.0)


def _share(count: int, of: int) -> float:
    return count / of if of else 0.0


def _inner(count: int, of: int) -> float:
    """A share with one more on either side."""
    return (count + 1.0) / (of + 2.0)


def _bound(count: int, of: int, side: int) -> float:
    """Wilson's bound of a share, upper or lower."""
    share, square = count / of, _Z * _Z
    middle = share + square / (2.0 * of)
    reach = _Z * sqrt(share * (1.0 - share) / of + square / (4.0 * of * of))
    return max(0.0, min(1.0, (middle + side * reach) / (1.0 + square / of)))
