"""`andon analyze --series`: score the values of a CSV file, one after the other."""

import csv
import math
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec
from rich.console import Console

from andoncord.cli.exits import Exit
from andoncord.cli.trace_files import lines
from andoncord.detect.series import SeriesScorer
from andoncord.kernel.text import visible
from andoncord.kernel.time import DAY_NS, SECOND_NS

MAX_COMPLAINTS = 1_000
"""Bad rows told one by one; all are counted."""
MAX_ROW_BYTES = 1 << 16
MIN_DAYS = 2
"""Days a series must span before the hour of the day may matter."""
UNITS = (("s", 10**11, SECOND_NS), ("ms", 10**14, 10**6), ("µs", 10**17, 10**3), ("ns", 2**63, 1))
"""A number as a time is in the unit in which it lies in this millennium."""


class Row(NamedTuple):
    """One row that could be read."""

    timestamp: str
    at_ns: int
    value: float


def score_series(path: str, *, form: str, false_alarms: float, is_strict: bool, words: Console) -> Exit:
    """Write the scores of a series to standard output, as `csv`, `jsonl` or, told for people, `text`."""
    bad = Complaints(words)
    rows = list(read_rows(path, bad))
    span_ns = max(row.at_ns for row in rows) - min(row.at_ns for row in rows) if rows else 0
    scorer = SeriesScorer(false_alarms=false_alarms, is_daily=span_ns >= MIN_DAYS * DAY_NS)
    table = csv.writer(sys.stdout, lineterminator="\n")
    if form == "csv":
        table.writerow(("timestamp", "score", "alert"))
    alarms = 0
    for row in rows:
        score, alarm = scorer.update(row.value, at_ns=row.at_ns)
        alarms += alarm is not None
        if form == "csv":
            table.writerow((row.timestamp, f"{score:.6f}", int(alarm is not None)))
        elif form == "jsonl":
            told = {"timestamp": row.timestamp, "score": round(score, 6), "alert": alarm is not None}
            sys.stdout.write(msgspec.json.encode(told).decode() + "\n")
        elif alarm is not None:
            began = datetime.fromtimestamp(alarm.began_ns // SECOND_NS, UTC).isoformat()
            print(f"{visible(row.timestamp, 40)}: from {alarm.before:g} to {alarm.now:g}, probably since {began}")
    sys.stdout.flush()
    words.print(f"{len(rows)} values, {alarms} alerts; {false_alarms * len(rows) / 10_000:.2g} false ones were to be expected")
    if bad.count:
        words.print(f"{bad.count} rows left out")
    return Exit.ERROR if not rows or (is_strict and bad.count) else Exit.OK


class Complaints:
    """What could not be read, told and counted."""

    def __init__(self, words: Console) -> None:
        self._words, self.count = words, 0

    def add(self, place: str, problem: str) -> None:
        """One row that is left out."""
        self.count += 1
        if self.count <= MAX_COMPLAINTS:
            self._words.print(f"{visible(place)}: {visible(problem, 300)}")
        elif self.count == MAX_COMPLAINTS + 1:
            self._words.print("further bad rows are counted, not told")


def read_rows(path: str, bad: Complaints) -> Iterator[Row]:
    """The rows of a CSV file with the columns `timestamp` and `value`, in any order, or with these two and no heading."""
    places: tuple[int, int] | None = None
    for line in lines(path, max_bytes=MAX_ROW_BYTES):
        if line.problem:
            bad.add(line.place, line.problem)
            continue
        try:
            cells = next(csv.reader([line.body.decode("utf-8-sig").rstrip("\r\n")]), [])
        except (UnicodeDecodeError, csv.Error) as wrong:
            bad.add(line.place, f"not a row of CSV in UTF-8: {wrong}")
            continue
        if places is None:
            names = [cell.strip().lower() for cell in cells]
            if "timestamp" in names and "value" in names:
                places = names.index("timestamp"), names.index("value")
                continue
            places = 0, 1
        try:
            yield _row(cells, *places)
        except ValueError as wrong:
            bad.add(line.place, str(wrong))


def _row(cells: list[str], at: int, of: int) -> Row:
    if max(at, of) >= len(cells):
        raise ValueError(f"{len(cells)} columns; timestamp and value are needed")
    try:
        value = float(cells[of])
    except ValueError:
        raise ValueError(f"value {cells[of]!r} is no number") from None
    if not math.isfinite(value):
        raise ValueError(f"value {cells[of]!r} is not finite")
    return Row(cells[at], time_ns(cells[at]), value)


def time_ns(text: str) -> int:
    """Nanoseconds of a time in ISO 8601 (UTC where it names no zone) or since 1970 in s, ms, µs or ns.

    Raises:
        ValueError: it is neither.

    >>> time_ns("1970-01-01 00:00:01") == time_ns("1970-01-01T01:00:01+01:00")
    True
    >>> time_ns("1700000000") == time_ns("1700000000.0") == time_ns("1700000000000")
    True
    """
    text = text.strip()
    try:
        moment = datetime.fromisoformat(text) if not text.isdigit() else None
    except ValueError:
        moment = None
    if moment is not None:
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        at_ns = int(moment.timestamp()) * SECOND_NS + moment.microsecond * 1_000
    else:
        try:
            whole = int(text) if text.isdigit() else None
            number = float(text) if whole is None else whole
        except ValueError:
            raise ValueError(f"timestamp {text!r} is no time: expected ISO 8601 or seconds since 1970") from None
        unit_ns = next((unit_ns for _, below, unit_ns in UNITS if 0 <= number < below), None)
        if unit_ns is None:
            raise ValueError(f"timestamp {text!r} is out of range")
        at_ns = int(number * unit_ns)
    if at_ns < 0:
        raise ValueError(f"timestamp {text!r} is before 1970")
    return at_ns
