"""`andon analyze`: judge recorded runs with the code that judges live ones, a trace at a time, in bounded memory."""

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

from andoncord.cli.analyze_series import score_series
from andoncord.cli.analyze_text import report_text
from andoncord.cli.exits import Exit
from andoncord.cli.trace_files import STDIN, Gatherer, Line, lines
from andoncord.detect.bank import Bank
from andoncord.detect.declared import Declared
from andoncord.detect.pack import needing_a_past, recorded_rules
from andoncord.detect.rule import Rule
from andoncord.detect.scope import load_scope
from andoncord.detect.series import FALSE_ALARMS
from andoncord.investigate.report import Analysis, analyze_trace
from andoncord.kernel.errors import CallerError
from andoncord.kernel.text import visible
from andoncord.kernel.vocabulary import Severity
from andoncord.telemetry.event import Event, EventKind
from andoncord.telemetry.otlp import Decoded, decode_logs_json, decode_traces_json
from andoncord.telemetry.prices import Pricing, default_prices
from andoncord.telemetry.stitch import stitch

DEFAULT_WINDOW = 16
PROGRESS_EVERY = 20
"""Lines between two updates of the progress bar."""
MAX_CONTEXT_EVENTS = 1_000
"""Changes outside of any trace that are kept as context for the traces after them."""
MAX_COMPLAINTS = 1_000
"""Broken lines told one by one; all are counted."""
EXIT_READER_GONE = 141
"""As a shell reports a process that SIGPIPE ended."""


class OutputFormat(StrEnum):
    """What stands on standard output."""

    TEXT = "text"
    JSONL = "jsonl"
    CSV = "csv"


@dataclass(slots=True)
class Tally:
    """What was read and found, for the summary and the exit code."""

    lines: int = 0
    broken_lines: int = 0
    records: int = 0
    rejected_records: int = 0
    left_out: int = 0
    untraced: int = 0
    traces: int = 0
    incidents: dict[Severity, int] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)
    pricing: Pricing = field(default_factory=lambda: Pricing(default_prices()))


def analyze(
    files: Annotated[
        list[str] | None, typer.Argument(metavar="FILE…", help="OTLP/JSON lines, *.gz too; - reads standard input.")
    ] = None,
    output: Annotated[
        OutputFormat,
        typer.Option("-o", "--output", help="Readable text, one JSON object per trace or value, or (--series) CSV."),
    ] = OutputFormat.TEXT,
    fail_on: Annotated[Severity | None, typer.Option(help="Exit 7 when an incident is at least this severe.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 1 when any line or record could not be read.")] = False,
    window: Annotated[int, typer.Option(min=1, help="Lines after which a trace counts as complete.")] = DEFAULT_WINDOW,
    scope: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Globs of the files the task may change, JSON or YAML: docs/detection.md."),
    ] = None,
    series: Annotated[
        str | None, typer.Option(metavar="FILE.csv", help="Score a series of numbers instead: columns timestamp, value.")
    ] = None,
    false_alarms: Annotated[
        float, typer.Option(min=1e-6, max=1e3, help="With --series: false alarms to expect per 10 000 values.")
    ] = FALSE_ALARMS,
) -> None:
    """Judge recorded agent runs: findings, severity, responsible step, causes.

    Reads OTLP/JSON lines, one export request (traces or logs) per line, from files, *.gz files or standard input (-). Each
    trace is judged by itself, with the code that judges live traffic. A trace may be spread over several lines: it is judged
    when no line has added to it for --window lines (or at the end); what comes for it later is left out and counted.

    Reports go to standard output, everything else to standard error. A line or record that cannot be read is reported as
    file:line, counted, and the rest goes on.

    --series FILE.csv scores any series of numbers, each value by those before it: with -o csv the columns timestamp, score
    (0 to 1) and alert (1 where a change is found, once for each).

    Exit codes: 0 everything was judged, whatever was left out is counted; 1 nothing could be read, or --strict is given and
    something was left out; 2 wrong usage, such as a file that does not exist; 7 an incident at least as severe as --fail-on;
    130 interrupted; 141 the reader of standard output went away.
    """
    if (series is None) == (not files):
        raise typer.BadParameter("name files of runs, or a series with --series", param_hint="FILE")
    if output is OutputFormat.CSV and series is None:
        raise typer.BadParameter("csv is for --series; runs are told as text or jsonl", param_hint="--output")
    for path in files or [str(series)]:
        if path != STDIN and not Path(path).is_file():
            raise typer.BadParameter(f"{visible(path)}: no such file", param_hint="FILE" if files else "--series")
    words = Console(stderr=True, markup=False, highlight=False, soft_wrap=True)
    tally = Tally()
    declared = _declared(scope)
    try:
        if series is not None:
            raise typer.Exit(score_series(series, form=output, false_alarms=false_alarms, is_strict=strict, words=words))
        for analysis in analyses(files or (), window, tally, words, declared):
            _write(analysis, output)
    except KeyboardInterrupt:
        words.print("interrupted")
        _summary(tally, words)
        raise typer.Exit(Exit.INTERRUPTED) from None
    except BrokenPipeError:
        # Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(EXIT_READER_GONE) from None
    _summary(tally, words)
    raise typer.Exit(_exit_code(tally, fail_on, strict))


