"""`andon rules`: rules tested, checked, explained and tried on the past. Works on files; `backtest` can also ask the server."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from andoncord.cli.client import Client
from andoncord.cli.exits import Exit
from andoncord.cli.output import Format, OutputOption, fail, say, show_json, show_table
from andoncord.cli.trace_files import STDIN, lines
from andoncord.detect.backtest import Backtest, backtest
from andoncord.detect.cases import check_cases
from andoncord.detect.describe import doubts, explain
from andoncord.detect.pack import recorded_rules
from andoncord.detect.rule import Rule, load_rules
from andoncord.kernel.errors import CallerError
from andoncord.kernel.text import visible
from andoncord.telemetry.event import Event
from andoncord.telemetry.otlp import decode_logs_json, decode_traces_json
from andoncord.telemetry.stitch import stitch

app = typer.Typer(no_args_is_help=True)

FilesArgument = Annotated[
    list[Path] | None,
    typer.Argument(help="Rule files, or folders of them. Without any, the built-in rules.", metavar="[FILE…]"),
]
SHOWN = 20
"""Findings told one by one."""


@app.command("test")
def run_tests(files: FilesArgument = None, output: OutputOption = Format.TABLE) -> None:
    """Run the cases that rules carry. Names every mistake with its place; exits with 1 when there is one."""
    rules, problems = _read(files)
    problems += [problem for rule in rules for problem in check_cases(rule)]
    _report(rules, problems, output, cases=sum(len(rule.tests) for rule in rules))


@app.command()
def lint(files: FilesArgument = None, output: OutputOption = Format.TABLE) -> None:
    """Say what is wrong or doubtful about rules: unknown fields, words that are never filled in. Exits with 1 on any."""
    rules, problems = _read(files)
    problems += [doubt for rule in rules for doubt in doubts(rule)]
    _report(rules, problems, output)


@app.command("explain")
def explain_rule(
    rule: Annotated[str, typer.Argument(help="The id of a rule.")],
    files: Annotated[list[Path] | None, typer.Option("--rules", help="Rule file or folder, repeatable.")] = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Say in words what a rule watches, when it fires, and what follows."""
    rules, problems = _read(files)
    found = next((each for each in rules if each.id == rule), None)
    if problems:
        raise fail(problems[0], Exit.ERROR)
    if found is None:
        raise fail(f"there is no rule {rule!r}; there are {', '.join(sorted(each.id for each in rules))}", Exit.NOT_FOUND)
    if output is Format.JSON:
        show_json(dict(explain(found)))
    else:
        for what, text in explain(found):
            typer.echo(f"{what:<13} {visible(text, 1_000)}")


@app.command("backtest")
def try_on_past(
    rules: Annotated[
        list[Path] | None,
        typer.Argument(help="Rule files, or folders of them. With --over, none means the built-in rules.", metavar="[RULES…]"),
    ] = None,
    over: Annotated[
        list[str] | None, typer.Option("--over", help="Recorded runs, OTLP/JSON lines, repeatable; - for standard input.")
    ] = None,
    hours: Annotated[float, typer.Option(min=0.1, max=720, help="Without --over: how much of the server's history.")] = 24.0,
    output: OutputOption = Format.TABLE,
) -> None:
    """Say what rules would have said, had they been there: over recorded runs, or over what the server has stored.

    Events are shown in the order of their times, all agents together, as they would have been live. What is found is told and
    nothing is done. Exits with 7 when something would have been found.
    """
    if not rules and not over:
        raise fail("name the rules to try: what is in force was there already", Exit.USAGE)
    read, problems = _read(rules)
    if problems:
        raise fail(problems[0], Exit.ERROR)
    if over:
        result = backtest(read, _events(over))
    else:
        texts = {str(path): _text(path) for path in _rule_files(rules or ())}
        answered = Client().post("/api/v1/rules/backtest", {"rules": texts, "hours": hours})
        result = msgspec.convert(answered, Backtest)
    if output is Format.JSON:
        show_json(msgspec.to_builtins(result))
    else:
        _tell(read, result)
    if result.findings:
        raise typer.Exit(Exit.INCIDENT)


