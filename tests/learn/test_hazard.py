"""Prediction: on where it beats recency on later hours, off where it does not, and honest about both."""

import numpy as np
import pytest

from andoncord.kernel.time import HOUR_NS
from andoncord.learn.hazard import Logistic, average_precision, calibration_of, predict, rows_of
from andoncord.learn.risk import Prediction, Seen
from benchmarks.history import History, history


def predicted(made: History) -> Prediction:
    return predict(made.points, made.incidents, made.changes, made.findings, since_ns=made.since_ns, now_ns=made.now_ns)


def test_it_is_on_where_there_is_warning() -> None:
    """It ranks better than recency alone, says by how much, is calibrated on hours it had not seen, and gives its reasons."""
    found = predicted(history(agents=15, days=24, seed=4, warning=1.6))

    assert found.is_on
    assert found.judgement is not None
    assert found.judgement.gain.low > 0.0
    assert found.judgement.lift.low > 1.0
    assert found.judgement.calibration_error < 0.02
    assert [risk.probability for risk in found.risks] == sorted((risk.probability for risk in found.risks), reverse=True)
    assert any(risk.because for risk in found.risks[:5])


def test_it_is_off_where_there_is_nothing_to_see_but_recency() -> None:
    """Without warning it does not claim any, and says why."""
    found = predicted(history(agents=15, days=24, seed=5, warning=0.0))

    assert (found.is_on, found.risks) == (False, ())
    assert "not better than knowing who had an incident lately" in found.why_off


@pytest.mark.parametrize(("agents", "days", "rate", "why"), [(1, 2, 0.006, "agent-hours"), (10, 20, 1e-5, "incidents")])
def test_it_is_off_while_there_is_too_little_history(agents: int, days: int, rate: float, why: str) -> None:
    """A new installation is told what is missing."""
    found = predicted(history(agents=agents, days=days, seed=1, warning=1.0, rate=rate))

    assert not found.is_on
    assert "needs" in found.why_off
    assert why in found.why_off


def test_a_row_knows_nothing_of_its_own_future() -> None:
    """Cutting the history off after an hour leaves that hour's row as it was."""
    made = history(agents=3, days=6, seed=9, warning=1.0, rate=0.03)
    whole = rows_of(made.points, made.incidents, made.changes, made.findings, since_ns=made.since_ns, until_hour=143)
    cut_ns = made.since_ns + 100 * HOUR_NS
    rate_of = [each for each in made.incidents if each.detected_ns <= cut_ns]
    cut = rows_of(
        [point for point in made.points if point.at_ns < cut_ns],
        rate_of,
        [each for each in made.changes if each[1] <= cut_ns],
        [each for each in made.findings if each[1] <= cut_ns],
        since_ns=made.since_ns,
        until_hour=99,
    )
    # The agents' own rates are mixed with that of the fleet over the whole history, the same for every row.
    others = [place for place in range(whole.x.shape[1]) if place != 2]

    assert len(cut.agents) > 250
    assert np.allclose(whole.x[whole.hours <= 99][:, others], cut.x[:, others])


def test_hours_within_an_incident_are_not_at_risk() -> None:
    """A new incident cannot begin while one goes on, so there is no row; one in the hour after the end of a row counts."""
    made = history(agents=1, days=2, seed=2, warning=0.0, rate=0.0)
    incident = Seen(agent="agent-0", detected_ns=made.since_ns + 10 * HOUR_NS + 5, until_ns=made.since_ns + 12 * HOUR_NS + 5)
    rows = rows_of(made.points, [incident], (), (), since_ns=made.since_ns, until_hour=47)

    assert [hour for hour, comes in zip(rows.hours, rows.y, strict=True) if comes] == [9]
    assert sorted(set(range(48)) - set(rows.hours.tolist())) == [10, 11]


def test_the_fit_finds_what_was_put_in() -> None:
    """Coefficients of data that follow the model come back, and what is predicted is what comes."""
    chance = np.random.default_rng(4)
    x = chance.normal(size=(20_000, 2)) * (1.0, 5.0)
    y = (chance.random(20_000) < 1.0 / (1.0 + np.exp(3.0 - 1.0 * x[:, 0] - 0.1 * x[:, 1]))).astype(float)
    model = Logistic.fit(x, y)
    slopes = np.log(model.of(np.eye(2)) / (1.0 - model.of(np.eye(2)))) - np.log(
        model.of(np.zeros((1, 2))) / (1.0 - model.of(np.zeros((1, 2))))
    )

    assert np.allclose(slopes, (1.0, 0.1), atol=0.06)
    assert all(abs(share.predicted - share.observed) < 0.05 for share in calibration_of(model.of(x), y))
    assert average_precision(np.zeros(20_000), y) == pytest.approx(y.mean())
