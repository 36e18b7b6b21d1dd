"""`andon policy`, as a person runs it: on files, and against a server."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from andoncord.adapters.system.server_process import launch
from andoncord.cli.policy import app

CAP = """\
id: refund-cap
effect: forbid
scope: {agent: "support-*", tool: payments.refund}
when: args.usd > 200
message: refunds over 200 USD need a person
tests:
  - {name: small, request: {args: {usd: 5}}, expect: allow}
  - {name: big, request: {args: {usd: 300}}, expect: deny}
"""
READS = """\
id: reports-read
effect: permit
scope: {role: reporter, tool: "*.read", resource: {argument: path, prefix: /data/}}
tests:
  - {name: in place, request: {args: {path: /data/x}}, expect: allow}
"""


def andon_policy(*arguments: object) -> Result:
    """Run one subcommand in this process."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two policy files."""
    (tmp_path / "cap.yaml").write_text(CAP)
    (tmp_path / "reads.yaml").write_text(READS)
    return tmp_path


def test_tests_that_hold_exit_with_0(folder: Path) -> None:
    """Every file of a folder is read and every test run."""
    ended = andon_policy("test", folder)

    assert (ended.exit_code, ended.output) == (0, "2 files, 2 policies, 3 tests: all hold\n")


def test_every_mistake_is_named_with_its_line(folder: Path) -> None:
    """A test that fails does not hide another, nor a file that does not parse; the exit code is 1."""
    text = (
        CAP.replace("expect: allow", "expect: X").replace("expect: deny", "expect: allow").replace("expect: X", "expect: deny")
    )
    (folder / "cap.yaml").write_text(text)
    (folder / "reads.yaml").write_text(READS.replace("resource:", "resorce:"))

    ended = andon_policy("test", folder / "cap.yaml", folder / "reads.yaml")

    assert ended.exit_code == 1
    assert ended.output.splitlines() == [
        f"{folder}/cap.yaml:7: policy refund-cap: test 'small' expects deny but gets allow",
        (
            f"{folder}/cap.yaml:8: policy refund-cap: test 'big' expects allow but gets deny "
            "(refunds over 200 USD need a person [refund-cap: args.usd > 200 (args.usd is 300)])"
        ),
        f"{folder}/reads.yaml:3: unknown field 'resorce', did you mean 'resource'?",
        "2 files, 1 policies, 2 tests: 3 wrong",
    ]


def test_a_file_that_is_not_there_exits_with_3(tmp_path: Path) -> None:
    """Not found is told apart from wrong."""
    assert andon_policy("test", tmp_path / "none.yaml").exit_code == 3


def test_explain_names_rule_place_and_clause(folder: Path) -> None:
    """A refusal names what decided; a default refusal names what comes close."""
    denied = andon_policy("explain", "support-1", "payments.refund", '{"usd": 300}', "--policy", folder)
    missed = andon_policy("explain", "a", "files.read", '{"path": "/etc"}', "--policy", folder, "--role", "reporter")
    allowed = andon_policy("explain", "support-1", "payments.refund", '{"usd": 3}', "--policy", folder, "-o", "json")

    assert denied.output.splitlines() == [
        f"denied     by refund-cap ({folder}/cap.yaml:1)",
        "message    refunds over 200 USD need a person",
        "clause     args.usd > 200 (args.usd is 300)",
    ]
    assert "near miss  reports-read permits it only if args.path begins with '/data/'" in missed.output
    assert json.loads(allowed.output)["allow"] is True


@pytest.mark.parametrize("arguments", ["{", "[]", "5"])
def test_arguments_that_are_no_object_are_wrong_usage(folder: Path, arguments: str) -> None:
    """Arguments are a JSON object; anything else exits with 2."""
    assert andon_policy("explain", "a", "b", arguments, "--policy", folder).exit_code == 2


def test_without_files_the_server_is_asked(folder: Path) -> None:
    """The policies in force are those that guards load."""
    settings = folder / "andon.yml"
    settings.write_text("policies: [cap.yaml]\n")
    command = [sys.executable, "-m", "andoncord.cli.main", "policy", "explain", "support-1", "payments.refund", '{"usd": 300}']
    environment = {**os.environ, "ANDON_HOME": str(folder / "home"), "ANDON_TOKEN": "", "ANDON_SERVER": ""}
    with launch(folder / "home", config=settings):
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)

    assert ended.stdout.startswith("denied     by refund-cap\n"), ended.stderr


def test_diff_shows_a_call_that_only_the_new_policies_allow(folder: Path) -> None:
    """0 and no call when the new set is as strict; 1 and a call that shows it when it is not."""
    (folder / "new.yaml").write_text(CAP.replace("> 200", "> 250"))

    looser = andon_policy("diff", folder / "cap.yaml", folder / "new.yaml", "-o", "json")
    stricter = andon_policy("diff", folder / "new.yaml", folder / "cap.yaml")

    assert looser.exit_code == 1
    assert 200 < json.loads(looser.output)["request"]["args"]["usd"] <= 250
    assert stricter.exit_code == 0
    assert stricter.output.startswith("not more permissive")


def test_diff_without_the_extra_names_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Z3 the remedy is said, and nothing is claimed."""
    monkeypatch.setitem(sys.modules, "andoncord.policy.prove", None)
    ended = andon_policy("diff", folder / "cap.yaml", folder / "cap.yaml")

    assert ended.exit_code == 2
    assert "andoncord[prove]" in ended.output


def test_cedar_goes_out_and_comes_back(folder: Path) -> None:
    """What is exported can be imported; without the word for the language nothing is guessed."""
    written = andon_policy("export", "--cedar", folder / "cap.yaml")
    (folder / "cap.cedar").write_text(written.output)
    back = andon_policy("import", "--cedar", folder / "cap.cedar")

    assert (written.exit_code, back.exit_code) == (0, 0)
    assert "refund-cap" in back.output
    assert andon_policy("export", folder / "cap.yaml").exit_code == 2
    assert andon_policy("export", "--cedar", folder / "reads.yaml").exit_code == 1
    assert andon_policy("import", "--cedar", folder / "none.cedar").exit_code == 3