@app.command()
def records(output: OutputOption = Format.TABLE) -> None:
    """Say how often each rule was right, by what people said of the incidents it opened in 90 days.

    Exits with 1 when the rules without statistics opened more false incidents a week than the settings allow.
    """
    found = Client().get("/api/v1/rules/records")
    if output is Format.JSON:
        show_json(found)
    else:
        names = ("rule", "incidents", "judged", "false", "right", "false a week", "budget")
        show_table(names, [_record(each) for each in found["rules"]])
        kept = "kept" if found["is_kept"] else "not kept"
        say(
            f"rules without statistics: {found['false_per_week']:.2f} false incidents a week over {found['weeks']:.1f} weeks,"
            f" {found['budget_per_week']:g} allowed: {kept}"
        )
        if found["worst"]:
            say(f"most of them are of {found['worst']}: narrow its condition, or set its mode to shadow")
    if not found["is_kept"]:
        raise typer.Exit(Exit.ERROR)


def _record(each: dict[str, Any]) -> tuple[Any, ...]:
    right = "unknown" if each["precision"] is None else f"{each['precision']:.0%} ({each['low']:.0%} to {each['high']:.0%})"
    budget = "by design" if each["is_statistical"] else "measured"
    return (each["rule"], each["incidents"], each["judged"], each["false"], right, f"{each['false_per_week']:.2f}", budget)


def _tell(rules: Sequence[Rule], result: Backtest) -> None:
    counted = Counter(finding.rule for finding in result.findings)
    agents = {rule.id: {each.agent for each in result.findings if each.rule == rule.id} for rule in rules}
    show_table(
        ("rule", "mode", "findings", "agents"),
        [(rule.id, rule.mode.value, counted[rule.id], sorted(agents[rule.id])) for rule in rules],
    )
    for finding in result.findings[:SHOWN]:
        typer.echo(f"{finding.at}  {finding.severity:<8} {finding.rule}: {visible(finding.summary, 200)}")
    if len(result.findings) > SHOWN:
        typer.echo(f"and {len(result.findings) - SHOWN} more: -o json has them all")
    for rule, fault in result.faults.items():
        say(f"{rule}: {fault}")
    cut = "; there is more history than was looked at" if result.is_cut else ""
    say(f"{result.events} events of {result.agents} agents, {result.first or 'never'} to {result.last or 'never'}{cut}")


def _events(paths: Sequence[str]) -> Iterator[Event]:
    found: list[Event] = []
    for path in paths:
        if path != STDIN and not Path(path).is_file():
            raise fail(f"there is no {path}", Exit.NOT_FOUND)
        broken = 0
        for line in lines(path):
            logs = line.body.find(b'"resourceLogs"')
            is_logs = logs >= 0 and not 0 <= line.body.find(b'"resourceSpans"') < logs
            decoded = (decode_logs_json if is_logs else decode_traces_json)(line.body, received_ns=0)
            found += decoded.events
            broken += sum(rejection.count for rejection in decoded.rejected) + bool(line.problem)
        if broken:
            say(f"{path}: {broken} lines or records could not be read and are left out")
    yield from stitch(found)


def _report(rules: Sequence[Rule], problems: Sequence[str], output: Format, *, cases: int | None = None) -> None:
    if output is Format.JSON:
        body: dict[str, Any] = {"rules": len(rules), "problems": list(problems)}
        show_json(body if cases is None else {**body, "cases": cases})
    else:
        for problem in problems:
            typer.echo(visible(problem, 1_000))
        told = "" if cases is None else f", {cases} cases"
        typer.echo(f"{len(rules)} rules{told}: {f'{len(problems)} wrong' if problems else 'all hold'}")
    if problems:
        raise typer.Exit(Exit.ERROR)


def _read(paths: Sequence[Path] | None) -> tuple[list[Rule], list[str]]:
    """The rules of some files, and what is wrong with those that do not load."""
    if not paths:
        return list(recorded_rules()), []
    rules: list[Rule] = []
    problems: list[str] = []
    for path in _rule_files(paths):
        try:
            rules += load_rules({str(path): _text(path)})
        except CallerError as wrong:
            problems.append(str(wrong))
    return rules, problems


def _rule_files(paths: Sequence[Path]) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += sorted(path.glob("**/*.yaml"))
        elif path.is_file():
            found.append(path)
        else:
            raise fail(f"there is no {path}", Exit.NOT_FOUND)
    if not found:
        raise fail("there is no rule file (*.yaml) there", Exit.NOT_FOUND)
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise fail(f"{path}: cannot be read: {error}", Exit.ERROR) from None
