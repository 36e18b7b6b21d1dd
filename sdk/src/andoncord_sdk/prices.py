"""What a model call costs, by a table of prices per million tokens. A price that is not known stays unknown; it is never 0."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

PICO_PER_MICRO = 1_000_000
DATED = re.compile(r"-(?:\d{8}|\d{4}-\d{2}-\d{2}|latest)$")
"""The end of a model's name that does not matter, unless a row has the whole name."""
MAX_REMEMBERED = 1_000
"""Model names whose rows are remembered."""


class Prices:
    """A price table, compiled.

    Args:
        rows: mappings with `provider`, `model`, `input`, `output` and, where it is known, `cache_read` and `cache_write`: US
            dollars for a million tokens. `also` has other names of the provider. `up_to_input_tokens` ends a row; beyond it the
            next row of the model counts, or none.
            Of two rows for the same calls the first counts.

    >>> table = Prices([{"provider": "acme", "model": "a-1", "input": 3, "output": 15, "cache_read": 0.3}])
    >>> table.cost_micro_usd("a-1-20260101", input_tokens=1_000, output_tokens=100)
    4500
    >>> table.cost_micro_usd("a-1", input_tokens=1_000, output_tokens=100, cache_read_tokens=1_000)
    1800
    >>> table.cost_micro_usd("a-2", input_tokens=1_000, output_tokens=100) is None
    True
    """

    def __init__(self, rows: Iterable[Mapping[str, Any]]) -> None:
        self._rows: dict[str, list[_Row]] = {}
        for row in rows:
            compiled = _Row(row)
            self._rows.setdefault(compiled.model, []).append(compiled)
        for found in self._rows.values():
            # Sorting is stable: of two rows with the same end the first given stays first.
            found.sort(key=lambda row: row.up_to)
        self._known: dict[str, list[_Row]] = {}

    def cost_micro_usd(
        self,
        model: str,
        *,
        provider: str = "",
        input_tokens: int,
        output_tokens: int,
        cache_read_tokens: int = 0,
        cache_write_tokens: int = 0,
    ) -> int | None:
        """What one call cost, micro-USD, rounded up; None where the price is not known.

        Args:
            model: as the provider calls it; a date or `-latest` at its end does not matter.
            provider: where it is given, only rows of that provider count: the same model costs something else elsewhere.
            input_tokens: all of them, with those read from and written to a cache.
            output_tokens: all of them, with those spent on reasoning.
        """
        row = self._row(model, provider, input_tokens)
        return row.cost(input_tokens, output_tokens, cache_read_tokens, cache_write_tokens) if row else None

    def row(self, model: str, *, provider: str = "", input_tokens: int = 0) -> Mapping[str, Any] | None:
        """The row that counts for a call, as it was given; None where there is none."""
        row = self._row(model, provider, input_tokens)
        return row.given if row else None

    def _row(self, model: str, provider: str, input_tokens: int) -> "_Row | None":
        named = provider.lower()
        for row in self._of(model):
            if (not named or not row.providers or named in row.providers) and input_tokens <= row.up_to:
                return row
        return None

    def _of(self, model: str) -> list["_Row"]:
        found = self._known.get(model)
        if found is None:
            name = model.lower().rpartition("/")[2]
            found = self._rows.get(name) or self._rows.get(DATED.sub("", name)) or []
            if len(self._known) >= MAX_REMEMBERED:
                self._known.clear()
            self._known[model] = found
        return found


class _Row:
    """One row, in pico-USD per token: whole numbers, so that sums are exact."""

    __slots__ = ("cache_read", "cache_write", "given", "input", "model", "output", "providers", "up_to")

    def __init__(self, row: Mapping[str, Any]) -> None:
        self.given = row
        self.providers = {str(name).lower() for name in (row.get("provider"), *(row.get("also") or ())) if name}
        self.model = str(row["model"]).lower()
        self.up_to = int(row.get("up_to_input_tokens") or 2**63)
        self.input, self.output = _pico(row["input"]), _pico(row["output"])
        self.cache_read, self.cache_write = _optional(row.get("cache_read")), _optional(row.get("cache_write"))

    def cost(self, given: int, said: int, read: int, written: int) -> int | None:
        if (read and self.cache_read is None) or (written and self.cache_write is None):
            return None
        # An emitter whose input leaves out what went through the cache shows itself by a sum that is too small.
        plain = given - read - written if given >= read + written else given
        pico = plain * self.input + said * self.output + read * (self.cache_read or 0) + written * (self.cache_write or 0)
        return -(-pico // PICO_PER_MICRO)


def _optional(usd_per_million: Any) -> int | None:
    return None if usd_per_million is None else _pico(usd_per_million)


def _pico(usd_per_million: Any) -> int:
    """A dollar for a million tokens is a micro-dollar, a million pico-dollars, for one."""
    return round(float(usd_per_million) * PICO_PER_MICRO)
