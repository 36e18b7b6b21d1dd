"""Run one benchmark: `python -m benchmarks.runner NAME [SIZE=NUMBER…]`. The last line printed is one JSON object."""

import importlib
import inspect
import sys
from pathlib import Path

import msgspec

from benchmarks.result import Result

NOT_BENCHMARKS = {
    "__init__",
    "change",
    "fleet",
    "held_out",
    "history",
    "load",
    "null_fleet",
    "result",
    "runner",
    "week",
    "week_plants",
}


def names() -> list[str]:
    """Every benchmark, as it is typed on the command line.

    >>> all("_" not in name for name in names())
    True
    """
    modules = (path.stem for path in Path(__file__).parent.glob("*.py"))
    return sorted(stem.replace("_", "-") for stem in modules if stem not in NOT_BENCHMARKS)


def table(result: Result) -> str:
    """The result as aligned text.

    >>> print(table(Result(figures={"check_us_p50": 1.5}, baselines={"lookup_us_p50": 0.031})))
    figure         value  kind
    check_us_p50   1.5    measured
    lookup_us_p50  0.031  baseline
    """
    columns = result.columns or ("figure", "value", "kind")
    rows = result.rows or (
        *((key, value, "measured") for key, value in result.figures.items()),
        *((key, value, "baseline") for key, value in result.baselines.items()),
    )
    lines = [columns, *(tuple(number(cell) for cell in row) for row in rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(columns))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines)


def number(cell: str | float) -> str:
    """A cell as text: at least three significant digits, thousands grouped.

    >>> [number(cell) for cell in (71_600.4, 12.345, 0.03123, 3, "guard")]
    ['71,600', '12.3', '0.0312', '3', 'guard']
    """
    if isinstance(cell, str):
        return cell
    if isinstance(cell, int) or abs(cell) >= 1000:
        return f"{cell:,.0f}"
    return f"{cell:.3g}"


def summary(name: str, result: Result) -> bytes:
    """The last line: what scripts read.

    >>> summary("guard", Result(figures={"check_us_p50": 1.5}, baselines={}))
    b'{"bench":"guard","figures":{"check_us_p50":1.5},"baselines":{}}'
    """
    return msgspec.json.encode({"bench": name, "figures": result.figures, "baselines": result.baselines})


def sizes_in(arguments: list[str]) -> dict[str, int]:
    """Sizes of the long form, as they are typed.

    >>> sizes_in(["rounds=10", "guards=1_000"])
    {'rounds': 10, 'guards': 1000}
    """
    return {key: int(value) for key, _, value in (argument.partition("=") for argument in arguments)}


def main(arguments: list[str]) -> int:
    """Run the benchmark that is named; 2 when there is none of that name, or it has no such size."""
    known = names()
    if arguments == ["--list"]:
        print("\n".join(known))
        return 0
    if not arguments or arguments[0] not in known:
        print(f"usage: just bench NAME [SIZE=NUMBER…], where NAME is one of: {', '.join(known)}", file=sys.stderr)
        return 2
    name = arguments[0]
    measure = importlib.import_module(f"benchmarks.{name.replace('-', '_')}").run
    has = list(inspect.signature(measure).parameters)
    try:
        sizes = sizes_in(arguments[1:])
    except ValueError:
        sizes = {"": 0}
    if unknown := sizes.keys() - set(has):
        print(f"{name} takes {', '.join(f'{each}=NUMBER' for each in has) or 'no sizes'}, not {unknown}", file=sys.stderr)
        return 2
    result: Result = measure(**sizes)
    print(table(result))
    for note in result.notes:
        print(f"  {note}")
    print(summary(name, result).decode(), flush=True)
    return 0


if __name__ == "__main__":
    try:
        raise SystemExit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        raise SystemExit(130) from None
