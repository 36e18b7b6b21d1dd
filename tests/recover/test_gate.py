"""The quality gate."""

import pytest

from andoncord.kernel.errors import CallerError
from andoncord.recover.gate import QualityGate


def acceptance_probability(gate: QualityGate, pass_rate: float) -> float:
    """Exact probability of ever accepting, over all sequences of independent samples; states are (number of passes)."""
    factors = {True: 1.2, False: 0.2}
    accepted = 0.0
    by_passes: dict[int, float] = {0: 1.0}
    for number in range(1, gate.max_samples + 1):
        after: dict[int, float] = {}
        for passes, probability in by_passes.items():
            for passed, chance in ((True, pass_rate), (False, 1 - pass_rate)):
                total = passes + passed
                e_value = factors[True] ** total * factors[False] ** (number - total)
                if e_value >= gate.threshold * (1 - 1e-9):
                    accepted += probability * chance
                else:
                    after[total] = after.get(total, 0.0) + probability * chance
        by_passes = after
    return accepted


@pytest.mark.parametrize("pass_rate", [0.8, 0.79, 0.7, 0.5])
def test_a_bad_agent_is_accepted_at_most_once_in_twenty(pass_rate: float) -> None:
    """At or below the target the probability of ever accepting stays within 1 - confidence, for any number of samples."""
    assert acceptance_probability(QualityGate(max_samples=400), pass_rate) <= 0.05


def test_a_good_agent_is_usually_accepted() -> None:
    """A pass rate of 0.95 is accepted within the default 60 samples in at least 85 % of cases."""
    assert acceptance_probability(QualityGate(), 0.95) >= 0.85


def test_seventeen_straight_passes_accept() -> None:
    """Sixteen passes are not enough, seventeen are, and the gate says so beforehand."""
    gate = QualityGate()

    assert gate.judge([]).needed == gate.least_samples == 17
    assert not gate.judge([True] * 16).decided
    assert gate.judge([True] * 17).accepted


def test_needed_is_what_it_takes() -> None:
    """After a failure, exactly `needed` more passes accept, and one fewer does not."""
    gate = QualityGate()
    samples = [True, True, False, True]
    needed = gate.judge(samples).needed

    assert not gate.judge(samples + [True] * (needed - 1)).accepted
    assert gate.judge(samples + [True] * needed).accepted


def test_samples_after_the_decision_do_not_change_it() -> None:
    """Looking on after an acceptance cannot take it back, and cannot be used to fish for one after a refusal."""
    gate = QualityGate(max_samples=20)

    assert gate.judge([True] * 17 + [False] * 5).accepted
    refused = gate.judge([False] * 3 + [True] * 500)
    assert refused.decided
    assert not refused.accepted


def test_it_gives_up_as_soon_as_the_rest_cannot_save_it() -> None:
    """When even a perfect remainder would not reach the threshold, no further sample is asked for."""
    verdict = QualityGate(max_samples=20).judge([True, False])

    assert verdict.decided
    assert verdict.needed == 0
    assert "even if all others passed" in verdict.why


def test_a_limit_that_could_never_accept_is_refused() -> None:
    """A gate that cannot accept anything is a mistake of the caller, not a policy."""
    with pytest.raises(CallerError, match="at least 17 samples"):
        QualityGate(max_samples=16)
