"""Is a prediction better than knowing who had an incident lately, where there is warning; and silent where there is none?"""

import time

from andoncord.learn.hazard import predict
from benchmarks.history import history
from benchmarks.result import Result


def run(*, agents: int = 60, days: int = 30, rounds: int = 4, nulls: int = 8, seed: int = 7) -> Result:
    """Fit and judge on fleets with and without warning."""
    precision, recency, lift, gain, error, seconds = [], [], [], [], [], []
    on = 0
    for number in range(rounds):
        made = history(agents=agents, days=days, seed=seed + number, warning=1.0)
        began = time.process_time()
        found = predict(made.points, made.incidents, made.changes, made.findings, since_ns=made.since_ns, now_ns=made.now_ns)
        seconds.append(time.process_time() - began)
        on += found.is_on
        if (judged := found.judgement) is not None:
            precision.append(judged.precision)
            recency.append(judged.recency_precision)
            lift.append(judged.lift.value)
            gain.append(judged.gain.low)
            error.append(judged.calibration_error)
    false = 0
    for number in range(nulls):
        made = history(agents=agents // 2, days=days, seed=seed + 1_000 + number, warning=0.0)
        false += predict(
            made.points, made.incidents, made.changes, made.findings, since_ns=made.since_ns, now_ns=made.now_ns
        ).is_on
    figures = {
        "on_with_warning": on / rounds,
        "on_without_warning": false / nulls,
        "average_precision": _mean(precision),
        "lift": _mean(lift),
        "gain_bits_low": _mean(gain),
        "calibration_error": _mean(error),
        "predict_cpu_s": _mean(seconds),
    }
    notes = (f"{rounds} fleets of {agents} agents over {days} days with warning, {nulls} of {agents // 2} without",)
    return Result(figures=figures, baselines={"average_precision_recency": _mean(recency)}, notes=notes)


def _mean(values: list[float]) -> float:
    return round(sum(values) / len(values), 5) if values else 0.0
