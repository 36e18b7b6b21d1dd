"""Reading files of recorded runs."""

import gzip
from pathlib import Path

from andoncord.cli.trace_files import Gatherer, lines
from andoncord.telemetry.event import Event, EventKind


def event(trace_id: str, span_id: str = "s") -> Event:
    return Event(kind=EventKind.TOOL_COMPLETED, trace_id=trace_id, span_id=span_id)


def test_blank_lines_are_skipped_and_numbers_stay_true(tmp_path: Path) -> None:
    """A complaint about line 3 means line 3 of the file."""
    path = tmp_path / "runs.jsonl"
    path.write_bytes(b"{}\n\n{}\n")

    assert [line.number for line in lines(str(path))] == [1, 3]


def test_gzip_is_read_by_its_name(tmp_path: Path) -> None:
    """Files that end in .gz are unpacked on the way."""
    path = tmp_path / "runs.jsonl.gz"
    path.write_bytes(gzip.compress(b"{}\n{}\n"))

    assert [line.body for line in lines(str(path))] == [b"{}\n", b"{}\n"]


def test_a_cut_gzip_file_gives_its_lines_and_then_a_problem(tmp_path: Path) -> None:
    """What could be read is read; where it stopped is said."""
    path = tmp_path / "runs.jsonl.gz"
    body = b"".join(b'{"n": "%d"}\n' % (number * 7919 % 100_003) for number in range(20_000))
    path.write_bytes(gzip.compress(body)[:-2_000])
    read = list(lines(str(path)))

    assert len(read) > 1
    assert "reading stopped" in read[-1].problem


def test_a_file_that_is_no_gzip_is_a_problem_not_a_crash(tmp_path: Path) -> None:
    """A wrong name is reported at its place."""
    path = tmp_path / "runs.gz"
    path.write_bytes(b"not gzip")
    (line,) = lines(str(path))

    assert line.place.endswith("runs.gz:1")
    assert "reading stopped" in line.problem


def test_an_endless_line_is_skipped(tmp_path: Path) -> None:
    """Memory holds one line of bounded length; the lines after it are read."""
    path = tmp_path / "runs.jsonl"
    path.write_bytes(b"x" * 35 + b"\n{}\n")
    first, second = lines(str(path), max_bytes=10)

    assert "skipped" in first.problem
    assert (second.number, second.body) == (2, b"{}\n")


def test_a_trace_spread_over_lines_comes_out_once_and_whole() -> None:
    """The window waits for lines that add nothing."""
    gatherer = Gatherer(window=2)
    gatherer.add(1, (event("a", "1"),))
    gatherer.add(2, (event("a", "2"),))
    assert list(gatherer.complete(2)) == []
    gatherer.add(3, (event("b"),))
    assert list(gatherer.complete(3)) == []

    gatherer.add(4, (event("b"),))
    ((trace_id, events),) = gatherer.complete(4)
    assert (trace_id, len(events)) == ("a", 2)
    assert [trace_id for trace_id, _ in gatherer.rest()] == ["b"]


def test_what_comes_after_a_trace_was_given_out_is_counted() -> None:
    """A late part is never a second trace of the same name."""
    gatherer = Gatherer(window=1)
    gatherer.add(1, (event("a"),))
    list(gatherer.rest())
    gatherer.add(2, (event("a"),))

    assert list(gatherer.rest()) == []
    assert gatherer.left_out == 1
