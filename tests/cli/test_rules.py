"""`andon rules`: cases, doubts, words, and what rules would have said about recorded runs."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from andoncord.cli.rules import app

RULE = """id: burst
title: many refunds
on: tool.completed
where: "event.name == 'refund'"
correlate: {type: count, group_by: [agent], window: 10m, gte: 3}
severity: medium
category: resource_exhaustion
pattern: token_burst
summary: "{agent} made {count} refunds"
source: chosen
runbook: none
tests:
  - {name: fires, given: [{on: tool.completed, times: 3, set: {name: refund}}], expect: medium}
  - {name: silent, given: [{on: tool.completed, times: 2, set: {name: refund}}], expect: none}
"""


@pytest.fixture
def rule(tmp_path: Path) -> Path:
    path = tmp_path / "burst.yaml"
    path.write_text(RULE)
    return path


def span(number: int) -> str:
    attributes = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "refund", "gen_ai.agent.name": "desk"}
    at = 1_767_225_600_000_000_000 + number * 60_000_000_000
    body = {
        "traceId": f"{number + 1:032x}",
        "spanId": f"{number + 1:016x}",
        "name": "execute_tool refund",
        "startTimeUnixNano": str(at),
        "endTimeUnixNano": str(at + 1),
        "attributes": [{"key": key, "value": {"stringValue": value}} for key, value in attributes.items()],
    }
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [body]}]}]})


def test_what_is_wrong_is_named_and_the_exit_code_says_so(rule: Path) -> None:
    """A case that fails, a field that does not exist and a word that is never filled in are each told; all fine is 0."""
    assert CliRunner().invoke(app, ["test", str(rule)]).exit_code == 0
    assert CliRunner().invoke(app, ["lint", str(rule)]).exit_code == 0
    rule.write_text(RULE.replace("times: 3", "times: 2").replace("event.name", "event.nmae").replace("{count}", "{many}"))
    tested, linted = CliRunner().invoke(app, ["test", str(rule)]), CliRunner().invoke(app, ["lint", str(rule)])

    assert (tested.exit_code, linted.exit_code) == (1, 1)
    assert "fires" in tested.output
    assert "did you mean 'name'?" in linted.output
    assert "{many}" in linted.output


def test_a_rule_is_told_in_words(rule: Path) -> None:
    """What fires it, what follows, and by what it is looked up."""
    told = CliRunner().invoke(app, ["explain", "burst", "--rules", str(rule)]).output

    assert "3 of one agent come within 10m" in told
    assert "event.name = 'refund'" in told
    assert CliRunner().invoke(app, ["explain", "absent", "--rules", str(rule)]).exit_code == 3


def test_a_rule_is_tried_on_recorded_runs_of_all_traces_together(rule: Path, tmp_path: Path) -> None:
    """Three refunds in three traces within ten minutes are one finding; two are none."""
    runs = tmp_path / "runs.jsonl"
    runs.write_text("\n".join(span(number) for number in range(3)))
    found = CliRunner().invoke(app, ["backtest", str(rule), "--over", str(runs), "-o", "json"])
    assert found.exit_code == 7
    assert [each["agent"] for each in json.loads(found.stdout.splitlines()[0])["findings"]] == ["desk"]
    runs.write_text("\n".join(span(number) for number in range(2)))

    assert CliRunner().invoke(app, ["backtest", str(rule), "--over", str(runs)]).exit_code == 0
