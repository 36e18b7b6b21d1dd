"""Costs of model calls by the price table: sourced, dated, never counted twice, and unknown where nobody says."""

import json
from datetime import date
from importlib import resources

import msgspec
import pytest

from andoncord.kernel.errors import CallerError
from andoncord.telemetry.event import Event, EventKind
from andoncord.telemetry.otlp import decode_traces_json
from andoncord.telemetry.prices import COST_FROM, COST_UNKNOWN, Price, Pricing, default_prices, load, rows, with_own
from andoncord_sdk.prices import Prices


def test_every_shipped_price_says_who_says_so_and_when() -> None:
    """Each built-in price names its provider's page and the day it was read, and its model stands once per prompt length."""
    prices = default_prices()

    assert prices
    assert all(price.source.startswith("https://") and price.date <= date(2100, 1, 1) and price.provider for price in prices)
    assert len({(price.model, price.up_to_input_tokens) for price in prices}) == len(prices)
    assert {price.provider for price in prices} == {"anthropic", "gcp.gemini", "mistral_ai", "openai"}


def test_cached_and_reasoning_tokens() -> None:
    """The input is the total with the cache, the output the total with reasoning: each token is paid once, at its own price."""
    table = Prices([{"model": "m", "input": 3, "output": 15, "cache_read": 0.3, "cache_write": 3.75}])

    cost = table.cost_micro_usd(
        "m", input_tokens=10_000, output_tokens=1_000, cache_read_tokens=6_000, cache_write_tokens=2_000
    )

    assert cost == 2_000 * 3 + 6_000 * 0.3 + 2_000 * 3.75 + 1_000 * 15


def test_unknown_is_not_zero() -> None:
    """No row, another provider, a prompt beyond the row, or a cache without a price: unknown each time."""
    table = Prices([{"provider": "acme", "model": "m", "input": 3, "output": 15, "up_to_input_tokens": 100}])
    ask = table.cost_micro_usd

    assert ask("m", provider="acme", input_tokens=100, output_tokens=1) == 315
    assert ask("n", input_tokens=1, output_tokens=1) is None
    assert ask("m", provider="aws.bedrock", input_tokens=1, output_tokens=1) is None
    assert ask("m", input_tokens=101, output_tokens=1) is None
    assert ask("m", input_tokens=50, output_tokens=1, cache_read_tokens=10) is None


def test_own_prices_stand_before_the_built_in() -> None:
    """A price of the settings replaces every built-in row of its model and leaves the others."""
    own = Price(model="claude-haiku-4-5", input=0.5, output=2, source="contract 17", date=date(2026, 1, 1))
    table = Prices(rows(with_own([own])))

    assert table.cost_micro_usd("claude-haiku-4-5", input_tokens=10, output_tokens=0) == 5
    assert table.cost_micro_usd("claude-opus-4-1-20250805", input_tokens=10, output_tokens=0) == 150


def test_only_leaves_are_priced_and_emitters_are_believed() -> None:
    """A sum on an agent's span is not priced, a cost that came is kept, a free call stays free, others are unknown."""

    def span(number: int, operation: str, model: str, more: str = "") -> str:
        return (
            f'{{"traceId": "{"ab" * 16}", "spanId": "{number:016x}", "name": "x", "startTimeUnixNano": "1", "attributes": ['
            f'{{"key": "gen_ai.operation.name", "value": {{"stringValue": "{operation}"}}}},'
            f'{{"key": "gen_ai.request.model", "value": {{"stringValue": "{model}"}}}},{more}'
            '{"key": "gen_ai.usage.input_tokens", "value": {"intValue": "1000"}}]}'
        )

    def cost(usd: float) -> str:
        return f'{{"key": "gen_ai.usage.cost", "value": {{"doubleValue": {usd}}}}},'

    spans = ",".join(
        (
            span(1, "invoke_agent", "claude-haiku-4-5"),
            span(2, "chat", "claude-haiku-4-5"),
            span(3, "chat", "claude-haiku-4-5", cost(0.5)),
            span(4, "chat", "local-1", cost(0)),
            span(5, "chat", "local-1"),
        )
    )
    decoded = decode_traces_json(f'{{"resourceSpans": [{{"scopeSpans": [{{"spans": [{spans}]}}]}}]}}'.encode(), received_ns=0)
    found = sorted(Pricing(default_prices()).priced(decoded.events), key=lambda event: event.span_id)

    assert [event.cost_micro_usd for event in found] == [0, 1_000, 500_000, 0, 0]
    assert [COST_UNKNOWN in event.attributes for event in found] == [False, False, False, False, True]
    assert str(found[1].attributes[COST_FROM]).startswith("anthropic ")


def test_pricing_again_changes_nothing() -> None:
    """What was priced once, or found to be of unknown price, stays as it is when it is read again with another table."""
    call = Event(kind=EventKind.MODEL_COMPLETED, name="claude-haiku-4-5", input_tokens=1_000)
    once = Pricing(default_prices()).priced([call])
    unknown = Pricing(()).priced([call])

    assert Pricing(()).priced(once) == once
    assert Pricing(default_prices()).priced(unknown) == unknown


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("models: []", "not a price table"),
        ("version: 1\nmodels: [{model: m, input: 1, output: 1}]", "source"),
        ("version: 1\nsource: s\ndate: 2026-01-01\nmodels: [{model: m, input: -1, output: 1}]", r"models\[0\]"),
        ("version: 1\nsorce: s\nmodels: []", "sorce"),
    ],
)
def test_a_wrong_table_says_where(text: str, complaint: str) -> None:
    """A file that is no table, a price without source, a negative price and a misspelt key are refused with their place."""
    with pytest.raises(CallerError, match=complaint):
        load(text, place="p.yaml")


def test_the_schema_for_editors_names_every_field() -> None:
    """What the schema allows of a model is what a price can say, and it asks for what a price needs."""
    schema = json.loads(resources.files("andoncord").joinpath("prices/prices.schema.json").read_text(encoding="utf-8"))
    model = schema["properties"]["models"]["items"]

    assert set(model["properties"]) == set(Price.__struct_fields__)
    needed = {field.name for field in msgspec.structs.fields(Price) if field.required}
    assert set(model["required"]) | {"source", "date"} == needed
