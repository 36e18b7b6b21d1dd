"""`andon redact`: says what would be masked, and never what it is."""

import json
from pathlib import Path

import pytest
from tests.telemetry.test_redact import KEY, SECRETS
from typer.testing import CliRunner

from andoncord.cli.main import build

JWT = SECRETS["jwt"]
OTLP = {
    "resourceSpans": [
        {
            "scopeSpans": [
                {
                    "spans": [
                        {
                            "name": "x",
                            "attributes": [
                                {"key": "http.request.header.authorization", "value": {"stringValue": "open sesame"}},
                                {"key": "gen_ai.tool.call.result", "value": {"stringValue": f"one\n{KEY} ann@example.org"}},
                            ],
                        }
                    ]
                }
            ]
        }
    ]
}


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(build(["redact"]), ["redact", *arguments])
    return result.exit_code, result.output


@pytest.mark.parametrize("form", ["table", "json"])
def test_it_says_where_and_by_which_rule_and_never_what(tmp_path: Path, form: str) -> None:
    """Text by column, JSON by path; secrets side by side do not show each other."""
    file = tmp_path / "runs.jsonl"
    file.write_text(json.dumps(OTLP) + f"\nplain {KEY} {JWT}\n\nnothing here\n")
    code, said = run(str(file), "--output", form)

    assert code == 0
    for secret in (KEY, JWT, "sesame", "ann@"):
        assert secret not in said
    for word in ("attribute", "aws-access-key", "email", "jwt", "[redacted:aws-access-key]"):
        assert word in said
    if form == "json":
        items = json.loads(said)["items"]
        assert [(item["line"], item["where"], item["rule"], item["chars"]) for item in items[1:]] == [
            (1, "$.resourceSpans[0].scopeSpans[0].spans[0].attributes[1].value.stringValue", "aws-access-key", 20),
            (1, "$.resourceSpans[0].scopeSpans[0].spans[0].attributes[1].value.stringValue", "email", 15),
            (2, "7", "aws-access-key", 20),
            (2, "28", "jwt", len(JWT)),
        ]


def test_the_masked_file_is_what_would_be_stored(tmp_path: Path) -> None:
    """Line by line; what is not a secret stays as it is."""
    file = tmp_path / "notes.txt"
    file.write_text(f"use {KEY}\nkeep this\n")

    assert run(str(file), "--masked") == (0, "use [redacted:aws-access-key]\nkeep this\n")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """Not found, with the path."""
    code, said = run(str(tmp_path / "none"))

    assert code == 3
    assert "No such file" in said
