"""`andon login`."""

from andoncord.cli.client import Client
from andoncord.cli.output import Format, OutputOption, say, show_json


def login(output: OutputOption = Format.TABLE) -> None:
    """Print a one-time link to the console. It works once, for five minutes."""
    made = Client().post("/api/v1/login-codes", {})
    if output is Format.JSON:
        show_json(made)
    else:
        print(made["url"])
        say("works once, for five minutes")
