"""The price table as data (`prices/*.yaml`), and the cost of model calls whose emitter sends none.

Only calls that carry tokens of their own are priced, so that a sum over children is never priced again (the leaf rule of
`telemetry.stitch`). A call whose price is not known says so in `attributes['cost_unknown']`: its cost is not 0.
"""

from collections.abc import Iterable, Sequence
from datetime import date
from functools import cache
from importlib import resources
from typing import Annotated, Any

import msgspec
import yaml

from andoncord.kernel.errors import CallerError
from andoncord.telemetry.event import Event, EventKind, Scalar
from andoncord_sdk.prices import Prices

COST_UNKNOWN = "cost_unknown"
"""Attribute of a model call with tokens, without a cost of its emitter and without a price."""
COST_FROM = "cost_from"
"""Attribute of a call whose cost we computed: the provider and date of the price."""
_MODELS = frozenset((EventKind.MODEL_COMPLETED, EventKind.MODEL_FAILED))

NOTHING: dict[str, Scalar] = {}

Usd = Annotated[float, msgspec.Meta(ge=0, le=100_000)]


class Price(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one model costs: US dollars for a million tokens, who says so, and when that was read."""

    model: Annotated[str, msgspec.Meta(min_length=1)]
    input: Usd
    output: Usd
    source: Annotated[str, msgspec.Meta(min_length=1)]
    """Where the price stands: an address, or the name and number of a contract."""
    date: date
    provider: str = ""
    """As telemetry names it, such as `anthropic`; empty for a model of your own, whoever serves it."""
    also: tuple[str, ...] = ()
    """Other names of the provider that telemetry is seen to use."""
    cache_read: Usd | None = None
    cache_write: Usd | None = None
    up_to_input_tokens: Annotated[int, msgspec.Meta(gt=0)] | None = None
    """Where the row ends; a longer prompt needs a row of its own, or its price is unknown."""


def load(text: str, *, place: str) -> tuple[Price, ...]:
    """Read one file of the table: `provider`, `also`, `source` and `date` count for each of its `models`.

    Raises:
        CallerError: with the file, and the model where it can be told.
    """
    try:
        raw = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise CallerError(f"is not YAML: {error}", place=place) from None
    if not isinstance(raw, dict) or raw.get("version") != 1 or not isinstance(raw.get("models"), list):
        raise CallerError("is not a price table", place=place, remedy="it needs `version: 1` and a list of `models`")
    common = {name: raw[name] for name in ("provider", "also", "source", "date") if name in raw}
    unknown = sorted(set(raw) - {"version", "models", *common})
    if unknown:
        raise CallerError(f"unknown key {unknown[0]!r}", place=place)
    prices: list[Price] = []
    for number, row in enumerate(raw["models"]):
        try:
            prices.append(msgspec.convert({**common, **row} if isinstance(row, dict) else row, Price))
        except msgspec.ValidationError as error:
            raise CallerError(str(error), place=f"{place}: models[{number}]") from None
    return tuple(prices)


@cache
def default_prices() -> tuple[Price, ...]:
    """The prices that come with Andoncord, each with its source and date."""
    folder = resources.files("andoncord") / "prices"
    files = sorted((each for each in folder.iterdir() if each.name.endswith(".yaml")), key=lambda each: each.name)
    return tuple(price for each in files for price in load(each.read_text(encoding="utf-8"), place=f"prices/{each.name}"))


def with_own(own: Sequence[Price]) -> tuple[Price, ...]:
    """Your own prices, and the built-in ones of every model that yours do not name."""
    return instead_of(own, default_prices())


def instead_of(first: Sequence[Price], others: Sequence[Price]) -> tuple[Price, ...]:
    """Some prices, and of others those of every model that the first do not name."""
    named = {price.model.lower() for price in first}
    return (*first, *(price for price in others if price.model.lower() not in named))


def rows(prices: Iterable[Price]) -> list[dict[str, Any]]:
    """The table as guards load it."""
    return [
        {name: value for name, value in msgspec.to_builtins(price).items() if value not in (None, "", [])} for price in prices
    ]


class Pricing:
    """Puts a cost on the model calls that have none.

    >>> call = Event(kind=EventKind.MODEL_COMPLETED, name="claude-haiku-4-5-20251001", input_tokens=1_000, output_tokens=200)
    >>> (priced,) = Pricing(default_prices()).priced([call])
    >>> priced.cost_micro_usd, priced.attributes["cost_from"][:9]
    (2000, 'anthropic')
    >>> (unpriced,) = Pricing(()).priced([call])
    >>> unpriced.cost_micro_usd, unpriced.attributes
    (0, {'cost_unknown': True})
    """

    def __init__(self, prices: Sequence[Price]) -> None:
        self._prices = Prices(rows(prices))

    def priced(self, events: Iterable[Event]) -> tuple[Event, ...]:
        """The events, each model call with tokens and without a cost priced, or marked as of unknown price."""
        return tuple(self._one(event) if event.kind in _MODELS and not event.cost_micro_usd else event for event in events)

    def price(self, drafts: Iterable[dict[str, Any]]) -> None:
        """The same, in place, for events that are given by their fields (see `telemetry.block.pack`)."""
        for fields in drafts:
            if fields["kind"] in _MODELS and not fields.get("cost_micro_usd"):
                found = self._found(
                    fields.get("name", ""),
                    fields.get("input_tokens", 0),
                    fields.get("output_tokens", 0),
                    fields.get("attributes", NOTHING),
                )
                if found is not None:
                    fields["cost_micro_usd"], fields["attributes"] = found

    def _one(self, event: Event) -> Event:
        found = self._found(event.name, event.input_tokens, event.output_tokens, event.attributes)
        if found is None:
            return event
        return msgspec.structs.replace(event, cost_micro_usd=found[0], attributes=found[1])

    def _found(self, model: str, given: int, said: int, attributes: dict[str, Scalar]) -> tuple[int, dict[str, Scalar]] | None:
        """What a call cost, and what its attributes are then; None where there is nothing to be priced."""
        if (not given and not said) or COST_UNKNOWN in attributes or COST_FROM in attributes:
            return None
        provider = attributes.get("provider", "")
        provider = provider if isinstance(provider, str) else str(provider)
        row = self._prices.row(model, provider=provider, input_tokens=given)
        cost = (
            None
            if row is None
            else self._prices.cost_micro_usd(
                model,
                provider=provider,
                input_tokens=given,
                output_tokens=said,
                cache_read_tokens=_count(attributes.get("cache_read_tokens", 0)),
                cache_write_tokens=_count(attributes.get("cache_write_tokens", 0)),
            )
        )
        if row is None or cost is None:
            return 0, {**attributes, COST_UNKNOWN: True}
        return cost, {**attributes, COST_FROM: f"{row.get('provider', 'own')} {row['date']}"}


def _count(value: Scalar) -> int:
    return max(0, int(value)) if isinstance(value, int | float) and not isinstance(value, bool) else 0
