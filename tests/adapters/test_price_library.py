"""Prices taken from a library that reads providers' pages."""

from datetime import date

import pytest
from typer.testing import CliRunner

from andoncord.adapters.price_library import take
from andoncord.cli.prices import app, table
from andoncord.kernel.errors import CallerError
from andoncord.telemetry.prices import load, rows
from andoncord_sdk.prices import Prices

DAY = date(2026, 11, 1)


def test_what_is_taken_prices_calls() -> None:
    """Names, the price of a dated version of its own, and that of a long prompt, under every name of the provider."""
    models = ("gpt-4o*", "gpt-5.4*", "gemini-2.5-pro")
    taken = [price for provider in ("openai", "google") for price in take(provider, models=models, on=DAY).prices]
    cost = Prices(rows(taken)).cost_micro_usd

    assert cost("gpt-4o", provider="openai", input_tokens=1_000_000, output_tokens=0) == 2_500_000
    assert cost("gpt-4o-2024-08-06", provider="openai", input_tokens=1_000_000, output_tokens=0) == 2_500_000
    assert cost("gpt-4o-2024-05-13", provider="openai", input_tokens=1_000_000, output_tokens=0) == 5_000_000
    assert cost("gpt-4o", provider="azure.ai.openai", input_tokens=1, output_tokens=1) is None
    for name in ("google", "gcp.gemini", "gcp.vertex_ai"):
        assert cost("gemini-2.5-pro", provider=name, input_tokens=200_000, output_tokens=0) == 250_000
        assert cost("gemini-2.5-pro", provider=name, input_tokens=200_001, output_tokens=0) == 500_003
    assert all("https://" in price.source and "genai-prices" in price.source and price.date == DAY for price in taken)


def test_what_a_row_cannot_say_is_left_out() -> None:
    """A price that changes with the hour, or after the day it is taken for, and models that are no models of text."""
    assert "hour of the day" in take("deepseek", on=DAY).left_out["deepseek-chat"]
    assert take("openai", models=["o3"], on=date(2025, 1, 1)).left_out == {"o3": "changes on 2025-06-10"}
    assert [price.output for price in take("openai", models=["o3"], on=DAY).prices] == [8.0]
    assert take("openai", models=["whisper-1"], on=DAY).left_out == {"whisper-1": "not a model of text"}
    with pytest.raises(CallerError, match="no provider 'nobody'"):
        take("nobody", on=DAY)


def test_the_command_prints_a_table_that_can_be_loaded() -> None:
    """What `andon prices take` prints is a file of the price table, with what was left out said beside it."""
    result = CliRunner().invoke(app, ["take", "mistral", "--models", "*tral*", "--on", DAY.isoformat()])

    assert result.exit_code == 0
    taken = take("mistral", models=["*tral*"], on=DAY)
    assert load(result.stdout, place="mistral.yaml") == taken.prices
    assert table(taken.prices) == result.stdout
    assert "left out" in result.stderr
    assert CliRunner().invoke(app, ["take", "mistral", "--on", "today"]).exit_code == 2
