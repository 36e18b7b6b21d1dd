"""Small charts of an agent's figures, laid out here and drawn as plain SVG: they work without scripts and can be read out."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from andoncord.kernel.money import usd_text
from andoncord.server.console.filters import clock, milliseconds

WIDTH, HEIGHT = 360, 72
"""Of the drawing, in its own units; the page scales it."""
GAP = 1

Json = Mapping[str, Any]


class Bar(msgspec.Struct, frozen=True, kw_only=True):
    """One point: how high, and how much of it is bad. `unknown` is a gap: nothing was heard."""

    x: float
    width: float
    y: float = 0.0
    height: float = 0.0
    bad_y: float = 0.0
    bad_height: float = 0.0
    unknown: bool = False


class Chart(msgspec.Struct, frozen=True, kw_only=True):
    """One chart with the words that say the same."""

    title: str
    total: str
    """The whole time in one figure."""
    note: str
    """What makes the figure incomplete; empty where nothing does."""
    tone: str
    peak: str
    """What the highest bar stands for."""
    bars: tuple[Bar, ...]
    label: str
    """The chart as it is read out."""


class _Kind(msgspec.Struct, frozen=True, kw_only=True):
    title: str
    of: Callable[[Json], float | None]
    text: Callable[[float], str]
    bad: Callable[[Json], float] = lambda _: 0.0
    is_sum: bool = True


def _whole(value: float) -> str:
    return f"{value:,.0f}".replace(",", " ")


_KINDS = (
    _Kind(title="Runs", of=lambda point: point["runs"], text=_whole, bad=lambda point: point["failed_runs"]),
    _Kind(title="Steps", of=lambda point: point["steps"], text=_whole, bad=lambda point: point["failed_steps"]),
    _Kind(title="Tool errors", of=lambda point: point["tool_errors"], text=_whole, bad=lambda point: point["tool_errors"]),
    _Kind(title="Tokens", of=lambda point: point["input_tokens"] + point["output_tokens"], text=_whole),
    _Kind(title="Cost", of=lambda point: point["cost_micro_usd"], text=lambda value: usd_text(int(value))),
    _Kind(title="Latency of steps, p95", of=lambda point: point["p95_ms"], text=milliseconds, is_sum=False),
)


def charts(series: Json) -> list[Chart]:
    """The charts of one agent, all over the same time."""
    return [_chart(kind, series["points"]) for kind in _KINDS]


def span(series: Json) -> str:
    """The time that the charts cover, in words.

    >>> span({"points": [{"at": "2026-01-01T10:00:00.000Z"}, {"at": "2026-01-01T10:59:00.000Z"}]})
    '10:00 to 10:59 UTC'
    """
    points = series["points"]
    return f"{clock(points[0]['at'])[:5]} to {clock(points[-1]['at'])[:5]} UTC" if points else ""


def _chart(kind: _Kind, points: Sequence[Json]) -> Chart:
    heard = [point for point in points if point["heard"]]
    values = [value for point in heard if (value := kind.of(point)) is not None]
    peak = max(values, default=0.0)
    bad = sum(kind.bad(point) for point in heard)
    whole = sum(values) if kind.is_sum else peak
    total = kind.text(whole) if values else "unknown"
    note = ""
    if kind.title == "Cost" and (unpriced := sum(point["unpriced"] for point in heard)):
        note = f"without {unpriced} call{'s' if unpriced != 1 else ''} of unknown price"
        total = total if whole else "unknown"
    elif bad and kind.title != "Tool errors":
        note = f"{_whole(bad)} failed"
    unknown = len(points) - len(heard)
    label = f"{kind.title}: {total}" + (f", {note}" if note else "") + f"; {unknown} of {len(points)} points unknown"
    width = WIDTH / max(1, len(points))
    return Chart(
        title=kind.title,
        total=total,
        note=note,
        tone="bad" if bad else "calm",
        peak=kind.text(peak) if values and peak else "",
        bars=tuple(_bar(kind, point, place * width, width, peak) for place, point in enumerate(points)),
        label=label,
    )


def _bar(kind: _Kind, point: Json, x: float, width: float, peak: float) -> Bar:
    inner = max(1.0, width - GAP)
    if not point["heard"]:
        return Bar(x=round(x, 2), width=round(inner, 2), unknown=True)
    value = kind.of(point)
    if not value or not peak:
        return Bar(x=round(x, 2), width=round(inner, 2))
    # What is there shows, however small beside the peak.
    height = max(2.0, HEIGHT * value / peak)
    bad_height = min(height, max(2.0, HEIGHT * kind.bad(point) / peak)) if kind.bad(point) else 0.0
    return Bar(
        x=round(x, 2),
        width=round(inner, 2),
        y=round(HEIGHT - height, 2),
        height=round(height, 2),
        bad_y=round(HEIGHT - bad_height, 2),
        bad_height=round(bad_height, 2),
    )
