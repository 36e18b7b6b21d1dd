"""`andon kpi`."""

from andoncord.cli.client import Client
from andoncord.cli.output import Format, OutputOption, show_json, show_table


def kpi(output: OutputOption = Format.TABLE) -> None:
    """Figures over all incidents, each with its definition, its target and the incidents behind it."""
    figures = Client().get("/api/v1/kpis")
    if output is Format.JSON:
        show_json(figures)
        return
    rows = [
        (name, _rounded(each["value"]), each["unit"], each["target"], each["n"], each["definition"])
        for name, each in figures.items()
    ]
    show_table(("figure", "value", "unit", "target", "n", "definition"), rows)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
