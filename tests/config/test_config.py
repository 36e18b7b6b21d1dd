"""The settings file."""

from pathlib import Path

import pytest

from andoncord.config import Config, load, load_file, texts
from andoncord.kernel.errors import CallerError

WHOLE = """
server:
  api_port: 9000
  require_token: true
agents:
  refund-bot:
    tools: {orders.lookup: read, payments.refund: write}
    objective: {quality: 0.9, false_alarms_per_week: 2}
    budget_usd: 0.5
    environment: prod
  "support-*": {environment: prod}
heartbeat: {every_s: 0.5, silent_after_s: 2.0}
"""


def test_a_whole_file_is_read() -> None:
    """Every section comes out as it was written."""
    config = load(WHOLE, place="andon.yaml")
    declared = config.declared()["refund-bot"]

    assert (config.server.api_port, config.server.otlp_port, config.server.require_token) == (9000, 4318, True)
    assert (declared.tools, declared.budget_micro_usd) == ({"orders.lookup": "read", "payments.refund": "write"}, 500_000)
    assert declared.objective is not None
    assert (declared.objective.quality, declared.objective.false_alarms_per_week) == (0.9, 2.0)
    assert declared.silent_after_s == 2.0
    assert config.environment == "prod"


@pytest.mark.parametrize("text", ["", "# nothing\n", "{}"])
def test_an_empty_file_is_every_default(text: str) -> None:
    """Nothing has to be set."""
    assert load(text, place="andon.yaml") == Config()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("server:\n  api_prot: 1\n", "andon.yaml:2: unknown key 'api_prot', did you mean 'api_port'?"),
        ("sever: {}\n", "andon.yaml:1: unknown key 'sever', did you mean 'server'?"),
        ("agents:\n  a: {}\n  b:\n    objetive: {}\n", "andon.yaml:4: unknown key 'objetive', did you mean 'objective'?"),
        (
            "agents:\n  a: {}\n  b:\n    budget_usd: free\n",
            "andon.yaml:4: agents.b.budget_usd: Expected `float | null`, got `str`",
        ),
        (
            "agents:\n  b:\n    objective:\n      quality: 90\n",
            "andon.yaml:4: agents.b.objective.quality: Expected `float` < 1.0",
        ),
        ("agents:\n  a:\n    tools: {t: raed}\n", "andon.yaml:3: agents.a.tools.t: Invalid enum value 'raed'"),
        ("server: {api_port: 70000}\n", "andon.yaml:1: server.api_port: Expected `int` <= 65535"),
        ("server: [1]\n", "andon.yaml:1: server: Expected `object`, got `array`"),
        ("server:\n  bind: a\n  bind: b\n", "andon.yaml:3: 'bind' is given twice, keep one of them"),
        ("server: {\n", "andon.yaml:2: is not YAML"),
        ("- 1\n", "andon.yaml:1: $: Expected `object`, got `array`"),
    ],
)
def test_a_mistake_is_named_with_its_line(text: str, message: str) -> None:
    """Place, what is wrong, and where there is one, the remedy."""
    with pytest.raises(CallerError) as caught:
        load(text, place="andon.yaml")

    assert str(caught.value).startswith(message)


def test_a_missing_file_is_every_default(tmp_path: Path) -> None:
    """Without a file the server runs with its defaults."""
    assert load_file(tmp_path / "andon.yaml") == Config()


def test_files_that_settings_name_are_read_beside_them(tmp_path: Path) -> None:
    """Names are relative to the settings file; a missing one is named."""
    (tmp_path / "own.yaml").write_text("id: x")

    assert texts(("own.yaml",), beside=tmp_path) == {"own.yaml": "id: x"}
    with pytest.raises(CallerError, match=r"missing\.yaml"):
        texts(("missing.yaml",), beside=tmp_path)
