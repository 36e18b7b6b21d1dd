"""`andon analyze` on good, broken and hostile files."""

import gzip
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from andoncord.cli.analyze import analyze
from andoncord.kernel.time import SECOND_NS

app = typer.Typer()
app.command()(analyze)
HOSTILE = "\x1b[2J\x1b]0;owned\x07 [bold red]not markup[/] \u202egnp.exe <script>alert(1)</script>"


def attribute(key: str, value: Any) -> dict[str, Any]:
    return {"key": key, "value": {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}}


def span(trace: int, number: int, name: str, **attributes: Any) -> dict[str, Any]:
    start = number * SECOND_NS
    return {
        "traceId": f"{trace:032x}",
        "spanId": f"{trace * 1000 + number:016x}",
        "name": name,
        "startTimeUnixNano": str(start),
        "endTimeUnixNano": str(start + SECOND_NS // 2),
        "attributes": [attribute(key.replace("__", "."), value) for key, value in attributes.items()],
    }


def tool(
    trace: int, number: int, name: str, *, agent: str = "worker", arguments: str = "{}", result: str = "ok"
) -> dict[str, Any]:
    return span(
        trace,
        number,
        f"execute_tool {name}",
        gen_ai__operation__name="execute_tool",
        gen_ai__agent__name=agent,
        gen_ai__tool__name=name,
        gen_ai__tool__call__arguments=arguments,
        gen_ai__tool__call__result=result,
    )


def request(*spans: dict[str, Any]) -> str:
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": list(spans)}]}]})


def looping(trace: int, *, agent: str = "worker", result: str = "accepted") -> str:
    """The same call again and again, with the same answer."""
    calls = [tool(trace, number, "payments.refund", agent=agent, result=result) for number in range(1, 9)]
    return request(*calls)


def calm(trace: int) -> str:
    return request(tool(trace, 1, "search", arguments='{"q": "a"}', result="1"), tool(trace, 2, "read", result="2"))


def write(path: Path, *lines: str) -> str:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return str(path)


def run(*arguments: str, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(app, list(arguments), input=stdin)


def objects(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_one_object_per_trace_in_the_documented_shape(tmp_path: Path) -> None:
    """A looping trace is an incident, a calm one is not; both name suspects."""
    result = run("-o", "jsonl", write(tmp_path / "runs.jsonl", looping(1), calm(2)))
    loop, quiet = objects(result)

    assert result.exit_code == 0
    assert (loop["incident"], quiet["incident"]) == (True, False)
    assert loop["findings"][0]["pattern"] == "infinite_loop"
    assert (quiet["severity"], quiet["category"]) == (None, None)
    assert loop["risk"] > quiet["risk"]
    assert loop["responsible"]
    assert loop["root_causes"]


def test_that_a_run_had_no_past_to_be_compared_with_is_said(tmp_path: Path) -> None:
    """Of one run as of many; and what stands beside a run in the file changes nothing of the answer about it."""
    alone = run("-o", "jsonl", write(tmp_path / "one.jsonl", calm(2)))
    beside = run("-o", "jsonl", write(tmp_path / "more.jsonl", looping(1), calm(2), calm(3)))
    for result in (alone, beside):
        assert "judged by itself" in result.stderr
        assert "weights from other runs" in result.stderr
    assert objects(alone) == objects(beside)[1:2]


def test_a_broken_line_is_told_with_its_place_and_the_rest_goes_on(tmp_path: Path) -> None:
    """A truncated line, a line that is no request, and good lines around them."""
    path = write(tmp_path / "runs.jsonl", calm(1), calm(2)[:100], "[1, 2]", calm(3))
    result = run("-o", "jsonl", path)

    assert result.exit_code == 0
    assert len(objects(result)) == 2
    assert f"{path}:2: " in result.stderr
    assert "2 traces of 4 lines" in result.stderr


def test_a_wrong_type_inside_a_line_costs_that_record_alone(tmp_path: Path) -> None:
    """The other spans of the line are judged."""
    bad = tool(1, 2, "read")
    bad["startTimeUnixNano"] = {"not": "a time"}
    path = write(tmp_path / "runs.jsonl", request(tool(1, 1, "search"), bad, tool(1, 3, "write")))
    result = run("-o", "jsonl", path)

    assert len(objects(result)) == 1
    assert f"{path}:1: " in result.stderr
    assert run("--strict", path).exit_code == 1


def test_a_trace_over_several_lines_is_one_object(tmp_path: Path) -> None:
    """Lines of the same trace are brought together within the window."""
    calls = [request(tool(1, number, "payments.refund", result="accepted")) for number in range(1, 9)]
    result = run("-o", "jsonl", write(tmp_path / "runs.jsonl", *calls))
    (only,) = objects(result)

    assert only["incident"]


@pytest.mark.parametrize("form", ["text", "jsonl"])
def test_hostile_text_is_shown_and_not_obeyed(tmp_path: Path, form: str) -> None:
    """Escapes, bidi controls and markup of agents come out as visible characters."""
    result = run("-o", form, write(tmp_path / "runs.jsonl", looping(1, agent=HOSTILE, result=HOSTILE)))

    assert result.exit_code == 0
    for output in (result.stdout, result.stderr):
        assert "\x1b" not in output
        assert "\x07" not in output
        assert "\u202e" not in output
    assert "[bold red]" in result.stdout


def test_standard_input_and_gzip_are_read(tmp_path: Path) -> None:
    """The same lines from a pipe or a packed file give the same objects."""
    packed = tmp_path / "runs.jsonl.gz"
    packed.write_bytes(gzip.compress(looping(1).encode()))

    piped = run("-o", "jsonl", "-", stdin=looping(1).encode())
    assert piped.stdout == run("-o", "jsonl", str(packed)).stdout


def test_exit_codes(tmp_path: Path) -> None:
    """0 judged, 1 nothing read, 2 no such file, 7 as severe as asked."""
    bad = write(tmp_path / "runs.jsonl", looping(1))

    assert run(bad).exit_code == 0
    assert run(bad, "--fail-on", "low").exit_code == 7
    assert run(write(tmp_path / "calm.jsonl", calm(1)), "--fail-on", "low").exit_code == 0
    assert run(write(tmp_path / "broken.jsonl", "{")).exit_code == 1
    assert run(str(tmp_path / "missing.jsonl")).exit_code == 2


def test_the_readable_report_says_what_who_and_why(tmp_path: Path) -> None:
    """Findings, suspects, causes with what speaks against them, factors."""
    text = run(write(tmp_path / "runs.jsonl", looping(1), calm(2))).stdout

    assert "infinite_loop" in text
    assert "probably responsible" in text
    assert "tool_fault" in text
    assert "no incident" in text


@pytest.fixture
def reading() -> Iterator[subprocess.Popen[bytes]]:
    """The command as a process of its own, in the middle of an input that does not end."""
    command = [sys.executable, "-m", "andoncord.cli.main", "analyze", "--window", "1", "-o", "jsonl", "-"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(b"".join(f"{calm(number)}\n".encode() for number in range(1, 4)))
        process.stdin.flush()
        yield process
        process.kill()


def test_an_interrupt_ends_it_with_130_and_a_summary(reading: subprocess.Popen[bytes]) -> None:
    """Control-C in the middle of a file: what was judged stays printed, no traceback."""
    assert reading.stdout is not None
    assert reading.stdout.readline().startswith(b"{")
    reading.send_signal(signal.SIGINT)
    _, errors = reading.communicate(timeout=30)

    assert reading.returncode == 130
    assert b"interrupted" in errors
    assert b"Traceback" not in errors


def test_a_reader_that_goes_away_ends_it_quietly(reading: subprocess.Popen[bytes]) -> None:
    """`andon analyze … | head -1` leaves no traceback."""
    assert reading.stdout is not None
    assert reading.stdin is not None
    reading.stdout.readline()
    reading.stdout.close()
    reading.stdin.write(b"".join(f"{calm(number)}\n".encode() for number in range(10, 40)))
    reading.stdin.close()
    assert reading.stderr is not None
    errors = reading.stderr.read()

    assert reading.wait(timeout=30) == 141
    assert b"Traceback" not in errors


def test_a_scope_file_makes_edits_findings(tmp_path: Path) -> None:
    """With --scope, an edit of a protected file is an incident; without, and when it was undone, it is none."""
    edit = tool(1, 1, "bash", arguments='{"command": "sed -i s/a/b/ tests/x.py"}')
    undone = tool(2, 1, "bash", arguments='{"command": "sed -i s/a/b/ tests/x.py && git checkout tests/x.py"}')
    runs = write(tmp_path / "runs.jsonl", request(edit), request(undone))
    scope = write(tmp_path / "scope.yaml", "forbidden: {modify: ['tests/**']}")
    patterns = [
        [finding["pattern"] for finding in each["findings"]] for each in objects(run("-o", "jsonl", "--scope", scope, runs))
    ]
    assert patterns == [["forbidden_edit"], []]
    assert not any(each["incident"] for each in objects(run("-o", "jsonl", runs)))


def test_a_scope_that_cannot_be_read_is_wrong_usage(tmp_path: Path) -> None:
    """A missing or broken scope file exits 2 before anything is judged."""
    runs = write(tmp_path / "runs.jsonl", calm(1))
    assert run("--scope", str(tmp_path / "none.yaml"), runs).exit_code == 2
    assert run("--scope", write(tmp_path / "scope.yaml", "forbiden: {}"), runs).exit_code == 2
