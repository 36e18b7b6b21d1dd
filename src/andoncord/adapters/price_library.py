"""Prices as the library genai-prices has them (extra `prices`), which reads the pages of many providers, as rows of our table.

What our table cannot say truthfully is left out with the reason: a price that changes with the hour or on a day to come, or
what is paid for something other than tokens of text.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from decimal import Decimal
from fnmatch import fnmatchcase
from importlib.metadata import version
from typing import Any

import msgspec

from andoncord.kernel.errors import CallerError
from andoncord.telemetry.prices import Price
from andoncord_sdk.prices import DATED

LIBRARY = "genai-prices"
NAMES: dict[str, tuple[str, ...]] = {
    "aws": ("aws.bedrock", "bedrock", "amazon-bedrock", "amazon_bedrock", "aws"),
    "azure": ("azure.ai.openai", "azure.ai.inference", "azure", "az.ai.openai"),
    "cohere": ("cohere", "cohere_chat"),
    "google": (
        *("gcp.gemini", "gcp.vertex_ai", "gcp.gen_ai", "gcp.vertex.agent"),
        *("google", "gemini", "google-gla", "google-vertex", "vertexai", "vertex_ai"),
    ),
    "mistral": ("mistral_ai", "mistral", "mistralai"),
    "x-ai": ("x_ai", "xai", "x-ai"),
}
"""The library's providers as telemetry names them: first as the GenAI conventions do, then as others are seen to."""

_FIELDS = {"input": "input_mtok", "output": "output_mtok", "cache_read": "cache_read_mtok", "cache_write": "cache_write_mtok"}
_NOT_TEXT = re.compile(r"audio|image|tts|live|realtime|embed|transcribe|whisper|moderation|ocr|video|veo|imagen|lyria|speech")
_WHOLE = re.compile(r"[a-z0-9][a-z0-9._-]*[a-z0-9]")
_LATEST = "-latest"


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """Prices of one provider, and what was left out of them."""

    prices: tuple[Price, ...]
    left_out: dict[str, str]
    """Model → why."""


def take(provider: str, *, models: Sequence[str] = ("*",), on: date) -> Taken:
    """The prices of a provider that are in force on a day.

    Args:
        provider: as the library calls it, such as `openai`.
        models: globs over their names.

    Raises:
        CallerError: the library is not installed, or knows no such provider.
    """
    try:
        # Half a second, and an extra that need not be there.
        from genai_prices.data_snapshot import get_snapshot  # noqa: PLC0415
    except ImportError:
        raise CallerError(f"{LIBRARY} is not installed", remedy="pip install 'andoncord[prices]'") from None
    known = {each.id: each for each in get_snapshot().providers}
    if provider not in known:
        raise CallerError(f"{LIBRARY} knows no provider {provider!r}", remedy=f"it knows {', '.join(sorted(known))}")
    found = known[provider]
    named, *also = NAMES.get(provider, (provider,))
    page = next(iter(found.pricing_urls or ()), "")
    source = f"{page} as {LIBRARY} {version(LIBRARY)} has it".strip()
    claimed = {name for model in found.models for name in _names(model)}
    rows: dict[tuple[str, int | None], Price] = {}
    left_out: dict[str, str] = {}
    for model in found.models:
        whole = _names(model)
        # A model's latest version goes by its plain name too, unless that is another one.
        plain = [name.removesuffix(_LATEST) for name in whole if name.endswith(_LATEST)]
        names = [*whole, *(name for name in plain if name not in claimed)]
        names = [name for name in names if any(fnmatchcase(name, glob) for glob in models)]
        if not names:
            continue
        try:
            prices = list(_rows(model, on))
        except ValueError as why:
            left_out[model.id] = str(why)
            continue
        for name in names:
            for row in prices:
                price = msgspec.structs.replace(row, model=name, provider=named, also=tuple(also), source=source)
                rows.setdefault((name, price.up_to_input_tokens), price)
    return Taken(prices=tuple(_without_needless(rows)), left_out=left_out)


def _without_needless(rows: dict[tuple[str, int | None], Price]) -> Iterator[Price]:
    """Without the rows of dated names that cost what their plain names do: the table looks these up by itself."""
    for (name, end), price in rows.items():
        plain = rows.get((DATED.sub("", name), end))
        if plain is price or plain is None or plain != msgspec.structs.replace(price, model=plain.model):
            yield price


def _names(model: Any) -> list[str]:
    """What a model is called: its id, and what its rule of matching names whole or by its beginning."""
    said = (name.lower().rpartition("/")[2] for name in (model.id, *_clauses(model.match)))
    return [name for name in dict.fromkeys(said) if _WHOLE.fullmatch(name)]


def _clauses(match: Any) -> Iterable[str]:
    for name in ("equals", "starts_with"):
        if isinstance(said := getattr(match, name, None), str):
            yield said
    for part in getattr(match, "or_", None) or ():
        yield from _clauses(part)


def _rows(model: Any, on: date) -> Iterator[Price]:
    """The rows of one model, one for each length of prompt that has a price of its own.

    Raises:
        ValueError: why there are none.
    """
    if _NOT_TEXT.search(model.id):
        raise ValueError("not a model of text")
    price = _in_force(model.prices, on)
    said: dict[str, Any] = {name: getattr(price, field, None) for name, field in _FIELDS.items()}
    if said["input"] is None or said["output"] is None:
        raise ValueError("no price for tokens in or out")
    if any(getattr(price, f"output_{what}_mtok", None) is not None for what in ("audio", "image", "video")):
        raise ValueError("what it says is not text alone")
    starts = {tuple(tier.start for tier in value.tiers) for value in said.values() if hasattr(value, "tiers")}
    if len(starts) > 1:
        raise ValueError("its prices change at different lengths of prompt")
    ends: tuple[int | None, ...] = (*next(iter(starts), ()), None)
    for place, end in enumerate(ends):
        yield Price(
            model=model.id,
            source=LIBRARY,
            date=on,
            input=_at(said["input"], place),
            output=_at(said["output"], place),
            cache_read=None if said["cache_read"] is None else _at(said["cache_read"], place),
            cache_write=None if said["cache_write"] is None else _at(said["cache_write"], place),
            up_to_input_tokens=end,
        )


def _in_force(prices: Any, on: date) -> Any:
    """The price of a day, where the day alone says which it is.

    Raises:
        ValueError: it does not, or the price is about to change.
    """
    if not isinstance(prices, list):
        return prices
    current = None
    for each in prices:
        begins = getattr(each.constraint, "start_date", None)
        if each.constraint is not None and begins is None:
            raise ValueError("changes with the hour of the day")
        if begins is not None and begins > on:
            raise ValueError(f"changes on {begins}")
        current = each.prices
    return current


def _at(value: Any, tier: int) -> float:
    if hasattr(value, "tiers"):
        value = value.base if tier == 0 else value.tiers[tier - 1].price
    return float(Decimal(value))
