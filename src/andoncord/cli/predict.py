"""`andon predict`: the chance of an incident within an hour, and what such a saying is worth here."""

from typing import Annotated, Any

import typer

from andoncord.cli.client import Client
from andoncord.cli.output import Format, OutputOption, say, show_json, show_table


def predict(
    top: Annotated[int, typer.Option(min=1, max=1_000, help="How many agents, the likeliest first.")] = 20,
    output: OutputOption = Format.TABLE,
) -> None:
    """Show which agents are likely to have an incident within an hour. It is off until it has proved itself here."""
    found = Client().get("/api/v1/predictions")
    if output is Format.JSON:
        show_json(found)
        return
    if found["judgement"]:
        _tell(found["judgement"])
    if not found["is_on"]:
        say(f"Prediction is off: {found['why_off']}.")
        return
    names = ("agent", "within an hour", "by recency alone", "because of")
    rows = [
        (each["agent"], f"{each['probability']:.1%}", f"{each['recency']:.1%}", each["because"])
        for each in found["risks"][:top]
    ]
    show_table(names, rows)


def _tell(judged: dict[str, Any]) -> None:
    lift, gain = judged["lift"], judged["gain"]
    say(
        f"On {judged['hours']} later agent-hours with {judged['incidents']} incidents: average precision"
        f" {judged['precision']:.3f}, {judged['recency_precision']:.3f} by recency alone:"
        f" {lift['value']:.2f} times (95 % {lift['low']:.2f} to {lift['high']:.2f});"
        f" gain {gain['value']:.4f} bits an hour ({gain['low']:.4f} to {gain['high']:.4f});"
        f" predicted and observed shares differ by {judged['calibration_error']:.2%} on average."
    )
