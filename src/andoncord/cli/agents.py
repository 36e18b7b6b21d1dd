"""`andon agents`."""

from andoncord.cli.client import Client
from andoncord.cli.output import Format, OutputOption, show_json, show_table


def agents(output: OutputOption = Format.TABLE) -> None:
    """List agents and what is in force for them."""
    items = Client().get("/api/v1/agents")["items"]
    if output is Format.JSON:
        show_json(items)
        return
    rows = [
        (
            each["agent"],
            each["state"],
            each["rung"],
            each["incident"] or ", ".join(each["orders"]),
            sum(instance["connected"] for instance in each["instances"]),
            len(each["instances"]),
        )
        for each in items
    ]
    show_table(("agent", "state", "in force", "by", "connected", "known"), rows)
