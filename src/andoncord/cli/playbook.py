"""`andon playbook`: playbooks tested and read; what they do for an incident, and turning it; which were in force when."""

from pathlib import Path
from typing import Annotated, Any

import typer

from andoncord import config as configuration
from andoncord.app_settings import shipped_playbooks
from andoncord.cli.client import Client
from andoncord.cli.exits import Exit
from andoncord.cli.output import Format, OutputOption, cell, say, show_json, show_table
from andoncord.kernel.errors import CallerError
from andoncord.kernel.text import visible
from andoncord.respond.playbook import Playbook, load, refuse_unknown_hooks
from andoncord.respond.rehearse import run_cases
from andoncord.respond.review import remarks

app = typer.Typer(no_args_is_help=True)

Files = Annotated[list[Path] | None, typer.Argument(help="Playbook files, or folders of them. Without any, the built-in ones.")]
LINE = 1_000


@app.command("test")
def run_examples(files: Files = None, output: OutputOption = Format.TABLE) -> None:
    """Run the examples in playbooks. Exits with 1 when one does not come out as it says, or a playbook is wrong."""
    playbooks, problems = _read(files)
    failed = [each for playbook in playbooks for each in run_cases(playbook)]
    cases = sum(len(playbook.tests) for playbook in playbooks)
    if output is Format.JSON:
        show_json({"playbooks": len(playbooks), "cases": cases, "failed": failed, "problems": problems})
    else:
        for problem in problems:
            print(visible(problem, LINE))
        for each in failed:
            came = f"expected {', '.join(each.expected) or 'nothing'}; came to {', '.join(each.found) or 'nothing'}"
            print(visible(f"{each.playbook}: {each.case}: {came}. {each.why}", LINE))
        wrong = len(problems) + len(failed)
        print(f"{len(playbooks)} playbooks, {cases} cases: {f'{wrong} wrong' if wrong else 'all hold'}")
    if problems or failed:
        raise typer.Exit(Exit.ERROR)


@app.command()
def lint(
    files: Files = None,
    config: Annotated[Path | None, typer.Option(help="Settings file; then hooks must be named in it.")] = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Find what is wrong with playbooks, and what is allowed and probably not meant. Exits with 1 when something is wrong."""
    playbooks, problems = _read(files)
    if config is not None:
        problems += _hook_problems(playbooks, config)
    found = [f"{playbook.id}: {remark}" for playbook in playbooks for remark in remarks(playbook)]
    if output is Format.JSON:
        show_json({"playbooks": len(playbooks), "problems": problems, "remarks": found})
    else:
        for line in (*problems, *found):
            print(visible(line, LINE))
        print(f"{len(playbooks)} playbooks: {len(problems)} problems, {len(found)} remarks")
    if problems:
        raise typer.Exit(Exit.ERROR)


@app.command("list")
def list_playbooks(output: OutputOption = Format.TABLE) -> None:
    """Show the playbooks that the server has in force."""
    found = Client().get("/api/v1/playbooks")
    if output is Format.JSON:
        show_json(found)
        return
    rows = [(each["id"], each["version"], _when(each["when"]), ", ".join(each["steps"])) for each in found["items"]]
    show_table(("id", "version", "when", "steps"), rows)


@app.command("dry-run")
def dry_run(incident: Annotated[str, typer.Argument(metavar="INCIDENT")], output: OutputOption = Format.TABLE) -> None:
    """Say what the playbooks of an incident have done, would do next, and how each step is undone. Does nothing."""
    found = Client().get(f"/api/v1/incidents/{incident}/playbook")
    if output is Format.JSON:
        show_json(found)
        return
    print(f"{incident}  {cell(found['playbooks'])}; recovery by {found['recovery']['by']}")
    rows = [
        (each["state"], each["name"], each["playbook"], each["rung"], each["undo"], each["why"] or "; ".join(each["came"]))
        for each in found["steps"]
    ]
    show_table(("state", "step", "playbook", "rung", "undo", "why, or what came of it"), rows)


@app.command()
def history(output: OutputOption = Format.TABLE) -> None:
    """Show which playbooks were in force since when."""
    items = Client().get("/api/v1/playbooks/history")["items"]
    if output is Format.JSON:
        show_json(items)
        return
    rows = [(each["at"], each["set"][:12], ", ".join(each["changed"]), ", ".join(each["removed"])) for each in items]
    show_table(("since", "set", "new or changed", "removed"), rows)


Reason = Annotated[str, typer.Option("--reason", "-r", help="Why; it goes into the record.")]


@app.command()
def cancel(
    incident: Annotated[str, typer.Argument(metavar="INCIDENT")],
    intent: Annotated[str, typer.Argument(metavar="INTENT", help="Of the step that is under way: see dry-run.")],
    reason: Reason,
) -> None:
    """Stop waiting for a step that is under way, such as a wait; those after it go on. Containment is undone instead."""
    Client().post(f"/api/v1/incidents/{incident}/playbook/cancel", {"intent": intent, "reason": reason})
    print(f"{intent}  cancelled")


@app.command()
def fork(
    incident: Annotated[str, typer.Argument(metavar="INCIDENT")],
    step: Annotated[str, typer.Argument(metavar="STEP", help="A step after the containment, by its name.")],
    reason: Reason,
) -> None:
    """Do the steps after the containment anew, from one of them on."""
    Client().post(f"/api/v1/incidents/{incident}/playbook/fork", {"step": step, "reason": reason})
    say(f"follow it: andon playbook dry-run {incident}")


def _read(files: list[Path] | None) -> tuple[list[Playbook], list[str]]:
    """The playbooks in the files, and what is wrong with those that cannot be read."""
    if not files:
        return list(shipped_playbooks()), []
    playbooks: list[Playbook] = []
    problems: list[str] = []
    for path in _paths(files):
        try:
            playbooks.append(load(path.read_text(encoding="utf-8"), place=str(path)))
        except CallerError as error:
            problems.append(str(error))
        except (OSError, UnicodeDecodeError) as error:
            problems.append(f"{path}: cannot be read: {error}")
    if not playbooks and not problems:
        problems.append(f"no playbook in {', '.join(map(str, files))}")
    return playbooks, problems


def _paths(files: list[Path]) -> list[Path]:
    return [path for each in files for path in (sorted(each.glob("*.yaml")) if each.is_dir() else [each])]


def _hook_problems(playbooks: list[Playbook], config: Path) -> list[str]:
    problems: list[str] = []
    try:
        hooks = configuration.load_file(config).hooks
    except CallerError as error:
        return [str(error)]
    for playbook in playbooks:
        try:
            refuse_unknown_hooks(playbook, hooks)
        except CallerError as error:
            problems.append(str(error))
    return problems


def _when(when: dict[str, Any]) -> str:
    return "; ".join(f"{name} {', '.join(value) if isinstance(value, list) else value}" for name, value in when.items())
