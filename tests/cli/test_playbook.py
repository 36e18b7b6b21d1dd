"""`andon playbook test` and `lint`, without a server."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from andoncord.cli.playbook import app

GOOD = """\
id: mine
when: {severity: high, pattern: infinite_loop}
source: s
steps:
  - contain: {rung: kill, at_most: 1s, undo: release}
  - hook: {hook: freeze, name: freeze, at_most: 5s, undo: hook thaw}
  - recover: {by: automatic, at_most: 1h, undo: nothing to undo}
tests:
  - name: frozen
    incident: {severity: high}
    expect: [contain, freeze, recover]
"""


def run(*arguments: str) -> tuple[int, str]:
    ended = CliRunner().invoke(app, list(arguments))
    return ended.exit_code, ended.output


def test_the_built_in_playbooks_hold() -> None:
    """Without files, the ones that come with Andoncord are tested and read."""
    code, said = run("test", "-o", "json")
    assert code == 0
    assert json.loads(said)["playbooks"] == 16
    code, said = run("lint", "-o", "json")
    assert (code, json.loads(said)["remarks"]) == (0, [])


def test_an_example_that_does_not_come_out_is_told_with_both(tmp_path: Path) -> None:
    """Expected, found, and why."""
    (tmp_path / "mine.yaml").write_text(GOOD.replace("expect: [contain, freeze, recover]", "expect: [contain]"))
    code, said = run("test", str(tmp_path))
    assert code == 1
    assert "mine: frozen: expected contain; came to contain, freeze, recover" in said


def test_what_is_probably_not_meant_is_remarked(tmp_path: Path) -> None:
    """Nothing verified, nothing sealed, no limits; none of that is an error."""
    path = tmp_path / "mine.yaml"
    path.write_text(GOOD)
    code, said = run("lint", str(path))
    assert code == 0
    for remark in ("does not verify", "without sealing evidence", "freeze has no limit", "starts by itself and has no limit"):
        assert remark in said


def test_a_hook_that_the_settings_do_not_name_is_a_problem(tmp_path: Path) -> None:
    """Forward or to undo."""
    path, settings = tmp_path / "mine.yaml", tmp_path / "andon.yaml"
    path.write_text(GOOD)
    settings.write_text("hooks: {freeze: {run: [/bin/true]}}\n")
    code, said = run("lint", str(path), "--config", str(settings))
    assert code == 1
    assert "the settings name no hook 'thaw'" in said


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (GOOD.replace("contain:", "contian:"), "mine.yaml:5: steps[0]: unknown step 'contian'"),
        (GOOD.replace("undo: release", "undo: nothing to undo"), "'nothing to undo' is no reversal of contain"),
        (GOOD.replace("name: freeze,", "name: freeze, if: 'steps.x ==',"), "ends too early"),
        (GOOD.replace("name: freeze,", "name: freeze, limit: often,"), "not a limit"),
        (GOOD.replace("hook: freeze,", "", 1), "hook needs a hook"),
        (
            GOOD.replace("  - contain", "  - investigate: {at_most: 1s, undo: nothing to undo}\n  - contain"),
            "contain comes after",
        ),
        (GOOD.replace("{severity: high, pattern", "{severity: hihg, pattern"), "when.severity is missing or unknown"),
    ],
)
def test_a_wrong_playbook_says_where_and_what(tmp_path: Path, broken: str, says: str) -> None:
    """File, line and remedy; exits with 1."""
    path = tmp_path / "mine.yaml"
    path.write_text(broken)
    code, said = run("lint", str(path))
    assert code == 1
    assert says in said
