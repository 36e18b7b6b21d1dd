"""`andon login`."""

from typing import Annotated

import typer

from andoncord.cli.client import Client
from andoncord.cli.output import Format, OutputOption, say, show_json


def login(
    user: Annotated[str, typer.Option("--user", help="The account that the link is for; yours where it is left out.")] = "",
    output: OutputOption = Format.TABLE,
) -> None:
    """Print a one-time link to the console. It works once, for five minutes."""
    made = Client().post(f"/api/v1/login-codes?user={user}" if user else "/api/v1/login-codes", {})
    if output is Format.JSON:
        show_json(made)
    else:
        print(made["url"])
        say("works once, for five minutes")
