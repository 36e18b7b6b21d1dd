"""`andon policy`: policies tested, explained, compared and translated. Works on files; only `explain` can ask the server."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from andoncord.cli.client import Client
from andoncord.cli.exits import Exit
from andoncord.cli.output import Format, OutputOption, fail, show_json
from andoncord.kernel.errors import CallerError
from andoncord.kernel.text import visible
from andoncord.policy.cedar_export import export_cedar
from andoncord.policy.policy import Policy, compile_policies, failures, read
from andoncord_sdk.policy import Decision, PolicyError, PolicySet

app = typer.Typer(no_args_is_help=True)

FilesArgument = Annotated[list[Path], typer.Argument(help="Policy files, or folders of them.", metavar="FILE…")]


@app.command("test")
def run_tests(files: FilesArgument, output: OutputOption = Format.TABLE) -> None:
    """Check policies and run the tests in them. Names every mistake with file and line; exits with 1 when there is one."""
    policies: list[Policy] = []
    problems: list[CallerError] = []
    paths = _policy_files(files)
    for path in paths:
        try:
            found = read(_text(path), place=str(path))
        except CallerError as error:
            problems.append(error)
            continue
        policies += found
        problems += [failure for policy in found for failure in failures(policy)]
    try:
        compile_policies(policies)
    except CallerError as error:
        problems.append(error)
    tests = sum(len(policy.tests) for policy in policies)
    untested = [f"{policy.place}: policy {policy.id} has no tests" for policy in policies if not policy.tests]
    if output is Format.JSON:
        said = [str(problem) for problem in problems]
        show_json({"files": len(paths), "policies": len(policies), "tests": tests, "problems": said, "untested": untested})
    else:
        for line in (*problems, *untested):
            print(visible(str(line), 1000))
        verdict = f"{len(problems)} wrong" if problems else "all hold"
        print(f"{len(paths)} files, {len(policies)} policies, {tests} tests: {verdict}")
    if problems:
        raise typer.Exit(Exit.ERROR)


@app.command()
def explain(
    agent: str,
    tool: str,
    arguments: Annotated[str, typer.Argument(help="The call's arguments as a JSON object.", metavar="ARGS_JSON")] = "{}",
    policy: Annotated[
        list[Path] | None, typer.Option(help="Policy file or folder, repeatable. Without it, the server's policies in force.")
    ] = None,
    role: Annotated[str, typer.Option(help="The role the agent's guard declares.")] = "",
    environment: Annotated[str, typer.Option(help="Such as prod.")] = "",
    run: Annotated[str, typer.Option(help="What is known of the run, as JSON: task, calls, spent_micro_usd.")] = "{}",
    output: OutputOption = Format.TABLE,
) -> None:
    """Say how policies decide on a call: which rule, which part of it, and what would nearly have permitted it."""
    facts = {"id": "run", "task": "", "calls": 0, "spent_micro_usd": 0, **_object(run, "--run")}
    request = {
        "agent": agent,
        "tool": tool,
        "args": _object(arguments, "ARGS_JSON"),
        "role": role,
        "environment": environment,
        "run": facts,
    }
    places: dict[str, str] = {}
    if policy:
        loaded = _loaded(policy)
        places = {each.id: each.place for each in loaded}
        compiled = compile_policies(loaded)
    else:
        compiled = Client().get("/api/v1/policies")["items"]
    try:
        decision = PolicySet(compiled).decide(request)
    except PolicyError as error:
        raise fail(f"this version cannot load the policies in force: {error}", Exit.ERROR) from None
    if output is Format.JSON:
        owed = [{"policy": each.policy_id, "what": str(each.obligation)} for each in decision.obligations]
        plain = msgspec.to_builtins(replace(decision, obligations=()))
        show_json({**plain, "obligations": owed, "place": places.get(decision.policy_id, "")})
    else:
        for what, text in _told(decision, places, count=len(compiled)):
            print(f"{what:<10} {visible(text, 1000)}".rstrip())


@app.command()
def diff(
    old: Annotated[Path, typer.Argument(help="Policy file or folder in force.")],
    new: Annotated[Path, typer.Argument(help="What would take its place.")],
    output: OutputOption = Format.TABLE,
) -> None:
    """Say whether NEW lets a call go on that OLD refuses or asks more of, and show one. Needs the extra `prove`.

    Exits with 0 when it allows none, proved over all calls; with 1 when there is one; with 5 when it cannot be told.
    """
    try:
        from andoncord.policy.prove import compare
    except ImportError:
        raise fail("comparing policies needs Z3: install the extra, pip install 'andoncord[prove]'", Exit.USAGE) from None
    found = compare(*(compile_policies(_loaded([side])) for side in (old, new)))
    if output is Format.JSON:
        show_json(found)
    elif found.answer == "no":
        print(f"not more permissive: {new} lets nothing go on that {old} refuses or asks more of")
    elif found.request is None:
        print(f"not known: {visible(found.why, 1000)}")
    else:
        asks = "asks more of it" if found.is_obliged else "refuses it"
        print(f"more permissive: {new} lets this call go on, {old} {asks}")
        print(f"request    {visible(msgspec.json.encode(found.request).decode(), 2000)}")
        print(f"refusal    {visible(found.refused_by, 1000)}")
    if found.answer != "no":
        raise typer.Exit(Exit.ERROR if found.answer == "yes" else Exit.NOT_NOW)


@app.command()
def export(
    files: FilesArgument,
    cedar: Annotated[bool, typer.Option("--cedar", help="Write Cedar, the one format there is.")] = False,
) -> None:
    """Print policies in another language. What it cannot express is refused, with its place and what to write instead."""
    _needs_cedar(cedar)
    policies = _loaded(files)
    try:
        typer.echo(export_cedar(policies), nl=False)
    except CallerError as error:
        raise fail(str(error), Exit.ERROR) from None


@app.command("import")
def import_from(
    file: Annotated[Path, typer.Argument(help="A file of Cedar policies.")],
    cedar: Annotated[bool, typer.Option("--cedar", help="Read Cedar, the one format there is.")] = False,
) -> None:
    """Print policies of another language as ours. What ours cannot say is refused, with its place. Needs the extra `cedar`."""
    _needs_cedar(cedar)
    try:
        from andoncord.policy.cedar_import import import_cedar
    except ImportError:
        raise fail("reading Cedar needs cedarpy: install the extra, pip install 'andoncord[cedar]'", Exit.USAGE) from None
    if not file.is_file():
        raise fail(f"there is no {file}", Exit.NOT_FOUND)
    try:
        typer.echo(import_cedar(_text(file), place=str(file)), nl=False)
    except CallerError as error:
        raise fail(str(error), Exit.ERROR) from None


def _needs_cedar(cedar: bool) -> None:
    if not cedar:
        raise fail("say which language: --cedar", Exit.USAGE)


def _told(decision: Decision, places: dict[str, str], *, count: int) -> list[tuple[str, str]]:
    by, place = decision.policy_id, places.get(decision.policy_id, "")
    rule = f"by {by} ({place})" if place else f"by {by}" if by else ""
    if decision.allow:
        return [("allowed", rule or f"none of {count} policies stands in the way")]
    if decision.obligations:
        lines = [("obliged", "the call goes on once all of this is met"), ("message", decision.message)]
        return [*lines, *(("owed", f"{each.obligation} (by {each.policy_id})") for each in decision.obligations)]
    lines = [("denied", rule or "by default"), ("message", decision.message), ("clause", decision.clause)]
    return [*(line for line in lines if line[1]), *(("near miss", miss) for miss in decision.near_misses)]


def _policy_files(paths: Sequence[Path]) -> list[Path]:
    """The files that are named, and every .yaml in the folders that are."""
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            raise fail(f"there is no {path}", Exit.NOT_FOUND)
        found += sorted(path.glob("*.yaml")) if path.is_dir() else [path]
    if not found:
        raise fail("no .yaml file is there", Exit.NOT_FOUND)
    return found


def _loaded(paths: Sequence[Path]) -> list[Policy]:
    """The policies of files, or the end of the command with the place of the first mistake."""
    try:
        policies = [policy for path in _policy_files(paths) for policy in read(_text(path), place=str(path))]
        compile_policies(policies)
    except CallerError as error:
        raise fail(str(error), Exit.ERROR) from None
    return policies


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CallerError(f"cannot be read: {error}", place=str(path)) from None


def _object(text: str, what: str) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise fail(f"{what} is not JSON: {error}", Exit.USAGE) from None
    if not isinstance(value, dict):
        raise fail(f'{what} has to be a JSON object, such as {{"amount": 5}}', Exit.USAGE)
    return value
