"""`andon analyze --series` on good and broken series."""

import csv
import random
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from andoncord.cli.analyze import analyze
from andoncord.cli.analyze_series import time_ns
from andoncord.detect.series import SeriesScorer
from andoncord.kernel.time import MINUTE_NS, SECOND_NS, rfc3339

app = typer.Typer()
app.command()(analyze)
START_NS = 1_767_225_600 * SECOND_NS


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def series(path: Path, *, shift: float, heading: str = "timestamp,value\n", every_s: int = 300) -> str:
    """Two thousand independent numbers whose level rises in the middle, and some rows that are none."""
    chance = random.Random(5)
    rows = [
        f"{rfc3339(START_NS + number * every_s * SECOND_NS)},{10 + chance.gauss(0, 1) + shift * (number >= 1_000)}"
        for number in range(2_000)
    ]
    rows[50:50] = ["yesterday,1.0", "2026-01-01,much", "2026-01-01,nan", "alone"]
    path.write_text(heading + "\n".join(rows) + "\n", encoding="utf-8")
    return str(path)


def test_a_lasting_change_is_alerted_soon_after_it(tmp_path: Path) -> None:
    """Two deviations up in the middle are found within fifty values, and nothing before."""
    path = series(tmp_path / "m.csv", shift=2.0)
    result = run("--series", path, "-o", "csv")
    rows = list(csv.DictReader(result.stdout.splitlines()))
    alerts = [number for number, row in enumerate(rows) if row["alert"] == "1"]

    assert result.exit_code == 0
    assert list(rows[0]) == ["timestamp", "score", "alert"]
    assert len(rows) == 2_000
    assert all(0.0 <= float(row["score"]) <= 1.0 for row in rows)
    assert 1_000 <= alerts[0] <= 1_050
    assert f"{path}:52: timestamp 'yesterday'" in result.stderr
    assert "4 rows left out" in result.stderr


def test_no_change_no_alert_and_strict_says_what_was_left_out(tmp_path: Path) -> None:
    """The same numbers without the shift stay silent, in text and with the columns by their place."""
    quiet = run("--series", series(tmp_path / "m.csv", shift=0.0, heading=""))

    assert quiet.stdout == ""
    assert "2000 values, 0 alerts" in quiet.stderr
    assert run("--strict", "--series", str(tmp_path / "m.csv")).exit_code == 1


@pytest.mark.parametrize(
    "wrong",
    [("--series", "none.csv"), (), ("-o", "csv", __file__), ("--series", __file__, __file__)],
    ids=["no file", "nothing", "csv of runs", "both"],
)
def test_wrong_usage_is_told(wrong: tuple[str, ...]) -> None:
    """What cannot be meant ends with the code for wrong usage."""
    assert run(*wrong).exit_code == 2


def test_numbers_as_times() -> None:
    """Seconds, milliseconds, microseconds and nanoseconds are told apart by their size."""
    assert {time_ns(f"17000000{zeros}") for zeros in ("00", "00000", "00000000", "00000000000")} == {1_700_000_000 * SECOND_NS}
    with pytest.raises(ValueError, match="no time"):
        time_ns("noon")


@pytest.mark.parametrize("echo", [0.0, 0.6])
def test_the_budget_is_kept(echo: float) -> None:
    """Where nothing changes there are no more alarms than the budget says, for independent values and for echoing ones."""
    alarms, values = 0, 20_000
    for seed in range(2):
        chance, scorer, value = random.Random(seed), SeriesScorer(false_alarms=10.0), 0.0
        for number in range(values):
            value = echo * value + chance.gauss(0.0, 1.0)
            alarms += scorer.update(value, at_ns=START_NS + number * MINUTE_NS).alarm is not None

    assert alarms <= 2 * values * 10.0 / 10_000


def test_constant_and_huge_numbers_do_no_harm() -> None:
    """A series that never moves has no alarm; one that leaps by any factor has one."""
    scorer = SeriesScorer()
    flat = [scorer.update(0.0, at_ns=START_NS + number * MINUTE_NS) for number in range(600)]
    leap = [scorer.update(1e300, at_ns=START_NS + number * MINUTE_NS) for number in range(600, 700)]

    assert not [scored for scored in flat if scored.alarm]
    assert len([scored for scored in leap if scored.alarm]) == 1