def _declared(scope: Path | None) -> dict[str, Declared]:
    """What holds for every agent of the files."""
    if scope is None:
        return {}
    try:
        return {"*": Declared(agent="*", scope=load_scope(scope.read_text(encoding="utf-8"), place=visible(str(scope))))}
    except (OSError, UnicodeDecodeError) as wrong:
        raise typer.BadParameter(f"{visible(str(scope))}: {visible(str(wrong))}", param_hint="--scope") from None
    except CallerError as wrong:
        raise typer.BadParameter(visible(str(wrong)), param_hint="--scope") from None


def analyses(
    files: Iterable[str], window: int, tally: Tally, words: Console, declared: Mapping[str, Declared]
) -> Iterator[Analysis]:
    """Every trace of some files, judged."""
    rules = recorded_rules()
    context: list[Event] = []
    for path in files:
        gatherer = Gatherer(window)
        for line in _with_progress(path, words):
            gatherer.add(line.number, tuple(_events(line, tally, words, context)))
            for _, events in gatherer.complete(line.number):
                yield judge(events, context, rules, tally, declared)
        for _, events in gatherer.rest():
            yield judge(events, context, rules, tally, declared)
        tally.left_out += gatherer.left_out


def _with_progress(path: str, words: Console) -> Iterator[Line]:
    """The lines of a file, with a bar on standard error when somebody watches and the size is known."""
    if path == STDIN or not words.is_terminal:
        yield from lines(path)
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn())
    with Progress(*columns, console=words, transient=True) as progress:
        task = progress.add_task(visible(Path(path).name, 40), total=Path(path).stat().st_size)
        for count, line in enumerate(lines(path)):
            if count % PROGRESS_EVERY == 0:
                progress.update(task, completed=line.consumed)
            yield line


def _events(line: Line, tally: Tally, words: Console, context: list[Event]) -> Iterator[Event]:
    """The events of one line that belong to a trace; what is wrong with it is told and counted."""
    tally.lines += 1
    if line.problem:
        _complain(line.place, line.problem, tally, words)
        return
    decoded = _decode(line.body)
    tally.records += decoded.seen
    for rejection in decoded.rejected:
        if rejection.reason == "malformed" and not decoded.events:
            _complain(line.place, f"{rejection.reason}: {rejection.detail}", tally, words)
        else:
            tally.rejected_records += rejection.count
            counted = f"{rejection.count} records left out" if rejection.count > 1 else "1 record left out"
            words.print(f"{visible(line.place)}: {counted}, {rejection.reason}: {visible(rejection.detail)}")
    for event in tally.pricing.priced(decoded.events):
        if event.trace_id:
            yield event
            continue
        tally.untraced += 1
        if event.kind is EventKind.CHANGE_MADE:
            context.append(event)
            del context[:-MAX_CONTEXT_EVENTS]


def _decode(body: bytes) -> Decoded:
    """Decode a line as what its first key says it is; logs and traces do not share a request."""
    logs, spans = body.find(b'"resourceLogs"'), body.find(b'"resourceSpans"')
    if logs >= 0 and (spans < 0 or logs < spans):
        return decode_logs_json(body, received_ns=0)
    return decode_traces_json(body, received_ns=0)


def _complain(place: str, problem: str, tally: Tally, words: Console) -> None:
    tally.broken_lines += 1
    if tally.broken_lines <= MAX_COMPLAINTS:
        words.print(f"{visible(place)}: {visible(problem, 300)}")
    elif tally.broken_lines == MAX_COMPLAINTS + 1:
        words.print("further broken lines are counted, not told")


def judge(
    events: list[Event], context: list[Event], rules: tuple[Rule, ...], tally: Tally, declared: Mapping[str, Declared]
) -> Analysis:
    """Put one trace through a bank of its own, in the order in which things were over, and investigate what it found."""
    whole = sorted(stitch(events), key=lambda event: event.at_ns)
    bank = Bank(rules, declared=declared)
    found = [finding for event in whole for finding in bank.observe(event)]
    if whole:
        found.extend(bank.tick(whole[-1].at_ns))
    # A finding told again is the newer word on it; an edit that was undone is none any more.
    findings = [finding for finding in {finding.id: finding for finding in found}.values() if "undone_in" not in finding.facts]
    tally.faults.update(bank.faults)
    agents = {event.agent for event in whole}
    analysis = analyze_trace([*whole, *(event for event in context if event.agent in agents)], findings)
    tally.traces += 1
    severity = analysis.report.severity
    if severity is not None:
        tally.incidents[severity] = tally.incidents.get(severity, 0) + 1
    return analysis


def _write(analysis: Analysis, output: OutputFormat) -> None:
    """As bytes: the terminal's or pipe's encoding must not decide whether a report can be written."""
    body = msgspec.json.encode(analysis.report) if output is OutputFormat.JSONL else report_text(analysis).encode()
    sys.stdout.buffer.write(body + b"\n")
    sys.stdout.buffer.flush()


def _summary(tally: Tally, words: Console) -> None:
    found = sum(tally.incidents.values())
    per_severity = ", ".join(f"{tally.incidents[each]} {each.value}" for each in reversed(Severity) if each in tally.incidents)
    words.print(f"{tally.traces} traces of {tally.lines} lines, {found} incidents{f' ({per_severity})' if found else ''}")
    if tally.traces:
        past = len(needing_a_past(recorded_rules()))
        hint = "; `andon rules backtest --over FILE` lets runs be each other's past" if tally.traces > 1 else ""
        words.print(
            f"{'each was' if tally.traces > 1 else 'it was'} judged by itself: {past} rules that compare a run with its agent's"
            f" past had none, and the risk rests on weights from other runs{hint}"
        )
    if tally.broken_lines or tally.rejected_records:
        words.print(f"{tally.broken_lines} broken lines, {tally.rejected_records} of {tally.records} records left out")
    if tally.left_out:
        words.print(f"{tally.left_out} events came after their trace was judged, or beyond its limit: try a larger --window")
    if tally.untraced:
        words.print(f"{tally.untraced} events belong to no trace; changes among them were taken as context")
    for rule, reason in tally.faults.items():
        words.print(f"rule {visible(rule, 80)} broke and was switched off for the trace: {visible(reason)}")


def _exit_code(tally: Tally, fail_on: Severity | None, strict: bool) -> int:
    broken = bool(tally.broken_lines or tally.rejected_records or tally.left_out)
    if not tally.traces or (strict and broken):
        return Exit.ERROR
    if fail_on is not None and any(severity.rank >= fail_on.rank for severity in tally.incidents):
        return Exit.INCIDENT
    return Exit.OK
